//! Moves the clocks as a test asks; in development builds only. The time comes from the C library,
//! because a preloaded library (`tests/harness/clock.c`) can move it for the tests, the program and its
//! servers together. The file that `$SITEWATCH_CLOCK` names moves the clocks of this program alone; the
//! file is read again at each reading of a clock.
//!
//! ```text
//!     ahead_us=3600000000 asleep_us=0 synchronised=false up_us=5000000
//! ```

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Differences from the kernel's clocks that a test asks for.
#[derive(Default)]
pub struct ClockShift {
    /// Microseconds by which the clock is ahead.
    pub ahead_us: i64,
    /// Additional time that this host was suspended, in microseconds.
    pub asleep_us: i64,
    /// Answer of the kernel in place of its own: the clock is synchronised.
    pub is_synchronised: Option<bool>,
    /// Time since boot in place of the kernel's, in microseconds.
    pub up_us: Option<i64>,
}

/// Returns the time of the C library's clock, in microseconds since 1970.
pub fn realtime_us() -> i64 {
    let us = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::UNIX_EPOCH.elapsed() {
        Ok(after) => us(after),
        Err(before) => -us(before.duration()),
    }
}

/// Reads the file; returns no differences if there is none.
pub fn read() -> ClockShift {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("SITEWATCH_CLOCK").map(PathBuf::from));
    let mut shift = ClockShift::default();
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    for (name, value) in
        text.unwrap_or_default().split_whitespace().filter_map(|w| w.split_once('='))
    {
        match name {
            "ahead_us" => shift.ahead_us = value.parse().unwrap_or(0),
            "asleep_us" => shift.asleep_us = value.parse().unwrap_or(0),
            "synchronised" => shift.is_synchronised = value.parse().ok(),
            "up_us" => shift.up_us = value.parse().ok(),
            _ => {}
        }
    }
    shift
}
