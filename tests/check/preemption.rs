//! Phases of a check whose program loses its processor for a while, wherever that strikes: between
//! any two looks at the clock, ours and libcurl's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::table::{PHASES, TOGETHER};
use crate::harness::greeter::{Greeter, Greeting};
use crate::harness::proxy::{Manner, Proxy};
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, certs, json};

/// Shorter than what a check takes for a stall of the whole program, and far longer than a phase on `lo`.
const STALL: Duration = Duration::from_millis(40);

/// Builds the library that takes the processor away.
fn library(folder: &Temp) -> PathBuf {
    let file = folder.join("stall.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/stall.c");
    let words = ["-shared", "-fPIC", "-O1", "-o"];
    let built = Command::new("cc").args(words).arg(&file).arg(source).status().unwrap();
    assert!(built.success());
    file
}

/// Checks the target once for each look at the clock, with a stall right after it, and demands that each of
/// these phases takes some time and that they add up.
#[track_caller]
fn stalled_everywhere(target: &str, wanted: &[&str]) {
    let folder = Temp::new();
    let library = library(&folder);
    let moved = std::env::var("LD_PRELOAD").unwrap_or_default();
    let preload = format!("{} {moved}", library.display());
    let check = |at: u64| {
        let count = folder.join(&format!("count-{at}"));
        let done = Sitewatch::new()
            .file("c.toml", format!("[[target]]\nname = 'case'\n{target}\n"))
            .env("SSL_CERT_FILE", certs::ca_file())
            .env("LD_PRELOAD", &preload)
            .env("STALL_AT", at.to_string())
            .env("STALL_MS", STALL.as_millis().to_string())
            .env("STALL_COUNT", &count)
            .args(["check", "-c", "c.toml", "case", "--format", "json"])
            .run();
        assert_eq!(done.code, Some(0), "{at}: {done:?}");
        let record = json::parse(&done.stdout);
        let of = |name: &&str| if record.has(name) { record.int(name) } else { 0 };
        let is_whole = PHASES.iter().map(of).sum::<i64>() == record.int("total_us");
        let is_right = is_whole && wanted.iter().all(|name| of(name) > 0);
        let reads = fs::read_to_string(count).unwrap().parse::<u64>().unwrap();
        (reads, (!is_right).then(|| format!("{at}: {}", done.stdout)))
    };
    // How often it looks is not the same each time.
    let (reads, _) = check(0);
    let (next, faults) = (AtomicU64::new(1), Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at > reads {
                        break;
                    }
                    let fault = check(at).1.unwrap_or_default();
                    faults.lock().unwrap_or_else(PoisonError::into_inner).push_str(&fault);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "of {reads} stalls:\n{faults}");
}

#[test]
fn of_a_site_by_a_name_of_this_host() {
    let site = Listener::https(&certs::set().good);
    site.always(Script::ok("x"));
    let target = format!("url = '{}'", site.url_at("localhost", "/"));
    stalled_everywhere(&target, &["dns_us", "connect_us", "tls_us", "first_byte_us"]);
}

#[test]
fn of_a_greeting() {
    let greeter = Greeter::start(Greeting::of("220 ready"), None);
    let target = format!("url = 'tcp://localhost:{}'\nexpect = '220'", greeter.port());
    stalled_everywhere(&target, &["dns_us", "connect_us", "first_byte_us"]);
}

#[test]
fn of_a_site_behind_a_proxy() {
    let leaf = certs::set().authority.leaf(&["shop.example"], -1, 30);
    let site = Listener::https(&leaf);
    site.always(Script::ok("x"));
    let proxy = Proxy::start(Manner::Kind);
    let (port, proxy) =
        (site.address().port(), proxy.url("http", "").replace("127.0.0.1", "localhost"));
    let target = format!("url = 'https://shop.example:{port}/'\nproxy = '{proxy}'");
    stalled_everywhere(&target, &["dns_us", "connect_us", "tls_us", "first_byte_us"]);
}
