//! A process that stands still for a while (SIGSTOP, or no turn of the processor): what was under way
//! is nobody's fault but ours, and what came due meanwhile does not start in a burst.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use crate::fixtures::sqlite_rows::Stored;
use crate::harness::binary::Running;
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, eventually, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// A program that watches so many targets of one site.
fn watch(site: &Listener, folder: &Temp, count: usize, keys: &str) -> Running {
    let mut config = format!("node = 'here'\n[probe]\nclock_wait = '0s'\n[defaults]\n{keys}\n");
    for number in 0..count {
        config += &format!("[[target]]\nname = '{number}'\nurl = '{}'\n", site.url("/"));
    }
    folder.write("c.toml", config);
    let words = ["run", "-c", folder.join("c.toml").to_str().unwrap()].map(str::to_owned);
    Sitewatch::new().args(words).env("STATE_DIRECTORY", folder.path()).spawn()
}

/// Stops the program for at least so long, lets it go on, and returns the longest that it can have stood still.
fn freeze(running: &mut Running, length: Duration) -> Duration {
    let began = Instant::now();
    running.signal(Signal::STOP);
    thread::sleep(length);
    running.signal(Signal::CONT);
    began.elapsed()
}

#[track_caller]
fn end(mut running: Running, folder: &Temp) -> (Stored, String) {
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    let stored = Stored::read(&folder.join("sitewatch.db"));
    stored.is_whole("here");
    (stored, done.stderr)
}

/// A site that answers after so long.
fn slow(delay: Duration) -> Listener {
    let site = Listener::http();
    site.always(Script::ok("fine").serial().delay_first_byte(delay));
    site
}

#[test]
fn a_check_that_could_not_go_on_is_ours() {
    // It answers in time; the deadline passes while we stand still, shortly before we go on, or not.
    for (timeout, length) in [("1s", 2500), ("9s", 2500), ("1s", 1300)] {
        let (site, folder) = (slow(Duration::from_millis(600)), Temp::new());
        let mut running =
            watch(&site, &folder, 1, &format!("interval = '10s'\ntimeout = '{timeout}'"));
        eventually(DEADLINE, "a check under way", || !site.log().is_empty());
        freeze(&mut running, Duration::from_millis(length));
        eventually(DEADLINE, "its outcome", || {
            let file = folder.join("sitewatch.db");
            file.exists() && !Stored::read(&file).checks.is_empty()
        });
        let (stored, said) = end(running, &folder);
        let first = &stored.checks[0];
        assert_eq!((&*first.verdict, &*first.cause), ("unknown", "overload"), "{said}");
        assert!(!said.contains("is down"), "{said}");
    }
}

#[test]
fn a_check_now_that_could_not_go_on_is_ours() {
    let site = slow(Duration::from_millis(600));
    let words = ["check", &site.url("/"), "--timeout", "1s", "--format", "json"];
    let mut running = Sitewatch::new().args(words).spawn();
    eventually(DEADLINE, "a check under way", || !site.log().is_empty());
    freeze(&mut running, Duration::from_millis(2500));
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(2), "{done:?}");
    let record = json::parse(&done.stdout);
    assert_eq!((record.text("verdict"), record.text("cause")), ("unknown", "overload"));
    assert!(record.text("error").contains("this process stood still for "), "{done:?}");
}

#[test]
fn what_came_due_while_it_stood_still_starts_spread() {
    const TARGETS: usize = 60;
    const INTERVAL_S: i64 = 3;
    const SOON: Duration = Duration::from_millis(300);
    let (site, folder) = (slow(Duration::ZERO), Temp::new());
    let keys = format!("interval = '{INTERVAL_S}s'\ntimeout = '1s'");
    let mut running = watch(&site, &folder, TARGETS, &keys);
    eventually(DEADLINE, "all checked", || site.log().len() >= TARGETS);
    let stood_still = freeze(&mut running, Duration::from_secs(5));
    let went_on = SystemTime::now();
    let since = |length: Duration| {
        let log = site.log();
        log.iter().filter(|seen| seen.at >= went_on && seen.at < went_on + length).count()
    };
    eventually(DEADLINE, "all checked again", || since(DEADLINE) >= 2 * TARGETS);
    // All were late. Spread, these are some 10 of them; else all come at once.
    assert!(since(SOON) <= TARGETS / 2, "{} in a burst", since(SOON));
    let (stored, said) = end(running, &folder);
    // Said once a stall, not once a check; a busy machine may stand still once or twice more.
    let times = said.matches("checks under way are unknown").count();
    assert!((1..=3).contains(&times), "{said}");
    assert!(stored.gaps.iter().any(|gap| gap.cause == "overload"), "{:?}", stored.gaps);
    let most = 2 + stood_still.as_secs() as i64 / INTERVAL_S;
    assert!(stored.gaps.iter().all(|gap| gap.count <= most), "{:?}", stored.gaps);
}
