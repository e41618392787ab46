//! `attempts`: what fails is tried again at once, and the outcome is the last attempt's; under `run`
//! each slot still ends up in the store once, whenever the program is stopped.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;

use crate::fixtures::sqlite_rows::Stored;
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, dead, eventually, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// `check` of a target of these lines; its record.
fn checked(url: &str, lines: &str) -> miniserde::json::Value {
    let text = format!("[[target]]\nname = 'case'\nurl = '{url}'\n{lines}\n");
    let program = Sitewatch::new().file("c.toml", text);
    let done = program.args(["check", "-c", "c.toml", "case", "--format", "json"]).run();
    assert!(done.stdout.lines().count() == 1 && done.stderr.is_empty(), "{done:?}");
    json::parse(&done.stdout)
}

#[test]
fn the_last_attempt_holds() {
    let refused = dead::refused();
    let broken = || Script::ok("x").cut_head_at(5);
    for (name, scripts, lines, verdict, attempts) in [
        ("a status", vec![Script::status(503), Script::ok("x")], "attempts = 2", "up", 2),
        ("at once right", vec![Script::ok("x")], "attempts = 3", "up", 1),
        ("a body", vec![Script::ok("y"), Script::ok("x")], "match = 'x'\nattempts = 5", "up", 2),
        ("no reply", vec![broken(), broken(), Script::ok("x")], "attempts = 3", "up", 3),
        ("never", vec![Script::status(503)], "attempts = 3", "down", 3),
        ("not asked for", vec![Script::status(503), Script::ok("x")], "", "down", 1),
        (
            "each has its own timeout",
            vec![Script::silence(), Script::ok("x")],
            "attempts = 2\ntimeout = '300ms'",
            "up",
            2,
        ),
    ] {
        let site = Listener::http();
        site.on_in_turn("/", scripts);
        let record = checked(&site.url("/"), lines);
        let found = (record.text("verdict"), record.int("attempts"));
        assert_eq!(found, (verdict, attempts), "{name}: {record:?}");
        assert_eq!(site.log().len() as i64, attempts, "{name}");
        // The phases are those of the last attempt alone.
        assert!(verdict == "down" || record.int("total_us") < 300_000, "{name}: {record:?}");
    }
    let record = checked(&refused.url("/"), "attempts = 4");
    assert_eq!((record.text("cause"), record.int("attempts")), ("connect", 4));
}

/// Attempts and verdict of every check of a target, by due time.
fn attempts(file: &Path, target: &str) -> Vec<(i64, String)> {
    let db = Connection::open(file).unwrap();
    let sql = "SELECT attempts, verdict FROM outcome JOIN target ON target.id = target_id
               WHERE name = ? ORDER BY due_ms";
    let mut rows = db.prepare(sql).unwrap();
    let rows = rows.query_map([target], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn under_run_each_slot_is_stored_once() {
    let site = Listener::http();
    let fail = || Script::status(503);
    let flapping = (0..100).map(|i| if i % 2 == 0 { fail() } else { Script::ok("x") });
    site.on_in_turn("/flapping", flapping);
    site.on("/never", fail());
    // Some attempt of it is always under way, when the program is told to stop too.
    site.on("/late", fail().delay_first_byte(Duration::from_millis(250)));
    let refused = dead::refused();
    let folder = Temp::new();
    let mut config = format!(
        "node = 'here'\nstate_dir = '{}'\n[defaults]\ninterval = '1s'\nattempts = 3\n",
        folder.path().display()
    );
    for path in ["flapping", "never", "late"] {
        config +=
            &format!("[[target]]\nname = '{path}'\nurl = '{}'\n", site.url(&format!("/{path}")));
    }
    config += &format!("[[target]]\nname = 'refused'\nurl = '{}'\n", refused.url("/"));
    let program = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]);
    let mut running = program.spawn();
    running.await_stderr("watching", DEADLINE);
    let asked = |path: &str| site.log().iter().filter(|seen| seen.path == path).count();
    eventually(DEADLINE, "some attempts", || {
        assert!(!running.ended(), "{}", running.stderr());
        asked("/late") >= 10 && asked("/flapping") >= 8 && asked("/never") >= 10
    });
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    let file = folder.join("sitewatch.db");
    let stored = Stored::read(&file);
    stored.is_whole("here");
    assert!(stored.losses.is_empty(), "{:?}", stored.losses);
    for (target, want) in [
        ("flapping", (2, "up")),
        ("never", (3, "down")),
        ("late", (3, "down")),
        ("refused", (3, "down")),
    ] {
        let found = attempts(&file, target);
        let (last, before) = found.split_last().unwrap();
        assert!(before.len() >= 2, "{target}: {found:?}");
        assert!(before.iter().all(|(n, verdict)| (*n, &**verdict) == want), "{target}: {found:?}");
        // A stop may have kept the last one from more.
        assert!(last.0 <= want.0, "{target}: {found:?}");
    }
    // Each attempt was a request, and none went unsaid.
    for target in ["never", "late"] {
        let told: i64 = attempts(&file, target).iter().map(|(n, _)| n).sum();
        assert_eq!(told, asked(&format!("/{target}")) as i64, "{target}");
    }
}
