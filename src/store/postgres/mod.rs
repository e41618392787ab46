//! PostgreSQL: the store that many writers and readers share. `client` holds the connection that all calls go
//! over; `connect` and `tls` make it, `migrate` makes the schema, `engine` implements the trait by `write`
//! and `read`.
//!
//! A connection that fails is dropped, and the next call makes another: after a restart of the server nobody
//! has to do anything. Every call has a deadline.

mod announcements;
mod cache;
mod client;
mod connect;
mod dead_letters;
mod deadline;
mod engine;
mod error;
mod lookup;
mod losses;
mod maintenance;
mod marks;
mod migrate;
mod names;
mod partitions;
mod read;
mod records;
mod refusals;
mod retain;
mod session;
mod staging;
mod state_table;
mod tls;
mod write;

pub use client::Postgres;
pub use migrate::Readiness;
pub use refusals::RefusedRecord;
