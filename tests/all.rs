//! All tests, one binary. `harness` starts the real servers and the program; every other module
//! is a list of what must hold.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy allows them in #[test] functions only, and all of this is test"
)]

mod harness;

mod house {
    mod layers; // the sources: layers, what the model must not touch, times of 64 bits, length of files
}

mod artefact;
mod attempts;
mod away;
mod check;
mod clock;
mod cross;
mod demo;
mod doors;
mod frozen;
mod handshake;
mod health;
mod kill;
mod listener;
mod places;
mod poison;
mod postgres;
mod probe;
mod published;
mod readme;
mod records;
mod recount;
mod refused;
mod reload;
mod resolver;
mod road;
mod roots;
mod rows;
mod run;
mod scale;
mod secure;
mod servers;
mod service;
mod setup;
mod shown;
mod sites;
mod sqlite;
mod sqlite_damage;
mod status;
mod store;
mod threads;
mod times;
mod tools;
mod trouble;
mod uplink;
mod version;
