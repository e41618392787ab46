//! Decides if the clock may be believed: compares all clocks at two moments to find jumps, and finds reasons
//! not to date checks by the clock. Pure: data in, answers out.

use std::time::Duration;

/// Smallest difference between two clocks that counts as a step or a suspension, in microseconds.
const STEP_US: i64 = 1_000_000;
/// Time since boot, in microseconds, after which a host counts as having had time to set its clock.
const JUST_BOOTED_US: i64 = 10 * 60 * 1_000_000;

/// Readings of all clocks at one moment, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReadings {
    /// Time since 1970; this clock may be set.
    pub now_us: i64,
    /// Time since some fixed moment, without the time that this host was suspended; this clock is never set.
    pub awake_us: i64,
    /// Time since a fixed moment, with the time that this host was suspended; this clock is never set.
    pub up_us: i64,
}

/// Jump of the clock between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockJump {
    /// Step of the clock in microseconds: positive ahead, negative back, 0 if there was none.
    pub stepped_us: i64,
    /// Time that the host was suspended, in microseconds; 0 if it was not.
    pub slept_us: i64,
}

impl ClockReadings {
    /// Returns the jump of the clock since `before`; none if only time went by.
    pub fn since(self, before: ClockReadings) -> Option<ClockJump> {
        let up_us = self.up_us - before.up_us;
        let slept_us = up_us - (self.awake_us - before.awake_us);
        let stepped_us = (self.now_us - before.now_us) - up_us;
        // Small corrections of the clock are normal.
        let large = |us: i64| if us.abs() < STEP_US { 0 } else { us };
        let jump = ClockJump { stepped_us: large(stepped_us), slept_us: large(slept_us) };
        (jump != ClockJump { stepped_us: 0, slept_us: 0 }).then_some(jump)
    }
}

/// Reason for which no check may be dated by the clock yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockWaitReason {
    /// The clock is before the time at which this program was made.
    Past,
    /// The host has just booted, and its clock is not synchronised yet.
    Unsynchronised,
}

/// Facts that decide if checks may be dated by the clock.
#[derive(Debug, Clone, Copy)]
pub struct ClockFacts {
    /// Time of the clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// Time at which this program was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// The kernel calls the clock synchronised; none if it does not say.
    pub is_synchronised: Option<bool>,
    /// Time since the host was booted, in microseconds.
    pub up_us: i64,
    /// Time that we have waited for the clock so far.
    pub waited: Duration,
    /// Longest wait for a clock that is not synchronised.
    pub clock_wait: Duration,
}

impl ClockFacts {
    /// Returns the reason for which no check may be dated by the clock yet; none if checks may be.
    pub fn find_wait_reason(&self) -> Option<ClockWaitReason> {
        if self.now_ms < self.made_ms {
            return Some(ClockWaitReason::Past);
        }
        let is_open = self.is_synchronised == Some(false) && self.waited < self.clock_wait;
        // The host counts as just booted if it was so when the wait began.
        let up_us = self.up_us - self.waited.as_micros() as i64;
        (is_open && up_us < JUST_BOOTED_US).then_some(ClockWaitReason::Unsynchronised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn moment(now_s: i64, awake_s: i64, up_s: i64) -> ClockReadings {
        let [now_us, awake_us, up_us] = [now_s, awake_s, up_s].map(|s| s * SECOND_US);
        ClockReadings { now_us, awake_us, up_us }
    }

    #[test]
    fn steps_and_sleep_are_told_apart() {
        let before = moment(1000, 10, 20);
        for (after, stepped_s, slept_s) in [
            (moment(1300, 310, 320), 0, 0),
            (moment(1310, 20, 30), 300, 0),
            (moment(700, 20, 30), -310, 0),
            (moment(1310, 20, 330), 0, 300),
            (moment(5000, 20, 330), 3690, 300),
            (moment(1001, 10, 20), 1, 0),
        ] {
            let jump = (stepped_s, slept_s) != (0, 0);
            let jump = jump.then_some(ClockJump {
                stepped_us: stepped_s * SECOND_US,
                slept_us: slept_s * SECOND_US,
            });
            assert_eq!(after.since(before), jump, "{after:?}");
        }
        let slewed = ClockReadings { now_us: before.now_us + 999_999, ..before };
        assert_eq!(slewed.since(before), None);
    }

    #[test]
    fn a_clock_is_waited_for_after_a_boot_alone() {
        let minute = Duration::from_secs(60);
        let booted = ClockFacts {
            now_ms: 2_000,
            made_ms: 1_000,
            is_synchronised: Some(false),
            up_us: 30 * SECOND_US,
            waited: Duration::ZERO,
            clock_wait: 2 * minute,
        };
        let waited =
            |waited: Duration, up_s: i64| ClockFacts { waited, up_us: up_s * SECOND_US, ..booted };
        for (facts, want) in [
            (booted, Some(ClockWaitReason::Unsynchronised)),
            (ClockFacts { is_synchronised: Some(true), ..booted }, None),
            (ClockFacts { is_synchronised: None, ..booted }, None),
            (ClockFacts { clock_wait: Duration::ZERO, ..booted }, None),
            (waited(minute, 90), Some(ClockWaitReason::Unsynchronised)),
            (waited(2 * minute, 150), None),
            // The host had just booted when the wait began, and no longer now.
            (waited(minute, 650), Some(ClockWaitReason::Unsynchronised)),
            (waited(Duration::ZERO, 650), None),
            // A clock in the past is waited for without limit.
            (ClockFacts { now_ms: 999, ..waited(9 * minute, 9000) }, Some(ClockWaitReason::Past)),
            (
                ClockFacts { now_ms: 0, is_synchronised: Some(true), ..booted },
                Some(ClockWaitReason::Past),
            ),
        ] {
            assert_eq!(facts.find_wait_reason(), want, "{facts:?}");
        }
    }
}
