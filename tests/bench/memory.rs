//! `make bench-memory`: what the x86_64 musl artefact keeps in memory, since its allocator is not
//! that of a host's build and emulated figures do not count. An idle probe before a real Kafka;
//! 1000 HTTPS targets by `run` and by `probe`; 10,000 targets. On this machine alone, against the
//! harness's own listener, with the host's roots as on any host. Prints one table.
//!
//! `CASES` (idle run probe many), `SECONDS` (300; of `many` 180 at most, of `idle` 30), `TARGETS`
//! (1000), `INTERVAL_S` (15), `BODY_KIB` (64), `MANY_TARGETS` (10000), `MANY_INTERVAL_S` (60),
//! `SITEWATCH_ARTEFACTS`.

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
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::binary::Running;
use harness::{Artefact, Kafka, Listener, Script, Temp, certs, eventually};
use measure::{mb, number, status_kib};
use rustix::process::Signal;

const TARGET: &str = "x86_64-unknown-linux-musl";
const DEADLINE: Duration = Duration::from_secs(60);
/// How often memory is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// The host's roots, where Debian has them.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Peers as probes of 1000 HTTPS targets every 15 s, in MB.
const PEERS: [(&str, f64); 3] = [
    ("blackbox_exporter, on fresh connections,", 39.0),
    ("Gatus, on kept connections,", 69.0),
    ("Telegraf, on kept connections,", 526.0),
];

/// How much may lie between the first and the last quarter, in MB, and from how many seconds on.
const GROWTH: f64 = 0.5;
const LONG_S: u64 = 120;

/// What is asked of the program.
struct Case {
    name: &'static str,
    command: &'static str,
    targets: u64,
    interval_s: u64,
    seconds: u64,
    body_bytes: usize,
    /// MB that it is to stay within.
    goal: f64,
}

/// One look at a process, in KiB.
#[derive(Clone, Copy)]
struct Look {
    at: Duration,
    resident: u64,
    /// The part that is no file's.
    anonymous: u64,
}

/// What a case has come to.
struct Found {
    looks: Vec<Look>,
    peak: u64,
    dirty: u64,
    threads: u64,
    virtual_peak: u64,
    checks: u64,
}

impl Found {
    /// What it had on the mean in the first and the last quarter of its time, in MB; the first fifth
    /// warms up and does not count.
    fn quarters(&self) -> (f64, f64) {
        let warm = &self.looks[self.looks.len() / 5..];
        let quarter = (warm.len() / 4).max(1);
        (mean(&warm[..quarter]), mean(&warm[warm.len() - quarter..]))
    }

    /// Whether it stayed within its goal and, where it ran for long enough to tell, did not grow.
    fn keeps(&self, case: &Case) -> bool {
        let (first, last) = self.quarters();
        mb(self.peak) <= case.goal && (case.seconds < LONG_S || last - first <= GROWTH)
    }
}

fn cases() -> Vec<Case> {
    let (seconds, body_kib) = (number("SECONDS", 300), number("BODY_KIB", 64));
    let thousand = |name, command| Case {
        name,
        command,
        targets: number("TARGETS", 1000),
        interval_s: number("INTERVAL_S", 15),
        seconds,
        body_bytes: body_kib as usize * 1024,
        goal: 16.0,
    };
    let idle = Case {
        targets: 1,
        interval_s: 3600,
        seconds: seconds.min(30),
        body_bytes: 1024,
        ..thousand("idle", "probe")
    };
    let many = Case {
        targets: number("MANY_TARGETS", 10_000),
        interval_s: number("MANY_INTERVAL_S", 60),
        seconds: seconds.min(180),
        body_bytes: 1024,
        goal: 32.0,
        ..thousand("many", "run")
    };
    let all = vec![idle, thousand("run", "run"), thousand("probe", "probe"), many];
    let wanted = std::env::var("CASES").unwrap_or_else(|_| "idle run probe many".to_owned());
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    for name in &wanted {
        assert!(all.iter().any(|case| case.name == *name), "CASES: there is no {name}");
    }
    all.into_iter().filter(|case| wanted.contains(&case.name)).collect()
}

fn look(pid: u32, began: Instant) -> Look {
    Look {
        at: began.elapsed(),
        resident: status_kib(pid, "VmRSS:"),
        anonymous: status_kib(pid, "RssAnon:"),
    }
}

