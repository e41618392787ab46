//! What a power cut or a broken disk leaves of `run`'s file: a sound one is used, a damaged one is set aside.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;
use sitewatch::model::outcome::Verdict;
use sitewatch::model::record::Record;
use sitewatch::store::Sqlite;

use crate::fixtures::records::{check, now, put, target};
use crate::harness::power::{self, Dice, Recording};
use crate::harness::{Sitewatch, Temp, eventually};

const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a page, as SQLite chooses it.
const PAGE: usize = 4096;

/// Checks of one site, a second apart, until now.
fn checks(count: i64) -> Vec<Record> {
    let checks = (0..count).map(|i| check("site", "a", now() - i * 1000, Verdict::Up));
    checks.chain([target("site", "a", now(), &[])]).collect()
}

fn rows(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("SELECT count(*) FROM outcome", [], |row| row.get(0)).unwrap()
}

fn config(store: &Path) -> String {
    let path = store.display();
    format!(
        "node = 'a'\n[sqlite]\npath = '{path}'\n[probe]\nclock_wait = '0s'\n[[target]]\nname = 'site'\n\
         url = 'http://127.0.0.1:1/'\ninterval = '1s'\n"
    )
}

/// Lets `run` store something in this file, and gives what it has logged.
#[track_caller]
fn run_over(store: &Path) -> String {
    let mut running =
        Sitewatch::new().file("c.toml", config(store)).args(["run", "-c", "c.toml"]).spawn();
    running.await_stderr("watching", DEADLINE);
    eventually(DEADLINE, "a stored check", || {
        let count = Connection::open(store).and_then(|base| {
            let sql = "SELECT count(*) FROM outcome WHERE cause = 'connect'";
            base.query_row(sql, [], |row| row.get::<_, i64>(0))
        });
        count.is_ok_and(|count| count > 0)
    });
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stderr
}

/// A copy of a store and its log, as a kill leaves them.
fn copy_of(path: &Path, folder: &Temp) -> std::path::PathBuf {
    let to = folder.join("s.db");
    for end in ["", "-wal"] {
        let name = |path: &Path| format!("{}{end}", path.display());
        fs::copy(name(path), name(&to)).unwrap();
    }
    to
}

/// The pages of a write-ahead log, in the order they were written: number and bytes. (sqlite.org's file
/// format, 4.1: a header of 32 bytes, then frames with one of 24 before the page.)
fn frames(log: &[u8]) -> Vec<(usize, &[u8])> {
    let page = |frame: &'_ [u8]| u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    log[32..].chunks_exact(24 + PAGE).map(|frame| (page(frame), &frame[24..])).collect()
}

#[test]
fn a_checkpoint_that_was_cut_is_no_damage() {
    let made = Temp::new();
    let path = made.join("s.db");
    let mut store = Sqlite::create(&path, u64::MAX).unwrap();
    put(&mut store, &checks(500)).unwrap();
    let log = fs::read(made.join("s.db-wal")).unwrap();
    let frames = frames(&log);
    assert!(frames.len() > 10, "{} frames", frames.len());
    let last_of = |number| frames.iter().rev().find(|(page, _)| *page == number).unwrap().1;
    // The first write of a checkpoint; one in its middle; its last before the log is ended.
    let highest = frames.iter().map(|(page, _)| *page).max().unwrap();
    for pages in [vec![1], vec![1, highest], (1..=highest).collect::<Vec<_>>(), vec![highest]] {
        let folder = Temp::new();
        let copy = copy_of(&path, &folder);
        let file = fs::File::options().write(true).open(&copy).unwrap();
        for number in &pages {
            if frames.iter().any(|(page, _)| page == number) {
                file.write_all_at(last_of(*number), ((number - 1) * PAGE) as u64).unwrap();
            }
        }
        let status = Sitewatch::new()
            .file("c.toml", config(&copy))
            .args(["status", "site", "-c", "c.toml", "--format", "json"])
            .run();
        assert!(status.stdout.contains("\"checks\":500"), "{pages:?}: {status:?}");
        let told = run_over(&copy);
        assert!(!told.contains("damaged") && rows(&copy) > 500, "{pages:?}: {told}");
    }
}

