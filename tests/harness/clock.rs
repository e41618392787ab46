//! The tests' own clock: no test names a day of its own where a program or a server compares it
//! with the clock, lest it turns red when that day is over. `tests/offline` moves this clock
//! together with everybody else's, by `clock.c` (see `tests/README.md`).

use std::env;
use std::ffi::OsString;
use std::sync::LazyLock;
use std::time::SystemTime;

/// An hour, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// The variables that a process needs to share this process' clock, where it was moved: for those
/// that are started without our environment.
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let moved = env::var_os("TESTS_AHEAD_S").is_some();
    let names = ["TESTS_AHEAD_S", "LD_PRELOAD"].into_iter().filter(move |_| moved);
    names.filter_map(|name| Some((name, env::var_os(name)?)))
}

/// Milliseconds since 1970 at this moment.
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Milliseconds since 1970 at the beginning of the hour in which this process first asked: a round
/// figure at most an hour old then, and the same for the rest of the process.
pub fn hour_ms() -> i64 {
    static HOUR: LazyLock<i64> = LazyLock::new(|| now_ms() / HOUR_MS * HOUR_MS);
    *HOUR
}
