//! Gathers records until there are enough of them, or until they are old enough, to be stored in one
//! transaction.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Queue of records, oldest first, bounded by the bytes they hold. Past the bound the oldest fall out and
/// are returned, to be counted as a loss.
#[derive(Debug)]
pub struct Batch<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    oldest: Option<Instant>,
    limits: Limits,
}

/// Limits of a batch. A batch is full with `count` records, or with half of `bytes`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records in one transaction, at most.
    pub count: usize,
    /// Longest wait for more records, from the first record or the last transaction on.
    pub age: Duration,
    /// Bytes that all waiting records may hold together.
    pub bytes: usize,
}

impl<T> Batch<T> {
    /// Makes an empty batch.
    pub fn new(limits: Limits) -> Batch<T> {
        Batch { items: VecDeque::new(), bytes: 0, oldest: None, limits }
    }

    /// Adds a record that holds `bytes`, and returns the records that fall out at the other end.
    pub fn push(&mut self, item: T, bytes: usize, now: Instant) -> Vec<T> {
        self.oldest.get_or_insert(now);
        self.items.push_back((item, bytes));
        self.bytes += bytes;
        let mut fallen = Vec::new();
        while self.bytes > self.limits.bytes && self.items.len() > 1 {
            if let Some((item, bytes)) = self.items.pop_front() {
                self.bytes -= bytes;
                fallen.push(item);
            }
        }
        fallen
    }

    /// Returns the time at which the batch must be stored: at once if full, else once it has waited for
    /// `age`. None while empty.
    pub fn due(&self) -> Option<Instant> {
        let oldest = self.oldest?;
        let full = self.items.len() >= self.limits.count || self.bytes * 2 >= self.limits.bytes;
        Some(if full { oldest } else { oldest + self.limits.age })
    }

    /// Returns the records of the next transaction, oldest first. They stay until [`Batch::stored`].
    pub fn next(&self) -> impl Iterator<Item = &T> {
        self.items.iter().take(self.limits.count).map(|(item, _)| item)
    }

    /// Removes the records that [`Batch::next`] returned, since they are stored.
    pub fn stored(&mut self, now: Instant) {
        let count = self.limits.count.min(self.items.len());
        for (_, bytes) in self.items.drain(..count) {
            self.bytes -= bytes;
        }
        self.oldest = (!self.items.is_empty()).then_some(now);
    }

    /// Returns the number of records that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true if no record waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: usize, bytes: usize) -> Batch<u32> {
        Batch::new(Limits { count, age: Duration::from_secs(1), bytes })
    }

    #[test]
    fn full_by_count_or_by_age() {
        let start = Instant::now();
        let mut batch = batch(2, 1000);
        assert_eq!(batch.due(), None);
        batch.push(1, 1, start);
        assert_eq!(batch.due(), Some(start + Duration::from_secs(1)));
        batch.push(2, 1, start);
        assert_eq!(batch.due(), Some(start));
        batch.push(3, 1, start);
        assert_eq!(batch.next().copied().collect::<Vec<_>>(), [1, 2]);
        batch.stored(start);
        assert_eq!(batch.next().copied().collect::<Vec<_>>(), [3]);
        batch.stored(start);
        assert!(batch.is_empty() && batch.due().is_none());
    }

    #[test]
    fn past_its_bytes_the_oldest_fall_out() {
        let start = Instant::now();
        let mut batch = batch(100, 10);
        for i in 0..3 {
            assert!(batch.push(i, 3, start).is_empty());
        }
        assert_eq!(batch.push(3, 5, start), [0, 1]);
        assert_eq!(batch.push(4, 50, start), [2, 3]);
        assert_eq!(batch.len(), 1);
    }
}
