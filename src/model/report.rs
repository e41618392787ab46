//! Computes reports: a target's figures over a window, and its state at present.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::outcome::{Gap, Verdict};
use super::standing::{NodeStanding, Standing};
use super::tally::{CheckFacts, Tally};

/// Cells in the sparkline of a window.
pub const CELLS: usize = 24;

/// Line of a report: a target, or a target on one node, over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Start of the window, in milliseconds since 1970; part of it.
    pub start_ms: i64,
    /// End of the window, in milliseconds since 1970; not part of it.
    pub end_ms: i64,
    /// Name of the target.
    pub target: Arc<str>,
    /// Node, if nodes are told apart.
    pub node: Option<Arc<str>>,
    /// Counts and sums of the window's checks.
    pub tally: Tally,
    /// Share of the time that was measured, 0 to 1; none if the time is shorter than the interval.
    pub coverage: Option<f64>,
    /// State of the target at present, whatever the window.
    pub standing: Standing,
    /// Cells of the sparkline: [`CELLS`] equal parts of the window, first to last.
    pub cells: [Cell; CELLS],
}

/// Part of a window, as a sparkline shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// Checks that responded.
    pub responded: u64,
    /// Sum of their times, in microseconds.
    pub sum_us: u64,
    /// Checks that were down.
    pub down: u64,
}

impl Cell {
    /// Returns the mean time of the checks that responded, in microseconds; none without such a check.
    pub fn mean_us(&self) -> Option<u64> {
        (self.responded > 0).then(|| self.sum_us / self.responded)
    }

    fn add(&mut self, check: &CheckFacts) {
        self.down += u64::from(check.verdict == Verdict::Down);
        if check.responded && check.verdict != Verdict::Unknown {
            self.responded += 1;
            self.sum_us += check.total_us;
        }
    }

    fn merge(&mut self, other: &Cell) {
        self.responded += other.responded;
        self.sum_us += other.sum_us;
        self.down += other.down;
    }
}

/// Series of checks: those of one target from one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Name of the target.
    pub target: Arc<str>,
    /// Name of the node.
    pub node: Arc<str>,
}

/// Key of a report's line: a target, and the node if nodes are told apart.
type LineKey = (Arc<str>, Option<Arc<str>>);

/// Adds up checks and gaps to reports over windows. A window has its start and not its end; windows rise and do
/// not overlap.
pub struct Reporter {
    windows: Vec<(i64, i64)>,
    parts: BTreeMap<(Series, usize), Part>,
}

#[derive(Default, Clone)]
struct Part {
    tally: Tally,
    cells: [Cell; CELLS],
}

impl Reporter {
    /// Makes a reporter over these windows (start, end), in milliseconds since 1970.
    pub fn new(windows: Vec<(i64, i64)>) -> Reporter {
        Reporter { windows, parts: BTreeMap::new() }
    }

    /// Adds a check. The checks of one target and node must come in the order of their due times.
    pub fn check(&mut self, series: &Series, check: &CheckFacts) {
        let Some(window) = self.window_of(check.due_ms) else { return };
        let (start, end) = self.windows[window];
        let part = self.part(series, window);
        part.tally.add(check);
        let cell = (check.due_ms - start) as i128 * CELLS as i128 / (end - start) as i128;
        part.cells[cell as usize].add(check);
    }

    /// Adds a gap: its slots count as missed in the windows where they were due.
    pub fn gap(&mut self, gap: &Gap) {
        let series = Series { target: Arc::clone(&gap.target), node: Arc::clone(&gap.node) };
        for window in 0..self.windows.len() {
            let (start, end) = self.windows[window];
            let missed = slots(gap, start, end);
            if missed > 0 {
                self.part(&series, window).tally.missed += missed;
            }
        }
    }

