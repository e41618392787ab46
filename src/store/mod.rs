//! Stores for results: one trait in `engine`, the batch that it takes in `batch`, and two engines.
//! `tests/store.rs` has the contract that every engine must keep.

mod batch;
mod columns;
mod engine;
mod error;
mod postgres;
mod sqlite;

pub use batch::{DeadLetter, Mark, Origin, Parcel, Position, Stored, Written};
pub use engine::{Labels, Store};
pub use error::StoreError;
pub use postgres::{Postgres, Ready, RefusedRecord, Retained};
pub use sqlite::Sqlite;
