//! Decides how a target stands: on one node, from check to check; and over its nodes, by a quorum. A pure state
//! machine: a check goes in, the next state and, if it is another one, the [`Transition`] come out. The log,
//! the stores and the reports all use these rules; PostgreSQL's views repeat them in SQL, held to them by tests.
//!
//! - The states are up, down and unknown: slow is up.
//! - A state began with the first check in a row that had it.
//! - A check older than the newest is late and changes nothing, except that it may be the first one ever. But a
//!   newest check more than [`AHEAD_MS`] in the future was made while a clock was ahead, and is replaced.
//! - A newest check older than three intervals, and than 5 minutes, is stale: the state has been unknown since
//!   then.
//! - Over its nodes a target is down if at least half of the nodes that know are down.

use super::outcome::{Outcome, Verdict};

/// Age of the newest check beyond which it is stale, in milliseconds; three intervals if that is longer.
const STALE_MS: i64 = 5 * 60 * 1000;

/// Time that a due time may be ahead of the clock before it shows that some clock was ahead, in milliseconds.
pub const AHEAD_MS: i64 = 60_000;

/// State of a target at one moment, on one node or over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Verdict of the newest check; none if the target was never checked; unknown also if that check is
    /// stale.
    pub verdict: Option<Verdict>,
    /// Due time of the newest check, in milliseconds since 1970.
    pub last_due_ms: Option<i64>,
    /// Begin of this state, in milliseconds since 1970.
    pub since_ms: Option<i64>,
}

/// State of a target on one node, as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStanding {
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

/// Change of a target's state on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// State before: up, down or unknown; none for the first check ever.
    pub from: Option<Verdict>,
    /// State from now on: up, down or unknown.
    pub to: Verdict,
    /// Begin of the new state, in milliseconds since 1970.
    pub at_ms: i64,
    /// Duration of the state before, in milliseconds; 0 without one.
    pub lasted_ms: i64,
}

/// Parts of a check that decide how its target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Verdict of the check.
    pub verdict: Verdict,
    /// Due time of the check, in milliseconds since 1970.
    pub due_ms: i64,
    /// Interval of the target at that time, in milliseconds.
    pub interval_ms: i64,
}

impl From<&Outcome> for Observation {
    fn from(outcome: &Outcome) -> Observation {
        let Outcome { verdict, due_ms, interval_ms, .. } = *outcome;
        Observation { verdict, due_ms, interval_ms }
    }
}

impl NodeStanding {
    /// Returns the state after a check that is added at `now_ms` to the state before, if there is one; and the
    /// transition, if the check changes the state.
    pub fn advance(
        before: Option<NodeStanding>,
        check: Observation,
        now_ms: i64,
    ) -> (NodeStanding, Option<Transition>) {
        let Observation { verdict, due_ms, interval_ms } = check;
        let Some(before) = before else { return NodeStanding::begin(check) };
        let first_due_ms = before.first_due_ms.min(due_ms);
        if due_ms < before.last_due_ms && before.last_due_ms <= now_ms.saturating_add(AHEAD_MS) {
            return (NodeStanding { first_due_ms, ..before }, None);
        }
        let (from, to) = (before.verdict.state(), verdict.state());
        let since_ms = if from == to { before.since_ms.min(due_ms) } else { due_ms };
        let after =
            NodeStanding { verdict, since_ms, last_due_ms: due_ms, interval_ms, first_due_ms };
        let transition = (from != to).then(|| Transition {
            from: Some(from),
            to,
            at_ms: due_ms,
            lasted_ms: due_ms.saturating_sub(before.since_ms).max(0),
        });
        (after, transition)
    }

    /// Returns the state and the transition that the first check ever makes.
    fn begin(check: Observation) -> (NodeStanding, Option<Transition>) {
        let Observation { verdict, due_ms, interval_ms } = check;
        let standing = NodeStanding {
            verdict,
            since_ms: due_ms,
            last_due_ms: due_ms,
            interval_ms,
            first_due_ms: due_ms,
        };
        let to = verdict.state();
        (standing, Some(Transition { from: None, to, at_ms: due_ms, lasted_ms: 0 }))
    }

    /// Returns the state at `now_ms`: unknown since the newest check if that is stale.
    pub fn at(self, now_ms: i64) -> NodeStanding {
        let age_ms = now_ms.saturating_sub(self.last_due_ms);
        if age_ms <= self.interval_ms.saturating_mul(3).max(STALE_MS) {
            return self;
        }
        NodeStanding { verdict: Verdict::Unknown, since_ms: self.last_due_ms, ..self }
    }
}

