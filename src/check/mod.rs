//! Checks sites. A target goes in and a reply comes out; never an error, since the fault of a site is a
//! result too.
//!
//! A check's walk: [`engine`] runs many checks at once; `request` makes the requests of one check, and
//! `evaluation` in it decides about their results. On the way, [`resolve`] finds the addresses of names,
//! `route` sets address and proxy, `callbacks` takes what libcurl reports, `header`, `body` and `coding` read
//! the reply, `pool` keeps connections open, `budget` bounds the memory for bodies, `phases` measures, and
//! `stall` finds out if this process stood still.
//!
//! TLS: [`trust`] has the roots, `handshake` the notes of a handshake, `certificate` reads certificates and
//! `chains` remembers those that were verified. Faults: `fault` for errors of libcurl, `proxy` for proxies,
//! `certificate_fault` for refused certificates, `kernel_route` for missing routes.
//!
//! [`canary`] asks the hosts that show whether our own network works. Only `raw` has unsafe code.

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
