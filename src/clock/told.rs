//! What a test tells of the clocks, in builds for development alone: words in the file that
//! `$SITEWATCH_CLOCK` names, read again at each look.
//!
//! ```text
//!     ahead_us=3600000000 asleep_us=0 synchronised=false up_us=5000000
//! ```

use std::path::PathBuf;
use std::sync::OnceLock;

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
