//! The parcel that is being gathered: records, dead letters, and up to where they go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::record::Record;
use crate::store::{DeadLetter, Mark, Parcel};

/// A parcel of more bytes than this is full.
const PARCEL_BYTES: usize = 8 << 20;

/// When a parcel is full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages in it, at most.
    pub count: usize,
    /// How long the first of them waits.
    pub age: Duration,
}

/// A parcel under construction.
pub struct Gather {
    limits: Limits,
    parcel: Parcel,
    marks: BTreeMap<i32, Mark>,
    bytes: usize,
    /// When its first message came.
    since: Option<Instant>,
}

impl Gather {
    /// An empty one.
    pub fn new(limits: Limits) -> Gather {
        let (parcel, marks) = (Parcel::default(), BTreeMap::new());
        Gather { limits, parcel, marks, bytes: 0, since: None }
    }

    /// A message of this offset has come, in a partition of which `from` is stored as the next
    /// offset, or will be before this parcel is. `is_anew`: its log was begun anew below that.
    pub fn arrive(&mut self, partition: i32, from: i64, offset: i64, is_anew: bool, now: Instant) {
        self.since.get_or_insert(now);
        let new = Mark { partition, from, next: from, reset: false };
        let mark = self.marks.entry(partition).or_insert(new);
        if is_anew {
            (mark.reset, mark.next) = (true, offset);
        }
        // A partition that was taken away and given back is read again.
        mark.next = mark.next.max(offset + 1);
    }

    /// Adds a record.
    pub fn record(&mut self, partition: i32, offset: i64, record: Record) {
        self.bytes += record.weight();
        self.parcel.records.push(record);
        self.parcel.origins.push((partition, offset));
    }

    /// Adds what cannot be read.
    pub fn letter(&mut self, letter: DeadLetter) {
        self.bytes += letter.payload.len();
        self.parcel.dead.push(letter);
    }

    /// When it is to be stored; none: it is empty.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| if self.is_full() { since } else { since + self.limits.age })
    }

    /// Whether nothing more is to be added.
    pub fn is_full(&self) -> bool {
        let count = self.parcel.records.len() + self.parcel.dead.len();
        count >= self.limits.count || self.bytes >= PARCEL_BYTES
    }

    /// Whether there is nothing to be stored.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Takes the parcel out; a new one begins.
    pub fn take(&mut self) -> Parcel {
        (self.bytes, self.since) = (0, None);
        let mut parcel = std::mem::take(&mut self.parcel);
        parcel.marks = std::mem::take(&mut self.marks).into_values().collect();
        parcel
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::record::NodeState;

    fn gather(count: usize) -> Gather {
        Gather::new(Limits { count, age: Duration::from_secs(1) })
    }

    fn record() -> Record {
        Record::Node(NodeState::new(&Arc::from("a"), 1, 2))
    }

    #[test]
    fn a_parcel_is_due_when_it_is_full_or_old() {
        let (mut gather, now) = (gather(2), Instant::now());
        assert!(gather.due().is_none() && gather.is_empty());
        gather.arrive(3, 100, 100, false, now);
        gather.record(3, 100, record());
        assert_eq!((gather.due(), gather.is_full()), (Some(now + Duration::from_secs(1)), false));
        gather.arrive(1, 0, 7, false, now + Duration::from_millis(1));
        gather.record(1, 7, record());
        assert_eq!((gather.due(), gather.is_full()), (Some(now), true));

        let parcel = gather.take();
        let mark = |partition, from, next| Mark { partition, from, next, reset: false };
        assert_eq!(parcel.marks, [mark(1, 0, 8), mark(3, 100, 101)]);
        assert_eq!(parcel.origins, [(3, 100), (1, 7)]);
        assert!(gather.due().is_none() && gather.is_empty());
    }

    #[test]
    fn a_mark_goes_back_only_where_the_log_was_begun_anew() {
        let (mut gather, now) = (gather(9), Instant::now());
        gather.arrive(0, 100, 105, false, now);
        // Taken away and given back: read again from what is stored.
        gather.arrive(0, 100, 100, false, now);
        gather.arrive(1, 100, 0, true, now);
        gather.arrive(1, 100, 1, false, now);
        let marks = gather.take().marks;
        assert_eq!(marks[0], Mark { partition: 0, from: 100, next: 106, reset: false });
        assert_eq!(marks[1], Mark { partition: 1, from: 100, next: 2, reset: true });
    }
}
