//! Trait that every engine implements, so that the stages and the reports know no engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::WriteCounts;
use super::error::StoreError;
use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;

/// Keeps records, and reads them back.
pub trait Store: Send {
    /// Stores records, in one transaction: all of them or none. A check or a gap whose key is stored already
    /// changes nothing; a loss grows, and a state is replaced by a newer one.
    ///
    /// # Errors
    /// Nothing was stored, and the same records may be given again.
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = &Record>,
        now_ms: i64,
    ) -> Result<WriteCounts, StoreError>;

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
    fn states(&mut self) -> Result<BTreeMap<Who, State>, StoreError>;

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
        take: &mut dyn FnMut(&Who, &Check),
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
