//! The clock of the tests. A test compares no fixed day with the clock, or it would fail once that
//! day is over. `tests/offline` can move this clock, together with that of the program and the
//! servers, by `clock.c` (see `tests/README.md`).

use std::env;
use std::ffi::OsString;
use std::sync::LazyLock;
use std::time::SystemTime;

/// An hour, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// Returns the variables that a process needs to share a clock that was moved, if it does not
/// inherit our environment.
pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let moved = env::var_os("TESTS_AHEAD_S").is_some();
    let names = ["TESTS_AHEAD_S", "LD_PRELOAD"].into_iter().filter(move |_| moved);
    names.filter_map(|name| Some((name, env::var_os(name)?)))
}

/// Returns the milliseconds since 1970 at this moment.
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Returns the milliseconds since 1970 at the beginning of the hour in which this process first
/// asked. The value stays the same for the rest of the process.
pub fn hour_ms() -> i64 {
    static HOUR: LazyLock<i64> = LazyLock::new(|| now_ms() / HOUR_MS * HOUR_MS);
    *HOUR
}
