//! PostgreSQL: the store that many writers and readers share. `client` holds the connection that all calls
//! go over; `connect` and `tls` make it, `migrate` makes the schema, `engine` implements the trait by
//! `write` and `read`.
//!
//! A connection that fails is dropped, and the next call makes another: after a restart of the server
//! nobody has to do anything. Every call has a deadline.

mod announcements;
mod cache;
mod client;
mod connect;
mod copy;
mod dead_letters;
mod engine;
mod fault;
mod losses;
mod marks;
mod migrate;
mod names;
mod partitions;
mod patience;
mod read;
mod records;
mod retain;
mod session;
mod sift;
mod states;
mod tend;
mod tls;
mod write;

pub use client::Postgres;
pub use migrate::Ready;
pub use retain::Retained;
pub use sift::RefusedRecord;
