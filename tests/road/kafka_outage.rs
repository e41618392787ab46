//! `probe` and a Kafka that comes late, dies, stands still or never was: checks go on, nothing is
//! lost that fits, what does not fit is counted, and the log says each change once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixtures::published::Published;
use crate::harness::binary::Running;
use crate::harness::binary::cpu;
use crate::harness::client::get;
use crate::harness::daemon::free_port;
use crate::harness::{Fields, Kafka, Listener, Script, dead, eventually, json};
use crate::road::probe::{DEADLINE, FAST, answered, start, stop, targets, times};

/// Trouble is noticed within so long.
const NOTICED: Duration = Duration::from_secs(10);

fn listener() -> Listener {
    let listener = Listener::http();
    listener.always(Script::ok("").serial());
    listener
}

/// Waits until so many more checks were answered.
#[track_caller]
fn go_on(listener: &Listener, more: usize) {
    let before = listener.log().len();
    eventually(DEADLINE, "more checks", || listener.log().len() >= before + more);
}

/// Waits until the log has said so for the n-th time.
#[track_caller]
fn await_times(running: &Running, words: &str, count: usize, deadline: Duration) {
    let start = Instant::now();
    while times(&running.stderr(), words) < count {
        assert!(start.elapsed() < deadline, "no {words:?}, {count} times: {}", running.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn health(port: u16) -> (u32, miniserde::json::Value) {
    let got = get(&format!("http://127.0.0.1:{port}/health"));
    (got.status, json::parse(&got.text()))
}

#[test]
fn before_its_broker_it_starts_and_waits() {
    let (mut broker, listener, port) = (Kafka::start(), listener(), free_port());
    broker.stop_hard();
    let serve = format!("[serve]\nlisten = '127.0.0.1:{port}'\n");
    let config = format!("{serve}{FAST}{}", targets(&listener, 10));
    let mut running = start(&broker.brokers(), "t", &config);
    running.await_stderr("Kafka is away", NOTICED);
    assert!(running.stderr().contains("Connection refused"), "{}", running.stderr());
    go_on(&listener, 20);
    let (status, told) = health(port);
    assert_eq!((status, told.text("status"), told.int("sent")), (503, "kafka_away", 0));
    assert!(told.int("waiting") >= 20 && told.int("lost") == 0);
    broker.restart();
    running.await_stderr("Kafka is back", DEADLINE);
    eventually(DEADLINE, "all sent", || {
        let (status, told) = health(port);
        (status, told.text("status")) == (200, "ok") && told.int("sent") > 30
    });
    let log = stop(running).stderr;
    for words in ["Kafka is away", "Kafka is back", "topic t is made", "ERROR"] {
        assert_eq!(times(&log, words), 1, "{words}: {log}");
    }
    let published = Published::read(&broker.kcat(), "t");
    assert_eq!(published.all_serials(), answered(&listener, "/"));
    assert_eq!((published.repeats, published.losses.len()), (0, 0));
    // What a broker that starts refuses first is sent again, and may be overtaken.
    assert!(published.targets.len() >= 10 && !published.nodes.is_empty());
}

#[test]
fn a_broker_killed_or_standing_still_costs_nothing() {
    let (mut broker, listener) = (Kafka::start(), listener());
    let running = start(&broker.brokers(), "t", &format!("{FAST}{}", targets(&listener, 10)));
    go_on(&listener, 20);
    broker.stop_hard();
    await_times(&running, "Kafka is away", 1, NOTICED);
    go_on(&listener, 20);
    broker.restart();
    await_times(&running, "Kafka is back", 1, DEADLINE);
    go_on(&listener, 20);
    broker.pause();
    let paused = Instant::now();
    await_times(&running, "Kafka is away", 2, NOTICED);
    eventually(DEADLINE, "its time", || paused.elapsed() > Duration::from_secs(12));
    broker.resume();
    await_times(&running, "Kafka is back", 2, DEADLINE);
    go_on(&listener, 20);
    // Told to stop while it stands still.
    broker.pause();
    go_on(&listener, 10);
    let stopping = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| stop(running));
        let (since, pause) = (Instant::now(), Duration::from_millis(700));
        eventually(DEADLINE, "its time", || since.elapsed() > pause);
        broker.resume();
        stopping.join().unwrap()
    });
    let log = stopping.stderr;
    for words in ["Kafka is away", "Kafka is back", "ERROR"] {
        assert_eq!(times(&log, words), 2, "{words}: {log}");
    }
    let published = Published::read(&broker.kcat(), "t");
    assert_eq!(published.all_serials(), answered(&listener, "/"));
    assert!(published.losses.is_empty(), "{log}");
}

