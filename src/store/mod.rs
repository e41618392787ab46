//! Stores for results: one trait in `engine`, the batch that it takes in `batch`, and two engines.
//! `tests/store/contract.rs` has the contract that every engine must keep.

mod batch;
mod columns;
mod engine;
mod error;
mod postgres;
mod retention;
mod sqlite;

pub use batch::{Batch, DeadLetter, Mark, MessageOrigin, Position, WriteCounts, WriteResult};
pub use engine::{Labels, Store};
pub use error::StoreError;
pub use postgres::{Postgres, Readiness, RefusedRecord};
pub use retention::RetentionCounts;
pub use sqlite::Sqlite;