/// A sum of /proc/PID/smaps_rollup, in KiB.
fn rollup_kib(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The configuration of a case, whose targets are paths of the listener.
fn config(case: &Case, listener: &Listener, kafka: Option<&str>) -> String {
    let mut text = format!(
        "node = 'bench'\n[probe]\nclock_wait = '0s'\n[defaults]\ninterval = '{}s'\n",
        case.interval_s
    );
    text += "match = 'need[l]e'\n";
    if let Some(brokers) = kafka {
        text += &format!("[kafka]\nbrokers = ['{brokers}']\ntopic = 'bench-{}'\n", case.name);
    }
    for i in 0..case.targets {
        let url = listener.url(&format!("/{i}"));
        text += &format!("[[target]]\nname = 'site {i}'\nurl = '{url}'\n");
    }
    text
}

fn measure_case(case: &Case, artefact: &Artefact, roots: &Path) -> Found {
    let listener = Listener::https(&certs::set().good);
    let filler = "filler text of a page. ".repeat(case.body_bytes / 23);
    listener.always(Script::ok(filler + "needle"));
    let kafka = (case.command == "probe").then(Kafka::shared);
    let text = config(case, &listener, kafka.map(Kafka::brokers).as_deref());
    let command = artefact.sitewatch().file("c.toml", text).env("SSL_CERT_FILE", roots);
    let mut running = command.args([case.command, "-c", "c.toml"]).spawn();
    let (pid, began) = (running.pid(), Instant::now());
    running.await_stderr("watching", DEADLINE);
    if case.name == "idle" {
        eventually(DEADLINE, "its one check", || !listener.log().is_empty());
    }

    let (began_waiting, whole) = (Instant::now(), Duration::from_secs(case.seconds));
    let mut looks = Vec::new();
    while began_waiting.elapsed() < whole {
        std::thread::sleep(EVERY.min(whole / 6));
        assert!(!running.ended(), "it ended: {}", running.stderr());
        let look = look(pid, began);
        println!(
            "{}: {:>4} s  resident {:.1} MB, anonymous {:.1}",
            case.name,
            look.at.as_secs(),
            mb(look.resident),
            mb(look.anonymous)
        );
        looks.push(look);
    }
    let found = Found {
        looks,
        peak: status_kib(pid, "VmHWM:"),
        dirty: rollup_kib(pid, "Private_Dirty:"),
        threads: status_kib(pid, "Threads:"),
        virtual_peak: status_kib(pid, "VmPeak:"),
        checks: listener.log().len() as u64,
    };
    tell_mappings(case, pid);
    end(case, running, &listener);
    found
}

/// Stops it; what it did must have been worth measuring.
fn end(case: &Case, mut running: Running, listener: &Listener) {
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stderr.contains("is down"), "not all were up: {}", done.stderr);
    let want = case.targets * (case.seconds / case.interval_s).max(1);
    let seen = listener.log().len() as u64;
    assert!(seen * 10 >= want * 9, "{seen} checks where {want} were due: {}", done.stderr);
}

/// A mapping of a process, in KiB.
struct Mapping {
    from: u64,
    to: u64,
    name: String,
    size: u64,
    resident: u64,
}

fn mappings(pid: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut found: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = || words[1].parse::<u64>().unwrap();
        match (words[0], found.last_mut()) {
            ("Size:", Some(last)) => last.size = number(),
            ("Rss:", Some(last)) => last.resident = number(),
            (word, _) if !word.ends_with(':') => {
                let (from, to) = word.split_once('-').unwrap();
                let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
                let name = format!("{} {}", words[1], words.get(5).unwrap_or(&""));
                found.push(Mapping { from, to, name, size: 0, resident: 0 });
            }
            _ => {}
        }
    }
    found
}

/// Prints what takes most, and the stack of each thread that waits in the kernel.
fn tell_mappings(case: &Case, pid: u32) {
    let mut mappings = mappings(pid);
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let (name, call) = (read("comm"), read("syscall"));
        let pointer = call.split_ascii_whitespace().rev().nth(1).unwrap_or_default();
        let pointer = u64::from_str_radix(pointer.trim_start_matches("0x"), 16).unwrap_or(0);
        if let Some(stack) = mappings.iter().find(|map| (map.from..map.to).contains(&pointer)) {
            let (resident, size) = (stack.resident, stack.size);
            println!("{}: {resident:>6} of {size:>6} KiB  stack of {}", case.name, name.trim_end());
        }
    }
    mappings.sort_unstable_by_key(|map| map.resident);
    for Mapping { name, size, resident, .. } in mappings.iter().rev().take(8) {
        println!("{}: {resident:>6} of {size:>6} KiB  {name}", case.name);
    }
}

/// Mean of what is resident over some looks, in MB.
fn mean(looks: &[Look]) -> f64 {
    looks.iter().map(|look| mb(look.resident)).sum::<f64>() / looks.len().max(1) as f64
}

fn print(rows: &[(Case, Found)]) {
    println!(
        "{:<6} {:<6} {:>7} {:>5} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8}  goal",
        "case",
        "",
        "targets",
        "every",
        "checks",
        "peak",
        "end",
        "anon",
        "dirty",
        "first",
        "last",
        "threads",
        "virtual"
    );
    for (case, found) in rows {
        let Some(end) = found.looks.last() else { continue };
        let (first, last) = found.quarters();
        println!(
            "{:<6} {:<6} {:>7} {:>4}s {:>7} {:>7.1} {:>7.1} {:>7.1} {:>7.1} {:>7.1} {:>7.1} {:>8} \
             {:>8.1}  {:.0}: {}",
            case.name,
            case.command,
            case.targets,
            case.interval_s,
            found.checks,
            mb(found.peak),
            mb(end.resident),
            mb(end.anonymous),
            mb(found.dirty),
            first,
            last,
            found.threads,
            mb(found.virtual_peak),
            case.goal,
            if found.keeps(case) { "kept" } else { "MISSED" },
        );
    }
    println!(
        "MB; anon and dirty at the end; first and last: mean of the first and last quarter once warm"
    );
    for (case, found) in rows.iter().filter(|(case, _)| ["run", "probe"].contains(&case.name)) {
        for (peer, peer_mb) in PEERS {
            let times = peer_mb / mb(found.peak);
            println!(
                "{}: {peer} takes {peer_mb:.0} MB on the same work, {times:.1} times as much",
                case.name
            );
        }
    }
}

fn main() -> ExitCode {
    let artefact = Artefact::of(TARGET);
    let temp = Temp::new();
    let host = fs::read_to_string(ROOTS).unwrap_or_default();
    let ours = fs::read_to_string(certs::ca_file()).unwrap();
    let roots = temp.write("roots.pem", format!("{host}\n{ours}"));
    println!("{}", artefact.file().display());
    println!("{} roots of the host, and the listener's", host.matches("BEGIN CERT").count());
    let mut rows = Vec::new();
    for case in cases() {
        let found = measure_case(&case, &artefact, &roots);
        rows.push((case, found));
    }
    print(&rows);
    if rows.iter().all(|(case, found)| found.keeps(case)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