/// What came back from a broker that is away waits without being looked at over and over.
#[test]
fn while_its_broker_is_away_it_rests() {
    let (mut broker, listener) = (Kafka::start(), listener());
    let config = format!("{FAST}{}", targets(&listener, 5));
    let running = start(&broker.brokers(), "t", &config);
    go_on(&listener, 10);
    broker.stop_hard();
    await_times(&running, "Kafka is away", 1, NOTICED);
    // librdkafka gives records back after a minute.
    let (away, minute) = (Instant::now(), Duration::from_secs(65));
    eventually(2 * minute, "its time", || away.elapsed() > minute);
    let (since, before) = (Instant::now(), cpu(running.pid()));
    eventually(DEADLINE, "its time", || since.elapsed() > Duration::from_secs(5));
    let used = cpu(running.pid()) - before;
    assert!(used < since.elapsed() / 4, "{used:?} of CPU in {:?}", since.elapsed());
    broker.restart();
    await_times(&running, "Kafka is back", 1, DEADLINE);
    stop(running);
    assert_eq!(Published::read(&broker.kcat(), "t").all_serials(), answered(&listener, "/"));
}

#[test]
fn a_broker_that_stumbles_back_is_found_again() {
    let broker = Kafka::with_settings("broker.session.timeout.ms=1000");
    let listener = listener();
    let running = start(&broker.brokers(), "t", &format!("{FAST}{}", targets(&listener, 10)));
    go_on(&listener, 20);
    // Shut out by its controller each time, it may name no broker at all: nobody to go back to.
    for (pause, run) in [(4000, 20), (1200, 30), (1200, 40), (1200, 60), (1200, 80), (1200, 100)] {
        for (act, ms) in [(Kafka::pause as fn(&Kafka), pause), (Kafka::resume, run)] {
            act(&broker);
            std::thread::sleep(Duration::from_millis(ms));
        }
    }
    let resumed = listener.log().len();
    eventually(DEADLINE, "a later check in Kafka", || {
        let published = Published::read(&broker.kcat(), "t");
        published.all_serials().last().is_some_and(|serial| *serial as usize > resumed)
    });
    let log = stop(running).stderr;
    let published = Published::read(&broker.kcat(), "t");
    assert_eq!(published.all_serials(), answered(&listener, "/"), "{log}");
}

