//! Request to stop, which every stage of a command can look at.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Request to stop: made once, when a signal comes; all clones see it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<OnceLock<Instant>>);

impl Stop {
    /// Makes the request. Later calls change nothing.
    pub fn tell(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// Returns true once the request is made.
    pub fn is_told(&self) -> bool {
        self.told_at().is_some()
    }

    /// Returns the time of the request, once it is made.
    pub fn told_at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
