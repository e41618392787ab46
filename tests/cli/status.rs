//! `status` against a recount: the rows of two nodes, three days and every verdict.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use miniserde::json::{Array, Value};
use sitewatch::model::outcome::{Gap, Outcome, Verdict};
use sitewatch::model::record::Record;
use sitewatch::store::Sqlite;

use crate::fixtures::records::{gap, outcome, put, target};
use crate::fixtures::recount::{Made, Missed, Truth, ms, near};
use crate::harness::binary::Output;
use crate::harness::{Fields, Sitewatch, Temp, json};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Interval of all targets, in milliseconds: slow, so that three days are few checks.
const INTERVAL: i64 = 300_000;
const SITES: [&str; 4] = ["alpha", "beta, \"quoted\"", "gamma", "delta"];

/// A store with all that may be in one, and what was put there.
struct Filled {
    folder: Temp,
    now: i64,
    truth: Truth,
}

/// Numbers without any order, the same each time (a linear congruence).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Makes checks and gaps of every target and node up to now.
fn make(now: i64) -> (Vec<Outcome>, Vec<Gap>) {
    let (mut dice, mut checks, mut gaps) = (Dice(7), Vec::new(), Vec::new());
    for (site, number) in SITES.iter().zip(0_i64..) {
        for (node, days) in [("north", 3), ("south", 2)] {
            // Delta is of the north alone, and there for an hour; gamma's south is long silent.
            let first = if *site == "delta" { now - HOUR } else { now - days * DAY };
            let last = if (*site, node) == ("gamma", "south") { now - 30 * HOUR } else { now };
            if (*site, node) == ("delta", "south") {
                continue;
            }
            let mut due = first - first.rem_euclid(INTERVAL) + number * 1000 + days;
            while due <= last - 1000 {
                match dice.roll(20) {
                    0 => {
                        let missed = 1 + dice.roll(5) as i64;
                        let mut gap = gap(site, node, due, missed as u64);
                        (gap.interval_ms, gap.to_ms) = (INTERVAL, due + (missed - 1) * INTERVAL);
                        due = gap.to_ms;
                        gaps.push(gap);
                    }
                    side => {
                        let mut made = check(&mut dice, site, node, due);
                        if side == 1 {
                            // Checked by another run as well, which saw it otherwise.
                            let mut other = check(&mut dice, site, node, due);
                            (made.run, other.run) = (5, 6);
                            checks.push(other);
                        }
                        checks.push(made);
                    }
                }
                due += INTERVAL;
            }
            // How it stands now is a matter of the end.
            for back in 0..3 {
                let end = if *site == "alpha" { Verdict::Down } else { Verdict::Slow };
                checks.push(outcome(site, node, last - 900 + back * 100, end));
            }
        }
    }
    for check in &mut checks {
        check.interval_ms = INTERVAL;
    }
    (checks, gaps)
}

fn fill() -> Filled {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let (checks, gaps) = make(now);
    let folder = Temp::new();
    let mut records: Vec<Record> = vec![
        target("alpha", "north", now, &[("team", "web"), ("tier", "1")]),
        target("gamma", "north", now, &[("team", "web")]),
    ];
    records.extend(checks.iter().map(|check| Record::Check(Box::new(check.clone()))));
    records.extend(gaps.iter().cloned().map(Record::Gap));
    let mut store = Sqlite::create(&folder.join("s.db"), u64::MAX).unwrap();
    let written = put(&mut store, &records).unwrap();
    assert_eq!((written.checks, written.repeats), (checks.len() as u64, 0));
    assert!(checks.len() > 3000, "{}", checks.len());
    let config =
        "node = 'north'\n[sqlite]\npath = 's.db'\n[[target]]\nname = 'delta'\nurl = 'http://d/'\n";
    folder.write("c.toml", config);
    let checks = checks.iter().map(|check| Made {
        target: check.target.to_string(),
        node: check.node.to_string(),
        due_ms: check.due_ms,
        verdict: check.verdict.as_str().to_owned(),
        responded: check.responded,
        status_ok: check.status_ok,
        match_ok: check.match_ok,
        total_us: check.total_us,
    });
    let gaps = gaps.iter().map(|gap| Missed {
        target: gap.target.to_string(),
        node: gap.node.to_string(),
        from_ms: gap.from_ms,
        to_ms: gap.to_ms,
    });
    let truth =
        Truth { now, interval_ms: INTERVAL, checks: checks.collect(), gaps: gaps.collect() };
    Filled { folder, now, truth }
}

