//! A batch: the records that are stored in one transaction, the messages that could not be read, and the
//! position in Kafka up to which they reach.

use std::collections::BTreeSet;

use crate::model::anchor::Anchors;
use crate::model::record::Record;

/// Records to store in one transaction. Those that come from Kafka have their origins and marks; others have
/// neither.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Name of the topic; empty without marks.
    pub topic: String,
    /// Id of the Kafka cluster: the same topic elsewhere has other offsets.
    pub cluster: String,
    /// Records, in the order in which they came.
    pub records: Vec<Record>,
    /// Place of each record in Kafka, in the order of `records`.
    pub origins: Vec<MessageOrigin>,
    /// Messages that could not be read.
    pub dead: Vec<DeadLetter>,
    /// Position up to which each partition was read, rising by partition.
    pub marks: Vec<Mark>,
    /// Time from which ages count, in milliseconds since 1970; none: the time of storing.
    pub age_ms: Option<i64>,
}

impl Batch {
    /// Appends a batch of the same topic that was read after this one. Records that were read again count
    /// once.
    pub fn append(&mut self, later: Batch) {
        let known: BTreeSet<MessageOrigin> = self.origins.iter().copied().collect();
        for (record, origin) in later.records.into_iter().zip(later.origins) {
            if !known.contains(&origin) {
                self.records.push(record);
                self.origins.push(origin);
            }
        }
        self.dead.extend(later.dead);
        for mark in later.marks {
            match self.marks.binary_search_by_key(&mark.partition, |before| before.partition) {
                Ok(index) => self.marks[index].advance(&mark),
                Err(index) => self.marks.insert(index, mark),
            }
        }
    }
}

/// Place of a message in Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageOrigin {
    /// Partition of the message.
    pub partition: i32,
    /// Offset of the message.
    pub offset: i64,
    /// Kafka's time of the message, in milliseconds since 1970: if a log was begun anew, another message may
    /// have the same offset. 0 if it is not known.
    pub sent_ms: i64,
}

/// Position at which reading goes on in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// Next offset to read.
    pub next: i64,
    /// Anchors of messages before that offset.
    pub anchors: Anchors,
}

/// Position up to which a partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The partition.
    pub partition: i32,
    /// Offset that was stored as the next one when the reading began; 0 if none was.
    pub from: i64,
    /// Next offset to read.
    pub next: i64,
    /// First offset at which the log differs from the log that was read before: later marks and anchors no
    /// longer count. None if the log is the same.
    pub reset: Option<i64>,
    /// Fingerprint of the message before `next`; none if it is not known.
    pub hash: Option<u64>,
}

impl Mark {
    /// Advances to a later mark of the same partition. A partition that was taken away and given back is read
    /// again; the mark goes back only if the log was begun anew.
    fn advance(&mut self, later: &Mark) {
        if let Some(at) = later.reset {
            self.reset = Some(self.reset.map_or(at, |before| before.min(at)));
        }
        if later.reset.is_some() || later.next > self.next {
            self.next = later.next;
            self.hash = later.hash;
        }
    }
}

/// A message that could not be read or stored. It is kept for a person to look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Place of the message in Kafka.
    pub origin: MessageOrigin,
    /// Bytes of the message, of which at most 64 KiB are kept.
    pub payload: Vec<u8>,
    /// Reason in one word.
    pub reason: &'static str,
    /// Reason as text for people.
    pub detail: String,
}

/// Result of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteResult {
    /// The whole batch is stored, with its marks.
    Stored(WriteCounts),
    /// Nothing was stored: the database is older than the batch, since it was restored. Reading goes on at
    /// these offsets of these partitions.
    Older(Vec<(i32, i64)>),
}

impl WriteResult {
    /// Returns the counts of the write; all are 0 if nothing was stored.
    pub fn counts(&self) -> WriteCounts {
        match self {
            WriteResult::Stored(counts) => *counts,
            WriteResult::Older(_) => WriteCounts::default(),
        }
    }
}

/// Counts of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// Number of checks that are new.
    pub checks: u64,
    /// Checks that were stored already.
    pub repeats: u64,
    /// Number of the oldest checks deleted to stay within the largest size, or of checks that were too old
    /// when they came.
    pub expired: u64,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::record::NodeState;

    fn batch(offsets: &[i64], mark: Mark) -> Batch {
        let record = |_: &i64| Record::Node(NodeState::new(&Arc::from("a"), 1, 2));
        let origin = |offset: &i64| MessageOrigin { offset: *offset, ..MessageOrigin::default() };
        let records = offsets.iter().map(record).collect();
        let origins = offsets.iter().map(origin).collect();
        Batch { records, origins, marks: vec![mark], ..Batch::default() }
    }

    #[test]
    fn batches_of_one_topic_are_joined_and_what_was_read_again_counts_once() {
        let mark = |partition, from, next, reset| Mark {
            partition,
            from,
            next,
            reset,
            hash: Some(next as u64),
        };
        let mut joined = batch(&[5, 6], mark(1, 5, 7, None));
        joined.append(batch(&[6, 7], mark(1, 7, 8, None)));
        joined.append(batch(&[4], mark(0, 4, 5, None)));
        // The partition was taken away and given back.
        joined.append(batch(&[5, 6], mark(1, 5, 7, None)));
        let offsets: Vec<i64> = joined.origins.iter().map(|origin| origin.offset).collect();
        assert_eq!((offsets, joined.records.len()), (vec![5, 6, 7, 4], 4));
        assert_eq!(joined.marks, [mark(0, 4, 5, None), mark(1, 5, 8, None)]);
        // The log was cut, twice.
        joined.append(batch(&[], mark(1, 8, 7, Some(6))));
        joined.append(batch(&[], mark(1, 8, 9, Some(7))));
        assert_eq!(joined.marks[1], mark(1, 5, 9, Some(6)));
    }
}