    /// Returns the reports: by window, then by target, with the nodes together or, if `per_node`, one by
    /// one. A target or node without a check or a gap in a window has a report there if `always` names it,
    /// or if another window has one.
    pub fn finish(
        self,
        states: &BTreeMap<Series, NodeStanding>,
        always: &[Arc<str>],
        per_node: bool,
        now_ms: i64,
    ) -> Vec<Report> {
        let lines = self.lines(states, always, per_node);
        let mut reports = Vec::with_capacity(lines.len() * self.windows.len());
        for (window, (start, end)) in self.windows.iter().enumerate() {
            for ((target, node), series) in &lines {
                let part = self.sum(series, window);
                let nodes: Vec<NodeStanding> =
                    series.iter().filter_map(|series| states.get(series)).copied().collect();
                reports.push(Report {
                    start_ms: *start,
                    end_ms: *end,
                    target: Arc::clone(target),
                    node: node.clone(),
                    coverage: coverage(&part.tally, &nodes, *start, (*end).min(now_ms)),
                    standing: Standing::over(&nodes, now_ms),
                    cells: part.cells,
                    tally: part.tally,
                });
            }
        }
        reports
    }

    /// Returns the key of each line, and the series that are added up in it.
    fn lines(
        &self,
        states: &BTreeMap<Series, NodeStanding>,
        always: &[Arc<str>],
        per_node: bool,
    ) -> BTreeMap<LineKey, BTreeSet<Series>> {
        let mut lines: BTreeMap<LineKey, BTreeSet<Series>> = BTreeMap::new();
        let key = |series: &Series| {
            (Arc::clone(&series.target), per_node.then(|| Arc::clone(&series.node)))
        };
        for target in always {
            let mut is_known = false;
            for series in states.keys().filter(|series| series.target == *target) {
                lines.entry(key(series)).or_default().insert(series.clone());
                is_known = true;
            }
            if !is_known {
                lines.entry((Arc::clone(target), None)).or_default();
            }
        }
        for (series, _) in self.parts.keys() {
            lines.entry(key(series)).or_default().insert(series.clone());
        }
        // A node that was silent throughout the window leaves its part of the window unknown, and still
        // counts for the target's state.
        if !per_node {
            for series in states.keys() {
                if let Some(line) = lines.get_mut(&key(series)) {
                    line.insert(series.clone());
                }
            }
        }
        lines
    }

    /// Adds up the parts of these series in one window.
    fn sum(&self, series: &BTreeSet<Series>, window: usize) -> Part {
        let mut sum = Part::default();
        for series in series {
            let Some(part) = self.parts.get(&(series.clone(), window)) else { continue };
            sum.tally.merge(&part.tally);
            for (cell, other) in sum.cells.iter_mut().zip(&part.cells) {
                cell.merge(other);
            }
        }
        sum
    }

    fn window_of(&self, due_ms: i64) -> Option<usize> {
        let after = self.windows.partition_point(|(start, _)| *start <= due_ms);
        let window = after.checked_sub(1)?;
        (due_ms < self.windows[window].1).then_some(window)
    }

    fn part(&mut self, series: &Series, window: usize) -> &mut Part {
        self.parts.entry((series.clone(), window)).or_default()
    }
}

/// Returns how many of a gap's slots were due in [start, end).
fn slots(gap: &Gap, start_ms: i64, end_ms: i64) -> u64 {
    if gap.interval_ms <= 0 {
        return if (start_ms..end_ms).contains(&gap.from_ms) { gap.count } else { 0 };
    }
    // Counts the slots before a time: those k with from + k·interval < time, at most count.
    let before = |time: i64| {
        let past = time - gap.from_ms;
        if past <= 0 { 0 } else { (((past - 1) / gap.interval_ms) as u64 + 1).min(gap.count) }
    };
    before(end_ms) - before(start_ms)
}

