//! The clocks, in one place: what day it is, in the units of the records. Durations are taken
//! from the monotonic clock ([`std::time::Instant`]), never from differences of these.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, UTC. Negative before; clamped at the ends of `i64`.
pub fn now_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// Milliseconds since 1970, UTC, rounded down.
pub fn now_ms() -> i64 {
    now_us().div_euclid(1000)
}
