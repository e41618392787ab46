//! Batch that is being gathered: records, dead letters, and the marks up to which they go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::positions::Arrival;
use crate::model::record::Record;
use crate::store::{Batch, DeadLetter, Mark, MessageOrigin};

/// Bytes from which on a batch is full.
const BATCH_BYTES: usize = 8 << 20;

/// BatchBounds from which on a batch is full or due.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    /// Most records and dead letters in a batch.
    pub count: usize,
    /// Longest wait of the batch's first message.
    pub age: Duration,
}

/// Batch under construction.
pub struct BatchBuilder {
    limits: BatchBounds,
    batch: Batch,
    marks: BTreeMap<i32, Mark>,
    gaps: BTreeMap<i32, Vec<OffsetGap>>,
    bytes: usize,
    /// Time at which the first message came; none: the batch is empty.
    since: Option<Instant>,
}

/// Run of offsets of a partition that did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetGap {
    /// First of these offsets.
    pub from: i64,
    /// Message that came instead.
    pub came: MessageOrigin,
}

impl BatchBuilder {
    /// Creates an empty batch.
    pub fn new(limits: BatchBounds) -> BatchBuilder {
        let (batch, marks, gaps) = Default::default();
        BatchBuilder { limits, batch, marks, gaps, bytes: 0, since: None }
    }

    /// Notes a message that has come; `hash` is its fingerprint.
    pub fn arrive(&mut self, came: MessageOrigin, hash: u64, arrived: &Arrival, now: Instant) {
        self.since.get_or_insert(now);
        let MessageOrigin { partition, offset, .. } = came;
        let from = arrived.mark;
        let new = Mark { partition, from, next: from, ..Mark::default() };
        let mark = self.marks.entry(partition).or_insert(new);
        if let Some(restart) = arrived.restart {
            mark.reset = Some(mark.reset.map_or(restart.at, |reset| reset.min(restart.at)));
            mark.next = restart.at;
        }
        // A partition that was taken away and given back is read again: older offsets do not move the mark.
        if offset >= mark.next {
            (mark.next, mark.hash) = (offset + 1, Some(hash));
        }
        if let Some(from) = arrived.gap_from {
            self.gaps.entry(partition).or_default().push(OffsetGap { from, came });
        }
    }

    /// Takes out the gaps of each partition, to be reported before the batch goes.
    pub fn take_holes(&mut self) -> BTreeMap<i32, Vec<OffsetGap>> {
        std::mem::take(&mut self.gaps)
    }

    /// Adds a record.
    pub fn record(&mut self, origin: MessageOrigin, record: Record) {
        self.bytes += record.weight();
        self.batch.records.push(record);
        self.batch.origins.push(origin);
    }

    /// Adds a dead letter.
    pub fn letter(&mut self, letter: DeadLetter) {
        self.bytes += letter.payload.len();
        self.batch.dead.push(letter);
    }

    /// Returns the time to store the batch; none: the batch is empty.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| if self.is_full() { since } else { since + self.limits.age })
    }

    /// Returns true if nothing more is to be added.
    pub fn is_full(&self) -> bool {
        let count = self.batch.records.len() + self.batch.dead.len();
        count >= self.limits.count || self.bytes >= BATCH_BYTES
    }

    /// Returns true if there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Forgets the marks and gaps of all partitions, which are read again. The records stay.
    pub fn unmark(&mut self) {
        self.marks.clear();
        self.gaps.clear();
    }

    /// Takes the batch out, and begins a new one.
    pub fn take(&mut self) -> Batch {
        (self.bytes, self.since) = (0, None);
        let mut batch = std::mem::take(&mut self.batch);
        batch.marks = std::mem::take(&mut self.marks).into_values().collect();
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::positions::LogRestart;
    use super::*;
    use crate::model::record::NodeState;

    fn builder(count: usize) -> BatchBuilder {
        BatchBuilder::new(BatchBounds { count, age: Duration::from_secs(1) })
    }

    fn record() -> Record {
        Record::Node(NodeState::new(&Arc::from("a"), 1, 2))
    }

    fn origin(partition: i32, offset: i64) -> MessageOrigin {
        MessageOrigin { partition, offset, sent_ms: 5 }
    }

    fn arrived(mark: i64, restart: Option<i64>) -> Arrival {
        Arrival { mark, gap_from: None, restart: restart.map(|at| LogRestart { was: mark, at }) }
    }

    #[test]
    fn a_batch_is_due_when_it_is_full_or_old() {
        let (mut builder, now) = (builder(2), Instant::now());
        assert!(builder.due().is_none() && builder.is_empty());
        builder.arrive(origin(3, 100), 1, &arrived(100, None), now);
        builder.record(origin(3, 100), record());
        assert_eq!((builder.due(), builder.is_full()), (Some(now + Duration::from_secs(1)), false));
        builder.arrive(origin(1, 7), 2, &arrived(0, None), now + Duration::from_millis(1));
        builder.record(origin(1, 7), record());
        assert_eq!((builder.due(), builder.is_full()), (Some(now), true));

        let batch = builder.take();
        let mark = |partition, from, next, hash| Mark {
            partition,
            from,
            next,
            hash: Some(hash),
            ..Mark::default()
        };
        assert_eq!(batch.marks, [mark(1, 0, 8, 2), mark(3, 100, 101, 1)]);
        assert_eq!(batch.origins, [origin(3, 100), origin(1, 7)]);
        assert!(builder.due().is_none() && builder.is_empty());
    }

    #[test]
    fn a_mark_goes_back_only_where_the_log_was_begun_anew() {
        let (mut builder, now) = (builder(9), Instant::now());
        builder.arrive(origin(0, 105), 1, &arrived(100, None), now);
        // A partition that was taken away and given back is read again from the stored mark.
        builder.arrive(origin(0, 100), 2, &arrived(100, None), now);
        builder.arrive(origin(1, 0), 3, &arrived(100, Some(0)), now);
        builder.arrive(origin(1, 1), 4, &arrived(100, None), now);
        // A partition is read on, then its log is cut twice.
        builder.arrive(origin(2, 150), 5, &arrived(100, None), now);
        builder.arrive(origin(2, 80), 6, &arrived(100, Some(80)), now);
        builder.arrive(origin(2, 90), 7, &arrived(100, Some(90)), now);
        let marks = builder.take().marks;
        let mark = |partition, next, reset, hash| Mark {
            partition,
            from: 100,
            next,
            reset,
            hash: Some(hash),
        };
        assert_eq!(
            marks,
            [mark(0, 106, None, 1), mark(1, 2, Some(0), 4), mark(2, 91, Some(80), 7)]
        );
    }

    #[test]
    fn each_hole_is_noted() {
        let (mut builder, now) = (builder(9), Instant::now());
        for (from, offset) in [(100, 105), (106, 108)] {
            let gap_from = Some(from);
            let arrived = Arrival { mark: 100, gap_from, restart: None };
            builder.arrive(origin(0, offset), 1, &arrived, now);
        }
        let gap = |from, offset| OffsetGap { from, came: origin(0, offset) };
        let gaps = BTreeMap::from([(0, vec![gap(100, 105), gap(106, 108)])]);
        assert_eq!((builder.take_holes(), builder.take_holes()), (gaps, BTreeMap::new()));
    }
}
