//! Counts of checks, from which a report's figures are made. Tallies of parts (nodes, hours) merge to the
//! tally of the whole, in any order.

use super::histogram::Histogram;
use super::outcome::Verdict;

/// Facts about one check that the figures of a report need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckFacts {
    /// Due time of the check, in milliseconds since 1970.
    pub due_ms: i64,
    /// Interval of the target at that time, in milliseconds.
    pub interval_ms: i64,
    /// Verdict of the check.
    pub verdict: Verdict,
    /// True if the reply arrived whole and in time.
    pub responded: bool,
    /// True if the status was accepted; none if no status arrived.
    pub status_ok: Option<bool>,
    /// True if the expressions agreed; none if they were not judged.
    pub match_ok: Option<bool>,
    /// Duration of the whole check, in microseconds.
    pub total_us: u64,
}

/// Counts and sums over the checks of one target. All but `checks`, `unknown` and `missed` are of known
/// checks alone; times are of checks that responded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// All checks.
    pub checks: u64,
    /// Checks with the verdict unknown.
    pub unknown: u64,
    /// Checks that were up, slow ones included.
    pub up: u64,
    /// Checks that were slow.
    pub slow: u64,
    /// Checks that were down.
    pub down: u64,
    /// Checks that responded: the number of times that are summed.
    pub responded: u64,
    /// Checks that responded with an accepted status.
    pub status_ok: u64,
    /// Checks that responded and agreed with the expressions.
    pub match_ok: u64,
    /// Slots that were not checked.
    pub missed: u64,
    /// Time that is known, in milliseconds: one interval for each slot with a known check, however many
    /// runs checked the slot.
    pub known_ms: i64,
    /// Sum of the times, in microseconds.
    pub sum_us: u128,
    /// Sum of the squares of the times, in square microseconds.
    pub sum_squares: u128,
    /// Shortest time, in microseconds.
    pub min_us: Option<u64>,
    /// Longest time, in microseconds.
    pub max_us: Option<u64>,
    /// Histogram of the times.
    pub histogram: Histogram,
    /// Due time of the last known check: a second check of the same slot adds no known time.
    last_known_ms: Option<i64>,
}

impl Tally {
    /// Counts a check of one node. Checks must come in the order of their due times.
    pub fn add(&mut self, check: &CheckFacts) {
        self.checks += 1;
        match check.verdict {
            Verdict::Unknown => {
                self.unknown += 1;
                return;
            }
            Verdict::Up => self.up += 1,
            Verdict::Slow => {
                self.up += 1;
                self.slow += 1;
            }
            Verdict::Down => self.down += 1,
        }
        if self.last_known_ms != Some(check.due_ms) {
            self.last_known_ms = Some(check.due_ms);
            self.known_ms += check.interval_ms;
        }
        if !check.responded {
            return;
        }
        self.responded += 1;
        self.status_ok += u64::from(check.status_ok == Some(true));
        self.match_ok += u64::from(check.match_ok == Some(true));
        let us = check.total_us;
        self.sum_us += u128::from(us);
        self.sum_squares += u128::from(us) * u128::from(us);
        self.min_us = Some(self.min_us.map_or(us, |min| min.min(us)));
        self.max_us = Some(self.max_us.map_or(us, |max| max.max(us)));
        self.histogram.add(us);
    }

    /// Adds the tally of another node or another time.
    pub fn merge(&mut self, other: &Tally) {
        self.checks += other.checks;
        self.unknown += other.unknown;
        self.up += other.up;
        self.slow += other.slow;
        self.down += other.down;
        self.responded += other.responded;
        self.status_ok += other.status_ok;
        self.match_ok += other.match_ok;
        self.missed += other.missed;
        self.known_ms += other.known_ms;
        self.sum_us += other.sum_us;
        self.sum_squares += other.sum_squares;
        self.min_us = self.min_us.into_iter().chain(other.min_us).min();
        self.max_us = self.max_us.into_iter().chain(other.max_us).max();
        self.histogram.merge(&other.histogram);
    }

