//! `make bench-run`: what `sitewatch run` costs with many targets. Starts the release binary
//! against the harness's own listener in another process's threads, on this machine alone, and
//! prints: checks, gaps, lag, CPU a check, resident memory over time.
//!
//! `TARGETS` (1000), `INTERVAL_S` (15), `SECONDS` (60), `BODY_KIB` (64), `SCHEME` (https).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    unused_imports,
    reason = "a program for the terminal that uses a part of the harness"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod measure;

// libcurl, which the harness links, calls two functions of it.
use sitewatch as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::binary::cpu;
use harness::{Listener, Script, Sitewatch, Temp, certs};
use measure::{mb, number, status_kib};
use rustix::process::Signal;

fn main() {
    let (targets, interval_s) = (number("TARGETS", 1000), number("INTERVAL_S", 15));
    let (seconds, body_kib) = (number("SECONDS", 60), number("BODY_KIB", 64));
    let scheme = std::env::var("SCHEME").unwrap_or_else(|_| "https".to_owned());
    let is_https = scheme == "https";
    let listener = if is_https { Listener::https(&certs::set().good) } else { Listener::http() };
    let page = format!("{}needle", "filler text of a page. ".repeat(body_kib as usize * 1024 / 23));
    listener.always(Script::ok(page));

    let temp = Temp::new();
    let mut config = format!(
        "[probe]\nclock_wait = \"0s\"\n[defaults]\ninterval = \"{interval_s}s\"\nmatch = \"need[l]e\"\n"
    );
    if is_https {
        config += &format!("ca_file = \"{}\"\n", certs::ca_file().display());
    }
    for i in 0..targets {
        config += &format!("[[target]]\nname = \"site {i}\"\nurl = \"{}\"\n", listener.url("/"));
    }
    let path = temp.write("config.toml", config);
    let state = temp.path().join("state");
    let program = env!("CARGO_BIN_EXE_sitewatch");
    let mut running = Sitewatch::program(program)
        .args(["run", "-c", path.to_str().unwrap()])
        .env("STATE_DIRECTORY", &state)
        .deadline(Duration::from_secs(seconds + 60))
        .spawn();
    let pid = running.pid();
    println!(
        "{targets} targets every {interval_s} s for {seconds} s: {scheme}, bodies of {body_kib} KiB, an expression each"
    );
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_secs(seconds.div_ceil(6).min(10)));
        assert!(!running.ended(), "it ended: {}", running.stderr());
        println!(
            "  {:>4} s  resident {:.1} MB",
            began.elapsed().as_secs(),
            mb(status_kib(pid, "VmRSS"))
        );
    }
    let (used, peak) = (cpu(pid), status_kib(pid, "VmHWM"));
    running.signal(Signal::TERM);
    let done = running.wait(Duration::from_secs(30));
    assert_eq!(done.code, Some(0), "{done:?}");

    report(&state.join("sitewatch.db"), seconds, used, peak);
}

/// Prints what the database tells of the run.
fn report(database: &Path, seconds: u64, used: Duration, peak_kib: u64) {
    let base = rusqlite::Connection::open(database).unwrap();
    let one = |sql: &str| -> i64 { base.query_row(sql, [], |row| row.get(0)).unwrap() };
    let checks = one("SELECT count(*) FROM outcome");
    let up = one("SELECT count(*) FROM outcome WHERE verdict = 'up'");
    let missed = one("SELECT coalesce(sum(count), 0) FROM gap WHERE cause <> 'stop'");
    // Without those of the start, which are checked late on purpose, for the slot before it.
    let on_time = "FROM outcome WHERE due_ms > (SELECT sent_ms FROM node)";
    let due = one(&format!("SELECT count(*) {on_time}"));
    let lag = |percent: i64| {
        let rank = (due * percent / 100 - 1).max(0);
        one(&format!("SELECT lag_us {on_time} ORDER BY lag_us LIMIT 1 OFFSET {rank}"))
    };
    let stored_kib = fs::metadata(database).unwrap().len() / 1024;
    println!("checks           {checks} ({up} up), {:.1} a second", checks as f64 / seconds as f64);
    println!("missed           {missed}");
    println!(
        "lag              p50 {} ms, p99 {} ms, max {} ms",
        ms(lag(50)),
        ms(lag(99)),
        ms(lag(100))
    );
    println!(
        "CPU a check      {:.2} ms (all threads, storing included)",
        used.as_secs_f64() * 1000.0 / checks as f64
    );
    println!("resident at most {:.1} MB", mb(peak_kib));
    println!("stored           {} bytes a check", stored_kib * 1024 / checks.max(1) as u64);
    assert_eq!(missed, 0, "slots were missed");
    assert_eq!(up, checks, "not all were up");
}

fn ms(us: i64) -> String {
    format!("{:.1}", us as f64 / 1000.0)
}
