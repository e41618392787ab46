//! The clocks, in one place: what day it is, in the units of the records. Durations are taken
//! from the monotonic clock ([`std::time::Instant`]), never from differences of these.
//!
//! By the kernel's 64-bit call on every target: std's `SystemTime::now` takes the 32-bit one on
//! 32-bit musl and panics from 2038-01-19T03:14:08Z on. Reckoning with a `SystemTime` that was
//! made from a number is 64-bit everywhere.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds since 1970, UTC. Negative before; clamped at the ends of `i64`.
pub fn now_us() -> i64 {
    micros(clock_gettime(ClockId::Realtime))
}

/// Milliseconds since 1970, UTC, rounded down.
pub fn now_ms() -> i64 {
    now_us().div_euclid(1000)
}

/// The kernel's nanoseconds are of the second that has begun, before 1970 too.
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
