//! The check: a target goes in, a reply comes out, never an error; a site's failure is our
//! product.
//!
//! [`engine`] owns the connections, [`hop`] makes one request of a check and measures it,
//! [`resolve`] finds the addresses of names, [`reach`] says by which way, [`proxy`] whose fault a way
//! through one is, [`wire`] is what libcurl calls back, [`head`] and [`body`] read what was sent,
//! [`coding`] decodes it, [`certificate`], [`chains`] and [`trust`] are about TLS, [`watch`] is the stage that
//! joins the engine to the schedule. `raw` is the one place with unsafe code.

pub mod engine;
pub mod trust;
pub mod watch;

mod body;
mod certificate;
mod chains;
mod coding;
mod fault;
mod head;
mod hop;
mod kept;
mod phases;
mod proxy;
mod raw;
mod reach;
pub mod resolve;
mod room;
mod route;
mod stall;
mod stopped;
mod wire;

pub use room::{Held, Room};
