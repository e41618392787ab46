//! `sitewatch write`: reads from Kafka, and stores in PostgreSQL.
//!
//! ```text
//!     Kafka ──> read ──Parcel──> keep ──> PostgreSQL            each on a thread of its own
//!                 └───Answer──────┘       main: signals, /health
//! ```
//!
//! A mark moves only after the next place holds the data: PostgreSQL has the offsets beside the
//! rows, in one transaction, and gives them back when partitions are taken over; Kafka is told
//! afterwards, for the tools that watch lag. Any part may be away at any time, also at the start.

mod gather;
mod keep;
mod read;
mod setup;

use std::sync::mpsc::{Receiver, Sender, channel};

use self::gather::Limits;
use self::keep::{Keep, Left};
use self::read::Read;
use super::daemon::{Daemon, Shared, thread};
use super::{BAD_NEWS, FINE, load};
use crate::args::{self, Common};
use crate::config::{Config, Kafka, Need, Postgres};
use crate::error::{Context, Error};
use crate::show::health::{Health, Role};
use crate::show::text::count;
use crate::stop::Stop;
use crate::store::{self, Mark, Parcel};

/// What the reader asks of the keeper.
pub enum Work {
    /// Store this.
    Parcel(Box<Parcel>),
    /// Where do we go on?
    Offsets(Question),
}

/// Where to go on in partitions of a topic.
pub struct Question {
    /// The cluster's own id.
    pub cluster: String,
    /// The topic.
    pub topic: String,
    /// The partitions.
    pub partitions: Vec<i32>,
    /// What is done then.
    pub then: Then,
}

/// What is done once it is known where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The partitions are taken over.
    Assign,
    /// We go back, or ahead, in partitions that we have.
    Seek,
}

/// What the keeper tells the reader.
pub enum Answer {
    /// The store is ready for work.
    Ready,
    /// The parcel is stored, up to these marks.
    Stored(Vec<Mark>),
    /// The store is older than the parcel, which was not stored: ask where to go on.
    Older,
    /// The next offset of each partition that was asked for; 0: none is stored.
    Offsets(Vec<(i32, i64)>, Then),
    /// The store is away: fetch nothing more for now.
    Away,
    /// It is back.
    Back,
}

/// Reads and stores until told to stop, or makes what that needs.
///
/// # Errors
/// Whatever keeps it from starting; that Kafka or PostgreSQL is away does not.
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
    let limits = Limits { count: config.write.batch_max, age: config.write.batch_age };
    let (work_in, work): (Sender<Work>, Receiver<Work>) = channel();
    let (answers_in, answers) = channel();
    let read = Read::new(kafka, limits, work_in, answers, shared.clone(), stop.clone())?;
    let daemon = Daemon::new(config)?;
    log::info!(
        "reading topic {} of Kafka at {} as group {}, storing in schema {} of {}",
        kafka.topic,
        kafka.brokers.join(", "),
        kafka.group,
        postgres.schema,
        store::Postgres::place(&postgres)
    );
    let keep = Keep::new(config, postgres, work, answers_in, shared.clone(), stop.clone());
    let (ended_in, ended) = smol::channel::bounded::<()>(1);
    let keep = thread("keep").spawn(move || {
        let left = keep.run();
        drop(ended_in);
        left
    });
    let keep = keep.cannot("start a thread")?;
    let read = thread("read").spawn(move || read.run()).cannot("start a thread")?;
    let tell = || {
        stop.tell();
        log::info!("stopping: what was read is stored first; a second signal leaves at once");
    };
    daemon.oversee(&shared, &ended, tell, || ());

    let gone = |_| Error::new("a thread of this program broke down");
    let left = keep.join().map_err(gone)?;
    let read = read.join().map_err(gone)?;
    if let Some(Left { count: left }) = left {
        let records = count(left, "record");
        log::warn!("{records} not stored: PostgreSQL is away; Kafka still has them");
    }
    if let Err(error) = read {
        log::error!("{error}");
        return Ok(BAD_NEWS);
    }
    log::info!("stopped");
    Ok(FINE)
}
