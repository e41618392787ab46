//! Last stages of `run` and `write`: they store what comes.

pub mod batches;
pub mod records;
