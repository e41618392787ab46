//! Errors of a store, by their consequence for the caller.

use std::fmt;

/// Reasons for which a store did not do a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The store cannot be used as it is, and another try will not help.
    Unfit {
        /// The thing that failed, and the reason.
        text: String,
    },
    /// A file of ours is damaged, and another try will not help.
    Damaged {
        /// The file, and the sign of its damage.
        text: String,
    },
    /// The store is away, locked or full for now.
    Away {
        /// The thing that failed, and the reason.
        text: String,
    },
    /// The store refuses the data, now and later: one of the records is at fault.
    Refused {
        /// The thing that failed, and the reason.
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
