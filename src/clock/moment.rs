//! Whether the clock may be believed: what all the clocks say at one moment, what has happened to
//! them between two, and when a clock is not fit to date a check by. Data in, answers out.

use std::time::Duration;

/// The clocks differ by more than this where one was set, or slept, in microseconds.
const STEP_US: i64 = 1_000_000;
/// A host that has been up for longer has had its time to ask for the time.
const JUST_BOOTED_US: i64 = 10 * 60 * 1_000_000;

/// What the clocks say, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970; may be set.
    pub now_us: i64,
    /// Since some moment, without the time that this host was suspended; goes on evenly.
    pub awake_us: i64,
    /// The same with that time.
    pub up_us: i64,
}

/// What has happened to a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// How far it was stepped ahead, or back, in microseconds.
    pub stepped_us: i64,
    /// How long the host was suspended, in microseconds.
    pub slept_us: i64,
}

impl Moment {
    /// What has happened since `before`; none: time went by.
    pub fn since(self, before: Moment) -> Option<Jump> {
        let up_us = self.up_us - before.up_us;
        let slept_us = up_us - (self.awake_us - before.awake_us);
        let stepped_us = (self.now_us - before.now_us) - up_us;
        // Small corrections are the clock's daily business.
        let large = |us: i64| if us.abs() < STEP_US { 0 } else { us };
        let jump = Jump { stepped_us: large(stepped_us), slept_us: large(slept_us) };
        (jump != Jump { stepped_us: 0, slept_us: 0 }).then_some(jump)
    }
}

/// Why no check may be dated by the clock yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It is before the day on which this program was made.
    Past,
    /// The host has just booted, and nobody has set it.
    Unsynchronised,
}

/// What is to be decided by.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// When the program was made, likewise.
    pub made_ms: i64,
    /// What the kernel calls the clock; none: it does not say.
    pub is_synchronised: Option<bool>,
    /// How long the host has been up, in microseconds.
    pub up_us: i64,
    /// How long it was waited for the clock already.
    pub waited: Duration,
    /// How long at most, for one that is not synchronised.
    pub clock_wait: Duration,
}

impl Circumstances {
    /// Why no check may be dated by the clock yet.
    pub fn doubt(&self) -> Option<Doubt> {
        if self.now_ms < self.made_ms {
            return Some(Doubt::Past);
        }
        let is_open = self.is_synchronised == Some(false) && self.waited < self.clock_wait;
        // It has just booted if it had when the waiting began.
        let up_us = self.up_us - self.waited.as_micros() as i64;
        (is_open && up_us < JUST_BOOTED_US).then_some(Doubt::Unsynchronised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn moment(now_s: i64, awake_s: i64, up_s: i64) -> Moment {
        let [now_us, awake_us, up_us] = [now_s, awake_s, up_s].map(|s| s * SECOND_US);
        Moment { now_us, awake_us, up_us }
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
            let jump = jump.then_some(Jump {
                stepped_us: stepped_s * SECOND_US,
                slept_us: slept_s * SECOND_US,
            });
            assert_eq!(after.since(before), jump, "{after:?}");
        }
        let slewed = Moment { now_us: before.now_us + 999_999, ..before };
        assert_eq!(slewed.since(before), None);
    }

    #[test]
    fn a_clock_is_waited_for_after_a_boot_alone() {
        let minute = Duration::from_secs(60);
        let booted = Circumstances {
            now_ms: 2_000,
            made_ms: 1_000,
            is_synchronised: Some(false),
            up_us: 30 * SECOND_US,
            waited: Duration::ZERO,
            clock_wait: 2 * minute,
        };
        let waited = |waited: Duration, up_s: i64| Circumstances {
            waited,
            up_us: up_s * SECOND_US,
            ..booted
        };
        for (circumstances, want) in [
            (booted, Some(Doubt::Unsynchronised)),
            (Circumstances { is_synchronised: Some(true), ..booted }, None),
            (Circumstances { is_synchronised: None, ..booted }, None),
            (Circumstances { clock_wait: Duration::ZERO, ..booted }, None),
            (waited(minute, 90), Some(Doubt::Unsynchronised)),
            (waited(2 * minute, 150), None),
            // It had just booted when the waiting began, and not now.
            (waited(minute, 650), Some(Doubt::Unsynchronised)),
            (waited(Duration::ZERO, 650), None),
            // That is never waited out.
            (Circumstances { now_ms: 999, ..waited(9 * minute, 9000) }, Some(Doubt::Past)),
            (Circumstances { now_ms: 0, is_synchronised: Some(true), ..booted }, Some(Doubt::Past)),
        ] {
            assert_eq!(circumstances.doubt(), want, "{circumstances:?}");
        }
    }
}
