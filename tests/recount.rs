//! Figures counted from checks and gaps in the plainest way, by formulas of this file's own, to
//! hold reports against, wherever they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use miniserde::json::Value;

use crate::harness::Fields;

/// A check, as far as figures go.
#[derive(Debug)]
pub struct Made {
    pub target: String,
    pub node: String,
    pub due_ms: i64,
    pub verdict: String,
    pub responded: bool,
    pub status_ok: Option<bool>,
    pub match_ok: Option<bool>,
    pub total_us: u64,
}

/// A gap.
#[derive(Debug)]
pub struct Missed {
    pub target: String,
    pub node: String,
    pub from_ms: i64,
    pub to_ms: i64,
}

/// What a report must say.
pub struct Truth {
    /// When it was asked for, or shortly before.
    pub now: i64,
    /// Of all targets.
    pub interval_ms: i64,
    pub checks: Vec<Made>,
    pub gaps: Vec<Missed>,
}

impl Truth {
    /// Holds a report against it.
    #[track_caller]
    pub fn recount(&self, report: &Value) {
        let (site, node) =
            (report.text("target"), report.field("node").map(|_| report.text("node")));
        let (start, end) = (ms(report.text("window_start")), ms(report.text("window_end")));
        let of = |target: &str, by: &str| target == site && node.is_none_or(|node| node == by);
        let ever: Vec<&Made> = self.checks.iter().filter(|c| of(&c.target, &c.node)).collect();
        let inside: Vec<&&Made> =
            ever.iter().filter(|c| c.due_ms >= start && c.due_ms < end).collect();
        let known: Vec<&&&Made> = inside.iter().filter(|c| c.verdict != "unknown").collect();
        let count = |is: &dyn Fn(&Made) -> bool| known.iter().filter(|c| is(c)).count() as i64;
        let up = |c: &Made| c.verdict == "up" || c.verdict == "slow";
        let missed = self.gaps.iter().filter(|gap| of(&gap.target, &gap.node)).map(|gap| {
            let slots = (gap.from_ms..=gap.to_ms).step_by(self.interval_ms as usize);
            slots.filter(|slot| (start..end).contains(slot)).count() as i64
        });
        for (name, want) in [
            ("checks", inside.len() as i64),
            ("unknown", (inside.len() - known.len()) as i64),
            ("up", count(&up)),
            ("slow", count(&|c| c.verdict == "slow")),
            ("down", count(&|c| c.verdict == "down")),
            ("responded", count(&|c| c.responded)),
            ("no_response", count(&|c| !c.responded)),
            ("status_ok", count(&|c| c.responded && c.status_ok == Some(true))),
            ("match_ok", count(&|c| c.responded && c.match_ok == Some(true))),
            ("missed", missed.sum()),
        ] {
            assert_eq!(report.int(name), want, "{name} of {}", miniserde::json::to_string(report));
        }
        let share = |part: i64, whole: i64| (whole > 0).then(|| part as f64 / whole as f64);
        near(report, "uptime", share(count(&up), known.len() as i64), 1e-6);

        // Each slot that is known counts its interval once; each node from its first check on.
        let slots: BTreeSet<_> = known.iter().map(|c| (&c.node, c.due_ms)).collect();
        let mut firsts: BTreeMap<&str, i64> = BTreeMap::new();
        for c in &ever {
            let first = firsts.entry(&c.node).or_insert(c.due_ms);
            *first = c.due_ms.min(*first);
        }
        // The program's now is some time after ours.
        let until = end.min(self.now);
        let whole: i64 = firsts.values().map(|first| (until - start.max(*first)).max(0)).sum();
        let known_ms = slots.len() as i64 * self.interval_ms;
        let coverage = share(known_ms, whole).map(|share| share.min(1.0));
        if whole > self.interval_ms + 60_000 {
            near(report, "coverage", coverage, 60_000.0 / whole as f64);
        }

        let mut times: Vec<f64> =
            known.iter().filter(|c| c.responded).map(|c| c.total_us as f64 / 1000.0).collect();
        times.sort_by(f64::total_cmp);
        let n = times.len() as f64;
        let mean = (n > 0.0).then(|| times.iter().sum::<f64>() / n);
        near(report, "mean_ms", mean, 0.001);
        near(report, "min_ms", times.first().copied(), 0.0006);
        near(report, "max_ms", times.last().copied(), 0.0006);
        let squares = times.iter().map(|time| (time - mean.unwrap()).powi(2)).sum::<f64>();
        near(report, "stdev_ms", (n > 1.0).then(|| (squares / (n - 1.0)).sqrt()), 0.01);
        for (name, share) in [("median_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
            let want = (n > 0.0).then(|| times[(share * n).ceil() as usize - 1]);
            near(report, name, want, 0.0006 + want.unwrap_or(0.0) * 0.011);
        }
    }
}

/// Holds one figure against what it must be; none: it must not be there.
#[track_caller]
pub fn near(report: &Value, name: &str, want: Option<f64>, within: f64) {
    match want {
        None => assert!(!report.has(name), "{name} of {}", miniserde::json::to_string(report)),
        Some(want) => {
            let found = report.number(name);
            assert!(
                (found - want).abs() <= within,
                "{name} is {found}, not {want}: {}",
                miniserde::json::to_string(report)
            );
        }
    }
}

/// A time of a report in milliseconds since 1970.
pub fn ms(time: &str) -> i64 {
    let time = humantime::parse_rfc3339(time).unwrap();
    time.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
