//! Being told to stop: what every stage of a command can look at.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Told once, by whoever catches the signal; seen by all clones.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<OnceLock<Instant>>);

impl Stop {
    /// From now on it is told.
    pub fn tell(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.told_at().is_some()
    }

    /// When it was told.
    pub fn told_at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
