//! `sitewatch run` over the site: what it costs, how late it is, what it measures.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::Signal;

use super::measure::status_kib;
use super::site::{Kind, NAMES_AT, Site};
use crate::harness::binary::{Running, cpu};
use crate::harness::client::get;
use crate::harness::daemon::free_port;
use crate::harness::{Fields, Sitewatch, Temp, json};

/// What is left out at the start: the first checks, late on purpose.
const WARM: Duration = Duration::from_secs(11);

/// What is watched.
pub struct Case<'a> {
    /// The site.
    pub site: &'a Site,
    /// Of which kind.
    pub kind: Kind,
    /// Of which page.
    pub path: &'a str,
    /// How many targets.
    pub targets: u64,
    /// How often each.
    pub interval_s: u64,
    /// For how long, once warm.
    pub seconds: u64,
    /// Roots that are trusted.
    pub roots: &'a Path,
    /// Processors that it may use: `0`, or `0,1`.
    pub processors: &'a str,
    /// By names, which the site's own name server knows.
    pub by_name: bool,
    /// More lines of `[defaults]`, and tables after it.
    pub keys: &'a str,
    /// Another build than the usual one.
    pub program: Option<&'a str>,
}

/// What it came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Checks a second.
    pub rate: f64,
    /// CPU of one, in ms: everything that the program does, storing included.
    pub cpu_ms: f64,
    /// Slots that were not checked.
    pub missed: i64,
    /// Lag of the checks that were due once warm, in ms: of the half, of 99 of 100, the largest.
    pub lag_ms: [f64; 3],
    /// Checks that were not up.
    pub failed: i64,
    /// Memory at most, and in the end, in KiB.
    pub peak_kib: u64,
    pub end_kib: u64,
    /// µs of the phases as measured, and as the site has said: name, TLS, first byte, transfer.
    pub phases: Vec<[(f64, f64); 4]>,
}

impl Case<'_> {
    fn config(&self, port: u16) -> String {
        let Case { targets, interval_s, keys, .. } = self;
        let mut config = format!(
            "node = 'bench'\n[serve]\nlisten = '127.0.0.1:{port}'\n[defaults]\n\
             interval = '{interval_s}s'\ntimeout = '1s'\n{keys}\n"
        );
        let scheme = if self.kind == Kind::Http { "http" } else { "https" };
        for i in 0..*targets {
            let address = self.site.address(self.kind, i);
            let port = address.port();
            let named = format!("h{i}.bench.example:{port}");
            let place = if self.by_name { named } else { address.to_string() };
            let url = format!("{scheme}://{place}{}", self.path);
            writeln!(config, "[[target]]\nname = 'site {i}'\nurl = '{url}'").unwrap();
        }
        config
    }

    /// Runs it.
    pub fn run(&self) -> Found {
        let (folder, port) = (Temp::new(), free_port());
        let usual = || env!("CARGO_BIN_EXE_sitewatch").to_owned();
        let program = self.program.map(str::to_owned).or_else(|| std::env::var("PROGRAM").ok());
        let program = program.unwrap_or_else(usual);
        let clock = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/clock.toml");
        // The benchmark's own table of [probe] has the place of that of the file.
        let clock = if self.keys.contains("[probe]") { "c.toml" } else { clock };
        let files = if clock == "c.toml" {
            vec!["-c", "c.toml"]
        } else {
            vec!["-c", "c.toml", "-c", clock]
        };
        let place = if self.by_name { "mount --bind resolv.conf /etc/resolv.conf &&" } else { "" };
        let script = format!("{place} exec taskset -c {} \"$@\"", self.processors);
        let mut running = Sitewatch::program("unshare")
            .file("c.toml", self.config(port))
            .file("resolv.conf", format!("nameserver {NAMES_AT}\n"))
            .env("STATE_DIRECTORY", folder.path())
            .env("SSL_CERT_FILE", self.roots)
            .args(["--mount", "sh", "-c", &script, "sh", &program, "run"])
            .args(files)
            .spawn();
        running.await_stderr("watching", Duration::from_secs(30));
        std::thread::sleep(WARM);
        let (began, before, from_ms) = (Instant::now(), look(&running, port), now_ms());
        std::thread::sleep(Duration::from_secs(self.seconds));
        let (took, after, to_ms) = (began.elapsed(), look(&running, port), now_ms());
        let [peak_kib, end_kib] = ["VmHWM", "VmRSS"].map(|of| status_kib(running.pid(), of));
        running.signal(Signal::TERM);
        let done = running.wait(Duration::from_secs(30));
        assert_eq!(done.code, Some(0), "{done:?}");
        let checks = (after.1 - before.1) as f64;
        let base = Connection::open(folder.join("sitewatch.db")).unwrap();
        let stored = Stored { base, from_ms, to_ms };
        Found {
            rate: checks / took.as_secs_f64(),
            cpu_ms: (after.0 - before.0).as_secs_f64() * 1000.0 / checks,
            missed: stored.one("SELECT coalesce(sum(count), 0) FROM gap WHERE cause <> 'stop'", 0),
            lag_ms: [50, 99, 100].map(|percent| stored.lag_ms(percent)),
            failed: stored.one("SELECT count(*) FROM outcome WHERE verdict <> 'up'", 0),
            peak_kib,
            end_kib,
            phases: stored.phases(),
        }
    }
}

/// CPU so far, and checks.
fn look(running: &Running, port: u16) -> (Duration, i64) {
    let health = get(&format!("http://127.0.0.1:{port}/health"));
    let health = json::parse(&String::from_utf8_lossy(&health.body));
    (cpu(running.pid()), health.int("checks"))
}

fn now_ms() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// What is stored, between two times.
struct Stored {
    base: Connection,
    from_ms: i64,
    to_ms: i64,
}

impl Stored {
    fn one(&self, sql: &str, or: i64) -> i64 {
        self.base.query_row(sql, [], |row| row.get(0)).unwrap_or(or)
    }

    fn lag_ms(&self, percent: i64) -> f64 {
        let between = format!(
            "FROM outcome WHERE due_ms BETWEEN {} AND {} AND attempts > 0",
            self.from_ms, self.to_ms
        );
        let count = self.one(&format!("SELECT count(*) {between}"), 0);
        let rank = (count * percent / 100 - 1).max(0);
        let sql = format!("SELECT lag_us {between} ORDER BY lag_us LIMIT 1 OFFSET {rank}");
        self.one(&sql, 0) as f64 / 1000.0
    }

    fn phases(&self) -> Vec<[(f64, f64); 4]> {
        let sql = "SELECT matched, dns_us, tls_us, first_byte_us, transfer_us FROM outcome
                   WHERE matched LIKE 'dns=%' AND due_ms BETWEEN ? AND ?";
        let mut rows = self.base.prepare(sql).unwrap();
        let rows = rows.query_map((self.from_ms, self.to_ms), |row| {
            let matched: String = row.get(0)?;
            let said = |name: &str| -> f64 {
                let mut words = matched.split_whitespace();
                words.find_map(|word| word.strip_prefix(name)).unwrap().parse().unwrap()
            };
            let measured =
                |at: usize| row.get::<_, Option<i64>>(at).map(|us| us.unwrap_or(0) as f64);
            Ok([
                (measured(1)?, said("dns=")),
                (measured(2)?, said("tls=")),
                (measured(3)?, said("first=")),
                (measured(4)?, said("rest=")),
            ])
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}