/// Returns the known time ÷ the time that could be known: for each node, from the first check ever or the
/// window's start, whichever is later, to `end_ms`.
fn coverage(tally: &Tally, states: &[NodeStanding], start_ms: i64, end_ms: i64) -> Option<f64> {
    let whole: i64 = states.iter().map(|s| (end_ms - start_ms.max(s.first_due_ms)).max(0)).sum();
    let interval_ms = states.iter().map(|s| s.interval_ms).max()?;
    (whole >= interval_ms && whole > 0).then(|| (tally.known_ms as f64 / whole as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::super::outcome::GapCause;
    use super::*;

    fn series(node: &str) -> Series {
        Series { target: Arc::from("site"), node: Arc::from(node) }
    }

    fn check(due_ms: i64, verdict: Verdict) -> CheckFacts {
        CheckFacts {
            due_ms,
            interval_ms: 1000,
            verdict,
            responded: true,
            status_ok: Some(true),
            match_ok: None,
            total_us: 1000,
        }
    }

    fn state(verdict: Verdict, since_ms: i64, last_due_ms: i64) -> NodeStanding {
        NodeStanding { verdict, since_ms, last_due_ms, interval_ms: 1000, first_due_ms: 0 }
    }

    #[test]
    fn windows_are_half_open() {
        let mut reporter = Reporter::new(vec![(0, 2000), (2000, 4000)]);
        for due in [-1, 0, 1999, 2000, 3999, 4000] {
            reporter.check(&series("a"), &check(due, Verdict::Up));
        }
        let reports = reporter.finish(&BTreeMap::new(), &[], false, 10_000);
        let counts: Vec<u64> = reports.iter().map(|r| r.tally.checks).collect();
        assert_eq!(counts, [2, 2]);
        assert_eq!(reports[0].cells[0].responded, 1);
        assert_eq!(reports[0].cells[CELLS - 1].responded, 1);
    }

    #[test]
    fn coverage_counts_from_the_first_check_of_each_node() {
        let mut reporter = Reporter::new(vec![(0, 10_000)]);
        for due in [6000, 7000, 8000] {
            reporter.check(&series("a"), &check(due, Verdict::Up));
        }
        reporter.check(&series("b"), &check(0, Verdict::Unknown));
        let late = NodeStanding { first_due_ms: 6000, ..state(Verdict::Up, 6000, 8000) };
        let states =
            BTreeMap::from([(series("a"), late), (series("b"), state(Verdict::Unknown, 0, 0))]);
        let reports = reporter.finish(&states, &[], false, 10_000);
        assert_eq!(reports[0].coverage, Some(3.0 / 14.0));
    }

    #[test]
    fn a_node_that_was_silent_counts_all_the_same() {
        let mut reporter = Reporter::new(vec![(0, 10_000)]);
        reporter.check(&series("a"), &check(5000, Verdict::Up));
        let silent = state(Verdict::Down, -9000, -9000);
        let states =
            BTreeMap::from([(series("a"), state(Verdict::Up, 0, 5000)), (series("b"), silent)]);
        let reports = reporter.finish(&states, &[], false, 10_000);
        assert_eq!(reports[0].coverage, Some(1.0 / 20.0));
        assert_eq!(reports[0].standing.verdict, Some(Verdict::Down));
    }

    #[test]
    fn a_configured_target_is_shown_without_checks() {
        let always = [Arc::from("never"), Arc::from("site")];
        let reports = Reporter::new(vec![(0, 1000)]).finish(&BTreeMap::new(), &always, true, 500);
        assert_eq!(reports.len(), 2);
        assert_eq!(reports[0].standing, Standing::default());
        assert_eq!(reports[0].coverage, None);
    }

    #[test]
    fn slots_of_a_gap_fall_into_their_windows() {
        let gap = Gap {
            target: Arc::from("site"),
            node: Arc::from("a"),
            run: 1,
            from_ms: 500,
            to_ms: 3500,
            count: 4,
            interval_ms: 1000,
            cause: GapCause::Overload,
        };
        assert_eq!(slots(&gap, 0, 500), 0);
        assert_eq!(slots(&gap, 0, 501), 1);
        assert_eq!(slots(&gap, 500, 1500), 1);
        assert_eq!(slots(&gap, 0, 99_000), 4);
        assert_eq!(slots(&gap, 3501, 99_000), 0);
    }
}
