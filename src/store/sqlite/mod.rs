//! SQLite: one file, and nothing to install. `open` decides whether a file is ours, `quarantine` moves a
//! damaged file out of the way, `migrate` makes the tables; `expire` keeps the file within its largest size;
//! `database` implements the trait by `write` and `read`.

mod database;
mod error;
mod expire;
mod files;
mod ids;
mod migrate;
mod open;
mod quarantine;
mod read;
mod retain;
mod write;

pub use database::Sqlite;
