//! Where a watch hands on what it has found, several at a time: to wake another thread costs as much
//! as a tenth of a check.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smol::channel::Sender;

use super::Found;

/// From so many on a batch is handed on.
const BATCH: usize = 16;
/// How long what was found may wait for more that is about to come.
const HOLD: Duration = Duration::from_millis(20);

/// The outlet.
pub struct Outlet {
    out: Sender<Vec<Found>>,
    /// The batch to come: less than [`BATCH`], and what one turn has found.
    found: Vec<Found>,
    since: Instant,
    /// Of bodies in it; from `most_bytes` on it is handed on.
    bytes: usize,
    most_bytes: usize,
    /// How much was in each batch that may still wait at the other end.
    waiting: VecDeque<usize>,
}

impl Outlet {
    /// One into that queue, which must have no bound of its own: it never blocks. A batch
    /// with bodies of `most_bytes` waits for no more.
    pub fn new(out: Sender<Vec<Found>>, most_bytes: usize) -> Outlet {
        let (found, waiting) = (Vec::new(), VecDeque::new());
        Outlet { out, found, since: Instant::now(), bytes: 0, most_bytes, waiting }
    }

    /// Takes something, with a body of so many bytes.
    pub fn give(&mut self, found: Found, bytes: usize, now: Instant) {
        if self.found.is_empty() {
            self.since = now;
        }
        self.found.push(found);
        self.bytes += bytes;
    }

    /// Before a wait of at most so long: hands on what would be late after it, or is much.
    pub fn before(&mut self, wait: Duration, now: Instant) {
        let is_full = self.found.len() >= BATCH || self.bytes >= self.most_bytes;
        if is_full || now.saturating_duration_since(self.since) + wait >= HOLD {
            self.hand_on();
        }
    }

    /// Hands on all there is.
    pub fn hand_on(&mut self) {
        if !self.found.is_empty() {
            self.queued();
            self.waiting.push_back(self.found.len());
            self.bytes = 0;
            // Only a judge that is gone refuses; then we are stopping, and it has said why.
            let _ = self.out.try_send(std::mem::take(&mut self.found));
        }
    }

    /// How much waits at the other end.
    pub fn queued(&mut self) -> usize {
        while self.waiting.len() > self.out.len() {
            self.waiting.pop_front();
        }
        self.waiting.iter().sum()
    }

    /// Nobody takes anything any more.
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
        // It would be late after that.
        outlet.give(Found::Run(2), 0, start + soon);
        outlet.before(HOLD - soon, start + soon);
        assert_eq!(sizes(&queue), [2]);
        // It has waited for long enough.
        outlet.give(Found::Run(3), 0, start);
        outlet.before(Duration::ZERO, start + HOLD);
        assert_eq!(sizes(&queue), [1]);
        // It is much.
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
