//! sitewatch: watches websites from small machines.
//!
//! The road that a check takes, and the modules in its order:
//!
//! ```text
//!     run    = schedule > check > judge > batch > store        status = store > report > text
//!     check  = check > judge > waterfall
//! ```
//!
//! One noun travels: the [`model::outcome::Outcome`] of one check of one target from one node
//! at one due time. Only `cmd` joins stages; a stage knows what it takes and gives, never its
//! neighbour. `tests/layers.rs` holds the arrows.

pub mod args;
pub mod cmd;

pub mod stage;

pub mod check;
pub mod kafka;
pub mod show;
pub mod store;

pub mod config;
pub mod roots;

pub mod model;

pub mod clock;
pub mod error;
pub mod log;
pub mod stop;
pub mod threads;

#[cfg(all(target_env = "musl", target_feature = "crt-static", target_pointer_width = "64"))]
mod allocator;
pub mod character;
pub mod date;
pub mod json;
pub mod words;
