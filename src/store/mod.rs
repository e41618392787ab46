//! Where results are kept: one trait, so that the stages and the reports know no engine.
//! `tests/store.rs` has the contract that every engine must keep.

mod postgres;
mod sqlite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::model::anchor::Anchors;
use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;

pub use postgres::{Postgres, Ready, RefusedRecord, Retained};
pub use sqlite::Sqlite;

/// A place for records.
pub trait Store: Send {
    /// Stores records, in one transaction: all of them or none. A record whose key is stored
    /// already changes nothing.
    ///
    /// # Errors
    /// Nothing was stored, and the same records may be given again.
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = &Record>,
        now_ms: i64,
    ) -> Result<Written, StoreError>;

    /// The newest due time that is stored of each target, as `node` checked it.
    ///
    /// # Errors
    /// The store cannot be read.
    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError>;

    /// What is known of each target on each node.
    ///
    /// # Errors
    /// The store cannot be read.
    fn states(&mut self) -> Result<BTreeMap<Who, State>, StoreError>;

    /// Every target that was announced, and its labels.
    ///
    /// # Errors
    /// The store cannot be read.
    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError>;

    /// The checks due in [from, until), in the order of their due times.
    ///
    /// # Errors
    /// The store cannot be read, or holds a row that it should not.
    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Who, &Check),
    ) -> Result<(), StoreError>;

    /// The gaps that have slots in [from, until).
    ///
    /// # Errors
    /// The store cannot be read, or holds a row that it should not.
    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError>;

    /// Records that were dropped in [from, until): how many for each cause.
    ///
    /// # Errors
    /// The store cannot be read.
    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError>;
}

/// Labels of a target.
pub type Labels = BTreeMap<String, String>;

/// What a writer takes from Kafka into its store in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Parcel {
    /// Name of the topic.
    pub topic: String,
    /// The cluster's own id: the same topic elsewhere has other offsets.
    pub cluster: String,
    /// What was read.
    pub records: Vec<Record>,
    /// The place of each record in Kafka.
    pub origins: Vec<Origin>,
    /// What could not be read.
    pub dead: Vec<DeadLetter>,
    /// Up to where each partition was read, rising by partition.
    pub marks: Vec<Mark>,
    /// The moment from which ages count; none: the time at which it is stored.
    pub age_ms: Option<i64>,
}

impl Parcel {
    /// Appends a parcel of the same topic that was read after this one. Records that were read again
    /// count once.
    pub fn append(&mut self, later: Parcel) {
        let known: BTreeSet<Origin> = self.origins.iter().copied().collect();
        for (record, origin) in later.records.into_iter().zip(later.origins) {
            if !known.contains(&origin) {
                self.records.push(record);
                self.origins.push(origin);
            }
        }
        self.dead.extend(later.dead);
        for mark in later.marks {
            match self.marks.binary_search_by_key(&mark.partition, |before| before.partition) {
                Ok(index) => self.marks[index].go_on(&mark),
                Err(index) => self.marks.insert(index, mark),
            }
        }
    }
}

/// A message's place in Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Kafka's time of it, in milliseconds since 1970: in a log that was begun anew another message
    /// has the same offset. 0: none is known.
    pub sent_ms: i64,
}

/// Where to go on in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub next: i64,
    /// Messages before it.
    pub anchors: Anchors,
}

/// Up to where a partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The partition.
    pub partition: i32,
    /// The offset that was stored as the next one when the reading began; 0: none was.
    pub from: i64,
    /// The next offset to read.
    pub next: i64,
    /// The log is another than the one that was read before, from this offset on: marks and
    /// anchors beyond it no longer count.
    pub reset: Option<i64>,
    /// The fingerprint of the message before `next`; none: it is not known.
    pub hash: Option<u64>,
}

impl Mark {
    /// Goes on to a later mark of its partition. A partition that was taken away and given back is
    /// read again: the mark goes back only where the log was begun anew.
    fn go_on(&mut self, later: &Mark) {
        if let Some(at) = later.reset {
            self.reset = Some(self.reset.map_or(at, |before| before.min(at)));
        }
        if later.reset.is_some() || later.next > self.next {
            (self.next, self.hash) = (later.next, later.hash);
        }
    }
}

/// A message that could not be read, and is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place in Kafka.
    pub origin: Origin,
    /// Its bytes; kept are at most 64 KiB.
    pub payload: Vec<u8>,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, for people.
    pub detail: String,
}

/// What storing a parcel did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// All of it is stored, with its marks.
    Whole(Written),
    /// Nothing was stored: the store is older than the parcel (it was restored), and these
    /// partitions go on at these offsets.
    Older(Vec<(i32, i64)>),
}

/// What a write did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Checks that are new.
    pub checks: u64,
    /// Checks that were stored already.
    pub repeats: u64,
    /// Oldest checks that went, to stay within the largest size; or that came when their time was
    /// over.
    pub expired: u64,
}

/// Why a store did not do as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// It cannot be used as it is, and trying again will not help.
    Unfit {
        /// What, and why.
        text: String,
    },
    /// A file of ours is damaged, and trying again will not help.
    Damaged {
        /// Which, and how that shows.
        text: String,
    },
    /// It is away, locked or full for now.
    Away {
        /// What, and why.
        text: String,
    },
    /// What it was given cannot be stored, now or later: one of the records is at fault.
    Refused {
        /// What, and why.
        text: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unfit { text }
            | StoreError::Damaged { text }
            | StoreError::Away { text }
            | StoreError::Refused { text } => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::NodeState;

    fn parcel(offsets: &[i64], mark: Mark) -> Parcel {
        let record = |_: &i64| Record::Node(NodeState::new(&Arc::from("a"), 1, 2));
        let origin = |offset: &i64| Origin { offset: *offset, ..Origin::default() };
        let records = offsets.iter().map(record).collect();
        let origins = offsets.iter().map(origin).collect();
        Parcel { records, origins, marks: vec![mark], ..Parcel::default() }
    }

    #[test]
    fn parcels_of_one_topic_are_joined_and_what_was_read_again_counts_once() {
        let mark = |partition, from, next, reset| Mark {
            partition,
            from,
            next,
            reset,
            hash: Some(next as u64),
        };
        let mut joined = parcel(&[5, 6], mark(1, 5, 7, None));
        joined.append(parcel(&[6, 7], mark(1, 7, 8, None)));
        joined.append(parcel(&[4], mark(0, 4, 5, None)));
        // Taken away and given back.
        joined.append(parcel(&[5, 6], mark(1, 5, 7, None)));
        let offsets: Vec<i64> = joined.origins.iter().map(|origin| origin.offset).collect();
        assert_eq!((offsets, joined.records.len()), (vec![5, 6, 7, 4], 4));
        assert_eq!(joined.marks, [mark(0, 4, 5, None), mark(1, 5, 8, None)]);
        // Cut, twice.
        joined.append(parcel(&[], mark(1, 8, 7, Some(6))));
        joined.append(parcel(&[], mark(1, 8, 9, Some(7))));
        assert_eq!(joined.marks[1], mark(1, 5, 9, Some(6)));
    }
}
