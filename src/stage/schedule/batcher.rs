//! Hands the items of a scheduler on in batches: to wake another thread costs as much as a tenth of a check.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smol::channel::Sender;

use crate::stage::messages::Finding;

/// Hand a batch on once it has so many items.
const BATCH: usize = 16;
/// Longest time that an item waits for more items of its batch.
const HOLD: Duration = Duration::from_millis(20);

/// Batching sender of a scheduler.
pub struct FindingBatcher {
    queue: Sender<Vec<Finding>>,
    /// Current batch: fewer than [`BATCH`] items, plus those of one turn.
    batch: Vec<Finding>,
    since: Instant,
    /// Bytes of the bodies in the batch; with `most_bytes` or more it is handed on.
    bytes: usize,
    most_bytes: usize,
    /// Sizes of the batches, in items, that may still wait in the queue; oldest first.
    waiting: VecDeque<usize>,
}

impl FindingBatcher {
    /// Makes a batcher into `queue`, which must have no bound: the batcher never blocks. A batch whose
    /// bodies have `most_bytes` waits for no more items.
    pub fn new(queue: Sender<Vec<Finding>>, most_bytes: usize) -> FindingBatcher {
        let (batch, waiting) = (Vec::new(), VecDeque::new());
        FindingBatcher { queue, batch, since: Instant::now(), bytes: 0, most_bytes, waiting }
    }

    /// Adds an item to the batch; its body has so many bytes.
    pub fn push(&mut self, item: Finding, bytes: usize, now: Instant) {
        if self.batch.is_empty() {
            self.since = now;
        }
        self.batch.push(item);
        self.bytes += bytes;
    }

    /// Hands the batch on before a wait of at most `wait`, if it is full or would be too late afterwards.
    pub fn flush_before(&mut self, wait: Duration, now: Instant) {
        let is_full = self.batch.len() >= BATCH || self.bytes >= self.most_bytes;
        if is_full || now.saturating_duration_since(self.since) + wait >= HOLD {
            self.flush();
        }
    }

    /// Hands the batch on, if it is not empty.
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.queued();
            self.waiting.push_back(self.batch.len());
            self.bytes = 0;
            // The queue refuses only if the judge has ended; then we stop, and the judge has said why.
            let _ = self.queue.try_send(std::mem::take(&mut self.batch));
        }
    }

    /// Returns the number of items that wait in the queue.
    pub fn queued(&mut self) -> usize {
        while self.waiting.len() > self.queue.len() {
            self.waiting.pop_front();
        }
        self.waiting.iter().sum()
    }

    /// Returns true if the judge has ended and takes nothing any more.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(queue: &smol::channel::Receiver<Vec<Finding>>) -> Vec<usize> {
        std::iter::from_fn(|| queue.try_recv().ok()).map(|batch| batch.len()).collect()
    }

    #[test]
    fn what_is_found_goes_on_together_and_soon() {
        let (out, queue) = smol::channel::unbounded();
        let mut batcher = FindingBatcher::new(out, 1000);
        let (start, soon) = (Instant::now(), Duration::from_millis(1));
        batcher.push(Finding::Run(1), 0, start);
        batcher.flush_before(soon, start);
        assert_eq!(sizes(&queue).len(), 0);
        // The batch would be too late after the wait.
        batcher.push(Finding::Run(2), 0, start + soon);
        batcher.flush_before(HOLD - soon, start + soon);
        assert_eq!(sizes(&queue), [2]);
        // The batch has waited for long enough.
        batcher.push(Finding::Run(3), 0, start);
        batcher.flush_before(Duration::ZERO, start + HOLD);
        assert_eq!(sizes(&queue), [1]);
        // The batch is full.
        (0..BATCH).for_each(|_| batcher.push(Finding::Run(4), 0, start));
        batcher.flush_before(soon, start);
        batcher.push(Finding::Run(5), 1000, start);
        batcher.flush_before(soon, start);
        assert_eq!(batcher.queued(), BATCH + 1);
        assert_eq!(sizes(&queue), [BATCH, 1]);
        assert_eq!(batcher.queued(), 0);
        drop(queue);
        assert!(batcher.is_closed());
    }
}
