//! Run of a node: from one start of the scheduler to the next, or to a clock that is set back.

use std::sync::Arc;

use crate::clock;

/// Node, and the number of its run. Every outcome bears both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name of the node.
    pub node: Arc<str>,
    /// Number of the run, as [`draw_run`] returns it.
    pub number: u32,
}

impl Run {
    /// Begins a run of this node.
    pub fn begin(node: &Arc<str>) -> Run {
        Run { node: Arc::clone(node), number: draw_run() }
    }
}

/// Draws the number of a run: 31 random bits.
pub fn draw_run() -> u32 {
    let mut bytes = [0; 4];
    if openssl::rand::rand_bytes(&mut bytes).is_err() {
        // No randomness this early after boot: use the time instead.
        bytes = (clock::now_us() as u32).to_le_bytes();
    }
    u32::from_le_bytes(bytes) >> 1
}
