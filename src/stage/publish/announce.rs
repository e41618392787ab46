//! Announcements: the times at which a node publishes its own state and that of its targets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::target::Target;
use crate::stage::messages::Run;

/// Time between two announcements of the node.
const NODE_EVERY: Duration = Duration::from_secs(300);
/// Time between two announcements of all targets.
const TARGETS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Schedule of a node's announcements.
pub struct Announcer {
    node: Arc<str>,
    run: u32,
    targets: Vec<Arc<Target>>,
    /// Time of the node's next announcement; none: the run has not begun, and nothing is announced.
    node_at: Option<Instant>,
    targets_at: Instant,
    /// Index of the next target to be announced.
    next: usize,
}

impl Announcer {
    /// Creates an announcer that announces nothing before a run has begun.
    pub fn new(run: &Run) -> Announcer {
        let (node, run, targets_at) = (Arc::clone(&run.node), run.number, Instant::now());
        Announcer { node, run, targets: Vec::new(), node_at: None, targets_at, next: 0 }
    }

    /// Begins a run, which is announced next.
    pub fn begin_run(&mut self, run: u32) {
        (self.run, self.node_at) = (run, Some(Instant::now()));
    }

    /// Replaces the targets; the new ones are announced next.
    pub fn change_targets(&mut self, targets: Vec<Arc<Target>>) {
        (self.targets, self.next) = (targets, 0);
        self.targets_at = Instant::now() + TARGETS_EVERY;
    }

    /// Announces everything again: earlier announcements are lost.
    pub fn announce_again(&mut self) {
        let now = Instant::now();
        (self.node_at, self.targets_at) = (self.node_at.map(|_| now), now);
    }

    /// Returns the announcement that is due now, if any. `held` gives the number of records that wait, and
    /// the oldest due time among them, in milliseconds since 1970.
    pub fn next(&mut self, held: impl FnOnce() -> (u64, Option<i64>)) -> Option<Record> {
        let now = Instant::now();
        if now >= self.node_at? {
            self.node_at = Some(now + NODE_EVERY);
            let mut state = NodeState::new(&self.node, self.run, clock::now_ms());
            let (count, oldest_ms) = held();
            (state.spool_count, state.spool_oldest_ms) = (Some(count), oldest_ms);
            state.clock_synced = clock::is_synchronised();
            return Some(Record::Node(state));
        }
        if now >= self.targets_at {
            self.targets_at = now + TARGETS_EVERY;
            self.next = 0;
        }
        let target = self.targets.get(self.next)?;
        self.next += 1;
        let state = TargetState::new(target, &self.node, self.run, clock::now_ms());
        Some(Record::Target(Box::new(state)))
    }
}
