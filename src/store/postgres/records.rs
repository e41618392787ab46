//! Records of a batch, and which of them are not too old to be stored.

use crate::model::outcome::{Gap, Loss, Outcome};
use crate::model::record::{NodeState, Record, TargetState};
use crate::store::batch::Parcel;

/// Records to store, and the conditions.
pub struct Batch<'a> {
    /// The records, in the order in which they came.
    pub records: &'a [&'a Record],
    /// Parcel that the records came in, if they came from Kafka.
    pub parcel: Option<&'a Parcel>,
    /// Time of storing, in milliseconds since 1970.
    pub now_ms: i64,
    /// Due time before which checks are not kept, in milliseconds since 1970.
    pub keep_from_ms: i64,
    /// Some checks are probably stored already.
    pub careful: bool,
    /// Roll each transaction back: the batch only tries whether the tables accept the records.
    pub is_trial: bool,
}

/// Records of a batch, by their kind.
pub struct Given<'a> {
    /// All records.
    pub records: &'a [&'a Record],
    /// Gaps, in the order of the batch.
    pub gaps: Vec<&'a Gap>,
    /// Losses, in the order of the batch.
    pub losses: Vec<&'a Loss>,
    /// Announcements of nodes, in the order of the batch.
    pub nodes: Vec<&'a NodeState>,
    /// Announcements of targets, in the order of the batch.
    pub targets: Vec<&'a TargetState>,
}

impl<'a> Given<'a> {
    /// Sorts the records of a batch that are not too old.
    pub fn new(batch: &Batch<'a>) -> Given<'a> {
        let mut given = Given {
            records: batch.records,
            gaps: Vec::new(),
            losses: Vec::new(),
            nodes: Vec::new(),
            targets: Vec::new(),
        };
        for record in kept(batch) {
            match record {
                Record::Check(_) => {}
                Record::Gap(gap) => given.gaps.push(gap),
                Record::Loss(loss) => given.losses.push(loss),
                Record::Node(state) => given.nodes.push(state),
                Record::Target(state) => given.targets.push(state),
            }
        }
        given
    }

    /// Returns the check at that index of the batch.
    pub fn check(&self, index: u32) -> Option<&'a Outcome> {
        match self.records.get(index as usize)? {
            Record::Check(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// Returns the records that are not too old.
pub fn kept<'a>(batch: &Batch<'a>) -> impl Iterator<Item = &'a Record> + Clone {
    let keep_from_ms = batch.keep_from_ms;
    batch.records.iter().copied().filter(move |record| is_kept(record, keep_from_ms))
}

/// Returns true if a record is not too old; states never are.
pub fn is_kept(record: &Record, keep_from_ms: i64) -> bool {
    match record {
        Record::Check(outcome) => outcome.due_ms >= keep_from_ms,
        Record::Gap(gap) => gap.to_ms >= keep_from_ms,
        Record::Loss(loss) => loss.to_ms >= keep_from_ms,
        Record::Node(_) | Record::Target(_) => true,
    }
}
