//! `sitewatch write`: reads from Kafka, and stores in PostgreSQL.
//!
//! ```text
//!     Kafka ──> read ──Parcel──> keep ──> PostgreSQL            each on a thread of its own
//!                 └───StoreReply──────┘       main: signals, /health
//! ```
//!
//! A mark moves only after the next position holds the data: PostgreSQL has the offsets beside the
//! rows, in one transaction, and gives them back when partitions are taken over; Kafka is told
//! afterwards, for the tools that watch lag. Any part may be away at any time, also at the start.

mod setup;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::time::Duration;

use super::daemon::{Daemon, Obey, Shared};
use super::{BAD_NEWS, FINE, load};
use crate::args::{self, Common};
use crate::config::{Config, Kafka, Need, Postgres};
use crate::error::{Context, Error};
use crate::show::health::{Health, Role};
use crate::show::text::count;
use crate::stage::consume::{Consumer, ParcelLimits};
use crate::stage::messages::StoreRequest;
use crate::stage::persist::parcels::{ParcelWriter, Unstored};
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
pub fn write(common: &Common, options: &args::Write) -> Result<u8, Error> {
    let config = load(common, Need::Write)?;
    let missing = |table: &str| Error::new(format!("{table} is missing"));
    let kafka = config.kafka.clone().ok_or_else(|| missing("[kafka]"))?;
    let postgres = config.postgres.clone().ok_or_else(|| missing("[postgres]"))?;
    if options.setup {
        return setup::setup(&kafka, postgres, options.admin_url.as_deref());
    }
    run(&config, &kafka, postgres)
}

fn run(config: &Config, kafka: &Kafka, postgres: Postgres) -> Result<u8, Error> {
    let shared = Shared::new(Health { role: Role::Write, ..Health::default() });
    let stop = Stop::default();
    let limits = ParcelLimits { count: config.write.batch_max, age: config.write.batch_age };
    let (work_in, work): (Sender<StoreRequest>, Receiver<StoreRequest>) = channel();
    let (answers_in, answers) = channel();
    let read = Consumer::new(kafka, limits, work_in, answers, shared.clone(), stop.clone())?;
    let daemon = Daemon::new(config)?;
    log::info!(
        "reading topic {} of Kafka at {} as group {}, storing in schema {} of {}",
        kafka.topic,
        kafka.brokers.join(", "),
        kafka.group,
        postgres.schema,
        store::Postgres::place(&postgres)
    );
    let keep = ParcelWriter::new(config, postgres, work, answers_in, shared.clone(), stop.clone());
    let (ended_in, ended) = smol::channel::bounded::<()>(1);
    let (left_in, left) = sync_channel(1);
    let (end_in, end) = sync_channel(1);
    let too_late = ended_in.downgrade();
    let started = threads::named("keep").spawn(move || {
        let _ = left_in.send(keep.run());
        drop(ended_in);
    });
    started.cannot("start a thread")?;
    let started = threads::named("read").spawn(move || drop(end_in.send(read.run())));
    started.cannot("start a thread")?;
    let patience = config.probe.stop_timeout;
    let mut told = Told { stop: stop.clone(), too_late, patience };
    daemon.oversee(&shared, &ended, &mut told);

    let rest = stop
        .told_at()
        .map_or(REST, |told| (patience + GRACE).saturating_sub(told.elapsed()).max(REST));
    match left.try_recv() {
        Ok(None) => {}
        Ok(Some(Unstored { count: left, is_held: true })) => {
            log::warn!("{} not stored: held back; Kafka still has them", count(left, "record"));
        }
        Ok(Some(Unstored { count: 0, .. })) => {
            log::warn!("PostgreSQL is away; what is not stored, Kafka still has");
        }
        Ok(Some(Unstored { count: left, .. })) => {
            log::warn!(
                "{} not stored: PostgreSQL is away; Kafka still has them",
                count(left, "record")
            );
        }
        Err(TryRecvError::Empty) => {
            log::warn!("PostgreSQL does not answer; what is not stored, Kafka still has");
            return Ok(FINE);
        }
        Err(TryRecvError::Disconnected) => return Err(broken()),
    }
    match end.recv_timeout(rest) {
        Ok(Ok(())) => log::info!("stopped"),
        Ok(Err(error)) => {
            log::error!("{error}");
            return Ok(BAD_NEWS);
        }
        Err(RecvTimeoutError::Timeout) => log::info!("stopped; Kafka did not say goodbye"),
        Err(RecvTimeoutError::Disconnected) => return Err(broken()),
    }
    Ok(FINE)
}

/// Reactions of a writer to signals.
struct Told {
    stop: Stop,
    too_late: smol::channel::WeakSender<()>,
    patience: Duration,
}

impl Obey for Told {
    fn stop(&mut self) {
        self.stop.tell();
        log::info!("stopping: what was read is stored first; a second signal leaves at once");
        let (too_late, patience) = (self.too_late.clone(), self.patience);
        // A server that has fallen silent blocks the thread that waits for it, and must not hold up the
        // program.
        let waiting = threads::named("limit").spawn(move || {
            std::thread::sleep(patience + GRACE);
            if let Some(ended) = too_late.upgrade() {
                ended.close();
            }
        });
        if let Err(error) = waiting {
            log::debug!("no limit to stopping: {error}");
        }
    }

    fn hang_up(&mut self) {
        log::info!("SIGHUP: a writer reads its configuration at its start alone");
    }
}

fn broken() -> Error {
    Error::new("a thread of this program broke down")
}
