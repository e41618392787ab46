//! `sitewatch write`: reads from Kafka, and stores in PostgreSQL.
//!
//! ```text
//!     Kafka ──> consume ──Batch──> persist ──> PostgreSQL      each on a thread of its own
//!                  └─────StoreReply────┘       main: signals; serve: /health; tend ──> PostgreSQL
//! ```
//!
//! A mark moves only after the next place holds the data: PostgreSQL has the offsets beside the rows, in
//! one transaction, and gives them back when partitions are taken over; they are committed to Kafka
//! afterwards, for the tools that watch lag. Any part may be away at any time, also at the start.

mod setup;

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::time::Duration;

use super::{BAD_NEWS, FINE, load, start_server};
use crate::args::{self, CommonOptions};
use crate::config::{Config, KafkaConfig, Need, PostgresConfig};
use crate::error::{Context, Error};
use crate::model::counters::Daemon;
use crate::model::health::SharedHealth;
use crate::show::text::show_count;
use crate::stage::consume::{BatchBounds, Consumer};
use crate::stage::messages::StoreRequest;
use crate::stage::persist::batches::{BatchWriter, Unstored};
use crate::stage::supervise::{SignalHandler, Supervisor};
use crate::stage::tend::Housekeeper;
use crate::stop::Stop;
use crate::store;
use crate::threads;

/// Time after `stop_timeout` at which the program leaves, even if PostgreSQL has not answered.
const GRACE: Duration = Duration::from_millis(300);
/// Least time that leaving Kafka's group may take.
const REST: Duration = Duration::from_millis(500);

/// Reads from Kafka and stores in PostgreSQL until told to stop; or, for `--setup`, makes what that needs.
///
/// # Errors
/// Anything that keeps the writer from starting; absent Kafka or PostgreSQL does not.
pub fn write(common: &CommonOptions, options: &args::WriteOptions) -> Result<u8, Error> {
    let config = load(common, Need::Write)?;
    let missing = |table: &str| Error::new(format!("{table} is missing"));
    let kafka = config.kafka.clone().ok_or_else(|| missing("[kafka]"))?;
    let postgres = config.postgres.clone().ok_or_else(|| missing("[postgres]"))?;
    if options.setup {
        return setup::setup(&kafka, postgres, options.admin_url.as_deref());
    }
    run(&config, &kafka, postgres)
}

fn run(config: &Config, kafka: &KafkaConfig, postgres: PostgresConfig) -> Result<u8, Error> {
    let health = SharedHealth::new(Daemon::Write, "");
    let stop = Stop::default();
    let limits = BatchBounds { count: config.write.batch_max, age: config.write.batch_age };
    let (requests_in, requests): (Sender<StoreRequest>, Receiver<StoreRequest>) = channel();
    let (replies_in, replies) = channel();
    let consumer =
        Consumer::new(kafka, limits, requests_in, replies, health.clone(), stop.clone())?;
    let supervisor = Supervisor::new()?;
    let _server = start_server(config, &health)?;
    log::info!(
        "reading topic {} of Kafka at {} as group {}, storing in schema {} of {}",
        kafka.topic,
        kafka.brokers.join(", "),
        kafka.group,
        postgres.schema,
        store::Postgres::display_name(&postgres)
    );
    let housekeeper = Housekeeper::new(config, postgres.clone(), stop.clone());
    let writer =
        BatchWriter::new(config, postgres, requests, replies_in, health.clone(), stop.clone());
    let (ended_in, ended) = smol::channel::bounded::<()>(1);
    let (unstored_in, unstored) = sync_channel(1);
    let (consumed_in, consumed) = sync_channel(1);
    let (writer_in, writer_end) = channel::<Infallible>();
    let (tended_in, tended) = sync_channel::<Infallible>(0);
    let too_late = ended_in.downgrade();
    let started = threads::named("persist").spawn(move || {
        let _ = unstored_in.send(writer.run());
        drop((ended_in, writer_in));
    });
    started.cannot("start a thread")?;
    let started = threads::named("tend").spawn(move || {
        housekeeper.run(&writer_end);
        drop(tended_in);
    });
    started.cannot("start a thread")?;
    let started = threads::named("consume").spawn(move || drop(consumed_in.send(consumer.run())));
    started.cannot("start a thread")?;
    let stop_timeout = config.probe.stop_timeout;
    let mut signals = WriteSignals { stop: stop.clone(), too_late, stop_timeout };
    supervisor.run(&ended, &mut signals);
    let left = stop.told_at().map(|at| (stop_timeout + GRACE).saturating_sub(at.elapsed()));
    let is_persisted = log_unstored(unstored.try_recv())?;
    if !is_persisted {
        return Ok(FINE);
    }
    let code = log_consumed(consumed.recv_timeout(left.map_or(REST, |left| left.max(REST))));
    // The connection is closed in good order if there is time for that.
    let left = stop.told_at().map(|at| (stop_timeout + GRACE).saturating_sub(at.elapsed()));
    let _ = tended.recv_timeout(left.unwrap_or(REST));
    code
}

