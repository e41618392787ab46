//! The file that ships beside the host's build and beside `blackbox_exporter`, at the pace of a thousand
//! targets every 15 seconds: CPU of one HTTPS check, everything included.
//!
//! `blackbox_exporter` is asked for each check over HTTP, as Prometheus does, from the site's processor;
//! writing its answer is its own work, as storing is ours. It trusts the same roots, read once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::site::{Kind, Site};
use super::{OURS, PAGE, THEIRS};
use crate::harness::Temp;
use crate::harness::binary::cpu;
use crate::harness::daemon::{Daemon, free_port};

/// A thousand targets every 15 seconds.
pub const TARGETS: u64 = 1000;
/// Seconds between two checks of a target.
pub const INTERVAL_S: u64 = 15;
/// Checks before the measurement, so that all code is loaded and all memory touched.
const WARM: u64 = 200;

/// The programs beside the host's build, by their paths.
pub struct Programs {
    /// The static file.
    pub file: Option<String>,
    /// `blackbox_exporter`.
    pub blackbox: Option<String>,
}

impl Programs {
    /// Those that the environment names.
    pub fn named() -> Programs {
        let of = |name| std::env::var(name).ok().filter(|path| !path.is_empty());
        Programs { file: of("STATIC"), blackbox: of("BLACKBOX") }
    }
}

/// CPU of one check by each program, in ms.
#[derive(Default)]
pub struct Costs {
    pub host: Least,
    pub file: Least,
    pub blackbox: Least,
}

/// The least of some measurements; none yet.
#[derive(Default, Clone, Copy)]
pub struct Least(Option<f64>);

impl Least {
    /// Keeps a measurement that is less.
    pub fn keep(&mut self, ms: f64) {
        self.0 = Some(self.0.map_or(ms, |least| least.min(ms)));
    }
}

impl Costs {
    /// Prints them; gives each promise about them, and whether it holds.
    pub fn print(&self) -> Vec<(bool, String)> {
        let mut promises = Vec::new();
        let host = self.host.0.unwrap();
        println!("{:<20}{host:>7.3}", "the host's build");
        if let Some(file) = self.file.0 {
            let ratio = file / host;
            println!("{:<20}{file:>7.3}   {ratio:.2} of the host's build", "the static file");
            let text = format!("the static file costs {ratio:.2} of the host's build, not 1.05");
            promises.push((ratio <= 1.05, text));
        }
        if let Some(blackbox) = self.blackbox.0 {
            let ratio = self.file.0.unwrap_or(host).max(host) / blackbox;
            println!("{:<20}{blackbox:>7.3}   ours is {ratio:.2} of it", "blackbox_exporter");
            let text = format!("a check costs {ratio:.2} of blackbox_exporter's, not a half");
            promises.push((ratio <= 0.5, text));
        }
        promises
    }
}

/// CPU of one check by `blackbox_exporter` (its program's path), in ms, over so many seconds.
pub fn blackbox(program: &str, site: &Site, roots: &Path, seconds: u64) -> f64 {
    let (folder, port) = (Temp::new(), free_port());
    let config = folder.write(
        "blackbox.yml",
        "modules:\n  page:\n    prober: http\n    timeout: 5s\n    http:\n      \
         preferred_ip_protocol: ip4\n      fail_if_not_ssl: true\n",
    );
    let mut command = Command::new("taskset");
    command.args(["-c", OURS, program, "--log.level=error"]);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.env("SSL_CERT_FILE", roots);
    let log = folder.join("log");
    let place = SocketAddr::from(([127, 0, 0, 1], port));
    let mut daemon = Daemon::start(command, Signal::TERM, &log, folder.path());
    daemon.await_answer(Duration::from_secs(20), || TcpStream::connect(place).is_ok());
    let ask = |count: u64| {
        let rate = TARGETS / INTERVAL_S;
        let done = Command::new("taskset")
            .args(["-c", THEIRS])
            .arg(std::env::current_exe().unwrap())
            .args(["scrape", &place.to_string(), &rate.to_string(), &count.to_string()])
            .args((0..16).map(|i| format!("https://{}{PAGE}", site.address(Kind::Ecdsa, i))))
            .stderr(Stdio::inherit())
            .status();
        assert!(
            done.unwrap().success(),
            "blackbox_exporter: {}",
            std::fs::read_to_string(&log).unwrap()
        );
    };
    ask(WARM);
    let count = TARGETS / INTERVAL_S * seconds;
    let before = cpu(daemon.pid());
    ask(count);
    (cpu(daemon.pid()) - before).as_secs_f64() * 1000.0 / count as f64
}

/// The process that asks: place, checks a second, how many, and the targets, which take turns.
pub fn scrape(words: &[String]) {
    let [place, rate, count, targets @ ..] = words else { panic!("{words:?}") };
    let place: SocketAddr = place.parse().unwrap();
    let (rate, count): (u32, u32) = (rate.parse().unwrap(), count.parse().unwrap());
    let began = Instant::now();
    for i in 0..count {
        let due = began + Duration::from_secs(1) * i / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let target = &targets[i as usize % targets.len()];
        let mut stream = TcpStream::connect(place).unwrap();
        write!(stream, "GET /probe?module=page&target={target} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\nprobe_success 1\n"), "{answer}");
    }
}
