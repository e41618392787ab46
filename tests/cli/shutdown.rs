//! `run` told to stop, and killed, in the middle of its work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;
use rustix::process::Signal;
use sitewatch::store::Sqlite;

use crate::fixtures::sqlite_rows::Stored;
use crate::harness::binary::Running;
use crate::harness::{Listener, Script, Sitewatch, Temp, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
/// How old a check may be and yet be lost by a kill: `batch_age`, and time for the disk.
const UNSAFE: Duration = Duration::from_millis(1000 + 1000);

/// `run` over so many paths `/0`, `/1`, … of a listener, with these keys for all of them.
fn start(listener: &Listener, count: usize, keys: &str, state: &Path) -> Running {
    let mut config = format!("node = 'here'\nstate_dir = '{}'\n{keys}\n", state.display());
    for i in 0..count {
        let url = listener.url(&format!("/{i}"));
        write!(config, "[[target]]\nname = '{i}'\nurl = '{url}'\n").unwrap();
    }
    let mut running = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]).spawn();
    running.await_stderr("watching", DEADLINE);
    running
}

const FAST: &str = "[defaults]\ninterval = '1s'\ntimeout = '900ms'\nmatch = 'serial=[0-9]+'";
const LONG: &str = "[defaults]\ninterval = '6s'\nmatch = 'serial=[0-9]+'";

#[test]
fn told_to_stop_it_ends_what_is_under_way_and_stores_all() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("").serial().delay_first_byte(Duration::from_millis(400)));
    let mut running = start(&listener, 20, FAST, folder.path());
    let answered = || listener.log().iter().filter(|seen| seen.answered).count();
    eventually(DEADLINE, "some answers, and some under way", || {
        answered() >= 30 && listener.log().len() - answered() >= 3
    });
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("stopping") && done.stderr.contains("everything is stored"));
    let log = listener.settled(DEADLINE);
    assert!(log.iter().all(|seen| seen.answered), "one was cut");
    let stored = Stored::read(&folder.join("sitewatch.db"));
    let serials: Vec<u64> = stored.checks.iter().map(|row| row.serial().unwrap()).collect();
    assert_eq!(serials.len(), log.len());
    assert_eq!(serials.into_iter().collect::<BTreeSet<_>>().len(), log.len());
    assert!(stored.checks.iter().all(|row| row.verdict == "up"), "{stored:?}");
    stored.is_whole("here");
}

#[test]
fn two_do_not_store_in_one_file() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("").serial());
    let mut first = start(&listener, 1, FAST, folder.path());
    let config = format!("state_dir = '{}'\ntargets = ['127.0.0.1']", folder.path().display());
    let second = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]).run();
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains("another sitewatch stores in it"), "{second:?}");
    first.signal(Signal::TERM);
    assert_eq!(first.wait(DEADLINE).code, Some(0));
}

/// Every file of a folder with its bytes, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_file_in_use_is_left_as_it_is_by_a_second_start() {
    let older = "DROP TABLE loss; DELETE FROM migration WHERE version = 3; PRAGMA user_version = 2";
    for (name, change) in [
        ("an older version's", older),
        ("with a rollback journal", "PRAGMA journal_mode = DELETE"),
        ("damaged", ""),
        ("missing", ""),
    ] {
        let folder = Temp::new();
        let path = folder.join("sitewatch.db");
        drop(Sqlite::create(&path, u64::MAX).unwrap());
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        match name {
            "damaged" => fs::write(&path, "x".repeat(9000)).unwrap(),
            "missing" => fs::remove_file(&path).unwrap(),
            _ => {}
        }
        // As the first of them holds it, whose version may be another.
        let _first = Sqlite::claim(&path).unwrap();
        let before = files(folder.path());
        let config = format!("state_dir = '{}'\ntargets = ['127.0.0.1']", folder.path().display());
        let second = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]).run();
        assert_eq!(second.code, Some(2), "{name}: {second:?}");
        assert!(second.stderr.contains("another sitewatch stores in it"), "{name}: {second:?}");
        assert!(files(folder.path()) == before, "{name}: it was touched");
    }
}

#[test]
fn a_file_that_is_sound_but_cannot_be_used_is_not_set_aside() {
    for (name, change, why) in [
        ("a newer version's", "PRAGMA user_version = 9999", "a newer sitewatch made it"),
        (
            "of something else",
            "DROP TABLE migration; PRAGMA application_id = 7",
            "of another program",
        ),
    ] {
        let folder = Temp::new();
        let path = folder.join("sitewatch.db");
        // Its lock stays beside it, as after every run.
        drop(Sqlite::create_or_replace(&path, u64::MAX).unwrap());
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let before = files(folder.path());
        let config = format!("state_dir = '{}'\ntargets = ['127.0.0.1']", folder.path().display());
        let done = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]).run();
        assert_eq!(done.code, Some(2), "{name}: {done:?}");
        assert!(done.stderr.contains(why), "{name}: {done:?}");
        assert!(files(folder.path()) == before, "{name}: it was touched");
    }
}

#[test]
fn of_several_that_start_at_once_one_goes_on() {
    for _ in 0..5 {
        let folder = Temp::new();
        let config = format!("state_dir = '{}'\ntargets = ['127.0.0.1']", folder.path().display());
        let begin =
            |_| Sitewatch::new().file("c.toml", &config).args(["run", "-c", "c.toml"]).spawn();
        let mut all: Vec<_> = (0..4).map(begin).collect();
        eventually(DEADLINE, "three ends", || {
            all.iter_mut().filter_map(|one| one.ended().then_some(())).count() == 3
        });
        let (mut ended, mut left): (Vec<_>, Vec<_>) =
            all.into_iter().map(|mut one| (one.ended(), one)).partition(|(is, _)| *is);
        for (_, one) in ended.drain(..) {
            let done = one.wait(DEADLINE);
            assert_eq!(done.code, Some(2), "{done:?}");
            assert!(done.stderr.contains("another sitewatch stores in it"), "{done:?}");
        }
        let (_, mut one) = left.remove(0);
        one.await_stderr("watching", DEADLINE);
        one.signal(Signal::TERM);
        assert_eq!(one.wait(DEADLINE).code, Some(0));
    }
}