impl Standing {
    /// Returns the state of a target over its nodes at `now_ms`: down if at least half of the nodes that know
    /// are down, else up if a node knows, else unknown. The state began when enough nodes had agreed.
    pub fn over(nodes: &[NodeStanding], now_ms: i64) -> Standing {
        let nodes: Vec<NodeStanding> = nodes.iter().map(|node| node.at(now_ms)).collect();
        let last_due_ms = nodes.iter().map(|node| node.last_due_ms).max();
        let of = |state: Verdict| -> Vec<&NodeStanding> {
            nodes.iter().filter(|node| node.verdict.state() == state).collect()
        };
        let (up, down) = (of(Verdict::Up), of(Verdict::Down));
        let known = up.len() + down.len();
        let (verdict, agreed, needed) = if !down.is_empty() && 2 * down.len() >= known {
            (Some(Verdict::Down), down, known.div_ceil(2))
        } else if !up.is_empty() {
            let newest = up.iter().max_by_key(|node| node.last_due_ms).map(|node| node.verdict);
            (newest, up, known / 2 + 1)
        } else {
            let unknown = of(Verdict::Unknown);
            let verdict = (!unknown.is_empty()).then_some(Verdict::Unknown);
            let needed = unknown.len();
            (verdict, unknown, needed)
        };
        let mut since: Vec<i64> = agreed.iter().map(|node| node.since_ms).collect();
        since.sort_unstable();
        let since_ms = needed.checked_sub(1).and_then(|i| since.get(i)).copied();
        Standing { verdict, last_due_ms, since_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(verdict: Verdict, since_ms: i64, last_due_ms: i64) -> NodeStanding {
        NodeStanding { verdict, since_ms, last_due_ms, interval_ms: 1000, first_due_ms: 0 }
    }

    fn first(verdict: Verdict, due_ms: i64, interval_ms: i64) -> NodeStanding {
        NodeStanding::advance(None, Observation { verdict, due_ms, interval_ms }, 0).0
    }

    fn take(
        state: &mut NodeStanding,
        (verdict, due_ms, interval_ms): (Verdict, i64, i64),
        now_ms: i64,
    ) -> Option<Transition> {
        let check = Observation { verdict, due_ms, interval_ms };
        let (after, transition) = NodeStanding::advance(Some(*state), check, now_ms);
        *state = after;
        transition
    }

    #[test]
    fn half_of_those_that_know_make_it_down() {
        let (up, down) = (state(Verdict::Up, 10, 1000), state(Verdict::Down, 500, 1000));
        let gone = state(Verdict::Unknown, 900, 1000);
        assert_eq!(Standing::over(&[up, down, gone], 2000).verdict, Some(Verdict::Down));
        assert_eq!(Standing::over(&[up, down, gone], 2000).since_ms, Some(500));
        assert_eq!(Standing::over(&[up, up, down], 2000).verdict, Some(Verdict::Up));
        assert_eq!(Standing::over(&[gone], 2000).verdict, Some(Verdict::Unknown));
        assert_eq!(Standing::over(&[], 2000), Standing::default());
        let slow = state(Verdict::Slow, 10, 1000);
        assert_eq!(Standing::over(&[slow], 2000).verdict, Some(Verdict::Slow));
    }

    #[test]
    fn an_old_check_says_nothing_about_now() {
        let state = state(Verdict::Up, 0, 1000);
        assert_eq!(state.at(1000 + STALE_MS), state);
        let stale = state.at(1001 + STALE_MS);
        assert_eq!((stale.verdict, stale.since_ms), (Verdict::Unknown, 1000));
        let slow = NodeStanding { interval_ms: STALE_MS, ..state };
        assert_eq!(slow.at(1000 + 3 * STALE_MS).verdict, Verdict::Up);
        assert_eq!(slow.at(1001 + 3 * STALE_MS).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_state_lasts_while_up_and_slow_alternate() {
        let mut state = first(Verdict::Up, 1000, 1000);
        for (verdict, due_ms, since_ms) in [
            (Verdict::Slow, 2000, 1000),
            (Verdict::Up, 3000, 1000),
            (Verdict::Down, 4000, 4000),
            (Verdict::Down, 5000, 4000),
            (Verdict::Unknown, 6000, 6000),
            (Verdict::Slow, 7000, 7000),
        ] {
            take(&mut state, (verdict, due_ms, 500), 9000);
            let want = NodeStanding {
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
        let mut state = first(Verdict::Down, 5000, 1000);
        take(&mut state, (Verdict::Up, 2000, 60_000), 9000);
        assert_eq!(state, NodeStanding { first_due_ms: 2000, ..first(Verdict::Down, 5000, 1000) });
        // A check of the same slot is not late: the other run has the last word.
        take(&mut state, (Verdict::Up, 5000, 1000), 9000);
        assert_eq!((state.verdict, state.since_ms), (Verdict::Up, 5000));
    }

    #[test]
    fn a_time_that_is_still_to_come_proves_nothing() {
        let now = 9000;
        let mut state = first(Verdict::Up, now + AHEAD_MS, 1000);
        take(&mut state, (Verdict::Down, now, 1000), now);
        assert_eq!((state.verdict, state.last_due_ms), (Verdict::Up, now + AHEAD_MS));
        let mut state = first(Verdict::Up, now + AHEAD_MS + 1, 1000);
        take(&mut state, (Verdict::Up, now, 1000), now);
        assert_eq!((state.since_ms, state.last_due_ms), (now, now));
    }

    #[test]
    fn only_a_change_of_state_is_a_transition() {
        let check = Observation { verdict: Verdict::Slow, due_ms: 1000, interval_ms: 500 };
        let (mut state, began) = NodeStanding::advance(None, check, 9000);
        let (from, to) = (None, Verdict::Up);
        assert_eq!(began, Some(Transition { from, to, at_ms: 1000, lasted_ms: 0 }));
        for (verdict, due_ms, now_ms, change) in [
            (Verdict::Up, 2000, 9000, None),
            (Verdict::Down, 3000, 9000, Some((Verdict::Up, Verdict::Down, 2000))),
            (Verdict::Down, 4000, 9000, None),
            // A late check.
            (Verdict::Up, 3500, 9000, None),
            (Verdict::Unknown, 5000, 9000, Some((Verdict::Down, Verdict::Unknown, 2000))),
            (Verdict::Slow, 5500, 9000, Some((Verdict::Unknown, Verdict::Up, 500))),
            // The clock was ahead until now.
            (Verdict::Down, 1500, -AHEAD_MS, Some((Verdict::Up, Verdict::Down, 0))),
        ] {
            let change = change.map(|(from, to, lasted_ms)| Transition {
                from: Some(from),
                to,
                at_ms: due_ms,
                lasted_ms,
            });
            assert_eq!(take(&mut state, (verdict, due_ms, 500), now_ms), change, "{due_ms}");
        }
    }
}