fn check(dice: &mut Dice, site: &str, node: &str, due: i64) -> Outcome {
    let verdicts =
        [Verdict::Up, Verdict::Up, Verdict::Up, Verdict::Slow, Verdict::Down, Verdict::Unknown];
    let mut check = outcome(site, node, due, verdicts[dice.roll(6) as usize]);
    let up = matches!(check.verdict, Verdict::Up | Verdict::Slow);
    check.responded = up || dice.roll(2) == 0;
    check.status_ok = check.responded.then(|| up || dice.roll(2) == 0);
    check.match_ok =
        [None, Some(true), Some(up)][dice.roll(3) as usize].filter(|_| check.responded);
    // From microseconds to half a minute, each size as likely as any other.
    let size = dice.roll(25);
    check.total_us = (1 << size) + dice.roll(1 << size);
    check
}

impl Filled {
    fn config(&self) -> PathBuf {
        self.folder.join("c.toml")
    }

    fn status(&self, words: &[&str]) -> Output {
        let config = self.config();
        let all =
            ["status", "-c", config.to_str().unwrap()].into_iter().chain(words.iter().copied());
        Sitewatch::new().args(all).run()
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> Array {
        let done = self.status(&[words, &["--format", "json"]].concat());
        assert!(done.stderr.is_empty(), "{done:?}");
        match json::parse(&done.stdout) {
            Value::Array(reports) => reports,
            _ => panic!("no array: {done:?}"),
        }
    }
}

/// A field as CSV has it.
fn field(report: &Value, name: &str) -> String {
    match report.field(name) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => miniserde::json::to_string(other),
    }
}

fn time(ms: i64) -> String {
    let time = UNIX_EPOCH + std::time::Duration::from_millis(ms as u64);
    humantime::format_rfc3339_millis(time).to_string()
}

fn names(reports: &Array) -> Vec<&str> {
    reports.iter().map(|report| report.text("target")).collect()
}

#[test]
fn every_figure_equals_a_recount() {
    let filled = fill();
    let (since, until) = (time(filled.now - 50 * HOUR), time(filled.now - 7 * HOUR - 1));
    let day = time(filled.now - 2 * DAY)[..10].to_owned();
    for (words, count) in [
        (&[][..], 4),
        (&["--since", "3d"], 4),
        (&["--since", "100d", "--until", "90m"], 4),
        (&["--since", &since, "--until", &until], 4),
        (&["--since", &day], 4),
        (&["--per-node"], 6),
        (&["--per-node", "--since", "4d"], 7),
        (&["alpha", "--since", "4d", "--by", "day"], 0),
        (&["gamma", "--since", "40h", "--by", "hour", "--per-node"], 0),
        (&["--since", "30m"], 4),
        (&["--since", "3s"], 4),
    ] {
        let reports = filled.json(words);
        assert!(count == 0 || reports.len() == count, "{words:?}: {:?}", names(&reports));
        assert!(reports.iter().any(|report| report.int("checks") > 0), "{words:?}");
        for report in &reports {
            filled.truth.recount(report);
        }
    }
}

#[test]
fn windows_follow_one_another_without_a_hole() {
    let filled = fill();
    for (by, step) in [("hour", HOUR), ("day", DAY)] {
        let reports = filled.json(&["beta, \"quoted\"", "--since", "60h", "--by", by]);
        let edges: Vec<(i64, i64)> = reports
            .iter()
            .map(|r| (ms(r.text("window_start")), ms(r.text("window_end"))))
            .collect();
        for pair in edges.windows(2) {
            assert_eq!((pair[0].1, pair[0].1.rem_euclid(step)), (pair[1].0, 0), "{by}");
        }
        let whole = filled.json(&["beta, \"quoted\"", "--since", &time(edges[0].0)]);
        for name in ["checks", "unknown", "up", "responded", "missed", "match_ok"] {
            let sum: i64 = reports.iter().map(|report| report.int(name)).sum();
            assert_eq!(sum, whole[0].int(name), "{name} by {by}");
        }
    }
}