#[test]
fn what_is_open_when_the_time_to_stop_is_over_is_a_gap() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::silence());
    let keys = format!("[probe]\nstop_timeout = '300ms'\n{LONG}");
    let mut running = start(&listener, 20, &keys, folder.path());
    eventually(DEADLINE, "some under way", || listener.log().len() >= 4);
    let told = Instant::now();
    running.signal(Signal::INT);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!((250..4000).contains(&told.elapsed().as_millis()), "{:?}", told.elapsed());
    let asked: BTreeSet<String> =
        listener.settled(DEADLINE).iter().map(|seen| seen.path[1..].to_owned()).collect();
    let stored = Stored::read(&folder.join("sitewatch.db"));
    let gaps: BTreeSet<String> = stored.gaps.iter().map(|gap| gap.target.clone()).collect();
    assert!(stored.checks.is_empty(), "{:?}", stored.checks);
    assert!(asked.is_subset(&gaps), "{asked:?} {gaps:?}");
    assert_eq!(gaps.len(), stored.gaps.len());
    assert!(stored.gaps.iter().all(|gap| gap.cause == "stop" && gap.count == 1), "{gaps:?}");
    stored.is_whole("here");
}

#[test]
fn told_twice_it_leaves_at_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (listener, folder) = (Listener::http(), Temp::new());
        listener.always(Script::silence());
        let mut running = start(&listener, 20, LONG, folder.path());
        eventually(DEADLINE, "one under way", || !listener.log().is_empty());
        running.signal(signal);
        running.await_stderr("a second signal leaves at once", DEADLINE);
        let told = Instant::now();
        // One that comes within a tenth of a second is the first one's echo.
        eventually(DEADLINE, "its end", || {
            running.ended() || {
                running.signal(signal);
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        });
        assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
        assert_eq!(running.wait(DEADLINE).code, Some(code));
    }
}

#[test]
fn a_signal_and_its_echo_are_one() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("").serial());
    let mut running = start(&listener, 5, FAST, folder.path());
    eventually(DEADLINE, "an answer", || listener.log().iter().any(|seen| seen.answered));
    running.signal(Signal::TERM);
    if !running.ended() {
        running.signal(Signal::TERM);
    }
    assert_eq!(running.wait(DEADLINE).code, Some(0));
}

#[test]
fn killed_again_and_again_it_loses_no_more_than_its_last_batch() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("").serial().delay_first_byte(Duration::from_millis(30)));
    // Down all the while, to see that no start tells it again.
    listener.on("/0", Script::status(500).body("").serial());
    let path = folder.join("sitewatch.db");
    let mut kills = Vec::new();
    let mut known_down = false;
    for round in 0..5 {
        let mut running = start(&listener, 30, FAST, folder.path());
        let began = Instant::now();
        let life = Duration::from_millis([60, 1010, 2200, 1550, 2800][round]);
        eventually(DEADLINE, "its time", || began.elapsed() >= life);
        running.signal(Signal::KILL);
        let done = running.wait(DEADLINE);
        assert_eq!(done.signal, Some(9));
        assert!(!known_down || !done.stderr.contains("0 is down"), "told again: {done:?}");
        kills.push(SystemTime::now());
        // It opens at once, and is sound.
        known_down = !Stored::read(&path).of("0").is_empty();
    }
    let mut running = start(&listener, 30, FAST, folder.path());
    let before = listener.log().len();
    eventually(DEADLINE, "more answers", || listener.log().len() > before + 40);
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert!(known_down && !done.stderr.contains("0 is down"), "told again: {done:?}");

    let stored = Stored::read(&path);
    let serials: Vec<u64> = stored.checks.iter().map(|row| row.serial().unwrap()).collect();
    let once: BTreeSet<u64> = serials.iter().copied().collect();
    assert_eq!(once.len(), serials.len(), "one answer is stored twice");
    let log = listener.settled(DEADLINE);
    assert!(once.iter().all(|serial| *serial as usize <= log.len()));
    let mut lost = 0;
    for seen in log.iter().filter(|seen| seen.answered && !once.contains(&seen.serial)) {
        let near = kills.iter().any(|kill: &SystemTime| {
            kill.duration_since(seen.at).is_ok_and(|before| before < UNSAFE)
        });
        assert!(near, "lost: {seen:?}, kills: {kills:?}");
        lost += 1;
    }
    assert!(lost > 0, "the kills came at no bad moment");
    // A run of its own for each life that stored something, on one grid, and no slot twice.
    let runs: BTreeSet<i64> = stored.checks.iter().map(|row| row.run).collect();
    assert!((4..=6).contains(&runs.len()), "{runs:?}");
    let slots: BTreeSet<(&str, i64)> =
        stored.checks.iter().map(|row| (&*row.target, row.due_ms)).collect();
    assert_eq!(slots.len(), stored.checks.len(), "a slot was checked by two runs");
    for row in &stored.checks {
        let phase = crate::fixtures::sqlite_rows::phase(&row.target, "here", 1000);
        assert_eq!(row.due_ms.rem_euclid(1000), phase, "{row:?}");
        assert_eq!(row.verdict, if row.target == "0" { "down" } else { "up" }, "{row:?}");
        assert!((0..1_000_000).contains(&row.lag_us), "{row:?}");
    }
}
