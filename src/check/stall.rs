//! Detects stalls: this process got no processor for a while, or was stopped, for example by SIGSTOP. During
//! a stall the checks under way wait for us, not for their sites.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::Cause;
use crate::model::target::Target;

/// Ignore turns that are late by less than this: they are common on a busy machine.
const LATE: Duration = Duration::from_millis(250);
/// A stall of this length or more makes the outcome of every check under way unknown. Steps of the clock have
/// the same bound.
pub const STALLED: Duration = Duration::from_secs(1);

/// Measures the time between the turns of the engine.
#[derive(Default)]
pub struct StallDetector {
    last_turn: Option<Instant>,
}

impl StallDetector {
    /// Returns the delay of this turn: the time since the last call, less the longest wait `allowed`. None if
    /// the delay is below [`LATE`]. The true delay may be longer, since an event may have ended the wait
    /// early.
    pub fn late(&mut self, allowed: Duration, now: Instant) -> Option<Duration> {
        let went = now.saturating_duration_since(self.last_turn.replace(now)?);
        Some(went.saturating_sub(allowed)).filter(|late| *late >= LATE)
    }
}

/// Check that a reply belongs to.
pub struct ReplyOwner {
    /// Target of the check.
    pub target: Arc<Target>,
    /// Sum of the stalls during the check.
    pub stalled: Duration,
}

/// Returns the fault of a check that was stalled for `stalled`, if its reply cannot be trusted: the measured
/// times contain our own delay, or the deadline passed during the stall.
pub fn fault(reply: &Reply, stalled: Duration) -> Option<CheckFault> {
    let is_timeout = reply.fault.as_ref().is_some_and(|fault| fault.cause == Cause::Timeout);
    if stalled < STALLED && !(is_timeout && stalled >= LATE) {
        return None;
    }
    let seconds = stalled.as_secs_f64();
    let text = format!(
        "this process stood still for {seconds:.1} s or more: it was stopped, or got no processor"
    );
    Some(CheckFault { cause: Cause::Overload, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::Phases;

    #[test]
    fn a_turn_that_comes_in_time_is_no_stall() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut detector = StallDetector::default();
        assert_eq!(detector.late(Duration::ZERO, start), None);
        assert_eq!(detector.late(second, start + second), None);
        assert_eq!(detector.late(Duration::ZERO, start + second + LATE / 2), None);
        assert_eq!(detector.late(Duration::ZERO, start + second + 2 * LATE), Some(LATE * 3 / 2));
        assert_eq!(detector.late(second, start + 8 * second), Some(6 * second - 2 * LATE));
    }

    #[test]
    fn a_reply_after_a_stall_is_not_trusted() {
        let reply = |total_ms: u64, cause: Option<Cause>| Reply {
            phases: Phases { first_byte_us: Some(total_ms * 1000), ..Phases::default() },
            fault: cause.map(|cause| CheckFault { cause, text: String::new() }),
            ..Reply::default()
        };
        let ms = Duration::from_millis;
        for (total_ms, cause, stalled, want) in [
            // No stall.
            (2001, Some(Cause::Timeout), ms(0), false),
            // The deadline passed during the stall: perhaps the reply had arrived.
            (2200, Some(Cause::Timeout), ms(300), true),
            (2300, Some(Cause::Timeout), ms(249), false),
            (700, Some(Cause::Connect), ms(300), false),
            (700, None, ms(300), false),
            // The stall is so long that no measured time is right.
            (6900, Some(Cause::Timeout), ms(6000), true),
            (1700, None, ms(1000), true),
            (1700, Some(Cause::Connect), ms(1000), true),
        ] {
            let found = fault(&reply(total_ms, cause), stalled);
            assert_eq!(found.is_some(), want, "{total_ms} {cause:?} {stalled:?}");
            assert!(found.is_none_or(|fault| fault.cause == Cause::Overload));
        }
    }
}