/// Logs how the writer has ended. Returns false if it has not: PostgreSQL does not answer.
fn log_unstored(ended: Result<Option<Unstored>, TryRecvError>) -> Result<bool, Error> {
    match ended {
        Ok(None) => {}
        Ok(Some(Unstored { count: number, is_held: true })) => {
            let records = show_count(number, "record");
            log::warn!("{records} not stored: held back; Kafka still has them");
        }
        Ok(Some(Unstored { count: 0, .. })) => {
            log::warn!("PostgreSQL is away; Kafka still has the records that are not stored");
        }
        Ok(Some(Unstored { count: number, .. })) => {
            let records = show_count(number, "record");
            log::warn!("{records} not stored: PostgreSQL is away; Kafka still has them");
        }
        Err(TryRecvError::Empty) => {
            log::warn!(
                "PostgreSQL does not answer; Kafka still has the records that are not stored"
            );
            return Ok(false);
        }
        Err(TryRecvError::Disconnected) => return Err(broken()),
    }
    Ok(true)
}

/// Logs how the consumer has ended. Returns the exit code.
fn log_consumed(ended: Result<Result<(), Error>, RecvTimeoutError>) -> Result<u8, Error> {
    match ended {
        Ok(Ok(())) => log::info!("stopped"),
        Ok(Err(error)) => {
            log::error!("{error}");
            return Ok(BAD_NEWS);
        }
        Err(RecvTimeoutError::Timeout) => {
            log::info!("stopped; Kafka has not confirmed that this writer left its group");
        }
        Err(RecvTimeoutError::Disconnected) => return Err(broken()),
    }
    Ok(FINE)
}

/// Reactions of a writer to signals.
struct WriteSignals {
    stop: Stop,
    too_late: smol::channel::WeakSender<()>,
    stop_timeout: Duration,
}

impl SignalHandler for WriteSignals {
    fn stop(&mut self) {
        self.stop.tell();
        log::info!("stopping: what was read is stored first; a second signal leaves at once");
        let (too_late, stop_timeout) = (self.too_late.clone(), self.stop_timeout);
        // A server that has fallen silent blocks the thread that waits for it, and must not hold up the
        // program.
        let waiting = threads::named("limit").spawn(move || {
            std::thread::sleep(stop_timeout + GRACE);
            if let Some(ended) = too_late.upgrade() {
                ended.close();
            }
        });
        if let Err(error) = waiting {
            log::debug!("no limit to stopping: {error}");
        }
    }

    fn reload(&mut self) {
        log::info!("SIGHUP is ignored: a writer reads its configuration only at its start");
    }
}

fn broken() -> Error {
    Error::new("a thread of this program broke down")
}
