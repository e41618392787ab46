//! Where results are kept: one trait, so that the stages and the reports know no engine.
//! `tests/store.rs` has the contract that every engine must keep.

mod sqlite;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;

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

/// What a write did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Checks that are new.
    pub checks: u64,
    /// Checks that were stored already.
    pub repeats: u64,
    /// Oldest checks that went, to stay within the largest size.
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
    /// It is away, locked or full for now.
    Away {
        /// What, and why.
        text: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unfit { text } | StoreError::Away { text } => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}
