//! Sorts the records of a batch by their kind, and leaves out those that are too old to be stored.

use crate::model::outcome::{Gap, Loss, Outcome};
use crate::model::record::{NodeState, Record, TargetState};
use crate::store::batch::Batch;

/// Records to store in one transaction, and the conditions.
pub struct WriteRequest<'a> {
    /// The records, in the order in which they came.
    pub records: &'a [Record],
    /// Batch whose marks and dead letters are stored too; none for a trial.
    pub batch: Option<&'a Batch>,
    /// Time of storing, in milliseconds since 1970.
    pub now_ms: i64,
    /// Oldest due time of checks that are stored, in milliseconds since 1970.
    pub oldest_ms: i64,
    /// Some checks are probably stored already.
    pub expects_duplicates: bool,
    /// Roll each transaction back: the batch only tries whether the tables accept the records.
    pub is_trial: bool,
}

/// Records of a batch, by their kind.
pub struct SortedRecords<'a> {
    /// All records.
    pub records: &'a [Record],
    /// Gaps, in the order of the batch.
    pub gaps: Vec<&'a Gap>,
    /// Losses, in the order of the batch.
    pub losses: Vec<&'a Loss>,
    /// Announcements of nodes, in the order of the batch.
    pub nodes: Vec<&'a NodeState>,
    /// Announcements of targets, in the order of the batch.
    pub targets: Vec<&'a TargetState>,
}

impl<'a> SortedRecords<'a> {
    /// Sorts the records of a batch that are not too old.
    pub fn new(request: &WriteRequest<'a>) -> SortedRecords<'a> {
        let mut sorted = SortedRecords {
            records: request.records,
            gaps: Vec::new(),
            losses: Vec::new(),
            nodes: Vec::new(),
            targets: Vec::new(),
        };
        for record in recent(request) {
            match record {
                Record::Check(_) => {}
                Record::Gap(gap) => sorted.gaps.push(gap),
                Record::Loss(loss) => sorted.losses.push(loss),
                Record::Node(state) => sorted.nodes.push(state),
                Record::Target(state) => sorted.targets.push(state),
            }
        }
        sorted
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
pub fn recent<'a>(request: &WriteRequest<'a>) -> impl Iterator<Item = &'a Record> + Clone {
    let oldest_ms = request.oldest_ms;
    request.records.iter().filter(move |record| is_recent(record, oldest_ms))
}

/// Returns true if a record is not older than `oldest_ms`. A state is never too old.
pub fn is_recent(record: &Record, oldest_ms: i64) -> bool {
    match record {
        Record::Check(outcome) => outcome.due_ms >= oldest_ms,
        Record::Gap(gap) => gap.to_ms >= oldest_ms,
        Record::Loss(loss) => loss.to_ms >= oldest_ms,
        Record::Node(_) | Record::Target(_) => true,
    }
}
