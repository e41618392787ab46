//! Reads the clocks as a test wants them, in builds for development alone. The C library tells the
//! time, since a preloaded library (`tests/harness/clock.c`) can move that for the tests, the program and its
//! servers together. The file that `$SITEWATCH_CLOCK` names moves this program's clocks alone; it is
//! read again at each look.
//!
//! ```text
//!     ahead_us=3600000000 asleep_us=0 synchronised=false up_us=5000000
//! ```

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

/// What differs from what the kernel says.
#[derive(Default)]
pub struct Told {
    /// How far the clock is ahead, in microseconds.
    pub ahead_us: i64,
    /// How long this host was suspended besides, in microseconds.
    pub asleep_us: i64,
    /// What the kernel calls the clock.
    pub is_synchronised: Option<bool>,
    /// How long this host has been up, in microseconds.
    pub up_us: Option<i64>,
}

/// Microseconds since 1970 by the C library's clock.
pub fn realtime_us() -> i64 {
    let us = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::UNIX_EPOCH.elapsed() {
        Ok(after) => us(after),
        Err(before) => -us(before.duration()),
    }
}

/// What is told now; nothing where nobody tells.
pub fn read() -> Told {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("SITEWATCH_CLOCK").map(PathBuf::from));
    let mut told = Told::default();
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    for (name, value) in
        text.unwrap_or_default().split_whitespace().filter_map(|w| w.split_once('='))
    {
        match name {
            "ahead_us" => told.ahead_us = value.parse().unwrap_or(0),
            "asleep_us" => told.asleep_us = value.parse().unwrap_or(0),
            "synchronised" => told.is_synchronised = value.parse().ok(),
            "up_us" => told.up_us = value.parse().ok(),
            _ => {}
        }
    }
    told
}
