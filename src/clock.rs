//! All clocks, in one place: the time of day in the units of the records, and if the kernel trusts it.
//! Durations come from the monotonic clock ([`std::time::Instant`]), never from differences of the time of
//! day.
//!
//! The time is read with the kernel's 64-bit call on every platform: std's `SystemTime::now` takes the
//! 32-bit call on 32-bit musl, and panics from 2038-01-19T03:14:08Z on. Arithmetic on a `SystemTime` that
//! was made from a number is 64-bit everywhere.

mod kernel;
pub mod readings;
#[cfg(debug_assertions)]
mod shift;

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use self::readings::{ClockFacts, ClockReadings};

/// Returns the time in microseconds since 1970, UTC. Negative before 1970; clamped at the ends of `i64`.
pub fn now_us() -> i64 {
    #[cfg(debug_assertions)]
    return shift::realtime_us() + shift::read().ahead_us;
    #[cfg(not(debug_assertions))]
    read(ClockId::Realtime)
}

/// Reads all clocks.
pub fn read_all() -> ClockReadings {
    let (now_us, awake_us) = (now_us(), read(ClockId::Monotonic));
    let up_us = read(ClockId::Boottime);
    #[cfg(debug_assertions)]
    let up_us = up_us + shift::read().asleep_us;
    ClockReadings { now_us, awake_us, up_us }
}

/// Returns true if the kernel calls the clock synchronised, because a program such as an NTP daemon has
/// said so. None if the kernel cannot be asked.
pub fn is_synchronised() -> Option<bool> {
    #[cfg(debug_assertions)]
    if let Some(shift) = shift::read().is_synchronised {
        return Some(shift);
    }
    kernel::is_synchronised()
}

/// Returns the facts that decide if checks may be dated by the clock, after a wait of `waited` so far and
/// of `clock_wait` at most.
pub fn read_facts(waited: Duration, clock_wait: Duration) -> ClockFacts {
    let up_us = read(ClockId::Boottime);
    #[cfg(debug_assertions)]
    let up_us = shift::read().up_us.unwrap_or(up_us);
    let (now_ms, is_synchronised) = (now_ms(), is_synchronised());
    ClockFacts { now_ms, made_ms: MADE_MS, is_synchronised, up_us, waited, clock_wait }
}

/// Time of the commit that this program was built from, in milliseconds since 1970; 0 if the build did not
/// know it.
pub const MADE_MS: i64 = match option_env!("SITEWATCH_COMMIT_S") {
    Some(text) => match i64::from_str_radix(text, 10) {
        Ok(seconds) => seconds * 1000,
        Err(_) => 0,
    },
    None => 0,
};

/// Returns the time in milliseconds since 1970, UTC, rounded down.
pub fn now_ms() -> i64 {
    now_us().div_euclid(1000)
}

/// Reads a clock of the kernel, in microseconds.
fn read(clock: ClockId) -> i64 {
    micros(clock_gettime(clock))
}

/// Converts a time to microseconds, rounded down. The kernel counts nanoseconds from the start of the
/// current second upwards, before 1970 too.
fn micros(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_past_2038_and_2106() {
        for (tv_sec, tv_nsec, want) in [
            (0, 0, 0),
            (-1, 999_999_000, -1),
            (-1, 0, -1_000_000),
            (1_795_230_000, 7_999, 1_795_230_000_000_007),
            // The last second that 31 bits hold, and the one after; 32 bits likewise.
            (2_147_483_647, 999_999_999, 2_147_483_647_999_999),
            (2_147_483_648, 0, 2_147_483_648_000_000),
            (4_294_967_295, 1_000, 4_294_967_295_000_001),
            (4_294_967_296, 0, 4_294_967_296_000_000),
            (253_402_300_799, 0, 253_402_300_799_000_000),
            (i64::MAX, 999_999_999, i64::MAX),
            (i64::MIN, 0, i64::MIN),
        ] {
            assert_eq!(micros(Timespec { tv_sec, tv_nsec }), want, "{tv_sec}");
        }
    }

    #[test]
    fn it_is_now() {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64;
        let (us, ms) = (now_us(), now_ms());
        assert!((0..60_000_000).contains(&(us - since)), "{us} {since}");
        assert!((0..60_000).contains(&(ms - us / 1000)), "{ms} {us}");
    }
}
