//! Checks sites: a target goes in, a reply comes out, and never an error, since the failure of a site is
//! a result too.
//!
//! [`engine`] runs many checks at once, `hop` makes one request of a check and measures it, [`resolve`]
//! finds the addresses of names, `reach` sets the route of a hop, `proxy` finds the faults of proxies,
//! `wire` takes libcurl's callbacks, `head` and `body` read the reply, `coding` decodes its body,
//! `certificate`, `chains` and [`trust`] are about TLS . Only `raw` has unsafe code.

pub mod canary;
pub mod engine;
pub mod trust;

mod body;
mod certificate;
mod chains;
mod coding;
mod fault;
mod head;
mod hop;
mod kept;
mod kernel_route;
mod phases;
mod proxy;
mod raw;
mod reach;
pub mod resolve;
mod room;
mod stall;
mod stopped;
mod wire;

pub use room::{Held, Room};
