//! Detects turns that come far too late: this process was stopped for a while, for example by SIGSTOP, or
//! got no processor. Checks under way then waited for us, not for their sites.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::Cause;
use crate::model::target::Target;

/// Ignore turns that are late by less than this: a busy machine has such turns all the time.
const LATE: Duration = Duration::from_millis(250);
/// After a stall of this length no check that was under way is believed; the same bound as for a step of the
/// clock.
pub const STALLED: Duration = Duration::from_secs(1);

/// Meter of the time between turns, from the first turn on.
#[derive(Default)]
pub struct StallDetector {
    last_turn: Option<Instant>,
}

impl StallDetector {
    /// Returns by how much this turn is late: the time since the last call beyond `allowed`. It is a lower
    /// bound, since an event might have ended the wait before `allowed`. None if it is less than [`LATE`].
    pub fn late(&mut self, allowed: Duration, now: Instant) -> Option<Duration> {
        let went = now.saturating_duration_since(self.last_turn.replace(now)?);
        Some(went.saturating_sub(allowed)).filter(|late| *late >= LATE)
    }
}

/// Owner of a reply whose check is over.
pub struct ReplyOwner {
    /// Target of the check.
    pub target: Arc<Target>,
    /// Time without a turn of the engine, summed over the turns that came far too late.
    pub stalled: Duration,
}

/// Returns the fault of a reply that cannot be believed, because its check was stalled for `stalled`: its
/// times are our own delay, or its deadline passed during the stall.
pub fn fault(reply: &Reply, stalled: Duration) -> Option<CheckFault> {
    let is_timeout = reply.fault.as_ref().is_some_and(|fault| fault.cause == Cause::Timeout);
    if stalled < STALLED && !(is_timeout && stalled >= LATE) {
        return None;
    }
    let seconds = stalled.as_secs_f64();
    let text = format!("this process stood still for {seconds:.1} s or more: stopped, or starved");
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
    fn what_a_stall_explains_is_doubted() {
        let reply = |total_ms: u64, cause: Option<Cause>| Reply {
            phases: Phases { first_byte_us: Some(total_ms * 1000), ..Phases::default() },
            fault: cause.map(|cause| CheckFault { cause, text: String::new() }),
            ..Reply::default()
        };
        let ms = Duration::from_millis;
        for (total_ms, cause, stalled, want) in [
            // No stall.
            (2001, Some(Cause::Timeout), ms(0), false),
            // The deadline passed during the stall: the reply may have been there.
            (2200, Some(Cause::Timeout), ms(300), true),
            (2300, Some(Cause::Timeout), ms(249), false),
            (700, Some(Cause::Connect), ms(300), false),
            (700, None, ms(300), false),
            // The stall is so long that no time is true.
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
