//! Many targets: 1000 of them every 15 seconds, for a minute. What it costs is shown by
//! `make bench-run`; here it must only hold.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Listener, Script, Sitewatch, Temp, eventually};

const TARGETS: usize = 1000;
/// Four rounds and a little.
const ROUNDS: Duration = Duration::from_secs(62);

#[test]
fn a_thousand_targets_every_15_seconds_leave_no_gap() {
    let listener = Listener::http();
    listener.always(Script::ok("a page with a needle in it").serial());
    let mut config = "[defaults]\ninterval = '15s'\nmatch = 'ne+dle'\n".to_owned();
    for i in 0..TARGETS {
        config += &format!("[[target]]\nname = 'site {i}'\nurl = '{}'\n", listener.url("/"));
    }
    let state = Temp::new();
    let mut running = Sitewatch::new()
        .file("c.toml", config)
        .args(["run", "-c", "c.toml"])
        .env("STATE_DIRECTORY", state.path())
        .deadline(ROUNDS * 3)
        .spawn();
    running.await_stderr("watching", Duration::from_secs(20));
    std::thread::sleep(ROUNDS);
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    running.signal(Signal::TERM);
    let done = running.wait(Duration::from_secs(30));
    assert_eq!(done.code, Some(0), "{done:?}");

    let base = rusqlite::Connection::open(state.path().join("sitewatch.db")).unwrap();
    let one = |sql: &str| -> i64 { base.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(one("SELECT count(*) FROM gap WHERE cause <> 'stop'"), 0, "gaps");
    assert_eq!(one("SELECT count(*) FROM outcome WHERE verdict <> 'up'"), 0, "not up");
    assert_eq!(one("SELECT count(DISTINCT target_id) FROM outcome"), TARGETS as i64);
    // Of each target every slot between its first and its last.
    let holes = "SELECT count(*) FROM (SELECT count(*) AS n, max(due_ms) - min(due_ms) AS span
                 FROM outcome GROUP BY target_id) WHERE span <> (n - 1) * 15000 OR n < 4";
    assert_eq!(one(holes), 0, "targets with holes");
    let checks = one("SELECT count(*) FROM outcome");
    let answered = eventually(Duration::from_secs(10), "the listener's last replies", || {
        let answered = listener.log().iter().filter(|seen| seen.answered).count() as i64;
        (answered >= checks).then_some(answered)
    });
    assert_eq!(checks, answered, "checks stored, and replies given");
    assert!(peak_kib < 40 * 1024, "{peak_kib} KiB resident");
}
