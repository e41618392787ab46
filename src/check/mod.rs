//! Checks sites: a target goes in, a reply comes out, and never an error, since the failure of a site is
//! a result too.
//!
//! [`engine`] runs many checks at once, `request` makes one request of a check and measures it, [`resolve`]
//! finds the addresses of names, `route` sets the route of a hop, `proxy` finds the faults of proxies,
//! `callbacks` takes libcurl's callbacks, `header` and `body` read the reply, `coding` decodes its body,
//! `handshake`, `certificate`, `certificate_fault`, `chains` and [`trust`] are about TLS. Only `raw` has unsafe code.

pub mod canary;
pub mod engine;
pub mod trust;

mod body;
mod budget;
mod callbacks;
mod certificate;
mod certificate_fault;
mod chains;
mod coding;
mod fault;
mod handshake;
mod header;
mod kernel_route;
mod phases;
mod pool;
mod proxy;
mod raw;
mod request;
pub mod resolve;
mod route;
mod stall;
mod stop_reason;

pub use budget::{BodyBudget, Permit};
