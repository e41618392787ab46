//! Health of a daemon: the stages write it, pages show it.

use std::sync::{Arc, Mutex, PoisonError};

use super::counters::{Counters, Daemon};

/// State of a daemon's work.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Kind of the daemon.
    pub daemon: Daemon,
    /// Name of this node; empty: `write` has none.
    pub node: String,
    /// Word for the trouble: `store_away`, `kafka_away`; of `write` also `clock` (this host's and the
    /// database's differ, or the checks contradict them), `store_refuses` (more than single records) and
    /// `log_damaged` (a batch in the broker's log is damaged); none: all is well.
    pub trouble: Option<&'static str>,
    /// Counters since the start.
    pub counters: Counters,
}

/// Health that several threads read and write.
#[derive(Debug, Default)]
pub struct SharedHealth(Mutex<Health>);

impl SharedHealth {
    /// Creates the health of a daemon that has done nothing yet and has no trouble.
    pub fn new(daemon: Daemon, node: &str) -> Arc<SharedHealth> {
        let health = Health { daemon, node: node.to_owned(), ..Health::default() };
        Arc::new(SharedHealth(Mutex::new(health)))
    }

    /// Changes trouble and counters together: no reader sees one without the other.
    pub fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes the counters.
    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.update(|health| change(&mut health.counters));
    }

    /// Returns a copy of the present health.
    pub fn snapshot(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
