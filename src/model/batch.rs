//! Records of `run` that wait to be stored: until there are enough of them for one transaction, or until they
//! are old enough.

use std::time::{Duration, Instant};

use super::loss::LossCounter;
use super::outcome::Loss;
use super::queue::{LossQueue, Queued};
use super::record::Record;

/// Limits of a batch. A batch is full when it has `count` records, or when the queue holds half of `bytes`.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records in one transaction, at most.
    pub count: usize,
    /// Longest wait for more records. It starts with the first record, or with the last transaction if records
    /// waited then.
    pub age: Duration,
    /// Bytes that all waiting records may hold together.
    pub bytes: usize,
}

impl Queued for Record {
    fn bytes(&self) -> usize {
        self.weight()
    }

    fn loss(&self) -> Option<Loss> {
        Record::loss(self)
    }

    fn is_loss(&self) -> bool {
        matches!(self, Record::Loss(_))
    }
}

/// Queue of records, of which the oldest are the next batch.
#[derive(Debug)]
pub struct BatchQueue {
    queue: LossQueue<Record>,
    /// Time from which the next batch's age counts; none while the queue is empty.
    since: Option<Instant>,
    limits: BatchLimits,
    /// Numbers of the records that [`BatchQueue::take_batch`] took out.
    taken: Vec<u64>,
}

impl BatchQueue {
    /// Creates an empty queue.
    pub fn new(limits: BatchLimits) -> BatchQueue {
        BatchQueue { queue: LossQueue::new(limits.bytes), since: None, limits, taken: Vec::new() }
    }

    /// Adds a record. Returns how many checks and gaps were dropped to make room.
    pub fn push(&mut self, record: Record, now: Instant) -> u64 {
        self.since.get_or_insert(now);
        let dropped = self.queue.push(record);
        dropped.iter().filter(|record| record.span().is_some()).count() as u64
    }

    /// Returns the time at which the batch must be stored: at once if full, else once it has waited for
    /// `age`. None while empty.
    pub fn due(&self) -> Option<Instant> {
        let since = self.since?;
        let is_full =
            self.queue.len() >= self.limits.count || self.queue.bytes() * 2 >= self.limits.bytes;
        Some(if is_full { since } else { since + self.limits.age })
    }

    /// Takes out the records of the next batch, oldest first, and copies of the losses behind them. Either
    /// [`BatchQueue::note_stored`] follows or [`BatchQueue::put_back`].
    pub fn take_batch(&mut self) -> Vec<Record> {
        let (ids, mut batch): (Vec<u64>, Vec<Record>) =
            self.queue.take_oldest(self.limits.count).into_iter().unzip();
        self.taken = ids;
        batch.extend(self.losses().losses().cloned().map(Record::Loss));
        batch
    }

    /// Puts the batch that was taken out last back into its place: it was not stored.
    pub fn put_back(&mut self, batch: Vec<Record>) {
        for (id, record) in self.taken.drain(..).zip(batch) {
            self.queue.restore(id, record);
        }
    }

    /// Returns the losses that are not stored yet.
    pub fn losses(&self) -> &LossCounter {
        self.queue.losses()
    }

    /// Notes that the batch that was taken out last is stored, with its losses.
    pub fn note_stored(&mut self, now: Instant) {
        self.taken.clear();
        self.queue.take_losses();
        self.since = (!self.queue.is_empty()).then_some(now);
    }

    /// Returns the number of records that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns true if neither a record nor a loss waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.losses().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::outcome::{Gap, GapCause, LossCause};
    use super::*;

    fn gap(from_ms: i64) -> Record {
        Record::Gap(Gap {
            target: Arc::from("site"),
            node: Arc::from("a"),
            run: 7,
            from_ms,
            to_ms: from_ms + 5,
            count: 6,
            interval_ms: 1,
            cause: GapCause::Overload,
        })
    }

    fn queue(count: usize, room_for: usize) -> BatchQueue {
        let (age, bytes) = (Duration::from_secs(1), room_for * gap(0).weight());
        BatchQueue::new(BatchLimits { count, age, bytes })
    }

    fn batch(queue: &mut BatchQueue) -> Vec<i64> {
        let records = queue.take_batch();
        let times = records.iter().filter(|record| !record.is_loss());
        times.filter_map(|record| Some(record.span()?.1)).collect()
    }

    #[test]
    fn a_batch_is_due_by_count_or_by_age() {
        let start = Instant::now();
        let mut queue = queue(2, 1000);
        assert_eq!(queue.due(), None);
        queue.push(gap(1), start);
        assert_eq!(queue.due(), Some(start + Duration::from_secs(1)));
        queue.push(gap(2), start);
        assert_eq!(queue.due(), Some(start));
        queue.push(gap(3), start);
        let records = queue.take_batch();
        queue.put_back(records);
        assert_eq!(batch(&mut queue), [1, 2]);
        queue.note_stored(start);
        assert_eq!(batch(&mut queue), [3]);
        queue.note_stored(start);
        assert!(queue.is_empty() && queue.due().is_none());
    }

    #[test]
    fn past_its_bytes_the_oldest_are_dropped_and_are_one_loss() {
        let start = Instant::now();
        let mut queue = queue(100, 3);
        let dropped: Vec<u64> = (0..5).map(|from_ms| queue.push(gap(from_ms), start)).collect();
        assert_eq!((dropped, batch(&mut queue)), (vec![0, 0, 0, 1, 1], vec![2, 3, 4]));
        let (node, cause) = (Arc::from("a"), LossCause::MemoryFull);
        let want = Loss { node, run: 7, from_ms: 0, to_ms: 6, count: 2, cause, sequence: 0 };
        assert_eq!(queue.losses().losses().collect::<Vec<_>>(), [&want]);
        queue.note_stored(start);
        assert!(queue.is_empty());
    }
}
