//! `make bench-check`: what a check costs, how late it is and how true, against a site in a process
//! of its own on this machine, beside the floor: a bare handshake and one GET. Prints ratios of one
//! run, and fails where one of those that are promised is missed.
//!
//! What else the machine does only adds: of `ROUNDS` (2) of check and floor in turn, the least counts.
//!
//! `SECONDS` (15; how long each case is measured), `CASES` (all, or some of: cost shipped lag
//! rate phases expressions memory), `PROGRAM` (another build), `STATIC` (the static file, whose memory
//! and cost beside the host's build are promised; else it is that of the other), `BLACKBOX` (the
//! program of a `blackbox_exporter` to measure beside).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    unused_imports,
    reason = "a program for the terminal that uses a part of the harness"
)]

#[path = "check/expressions.rs"]
mod expressions;
#[path = "check/floor.rs"]
mod floor;
#[path = "../harness/mod.rs"]
mod harness;
mod measure;
#[path = "check/shipped.rs"]
mod shipped;
#[path = "check/site.rs"]
mod site;
#[path = "check/watched.rs"]
mod watched;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use floor::Pace;
use harness::{Temp, certs};
use measure::{mb, number};
use openssl::x509::X509;
use site::{Kind, Site};
use sitewatch::model::target::Target;
use watched::{Case, Found};

/// The program has one processor, the site the other.
const OURS: &str = "0";
const THEIRS: &str = "1";
/// A page of a KiB.
const PAGE: &str = "/1024";

/// What all cases have in common.
struct Bench {
    site: Site,
    /// Mozilla's roots and the site's; the site's alone.
    all_roots: PathBuf,
    one_root: PathBuf,
    seconds: u64,
    rounds: u64,
    cases: Vec<String>,
    /// What was missed of what is promised.
    missed: Vec<String>,
    _folder: Temp,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.first().map(String::as_str) {
        Some("site") => site::serve(Path::new(&words[1])),
        Some("floor") => floor::run(&words[1..]),
        Some("scrape") => shipped::scrape(&words[1..]),
        _ => return Bench::new().run(),
    }
    ExitCode::SUCCESS
}

