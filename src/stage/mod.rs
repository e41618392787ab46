//! Stages: each is a struct that runs on a thread of its own. Its file says what it takes and gives, when it
//! ends, and what it does on failure. No stage knows another: they meet in `cmd`, and what travels between
//! two of them is in [`messages`].

pub mod consume;
pub mod judge;
pub mod messages;
pub mod persist;
pub mod publish;
pub mod schedule;
pub mod serve;
pub mod supervise;
pub mod tend;