#[test]
fn text_json_and_csv_say_the_same() {
    let filled = fill();
    // A window that is over, so that all three see the same.
    let until = time(filled.now - HOUR);
    let words = ["--since", "3d", "--until", &until, "--per-node"];
    let reports = filled.json(&words);
    let csv = filled.status(&[&words[..], &["--format", "csv"]].concat());
    let mut lines = csv.stdout.split("\r\n");
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    for (report, line) in reports.iter().zip(lines) {
        // Only the one name has a comma in it.
        let line = line.replace("\"beta, \"\"quoted\"\"\"", "beta");
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), head.len(), "{line}");
        for (name, cell) in head.iter().zip(cells) {
            let quoted = *name == "target" && cell == "beta";
            let want = if quoted { "beta".to_owned() } else { field(report, name) };
            // The windows that count back from now are made anew each time.
            if *name != "window_start" && *name != "coverage" {
                assert_eq!(cell, want, "{name}: {line}");
            }
        }
    }
    let text = filled.status(&words);
    let alpha: Vec<&str> = text.stdout.lines().filter(|line| line.starts_with("alpha ")).collect();
    assert_eq!(alpha.len(), 2, "{}", text.stdout);
    assert!(text.stdout.lines().nth(1).unwrap().starts_with("alpha "), "down comes first");
    let head: Vec<&str> = text
        .stdout
        .lines()
        .next()
        .unwrap()
        .split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(head.len(), 25, "{head:?}");
    for (line, report) in alpha.iter().zip(reports.iter().filter(|r| r.text("target") == "alpha")) {
        let cells: Vec<&str> =
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        for (head, cell) in head.iter().zip(cells) {
            let name = head.replace(" %", "").replace(' ', "_");
            match name.as_str() {
                "since" | "last_due" | "times" => {}
                "verdict" => assert_eq!(cell, report.text("last_verdict")),
                "uptime" => assert_eq!(cell, format!("{:.3}", report.number("uptime") * 100.0)),
                "coverage" => {
                    near(report, "coverage", Some(cell.parse::<f64>().unwrap() / 100.0), 1e-4);
                }
                "target" | "node" => assert_eq!(cell, report.text(&name)),
                ms if ms.ends_with("_ms") => near(report, ms, Some(cell.parse().unwrap()), 0.051),
                _ => assert_eq!(cell, report.int(&name).to_string(), "{name}: {line}"),
            }
        }
    }
}

#[test]
fn what_is_asked_for_is_shown_and_the_exit_code_is_its_verdict() {
    let filled = fill();
    let all = filled.json(&[]);
    assert_eq!(names(&all), ["alpha", "beta, \"quoted\"", "delta", "gamma"]);
    let shown = |words: &[&str]| {
        let code = filled.status(words).code;
        (
            filled
                .json(words)
                .iter()
                .map(|r| r.text("target").to_owned())
                .collect::<Vec<_>>()
                .join(" "),
            code,
        )
    };
    let is = |names: &str, code| (names.to_owned(), Some(code));
    assert_eq!(shown(&["--label", "team=web"]), is("alpha gamma", 1));
    assert_eq!(shown(&["--label", "team=web", "--label", "tier=1"]), is("alpha", 1));
    assert_eq!(shown(&["--label", "team=none"]), is("", 0));
    assert_eq!(shown(&["--down"]), is("alpha", 1));
    assert_eq!(shown(&["--down", "gamma"]), is("", 0));
    assert_eq!(shown(&["gamma", "delta"]), is("delta gamma", 0));
    // Silent for longer than three intervals, it is not known to be up.
    let gamma = filled.json(&["gamma", "--per-node", "--since", "3d"]);
    let verdicts: Vec<&str> = gamma.iter().map(|report| report.text("last_verdict")).collect();
    assert_eq!(verdicts, ["slow", "unknown"]);
    assert_eq!(filled.status(&["gamma", "--per-node"]).code, Some(2));
    let done = filled.status(&["alpha", "omega"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
    assert!(done.stderr.contains("no target \"omega\""), "{done:?}");
    let done = filled.status(&["--since", "1h", "--until", "2h"]);
    assert!(done.code == Some(2) && done.stderr.contains("--since"), "{done:?}");
    // Configured, and never checked.
    filled
        .folder
        .write("c.toml", "[sqlite]\npath = 's.db'\n[[target]]\nname = 'new'\nurl = 'http://n/'\n");
    assert_eq!(shown(&["new"]), is("new", 2));
    assert_eq!(names(&filled.json(&[])), ["alpha", "beta, \"quoted\"", "delta", "gamma", "new"]);
    assert!(filled.status(&["new"]).stdout.contains("never"));
}