impl Bench {
    fn new() -> Bench {
        let folder = Temp::new();
        let root = &certs::set().authority;
        let own = root.certificate().to_pem().unwrap();
        let mut all = own.clone();
        for der in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            all.extend(X509::from_der(der).unwrap().to_pem().unwrap());
        }
        let cases = std::env::var("CASES").unwrap_or_default();
        Bench {
            site: Site::start(root, THEIRS),
            all_roots: folder.write("all.pem", all),
            one_root: folder.write("one.pem", own),
            seconds: number("SECONDS", 15),
            rounds: number("ROUNDS", 2),
            cases: cases.split_whitespace().map(str::to_owned).collect(),
            missed: Vec::new(),
            _folder: folder,
        }
    }

    fn run(mut self) -> ExitCode {
        if self.wants("cost") {
            self.cost();
        }
        if self.wants("shipped") {
            self.shipped();
        }
        if self.wants("lag") {
            self.lag();
        }
        if self.wants("rate") {
            self.rate();
        }
        if self.wants("phases") {
            self.phases();
        }
        if self.wants("expressions") {
            expressions::print();
        }
        if self.wants("memory") {
            self.memory();
        }
        self.missed.iter().for_each(|text| println!("missed: {text}"));
        if self.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|of| of == case)
    }

    /// So many targets on the program's processor.
    fn case(&self, kind: Kind, targets: u64, interval_s: u64) -> Case<'_> {
        Case {
            site: &self.site,
            kind,
            path: PAGE,
            targets,
            interval_s,
            seconds: self.seconds,
            roots: &self.all_roots,
            processors: OURS,
            by_name: false,
            keys: "",
            program: None,
        }
    }

    /// More than one processor can do.
    fn flood(&self, kind: Kind) -> Case<'_> {
        let keys = "[probe]\nmax_in_flight = 500\nclock_wait = '0s'\n";
        let targets = if kind == Kind::Http { 6000 } else { 3000 };
        Case { keys, ..self.case(kind, targets, 1) }
    }

    fn promise(&mut self, holds: bool, text: String) {
        if !holds {
            self.missed.push(text);
        }
    }

    /// CPU of a check, and of the floor: both so many times a second; and without a pause, or, of
    /// HTTP, as often as the site can bear.
    fn cost(&mut self) {
        println!("CPU of one check of 1 KiB, in ms; storing included; roots: Mozilla's and ours");
        println!(
            "{:<34}{:>8}{:>8}{:>8}{:>12}{:>12}",
            "", "check", "floor", "ratio", "checks/s", "of a core"
        );
        let (mut costs, mut floors) = (Vec::new(), Vec::new());
        let kinds = [
            ("HTTP", Kind::Http, 400),
            ("HTTPS, TLS 1.3, ECDSA", Kind::Ecdsa, 200),
            ("HTTPS, TLS 1.3, RSA", Kind::Rsa, 200),
        ];
        for (name, kind, rate) in kinds {
            let (mut floor, mut found) = ([f64::INFINITY; 2], [None, None]);
            for _ in 0..self.rounds {
                let paces = [Pace::Rate(rate, self.seconds), Pace::Count(4000)];
                let cases = [self.case(kind, rate, 1), self.flood(kind)];
                for (i, (pace, case)) in paces.into_iter().zip(cases).enumerate() {
                    let cost = floor::cost(&self.site, kind, PAGE, pace, &self.all_roots, OURS);
                    floor[i] = floor[i].min(cost);
                    found[i] = Some(least(found[i].take(), case.run()));
                }
            }
            let [calm, busy] = found.map(Option::unwrap);
            for (how, found, floor) in [("", &calm, floor[0]), (", busy", &busy, floor[1])] {
                let (name, ratio) = (format!("{name}{how}"), found.cpu_ms / floor);
                println!(
                    "{name:<34}{:>8.3}{floor:>8.3}{ratio:>8.2}{:>12.0}{:>10.0} %",
                    found.cpu_ms,
                    found.rate,
                    found.rate * found.cpu_ms / 10.0
                );
                self.promise(found.failed == 0, format!("{} of {name} failed", found.failed));
                self.promise(
                    kind == Kind::Http || ratio <= 1.5,
                    format!("{name} costs {ratio:.2} times the floor, not 1.5"),
                );
            }
            // What one pays for the pause, too.
            let crossed = calm.cpu_ms / floor[1];
            println!(
                "{:<34}{:>8.3}{:>8.3}{crossed:>8.2}",
                "  against the busy floor", calm.cpu_ms, floor[1]
            );
            costs.push([calm.cpu_ms, busy.cpu_ms]);
            floors.push(floor);
        }
        self.compare_kinds(&costs, &floors);
        self.compare_sizes(costs[1][0]);
    }

    /// The cost of HTTP against that of HTTPS, calm and busy.
    fn compare_kinds(&mut self, costs: &[[f64; 2]], floors: &[[f64; 2]]) {
        for (i, how) in ["", ", busy"].into_iter().enumerate() {
            let (name, ratio) = (format!("HTTP of HTTPS (ECDSA){how}"), costs[0][i] / costs[1][i]);
            let floor = floors[0][i] / floors[1][i];
            println!("{name:<34}{ratio:>8.2}{floor:>8.2}");
            // No program is below the floor.
            self.promise(
                ratio <= floor.max(0.2),
                format!("{name} is {ratio:.2}, not a fifth, and of the floor {floor:.2}"),
            );
        }
    }

    /// The cost with one root, and with ten times the targets, against the usual one.
    fn compare_sizes(&mut self, usual_ms: f64) {
        let (mut one, mut many) = (None, None);
        for _ in 0..self.rounds {
            let roots = &self.one_root;
            one = Some(least(one, Case { roots, ..self.case(Kind::Ecdsa, 200, 1) }.run()));
            many = Some(least(many, self.case(Kind::Ecdsa, 2000, 10).run()));
        }
        let (one, many) = (one.unwrap(), many.unwrap());
        for (name, found, of) in
            [("one root", &one, "roots"), ("10 times the targets", &many, "targets")]
        {
            let ratio = found.cpu_ms / usual_ms;
            println!("ECDSA with {name:<23}{:>8.3}  {ratio:.2} of the above", found.cpu_ms);
            let grows = if of == "roots" { 1.0 / ratio } else { ratio };
            self.promise(grows < 1.15, format!("CPU grows with the number of {of}: {grows:.2}"));
        }
    }

    /// CPU of a check by the host's build, the static file and `blackbox_exporter`, in turn.
    fn shipped(&mut self) {
        let programs = shipped::Programs::named();
        let mut least = shipped::Costs::default();
        for _ in 0..self.rounds.max(3) {
            let ours = |program| {
                let case = self.case(Kind::Ecdsa, shipped::TARGETS, shipped::INTERVAL_S);
                Case { program, ..case }.run().cpu_ms
            };
            least.host.keep(ours(None));
            if let Some(file) = programs.file.as_deref() {
                least.file.keep(ours(Some(file)));
            }
            if let Some(program) = programs.blackbox.as_deref() {
                let (site, roots) = (&self.site, &self.all_roots);
                least.blackbox.keep(shipped::blackbox(program, site, roots, self.seconds));
            }
        }
        println!("\nCPU of one HTTPS check, in ms, at 1000 targets every 15 s; the least of each");
        for (holds, text) in least.print() {
            self.promise(holds, text);
        }
    }

    /// How late checks start.
    fn lag(&mut self) {
        println!("\nlag, in ms                             p50     p99     max   missed  checks/s");
        let seconds = self.seconds.max(30);
        let calm = Case { seconds, ..self.case(Kind::Ecdsa, 1000, 15) }.run();
        let busy = self.case(Kind::Http, 1000, 1).run();
        for (name, found) in
            [("1000 HTTPS targets every 15 s", &calm), ("1000 HTTP targets every second", &busy)]
        {
            let [p50, p99, max] = found.lag_ms;
            println!(
                "{name:<35}{p50:>8.2}{p99:>8.2}{max:>8.2}{:>9}{:>10.0}",
                found.missed, found.rate
            );
        }
        let p99 = calm.lag_ms[1];
        self.promise(p99 < 5.0, format!("lag p99 is {p99:.2} ms, not under 5"));
        let missed = busy.missed;
        self.promise(missed == 0, format!("{missed} slots missed at 1000 checks a second"));
    }

    /// How many checks one processor does.
    fn rate(&self) {
        println!("\nchecks a second on one processor, asked for more than it can");
        for (name, kind) in [("HTTP", Kind::Http), ("HTTPS", Kind::Ecdsa)] {
            let found = self.flood(kind).run();
            let cpu = found.rate * found.cpu_ms / 10.0;
            println!(
                "{name:<10}{:>8.0}   ({cpu:.0} % of the processor; {} were not up)",
                found.rate, found.failed
            );
        }
    }

    /// What is measured, against what the site says.
    fn phases(&mut self) {
        println!("\nerror of each phase, in ms: measured less what the site has made it wait");
        let [name, tls, first, rest] = ["name", "TLS", "first byte", "transfer"];
        println!("{:<20}{name:>22}{tls:>22}{first:>22}{rest:>22}", "p50, p99, largest");
        let keys = "match = 'dns=.*'\nfamily = 4";
        for (name, targets, interval_s, busy) in [
            ("idle, 10 a second", 10, 1, false),
            ("67 a second", 1000, 15, false),
            ("67 a second, busy", 1000, 15, true),
        ] {
            let path = "/wait/30/20";
            let seconds = self.seconds.max(interval_s * 2);
            let case = self.case(Kind::Late, targets, interval_s);
            let case = Case { path, keys, seconds, by_name: true, ..case };
            // Beside it, checks that keep both processors at work.
            let found = std::thread::scope(|scope| {
                let load = || Case { seconds: seconds + 1, ..self.case(Kind::Ecdsa, 200, 1) }.run();
                let load = busy.then(|| scope.spawn(load));
                let found = case.run();
                load.map(|load| load.join().unwrap());
                found
            });
            print!("{name:<20}");
            assert!(!found.phases.is_empty(), "{} checks were not up", found.failed);
            let mut within = [0.0; 4];
            for (i, within) in within.iter_mut().enumerate() {
                let mut errors: Vec<f64> =
                    found.phases.iter().map(|p| (p[i].0 - p[i].1) / 1000.0).collect();
                errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
                let at =
                    |percent: usize| errors.get((errors.len() * percent / 100).saturating_sub(1));
                let [p50, p99, max] = [50, 99, 100].map(|p| at(p).copied().unwrap_or(f64::NAN));
                print!("  {p50:>6.2}{p99:>7.2}{max:>7.2}");
                let fits =
                    |p: &[(f64, f64); 4]| (p[i].0 - p[i].1).abs() <= (p[i].1 * 0.05).max(1000.0);
                let count = found.phases.iter().filter(|p| fits(p)).count();
                *within = count as f64 / found.phases.len().max(1) as f64 * 100.0;
            }
            println!(
                "\n{:<20}  {:.1} / {:.1} / {:.1} / {:.1} % within 1 ms or 5 %",
                "", within[0], within[1], within[2], within[3]
            );
        }
    }

    /// What a target takes in memory.
    fn memory(&mut self) {
        println!("\nresident memory, in MB, of targets that were checked once: at most, and then");
        let program = std::env::var("STATIC").ok();
        let idle = |targets| {
            let case = self.case(Kind::Ecdsa, targets, 3600);
            Case { seconds: 1, program: program.as_deref(), ..case }.run()
        };
        let (few, many) = (idle(1000), idle(10_000));
        for (name, found) in [("1000 targets", &few), ("10,000 targets", &many)] {
            println!("{name:<16}{:>6.1}{:>6.1}", mb(found.peak_kib), mb(found.end_kib));
        }
        let each = (many.end_kib - few.end_kib) as f64 * 1024.0 / 9000.0;
        // Without the texts that it points to.
        let configured = size_of::<Target>() as f64;
        println!("a target        {each:.0} bytes, {configured:.0} of them its configuration");
        let beside = each - configured;
        self.promise(
            beside < 1024.0,
            format!("{beside:.0} bytes a target beside its configuration"),
        );
    }
}

/// Of two runs the one that cost less.
fn least(one: Option<Found>, other: Found) -> Found {
    match one {
        Some(one) if one.cpu_ms <= other.cpu_ms => one,
        _ => other,
    }
}
