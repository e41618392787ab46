//! Hands the items of a watch on in batches: to wake another thread costs as much as a tenth of a check.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smol::channel::Sender;

use crate::stage::message::Found;

/// Hand a batch on once it has so many items.
const BATCH: usize = 16;
/// Longest time that an item waits for more items of its batch.
const HOLD: Duration = Duration::from_millis(20);

/// Batching sender of a watch.
pub struct Outlet {
    out: Sender<Vec<Found>>,
    /// Current batch: fewer than [`BATCH`] items, plus those of one turn.
    found: Vec<Found>,
    since: Instant,
    /// Bytes of the bodies in the batch; with `most_bytes` or more it is handed on.
    bytes: usize,
    most_bytes: usize,
    /// Sizes of the batches, in items, that may still wait in the queue; oldest first.
    waiting: VecDeque<usize>,
}

impl Outlet {
    /// Makes an outlet into the queue `out`, which must have no bound: the outlet never blocks. A batch whose
    /// bodies have `most_bytes` waits for no more items.
    pub fn new(out: Sender<Vec<Found>>, most_bytes: usize) -> Outlet {
        let (found, waiting) = (Vec::new(), VecDeque::new());
        Outlet { out, found, since: Instant::now(), bytes: 0, most_bytes, waiting }
    }

    /// Adds an item to the batch; its body has so many bytes.
    pub fn give(&mut self, found: Found, bytes: usize, now: Instant) {
        if self.found.is_empty() {
            self.since = now;
        }
        self.found.push(found);
        self.bytes += bytes;
    }

    /// Hands the batch on before a wait of at most `wait`, if it is full or would be too late afterwards.
    pub fn before(&mut self, wait: Duration, now: Instant) {
        let is_full = self.found.len() >= BATCH || self.bytes >= self.most_bytes;
        if is_full || now.saturating_duration_since(self.since) + wait >= HOLD {
            self.hand_on();
        }
    }

    /// Hands the batch on, if it is not empty.
    pub fn hand_on(&mut self) {
        if !self.found.is_empty() {
            self.queued();
            self.waiting.push_back(self.found.len());
            self.bytes = 0;
            // The queue refuses only if the judge has ended; then we stop, and the judge has said why.
            let _ = self.out.try_send(std::mem::take(&mut self.found));
        }
    }

    /// Returns the number of items that wait in the queue.
    pub fn queued(&mut self) -> usize {
        while self.waiting.len() > self.out.len() {
            self.waiting.pop_front();
        }
        self.waiting.iter().sum()
    }

    /// Returns true if the judge has ended and takes nothing any more.
    pub fn is_closed(&self) -> bool {
        self.out.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(queue: &smol::channel::Receiver<Vec<Found>>) -> Vec<usize> {
        std::iter::from_fn(|| queue.try_recv().ok()).map(|batch| batch.len()).collect()
    }

    #[test]
    fn what_is_found_goes_on_together_and_soon() {
        let (out, queue) = smol::channel::unbounded();
        let mut outlet = Outlet::new(out, 1000);
        let (start, soon) = (Instant::now(), Duration::from_millis(1));
        outlet.give(Found::Run(1), 0, start);
        outlet.before(soon, start);
        assert_eq!(sizes(&queue).len(), 0);
        // The batch would be too late after the wait.
        outlet.give(Found::Run(2), 0, start + soon);
        outlet.before(HOLD - soon, start + soon);
        assert_eq!(sizes(&queue), [2]);
        // The batch has waited for long enough.
        outlet.give(Found::Run(3), 0, start);
        outlet.before(Duration::ZERO, start + HOLD);
        assert_eq!(sizes(&queue), [1]);
        // The batch is full.
        (0..BATCH).for_each(|_| outlet.give(Found::Run(4), 0, start));
        outlet.before(soon, start);
        outlet.give(Found::Run(5), 1000, start);
        outlet.before(soon, start);
        assert_eq!(outlet.queued(), BATCH + 1);
        assert_eq!(sizes(&queue), [BATCH, 1]);
        assert_eq!(outlet.queued(), 0);
        drop(queue);
        assert!(outlet.is_closed());
    }
}
