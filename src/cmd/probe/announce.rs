//! What a node tells of itself and of its targets, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::target::Target;

/// How often a node tells of itself, and of its targets.
const NODE_EVERY: Duration = Duration::from_secs(300);
const TARGETS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Who tells.
pub struct Announcer {
    node: Arc<str>,
    run: u32,
    targets: Vec<Arc<Target>>,
    /// Nothing is told before then; none: until the run has begun.
    node_at: Option<Instant>,
    targets_at: Instant,
    /// The first of the targets that is still to be told of.
    next: usize,
}

impl Announcer {
    /// One that tells nothing before a run has begun.
    pub fn new(node: &Arc<str>, run: u32) -> Announcer {
        let (node, targets_at) = (Arc::clone(node), Instant::now());
        Announcer { node, run, targets: Vec::new(), node_at: None, targets_at, next: 0 }
    }

    /// From now on it is this run: that is to be told.
    pub fn begin(&mut self, run: u32) {
        (self.run, self.node_at) = (run, Some(Instant::now()));
    }

    /// From now on these are the targets: that is to be told.
    pub fn change_targets(&mut self, targets: Vec<Arc<Target>>) {
        (self.targets, self.next) = (targets, 0);
        self.targets_at = Instant::now() + TARGETS_EVERY;
    }

    /// What was told is lost, and is to be told again.
    pub fn tell_again(&mut self) {
        let now = Instant::now();
        (self.node_at, self.targets_at) = (self.node_at.map(|_| now), now);
    }

    /// What is to be told now; `held` gives how many records wait, and the oldest due time of
    /// them.
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
