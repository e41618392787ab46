//! Being told to stop: a flag that every stage of a command can look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Told once, by whoever catches the signal; seen by all clones.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on it is told.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