/// Keys of all checks, in order.
fn keys(path: &Path) -> Vec<(i64, i64)> {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT target_id, due_ms FROM outcome ORDER BY 1, 2";
    // Before the first commit there is no table.
    let Ok(mut rows) = connection.prepare(sql) else { return Vec::new() };
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Cuts the power at this many moments of a run.
fn cuts() -> usize {
    std::env::var("FAULT_ROUNDS").map_or(500, |count| count.parse::<usize>().unwrap() * 25)
}

#[test]
fn after_a_power_cut_the_file_opens_with_every_row_that_was_committed() {
    let folder = Temp::new();
    let [base, log] = ["s.db", "s.db-wal"].map(|name| folder.join(name));
    // Small batches, and a log that goes into the file often.
    let mut config =
        config(&base).replace("[probe]", "max_size = '4MiB'\n[write]\nbatch_age = '50ms'\n[probe]");
    for i in 0..40 {
        config +=
            &format!("[[target]]\nname = '{i}'\nurl = 'http://127.0.0.1:1/'\ninterval = '1s'\n");
    }
    let calls = folder.join("calls");
    let mut running = Sitewatch::program("strace")
        .args(power::STRACE)
        .args([&calls])
        .args([env!("CARGO_BIN_EXE_sitewatch"), "run", "-c", "c.toml"])
        .file("c.toml", config)
        .spawn();
    running.await_stderr("watching", DEADLINE);
    eventually(DEADLINE, "some hundred checks", || keys(&base).len() > 500);
    drop(running);
    let files = [base.as_path(), log.as_path()];
    let recording = Recording::read(&calls, &files);

    let scratch = Temp::new();
    let paths = [scratch.join("s.db"), scratch.join("s.db-wal")];
    let clear = || {
        ["-shm", ".lock", "-journal"]
            .map(|end| fs::remove_file(scratch.join(&format!("s.db{end}"))))
    };
    // Committed is what a sync of the log has made sure of.
    let mut committed = vec![(0, Vec::new())];
    let mut into_file = Vec::new();
    for moment in 0..recording.len() {
        if recording.is_sync(moment, 1) {
            let _ = clear();
            recording.whole(2, moment).write(&paths);
            committed.push((moment, keys(&paths[0])));
        } else if committed.len() > 2 && recording.is_write(moment, 0) {
            into_file.push(moment);
        }
    }
    assert!(into_file.len() > 20, "{} writes of checkpoints", into_file.len());
    let mut dice = Dice(0x5eed);
    for i in 0..cuts() {
        // Half of them while the log goes into the file.
        let moment = match i % 2 {
            0 => dice.roll(recording.len()),
            _ => into_file[dice.roll(into_file.len())],
        };
        let _ = clear();
        recording.cut(2, moment, &mut dice).write(&paths);
        let words = format!("cut {i}, after change {moment}");
        let (store, _claim) = Sqlite::create_or_replace(&paths[0], u64::MAX).expect(&words);
        drop(store);
        assert!(!scratch.join("s.db.damaged").exists(), "{words}: called damaged");
        let found = keys(&paths[0]);
        let (_, sure) = committed.iter().rev().find(|(at, _)| *at <= moment).unwrap();
        let missing = sure.iter().filter(|key| found.binary_search(key).is_err()).count();
        assert_eq!(missing, 0, "{words}: of {} rows", sure.len());
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_checks_go_on() {
    let made = Temp::new();
    let path = made.join("s.db");
    let mut store = Sqlite::create(&path, u64::MAX).unwrap();
    put(&mut store, &checks(5000)).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let garbage = |from: usize, until: usize| {
        let mut bytes = whole.clone();
        bytes[from..until].fill(0xA5);
        bytes
    };
    for (what, bytes) in [
        ("the first bytes", garbage(0, 100)),
        ("zeros", vec![0; whole.len()]),
        ("all but the first bytes", garbage(100, whole.len())),
        ("all but the first page", garbage(PAGE, whole.len())),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("cut to a page", whole[..PAGE].to_vec()),
        ("a few bytes", whole[..50].to_vec()),
    ] {
        let folder = Temp::new();
        let store = folder.write("s.db", &bytes);
        // As `run` leaves it: the file is ours.
        folder.write("s.db.lock", "");
        let told = run_over(&store);
        let words = format!("moved the file to {}", folder.join("s.db.damaged").display());
        assert_eq!(told.matches(&words).count(), 1, "{what}: {told}");
        assert!(fs::read(folder.join("s.db.damaged")).unwrap() == bytes, "{what}");
        assert!(rows(&store) > 0, "{what}");
    }
}

#[test]
fn three_damaged_files_are_kept_the_first_two_for_good() {
    let folder = Temp::new();
    folder.write("s.db.lock", "");
    let path = folder.join("s.db");
    for number in 1..=4 {
        folder.write("s.db", format!("{number}{}", "x".repeat(5000)));
        if number == 3 {
            folder.write("s.db-wal", "a log of the third");
        }
        drop(Sqlite::create_or_replace(&path, u64::MAX).unwrap());
    }
    for (end, number) in [("", b'1'), ("-2", b'2'), ("-3", b'4')] {
        let kept = fs::read(folder.join(&format!("s.db.damaged{end}"))).unwrap();
        assert_eq!(kept[0], number, "{end}");
    }
    assert!(!folder.join("s.db.damaged-3-wal").exists(), "a log of another file");
}

#[test]
fn a_log_goes_with_its_damaged_file() {
    let folder = Temp::new();
    let path = folder.write("s.db", [0xA5; 5 * PAGE]);
    folder.write("s.db.lock", "");
    let log = folder.write("s.db-wal", "no log of this file");
    let (mut store, _claim) = Sqlite::create_or_replace(&path, u64::MAX).unwrap();
    assert_eq!(put(&mut store, &checks(10)).unwrap().checks, 10);
    assert_eq!(fs::read(folder.join("s.db.damaged-wal")).unwrap(), b"no log of this file");
    assert!(fs::read(log).unwrap().len() > PAGE, "the new file's own");
    assert_eq!(rows(&path), 10);
}
