//! `sitewatch probe`: watches from the edge, and publishes to Kafka.
//!
//! ```text
//!     watch ──Found──> judge ──Record──> send ──> Kafka         each on a thread of its own
//!                        └──> log        main: signals, /health
//! ```
//!
//! Nothing of it waits for Kafka: what cannot be sent is held. Stopping runs down the road: the
//! watch starts nothing more and ends, the judge drains what is left, the sender delivers it
//! within `stop_timeout`. A second signal leaves at once.

mod announce;
mod find;
mod send;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use self::send::{Left, Send};
use super::daemon::{Daemon, Shared, thread};
use super::head::{Before, Head};
use super::{BAD_NEWS, FINE, keep_own, load};
use crate::args::Common;
use crate::check::trust::Trust;
use crate::check::watch::draw_run;
use crate::config::Need;
use crate::error::{Context, Error};
use crate::show::health::{Health, Role};
use crate::show::text::count;
use crate::show::time::rfc3339;

/// Records between judge and sender, at most; the judge waits when it is full.
const RECORDS: usize = 64;

/// Watches and publishes until told to stop.
///
/// # Errors
/// Whatever keeps it from starting; that Kafka is away does not.
pub fn probe(common: &Common) -> Result<u8, Error> {
    let mut config = load(common, Need::Probe)?;
    let node = config.node.clone().ok_or_else(|| Error::new("node is missing"))?;
    let node: Arc<str> = node.into();
    keep_own(&mut config, &node)?;
    let kafka = config.kafka.clone().ok_or_else(|| Error::new("[kafka] is missing"))?;
    let run = draw_run();
    let trust = Trust::read(config.targets.iter().map(|target| &**target))?;
    let shared = Shared::new(Health {
        role: Role::Probe,
        node: node.to_string(),
        targets: config.targets.len() as u64,
        ..Health::default()
    });
    let (records_in, records) = smol::channel::bounded(RECORDS);
    let stopped = Arc::new(OnceLock::new());
    let told = Arc::clone(&stopped);
    let send = Send::new(&config, &kafka, (&node, run), records, Arc::clone(&shared), told)?;
    let daemon = Daemon::new(&config)?;
    log::info!(
        "watching {} as {node}, publishing to topic {} of Kafka at {}",
        count(config.targets.len() as u64, "target"),
        kafka.topic,
        kafka.brokers.join(", ")
    );
    let (ended_in, ended) = smol::channel::bounded::<()>(1);
    let send = thread("send").spawn(move || {
        let left = send.run();
        drop(ended_in);
        left
    });
    let send = send.cannot("start a thread")?;
    let give = Box::new(move |record| records_in.send_blocking(record).is_ok());
    let head = Head::start(&config, (&node, run), trust, Before::default(), &shared, give)?;
    let stop = || {
        stopped.get_or_init(Instant::now);
        head.stop();
    };
    daemon.oversee(&shared, &ended, stop, || ());

    let watched = head.join();
    let left = send.join().map_err(|_| Error::new("a thread of this program broke down"))?;
    if let Some(Left { count: left, oldest_ms }) = left {
        let records = count(left, "record");
        let oldest = oldest_ms.map(|ms| format!(", the oldest of {}", rfc3339(ms)));
        let oldest = oldest.unwrap_or_default();
        log::error!("{records}{oldest}: not delivered and lost, Kafka did not take them in time");
        return Ok(BAD_NEWS);
    }
    if let Err(error) = watched {
        log::error!("{error}");
        return Ok(BAD_NEWS);
    }
    log::info!("stopped: everything is delivered");
    Ok(FINE)
}
