//! All tests, one binary. `harness` starts the real servers and the program; every other module
//! is a list of what must hold.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy allows them in #[test] functions only, and all of this is test"
)]

mod harness;

mod check;
mod demo;
mod handshake;
mod health;
mod kill;
mod layers;
mod listener;
mod readme;
mod records;
mod road;
mod rows;
mod run;
mod scale;
mod servers;
mod sites;
mod sqlite;
mod status;
mod store;
mod tools;
mod trouble;
