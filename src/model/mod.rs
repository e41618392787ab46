//! What the program knows and decides, without I/O, clock, log or thread: data and a time go
//! in, values come out.

pub mod histogram;
pub mod outcome;
pub mod report;
pub mod tally;
pub mod target;