    /// Returns the number of known checks without a response.
    pub fn no_response(&self) -> u64 {
        self.checks - self.unknown - self.responded
    }

    /// Returns up ÷ (up + down), 0 to 1; none if both are 0.
    pub fn uptime(&self) -> Option<f64> {
        let known = self.up + self.down;
        (known > 0).then(|| self.up as f64 / known as f64)
    }

    /// Returns the mean of the times, in microseconds; none without a time.
    pub fn mean_us(&self) -> Option<f64> {
        (self.responded > 0).then(|| self.sum_us as f64 / self.responded as f64)
    }

    /// Returns the standard deviation of the sample, in microseconds: √((n·Σx² − (Σx)²) ÷ (n·(n − 1))). The
    /// difference is taken in whole numbers, so that no digits are lost. None below n = 2.
    pub fn stdev_us(&self) -> Option<f64> {
        let n = u128::from(self.responded);
        if n < 2 {
            return None;
        }
        let spread = (n * self.sum_squares).saturating_sub(self.sum_us * self.sum_us);
        Some((spread as f64 / (n * (n - 1)) as f64).sqrt())
    }

    /// Returns the time at rank ⌈percent·n/100⌉, in microseconds, within 1.1 %.
    pub fn percentile_us(&self, percent: u64) -> Option<f64> {
        let (min, max) = (self.min_us? as f64, self.max_us? as f64);
        Some(self.histogram.percentile(percent)?.clamp(min, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(due_ms: i64, verdict: Verdict, total_us: u64) -> CheckFacts {
        CheckFacts {
            due_ms,
            interval_ms: 1000,
            verdict,
            responded: verdict != Verdict::Down,
            status_ok: Some(true),
            match_ok: None,
            total_us,
        }
    }

    #[test]
    fn figures_of_known_checks_alone() {
        let mut tally = Tally::default();
        for c in [
            check(0, Verdict::Up, 100),
            check(1000, Verdict::Slow, 300),
            check(2000, Verdict::Down, 9_999),
            check(3000, Verdict::Unknown, 77_777),
        ] {
            tally.add(&c);
        }
        assert_eq!(
            (tally.checks, tally.unknown, tally.up, tally.slow, tally.down),
            (4, 1, 2, 1, 1)
        );
        assert_eq!((tally.responded, tally.no_response(), tally.known_ms), (2, 1, 3000));
        assert_eq!(tally.uptime(), Some(2.0 / 3.0));
        assert_eq!(
            (tally.mean_us(), tally.min_us, tally.max_us),
            (Some(200.0), Some(100), Some(300))
        );
        assert!((tally.stdev_us().unwrap() - 141.421_356).abs() < 1e-5);
        assert_eq!(tally.percentile_us(99), Some(300.0));
    }

    #[test]
    fn a_slot_checked_by_two_runs_is_known_once() {
        let mut tally = Tally::default();
        for c in [check(0, Verdict::Up, 1), check(0, Verdict::Up, 2), check(1000, Verdict::Up, 3)] {
            tally.add(&c);
        }
        assert_eq!((tally.checks, tally.known_ms), (3, 2000));
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let checks: Vec<CheckFacts> =
            (0..100).map(|i| check(i * 1000, Verdict::Up, (i * i) as u64)).collect();
        let (mut whole, mut first, mut second) =
            (Tally::default(), Tally::default(), Tally::default());
        for (i, c) in checks.iter().enumerate() {
            whole.add(c);
            if i < 40 { first.add(c) } else { second.add(c) }
        }
        first.merge(&second);
        first.last_known_ms = whole.last_known_ms;
        assert_eq!(first, whole);
    }

    #[test]
    fn nothing_has_no_figures() {
        let tally = Tally::default();
        assert_eq!((tally.uptime(), tally.mean_us(), tally.stdev_us()), (None, None, None));
        assert_eq!(tally.percentile_us(50), None);
    }
}
