//! `sitewatch probe`: watches from the edge, and publishes to Kafka.
//!
//! ```text
//!     watch ──Finding──> judge ──Record──> send ──> Kafka         each on a thread of its own
//!                        └──> log        main: signals, /health
//! ```
//!
//! No check waits for Kafka: records that cannot be sent are held. Stopping runs down the road: the watch
//! starts nothing more and ends, the judge drains its queue, the sender delivers the rest within
//! `stop_timeout`. A second signal leaves at once.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::checking::{self, Checking, InitialState};
use super::daemon::{Daemon, Obey, Shared};
use super::reload::{LOOK_EVERY, Reload};
use super::{BAD_NEWS, FINE, keep_own, load};
use crate::args::Common;
use crate::clock;
use crate::config::Need;
use crate::error::{Context, Error};
use crate::show::health::{Health, Role};
use crate::show::text::count;
use crate::show::time::rfc3339;
use crate::stage::messages::draw_run;
use crate::stage::publish::{Publisher, Undelivered};
use crate::threads;

/// Most batches between judge and sender, each of the records that were settled together. When full, the
/// judge waits.
const BATCHES: usize = 64;

/// Watches targets and publishes records until the program is told to stop.
///
/// # Errors
/// Anything that keeps the probe from starting; an absent Kafka does not.
pub fn probe(common: &Common) -> Result<u8, Error> {
    let since_us = clock::now_us();
    let mut config = load(common, Need::Probe)?;
    let node = config.node.clone().ok_or_else(|| Error::new("node is missing"))?;
    let node: Arc<str> = node.into();
    keep_own(&mut config, &node)?;
    let kafka = config.kafka.clone().ok_or_else(|| Error::new("[kafka] is missing"))?;
    let run = draw_run();
    let plan = checking::plan(&config)?;
    let shared = Shared::new(Health {
        role: Role::Probe,
        node: node.to_string(),
        targets: config.targets.len() as u64,
        ..Health::default()
    });
    let (outputs_in, outputs) = smol::channel::bounded(BATCHES);
    let stopped = Arc::new(OnceLock::new());
    let told = Arc::clone(&stopped);
    let send = Publisher::new(&config, &kafka, (&node, run), outputs, Arc::clone(&shared), told)?;
    let daemon = Daemon::new(&config)?;
    log::info!(
        "watching {} as {node}, publishing to topic {} of Kafka at {}",
        count(config.targets.len() as u64, "target"),
        kafka.topic,
        kafka.brokers.join(", ")
    );
    let (ended_in, ended) = smol::channel::bounded::<()>(1);
    let send = threads::named("send").spawn(move || {
        let left = send.run();
        drop(ended_in);
        left
    });
    let send = send.cannot("start a thread")?;
    let sink = Box::new(move |output| match outputs_in.send_blocking(output) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    let checking =
        Checking::start(&config, (&node, run), plan, InitialState::default(), &shared, sink)?;
    let reload = Reload::new(common, (Need::Probe, since_us), &node, config, checking.handle());
    let mut told = Told { stopped, checking: &checking, reload };
    daemon.oversee(&shared, &ended, &mut told);
    drop(told);

    let watched = checking.join();
    let left = send.join().map_err(|_| Error::new("a thread of this program broke down"))?;
    if let Some(Undelivered { count: left, oldest_ms }) = left {
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

/// Reactions of a probe to signals.
struct Told<'a> {
    stopped: Arc<OnceLock<Instant>>,
    checking: &'a Checking,
    reload: Reload<'a>,
}

impl Obey for Told<'_> {
    fn stop(&mut self) {
        self.stopped.get_or_init(Instant::now);
        self.checking.stop();
    }

    fn hang_up(&mut self) {
        self.reload.reload();
    }

    fn looks_every(&self) -> Option<Duration> {
        self.reload.is_watching().then_some(LOOK_EVERY)
    }

    fn look(&mut self) {
        self.reload.look();
    }
}
