//! `sitewatch probe`: watches from the edge, and publishes to Kafka.
//!
//! ```text
//!     schedule ──Finding──> judge ──Record──> publish ──> Kafka     each on a thread of its own
//!                             └──> log        main: signals; serve: /health
//! ```
//!
//! No check waits for Kafka: records that cannot be sent are held. Stopping runs down the road: the scheduler
//! starts nothing more and ends, the judge drains its queue, the publisher delivers the rest within
//! `stop_timeout`. A second signal leaves at once.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::checking::{self, Checking, InitialState};
use super::reload::{LOOK_EVERY, Reload};
use super::{BAD_NEWS, FINE, keep_own, load, start_server};
use crate::args::CommonOptions;
use crate::clock;
use crate::config::Need;
use crate::error::{Context, Error};
use crate::model::counters::Daemon;
use crate::model::health::SharedHealth;
use crate::show::text::show_count;
use crate::show::time::rfc3339;
use crate::stage::messages::Run;
use crate::stage::publish::{Publisher, Undelivered};
use crate::stage::supervise::{SignalHandler, Supervisor};
use crate::threads;

/// Most batches between judge and sender, each of the records that were settled together. When full, the
/// judge waits.
const BATCHES: usize = 64;

/// Watches targets and publishes records until the program is told to stop.
///
/// # Errors
/// Anything that keeps the probe from starting; an absent Kafka does not.
pub fn probe(common: &CommonOptions) -> Result<u8, Error> {
    let since_us = clock::now_us();
    let mut config = load(common, Need::Probe)?;
    let node = config.node.clone().ok_or_else(|| Error::new("node is missing"))?;
    let node: Arc<str> = node.into();
    keep_own(&mut config, &node)?;
    let kafka = config.kafka.clone().ok_or_else(|| Error::new("[kafka] is missing"))?;
    let run = Run::begin(&node);
    let plan = checking::plan(&config)?;
    let health = SharedHealth::new(Daemon::Probe, &node);
    health.count(|counters| counters.targets = config.targets.len() as u64);
    let (outputs_in, outputs) = smol::channel::bounded(BATCHES);
    let stopped = Arc::new(OnceLock::new());
    let stopped_at = Arc::clone(&stopped);
    let publisher =
        Publisher::new(&config, &kafka, &run, outputs, Arc::clone(&health), stopped_at)?;
    let supervisor = Supervisor::new()?;
    let _server = start_server(&config, &health)?;
    log::info!(
        "watching {} as {node}, publishing to topic {} of Kafka at {}",
        show_count(config.targets.len() as u64, "target"),
        kafka.topic,
        kafka.brokers.join(", ")
    );
    let (ended_in, ended) = smol::channel::bounded::<()>(1);
    let publish = threads::named("publish").spawn(move || {
        let undelivered = publisher.run();
        drop(ended_in);
        undelivered
    });
    let publish = publish.cannot("start a thread")?;
    let sink = Box::new(move |output| match outputs_in.send_blocking(output) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    let checking = Checking::start(&config, &run, plan, InitialState::default(), &health, sink)?;
    let reload = Reload::new(common, (Need::Probe, since_us), &node, config, checking.handle());
    let mut signals = ProbeSignals { stopped, checking: &checking, reload };
    supervisor.run(&ended, &mut signals);
    drop(signals);

    let checked = checking.join();
    let undelivered =
        publish.join().map_err(|_| Error::new("a thread of this program broke down"))?;
    if let Some(Undelivered { count: number, oldest_ms }) = undelivered {
        let records = show_count(number, "record");
        let oldest = oldest_ms.map(|ms| format!(", the oldest of {}", rfc3339(ms)));
        let oldest = oldest.unwrap_or_default();
        log::error!("{records}{oldest}: not delivered and lost, Kafka did not take them in time");
        return Ok(BAD_NEWS);
    }
    if let Err(error) = checked {
        log::error!("{error}");
        return Ok(BAD_NEWS);
    }
    log::info!("stopped: everything is delivered");
    Ok(FINE)
}

/// Reactions of a probe to signals.
struct ProbeSignals<'a> {
    stopped: Arc<OnceLock<Instant>>,
    checking: &'a Checking,
    reload: Reload<'a>,
}

impl SignalHandler for ProbeSignals<'_> {
    fn stop(&mut self) {
        self.stopped.get_or_init(Instant::now);
        self.checking.stop();
    }

    fn reload(&mut self) {
        self.reload.reload();
    }

    fn poll_interval(&self) -> Option<Duration> {
        self.reload.is_watching().then_some(LOOK_EVERY)
    }

    fn poll(&mut self) {
        self.reload.look();
    }
}
