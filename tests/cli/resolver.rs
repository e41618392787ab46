//! Names that nobody answers for: they must not delay the others. A lookup that hangs goes on in
//! the system's resolver for ten seconds and more after its check is over, each in a thread.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::Signal;

use crate::fixtures::sqlite_rows::Stored;
use crate::harness::{Listener, Script, Sitewatch, Temp, eventually};

/// For as long as it takes until as many lookups end as begin, and some more.
const LENGTH: Duration = Duration::from_secs(16);
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn ten_dead_names_delay_nobody() {
    let (site, folder) = (Listener::http(), Temp::new());
    site.always(Script::ok("x"));
    // A name server that says nothing; what is in the file of hosts needs none.
    let silent = UdpSocket::bind("127.0.53.98:53").unwrap();
    let mut config = "node = 'here'\n[uplink]\ncanaries = []\n".to_owned();
    let mut hosts = String::new();
    let mut target = |name: &str, keys: &str| {
        let url = site.url_at(name, "/");
        config += &format!("[[target]]\nname = '{name}'\nurl = '{url}'\n{keys}\n");
    };
    for i in 0..10 {
        target(&format!("dead-{i}.example"), "interval = '1s'\ntimeout = '900ms'");
        let live = format!("live-{i}.example");
        hosts += &format!("127.0.0.1 {live}\n");
        target(&live, "interval = '1s'");
    }
    let script = "mount --bind resolv.conf /etc/resolv.conf && mount --bind hosts /etc/hosts && \
                  exec \"$@\"";
    let mut running = Sitewatch::program("unshare")
        .file("resolv.conf", format!("nameserver {}\n", silent.local_addr().unwrap().ip()))
        .file("hosts", hosts)
        .file("c.toml", config)
        .env("STATE_DIRECTORY", folder.path())
        .args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sitewatch")])
        .args(["run", "-c", "c.toml"])
        .spawn();
    running.await_stderr("watching", DEADLINE);
    let began = Instant::now();
    eventually(DEADLINE, "its time", || began.elapsed() >= LENGTH);
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");

    let file = folder.join("sitewatch.db");
    let stored = Stored::read(&file);
    stored.is_whole("here");
    assert!(stored.gaps.iter().all(|gap| gap.cause == "stop"), "{:?}", stored.gaps);
    let starved = stored.checks.iter().filter(|row| row.is_starved()).count();
    assert!(20 * starved <= stored.checks.len(), "{starved} were starved");
    for row in stored.checks.iter().filter(|row| !row.is_starved()) {
        let is_dead = row.target.starts_with("dead");
        // A silent name server is no answer about a site.
        let want = if is_dead { ("unknown", "uplink") } else { ("up", "") };
        assert_eq!((&*row.verdict, &*row.cause), want, "{row:?}");
    }
    let base = Connection::open(&file).unwrap();
    let one = |sql: &str| -> i64 { base.query_row(sql, [], |row| row.get(0)).unwrap() };
    let live = "FROM outcome JOIN target ON target.id = target_id WHERE name LIKE 'live%'";
    assert!(one(&format!("SELECT count(*) {live}")) > 100);
    // Of a machine that tests other things beside, both.
    let (slowest, latest) =
        (one(&format!("SELECT max(dns_us) {live}")), one(&format!("SELECT max(lag_us) {live}")));
    assert!(slowest < 300_000, "a name that is known took {slowest} µs");
    assert!(latest < 300_000, "a check began {latest} µs late");
}