#[test]
fn past_its_memory_the_oldest_go_and_are_counted() {
    let (mut broker, listener, port) = (Kafka::start(), listener(), free_port());
    let config = format!(
        "[serve]\nlisten = '127.0.0.1:{port}'\n[spool]\nmemory = '64KiB'\n[log]\nlevel = 'debug'\n\
         {FAST}{}",
        targets(&listener, 40)
    );
    let mut running = start(&broker.brokers(), "t", &config);
    eventually(DEADLINE, "some sent", || health(port).1.int("sent") > 60);
    broker.stop_hard();
    running.await_stderr("memory is full", DEADLINE);
    let mut most = 0;
    eventually(DEADLINE, "a loss", || {
        let told = health(port).1;
        most = most.max(told.int("waiting"));
        told.int("lost") > 100
    });
    // None takes less than 450 bytes.
    assert!((100..=64 * 1024 / 450).contains(&most), "{most} held");
    broker.restart();
    running.await_stderr("Kafka is back", DEADLINE);
    go_on(&listener, 40);
    let log = stop(running).stderr;
    assert_eq!((times(&log, "memory is full"), times(&log, "ERROR")), (1, 2), "{log}");
    let published = Published::read(&broker.kcat(), "t");
    let arrived = published.all_serials();
    let made = listener.settled(DEADLINE).len() + times(&log, "slots missed");
    let mut lost = 0;
    for loss in &published.losses {
        assert_eq!(loss.text("cause"), "memory_full");
        assert!(loss.int("from_ms") <= loss.int("to_ms"));
        lost += loss.int("count");
    }
    assert!(lost > 100, "{lost}");
    assert_eq!(arrived.len() + published.gaps.len() + lost as usize, made);
    assert!(arrived.is_subset(&answered(&listener, "/")));
    // What is static is told again.
    assert!(published.targets.len() >= 40 && published.nodes.len() <= 3);
}

#[test]
fn where_nobody_answers_it_is_quiet_and_ends_in_time() {
    let (listener, quiet) = (listener(), Duration::from_secs(20));
    let (refused, silent, full) = (dead::refused(), dead::silent(), dead::full());
    let stop_timeout = Duration::from_secs(2);
    let began = Instant::now();
    // The second has more than it can hold.
    let mut under_way = [(&refused, 3), (&silent, 40), (&full, 3)].map(|(place, count)| {
        let tables = "[spool]\nmemory = '64KiB'\n[probe]\nstop_timeout = '2s'\n";
        let config = format!("{tables}{FAST}{}", targets(&listener, count));
        (start(&place.address().to_string(), "t", &config), count)
    });
    for (running, _) in &mut under_way {
        running.await_stderr("Kafka is away", NOTICED);
    }
    let memory = |running: &Running| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
    };
    let before_kib = under_way.each_ref().map(|(running, _)| memory(running));
    eventually(2 * quiet, "its time", || began.elapsed() > quiet);
    for ((running, _), before_kib) in under_way.iter().zip(before_kib) {
        let after_kib = memory(running);
        assert!(after_kib < before_kib + 2048, "{before_kib} KiB grew to {after_kib} KiB");
    }
    let told = Instant::now();
    for (running, _) in &mut under_way {
        running.signal(Signal::TERM);
    }
    for (running, count) in under_way {
        let done = running.wait(DEADLINE);
        assert!(told.elapsed() < stop_timeout + Duration::from_secs(1), "{:?}", told.elapsed());
        assert_eq!(done.code, Some(1), "{done:?}");
        let lines = done.stderr.lines().filter(|line| !line.contains(" INFO "));
        let (last, before) =
            lines.collect::<Vec<_>>().split_last().map(|(l, b)| (*l, b.len())).unwrap();
        assert!(last.contains("not delivered and lost, Kafka did not take them"), "{done:?}");
        assert_eq!(times(&done.stderr, "Kafka is away"), 1, "{done:?}");
        let is_full = times(&done.stderr, "memory is full");
        assert_eq!((is_full, before), (usize::from(count == 40), 1 + is_full), "{done:?}");
    }
}

#[test]
fn told_twice_it_leaves_at_once() {
    let (listener, nobody) = (listener(), dead::refused());
    let config = format!("{FAST}{}", targets(&listener, 3));
    let mut running = start(&nobody.address().to_string(), "t", &config);
    go_on(&listener, 3);
    running.signal(Signal::TERM);
    running.await_stderr("a second signal leaves at once", DEADLINE);
    let told = Instant::now();
    // One that comes within a tenth of a second is the first one's echo.
    eventually(DEADLINE, "its end", || {
        running.ended() || {
            running.signal(Signal::TERM);
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    });
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert_eq!(running.wait(DEADLINE).code, Some(143));
}
