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
mod broker_refusals;
mod check;
mod clock;
mod cross;
mod dates;
mod demo;
mod end_to_end_auth;
mod health;
mod kafka_auth;
mod kafka_outage;
mod limits;
mod listener;
mod many_targets;
mod poison_messages;
mod postgres;
mod probe;
mod program;
mod published;
mod readme;
mod records;
mod recount;
mod reload;
mod resolver;
mod road;
mod roots;
mod run;
mod servers;
mod service;
mod setup;
mod shutdown;
mod sites;
mod sqlite;
mod sqlite_damage;
mod sqlite_rows;
mod state_dir;
mod status;
mod store;
mod suspension;
mod terminal;
mod thread_limit;
mod tls;
mod uplink;
mod version;
