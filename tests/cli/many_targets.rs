//! Many targets: 1000 of them every 15 seconds, for a minute; 1500 that hang at once; and 10,000 that
//! start, run, are changed under way, and stop. What it costs is shown by benchmarks; here it must only hold.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

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

#[test]
fn more_than_a_thousand_checks_hang_at_once_and_others_go_on() {
    const HANGING: usize = 1500;
    // It never accepts: some connect and wait for a word, the others wait to be connected.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = silent.local_addr().unwrap();
    let lively = Listener::http();
    lively.always(Script::ok("x"));
    let mut config = "[probe]\nmax_in_flight = 2000\nstop_timeout = '0s'\nclock_wait = '0s'\n\
                      [defaults]\ninterval = '60s'\ntimeout = '30s'\n"
        .to_owned();
    for i in 0..HANGING {
        writeln!(config, "[[target]]\nname = 'silent {i}'\nurl = 'http://{place}/'").unwrap();
    }
    let url = lively.url("/");
    write!(
        config,
        "[[target]]\nname = 'lively'\nurl = '{url}'\ninterval = '1s'\ntimeout = '900ms'\n"
    )
    .unwrap();
    let state = Temp::new();
    // As a shell has it: more may be had, but must be asked for.
    let mut running = Sitewatch::program("sh")
        .file("c.toml", config)
        .env("STATE_DIRECTORY", state.path())
        .args(["-c", "ulimit -Sn 1024 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_sitewatch")])
        .args(["run", "-c", "c.toml"])
        .spawn();
    running.await_stderr("watching", Duration::from_secs(20));
    let descriptors = format!("/proc/{}/fd", running.pid());
    eventually(Duration::from_secs(25), "all of them under way", || {
        fs::read_dir(&descriptors).is_ok_and(|open| open.count() > HANGING)
    });
    let before = lively.log().len();
    eventually(Duration::from_secs(5), "checks beside them", || lively.log().len() >= before + 3);
    running.signal(Signal::TERM);
    let done = running.wait(Duration::from_secs(30));
    assert_eq!(done.code, Some(0), "{done:?}");
    let base = rusqlite::Connection::open(state.join("sitewatch.db")).unwrap();
    let one = |sql: &str| -> i64 { base.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(one("SELECT count(*) FROM outcome WHERE verdict <> 'up'"), 0, "not up");
    assert_eq!(one("SELECT count(*) FROM gap WHERE cause <> 'stop'"), 0, "gaps");
}

#[test]
fn ten_thousand_targets_start_run_reload_and_stop() {
    const MANY: usize = 10_000;
    // Several, since one would run out of ports.
    let sites: Vec<Listener> = (0..4).map(|_| Listener::http()).collect();
    for site in &sites {
        site.always(Script::ok("x"));
    }
    let config = |range: std::ops::Range<usize>| {
        let mut text = "reload = 'signal'\n[defaults]\ninterval = '60s'\n".to_owned();
        for i in range {
            let url = sites[i % sites.len()].url("/");
            writeln!(text, "[[target]]\nname = 'site {i}'\nurl = '{url}'").unwrap();
        }
        text
    };
    let state = Temp::new();
    let checked = || {
        let base = rusqlite::Connection::open(state.join("sitewatch.db")).unwrap();
        base.busy_timeout(Duration::from_secs(5)).unwrap();
        let sql = "SELECT count(DISTINCT target_id) FROM outcome";
        base.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
    };
    let mut running = Sitewatch::new()
        .file("c.toml", config(0..MANY))
        .args(["run", "-c", "c.toml"])
        .env("STATE_DIRECTORY", state.path())
        .spawn();
    running.await_stderr("watching 10000 targets", Duration::from_secs(30));
    let began = Instant::now();
    eventually(Duration::from_secs(60), "each of them once", || checked() == MANY);
    assert!(began.elapsed() > Duration::from_secs(8), "all at once: {:?}", began.elapsed());
    // The first half goes, and as many come.
    fs::write(running.home().join("c.toml"), config(MANY / 2..MANY * 3 / 2)).unwrap();
    running.signal(Signal::HUP);
    running.await_stderr("reloaded: 10000 targets, 5000 new, 5000 gone", Duration::from_secs(30));
    let began = Instant::now();
    eventually(Duration::from_secs(60), "each new one once", || checked() == MANY * 3 / 2);
    assert!(began.elapsed() > Duration::from_secs(4), "all at once: {:?}", began.elapsed());
    let told = Instant::now();
    running.signal(Signal::TERM);
    let done = running.wait(Duration::from_secs(30));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(told.elapsed() < Duration::from_secs(12), "stopped after {:?}", told.elapsed());

    let base = rusqlite::Connection::open(state.join("sitewatch.db")).unwrap();
    let one = |sql: &str| -> i64 { base.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(one("SELECT count(*) FROM gap WHERE cause <> 'stop'"), 0, "gaps");
    assert_eq!(one("SELECT count(*) FROM outcome WHERE verdict <> 'up'"), 0, "not up");
    // Due times were spread as their grid is, and started so: no tenth of a second has the work of
    // half a second.
    let burst = "SELECT max(n) FROM (SELECT count(*) AS n FROM outcome
                 GROUP BY (due_ms * 1000 + lag_us) / 100000)";
    assert!(one(burst) < 500, "{} checks began within 100 ms", one(burst));
    let answered = eventually(Duration::from_secs(10), "the last replies", || {
        let answered = |site: &Listener| site.log().iter().filter(|seen| seen.answered).count();
        let answered = sites.iter().map(answered).sum::<usize>() as i64;
        (answered >= one("SELECT count(*) FROM outcome")).then_some(answered)
    });
    assert_eq!(one("SELECT count(*) FROM outcome"), answered, "checks stored, and replies given");
}
