//! Last stages of `run` and `write`: they store what comes.

pub mod parcels;
pub mod records;
