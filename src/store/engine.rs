//! Trait that every engine implements, so that the stages and the reports know no engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{Batch, WriteResult};
use super::error::StoreError;
use super::retention::RetentionCounts;
use crate::config::RetentionConfig;
use crate::model::outcome::Gap;
use crate::model::report::Series;
use crate::model::standing::NodeStanding;
use crate::model::tally::CheckFacts;

/// Keeps records, and reads them back.
pub trait Store: Send {
    /// Stores a batch with its marks, in one transaction: all of it or nothing. A check or a gap whose key is
    /// stored already changes nothing; a loss grows, and a state is replaced by a newer one.
    ///
    /// # Errors
    /// Nothing was stored, and the same batch may be given again. But if the batch is refused, one of its
    /// records is the reason, and will be refused again.
    fn write(&mut self, batch: &Batch, now_ms: i64) -> Result<WriteResult, StoreError>;

    /// Deletes checks, gaps, losses and dead letters that were kept for long enough, and the oldest dead
    /// letters beyond `dead_letter_max` bytes. Work that takes longer than a moment is left for the next
    /// call.
    ///
    /// # Errors
    /// The store is away; a part may be done.
    fn retain(
        &mut self,
        retention: &RetentionConfig,
        dead_letter_max: u64,
        now_ms: i64,
    ) -> Result<RetentionCounts, StoreError>;

    /// Returns the newest due time that is stored of each target, as `node` checked it, in milliseconds since
    /// 1970.
    ///
    /// # Errors
    /// The store cannot be read.
    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError>;

    /// Returns the state of each target on each node.
    ///
    /// # Errors
    /// The store cannot be read.
    fn states(&mut self) -> Result<BTreeMap<Series, NodeStanding>, StoreError>;

    /// Returns every target with its labels.
    ///
    /// # Errors
    /// The store cannot be read.
    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError>;

    /// Gives `take` each check due in [from, until), in the order of their due times.
    ///
    /// # Errors
    /// The store cannot be read, or holds a row that it should not.
    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Series, &CheckFacts),
    ) -> Result<(), StoreError>;

    /// Gives `take` each gap that overlaps [from, until).
    ///
    /// # Errors
    /// The store cannot be read, or holds a row that it should not.
    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError>;

    /// Returns how many records were dropped for each cause, from the losses that overlap [from, until); each
    /// loss counts whole.
    ///
    /// # Errors
    /// The store cannot be read.
    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError>;
}

/// Labels of a target.
pub type Labels = BTreeMap<String, String>;
