//! The tools of the tests: real servers on port 0 that reply as scripted and record their replies
//! (`Listener`, `Script`, `dead`), temporary certificates (`certs`), the program run as a program
//! (`Sitewatch`), a real PostgreSQL and Kafka (`Postgres`, `Kafka`), and small helpers. Nothing here uses
//! the library under test, so that it can judge it.
//!
//! ```
//! let listener = Listener::https(&certs::set().good);
//! listener.on("/health", Script::ok("fine").serial().delay_first_byte(SHORT));
//! let done = Sitewatch::new().args(["check", &listener.url("/health")]).run();
//! assert_eq!(done.code, Some(0), "{done:?}");
//! assert!(listener.settled(DEADLINE)[0].answered);
//! ```

pub mod admin;
pub mod artefact;
pub mod binary;
pub mod certs;
pub mod client;
pub mod clock;
pub mod daemon;
pub mod dead;
pub mod deflate;
pub mod dns;
pub mod greeter;
pub mod http2;
pub mod json;
pub mod kafka;
pub mod kcat;
pub mod legacy;
pub mod listener;
pub mod pgbouncer;
pub mod postgres;
pub mod power;
pub mod proxy;
pub mod reply;
pub mod request;
pub mod script;
pub mod temp;
pub mod tls;
pub mod wait;
pub mod wire;

pub use artefact::Artefact;
pub use binary::Sitewatch;
pub use client::Client;
pub use dns::Dns;
pub use http2::Http2;
pub use json::Fields;
pub use kafka::Kafka;
pub use listener::Listener;
pub use pgbouncer::Pgbouncer;
pub use postgres::Postgres;
pub use script::Script;
pub use temp::Temp;
pub use tls::Tls;
pub use wait::eventually;
