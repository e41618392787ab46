//! State of a target, on one node and over all nodes, and how each new check changes that state.

use super::outcome::Verdict;

/// Age of the newest check beyond which a target's state is unknown, in milliseconds; three intervals if
/// that is longer.
const STALE_MS: i64 = 5 * 60 * 1000;

/// A due time may be so far ahead of the clock, in milliseconds, before it shows that some clock was ahead.
pub const AHEAD_MS: i64 = 60_000;

/// State of a target at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Verdict of the newest check; none if the target was never checked, unknown also if that check is too
    /// old.
    pub verdict: Option<Verdict>,
    /// Due time of the newest check, in milliseconds since 1970.
    pub last_due_ms: Option<i64>,
    /// Begin of this state, in milliseconds since 1970; up and slow are one state.
    pub since_ms: Option<i64>,
}

/// State of one target on one node, as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Verdict of the newest check.
    pub verdict: Verdict,
    /// Due time of the first check with that state in a row, in milliseconds since 1970.
    pub since_ms: i64,
    /// Due time of the newest check, in milliseconds since 1970.
    pub last_due_ms: i64,
    /// Interval of the newest check, in milliseconds.
    pub interval_ms: i64,
    /// Due time of the first check ever, in milliseconds since 1970.
    pub first_due_ms: i64,
}

impl State {
    /// Makes the state after the first check.
    pub fn new(verdict: Verdict, due_ms: i64, interval_ms: i64) -> State {
        State { verdict, since_ms: due_ms, last_due_ms: due_ms, interval_ms, first_due_ms: due_ms }
    }

    /// Adds a further check, stored at `now_ms`. A check older than the newest is late, and does not change
    /// the verdict; but a newest check that is more than [`AHEAD_MS`] in the future was stored while a
    /// clock was ahead, and is replaced.
    pub fn take(&mut self, verdict: Verdict, due_ms: i64, interval_ms: i64, now_ms: i64) {
        self.first_due_ms = self.first_due_ms.min(due_ms);
        if due_ms < self.last_due_ms && self.last_due_ms <= now_ms.saturating_add(AHEAD_MS) {
            return;
        }
        let lasts = verdict.state() == self.verdict.state();
        self.since_ms = if lasts { self.since_ms.min(due_ms) } else { due_ms };
        (self.verdict, self.last_due_ms, self.interval_ms) = (verdict, due_ms, interval_ms);
    }

    /// Returns the state at `now_ms`.
    pub fn standing(&self, now_ms: i64) -> Standing {
        let stale = now_ms - self.last_due_ms > (3 * self.interval_ms).max(STALE_MS);
        Standing {
            verdict: Some(if stale { Verdict::Unknown } else { self.verdict }),
            last_due_ms: Some(self.last_due_ms),
            since_ms: Some(if stale { self.last_due_ms } else { self.since_ms }),
        }
    }
}

/// Returns the state of a target over all its nodes: down if at least half of the nodes that know are down.
/// The state began when enough of them had agreed.
pub fn standing(states: &[State], now_ms: i64) -> Standing {
    let each: Vec<Standing> = states.iter().map(|state| state.standing(now_ms)).collect();
    let last_due_ms = each.iter().filter_map(|s| s.last_due_ms).max();
    let of = |state: Verdict| -> Vec<&Standing> {
        each.iter().filter(|s| s.verdict.map(Verdict::state) == Some(state)).collect()
    };
    let (up, down) = (of(Verdict::Up), of(Verdict::Down));
    let known = up.len() + down.len();
    let (verdict, agreed, needed) = if !down.is_empty() && 2 * down.len() >= known {
        (Some(Verdict::Down), down, known.div_ceil(2))
    } else if !up.is_empty() {
        let newest = up.iter().max_by_key(|s| s.last_due_ms).and_then(|s| s.verdict);
        (newest, up, known / 2 + 1)
    } else {
        let unknown = of(Verdict::Unknown);
        let verdict = (!unknown.is_empty()).then_some(Verdict::Unknown);
        let needed = unknown.len();
        (verdict, unknown, needed)
    };
    let mut since: Vec<i64> = agreed.iter().filter_map(|s| s.since_ms).collect();
    since.sort_unstable();
    let since_ms = needed.checked_sub(1).and_then(|i| since.get(i)).copied();
    Standing { verdict, last_due_ms, since_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(verdict: Verdict, since_ms: i64, last_due_ms: i64) -> State {
        State { verdict, since_ms, last_due_ms, interval_ms: 1000, first_due_ms: 0 }
    }

    #[test]
    fn half_of_those_that_know_make_it_down() {
        let (up, down) = (state(Verdict::Up, 10, 1000), state(Verdict::Down, 500, 1000));
        let gone = state(Verdict::Unknown, 900, 1000);
        assert_eq!(standing(&[up, down, gone], 2000).verdict, Some(Verdict::Down));
        assert_eq!(standing(&[up, down, gone], 2000).since_ms, Some(500));
        assert_eq!(standing(&[up, up, down], 2000).verdict, Some(Verdict::Up));
        assert_eq!(standing(&[gone], 2000).verdict, Some(Verdict::Unknown));
        assert_eq!(standing(&[], 2000), Standing::default());
        let slow = state(Verdict::Slow, 10, 1000);
        assert_eq!(standing(&[slow], 2000).verdict, Some(Verdict::Slow));
    }

    #[test]
    fn an_old_check_says_nothing_about_now() {
        let state = state(Verdict::Up, 0, 1000);
        assert_eq!(state.standing(1000 + STALE_MS).verdict, Some(Verdict::Up));
        let stale = state.standing(1001 + STALE_MS);
        assert_eq!(stale.verdict, Some(Verdict::Unknown));
        assert_eq!(stale.since_ms, Some(1000));
    }

    #[test]
    fn a_state_lasts_while_up_and_slow_alternate() {
        let mut state = State::new(Verdict::Up, 1000, 1000);
        for (verdict, due_ms, since_ms) in [
            (Verdict::Slow, 2000, 1000),
            (Verdict::Up, 3000, 1000),
            (Verdict::Down, 4000, 4000),
            (Verdict::Down, 5000, 4000),
            (Verdict::Unknown, 6000, 6000),
            (Verdict::Slow, 7000, 7000),
        ] {
            state.take(verdict, due_ms, 500, 9000);
            let want = State {
                verdict,
                since_ms,
                last_due_ms: due_ms,
                interval_ms: 500,
                first_due_ms: 1000,
            };
            assert_eq!(state, want);
        }
    }

    #[test]
    fn a_late_check_is_only_the_first() {
        let mut state = State::new(Verdict::Down, 5000, 1000);
        state.take(Verdict::Up, 2000, 60_000, 9000);
        assert_eq!(state, State { first_due_ms: 2000, ..State::new(Verdict::Down, 5000, 1000) });
        // A check of the same slot is not late: the other run has the last word.
        state.take(Verdict::Up, 5000, 1000, 9000);
        assert_eq!((state.verdict, state.since_ms), (Verdict::Up, 5000));
    }

    #[test]
    fn a_time_that_is_still_to_come_proves_nothing() {
        let now = 9000;
        let mut state = State::new(Verdict::Up, now + AHEAD_MS, 1000);
        state.take(Verdict::Down, now, 1000, now);
        assert_eq!((state.verdict, state.last_due_ms), (Verdict::Up, now + AHEAD_MS));
        let mut state = State::new(Verdict::Up, now + AHEAD_MS + 1, 1000);
        state.take(Verdict::Up, now, 1000, now);
        assert_eq!((state.since_ms, state.last_due_ms), (now, now));
    }
}
