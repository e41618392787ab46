//! Data and decisions of the program, without I/O, clock, log or thread: data and a time go in, values come
//! out.

pub mod anchor;
pub mod attempts;
pub mod backoff;
pub mod batch;
pub mod case_folding;
pub mod charset;
pub mod connect;
pub mod cookie;
pub mod counters;
pub mod expression;
pub mod field;
pub mod health;
pub mod histogram;
pub mod judge;
pub mod literal;
pub mod loss;
pub mod outage;
pub mod outbox;
pub mod outcome;
pub mod queue;
pub mod record;
pub mod refusal;
pub mod report;
pub mod safeguard;
pub mod schedule;
pub mod secret;
pub mod standing;
pub mod tally;
pub mod target;
pub mod uplink;
pub mod wire;
