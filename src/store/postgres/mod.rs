//! PostgreSQL: the store that many writers and readers share. `connect` and `tls` make connections,
//! `migrate` makes the schema, `write` and `read` are the two sides of the trait.
//!
//! A connection that fails is dropped, and the next call makes another: after a restart of the server
//! nobody has to do anything. Every call has a deadline.

mod beside;
mod connect;
mod copy;
mod fault;
mod migrate;
mod names;
mod patience;
mod read;
mod retain;
mod session;
mod sift;
mod states;
mod tend;
mod tls;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::{Labels, Parcel, Position, Store, StoreError, Stored, Written};
use crate::config;
use crate::config::Retention;
use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;
use crate::stop::Stop;
use fault::{Fault, Kind};
use patience::{Patience, until};
use session::{Link, Session};
use write::Batch;

pub use migrate::Ready;
pub use retain::Retained;
pub use sift::RefusedRecord;

/// Longest time of a call that writes.
const WRITING: Duration = Duration::from_secs(6 * 60);
/// Longest time of a call that only asks for an answer.
const KNOCKING: Duration = Duration::from_secs(10);
/// Longest time of a call that reads.
const READING: Duration = Duration::from_secs(30 * 60);
/// Most tries of one call, if another session was in the way or the connection had ended before the call.
const TRIES: u32 = 4;
/// Stack of a thread that looks up the server's name, in bytes; by default it would be 2 MiB.
const LOOKUP_STACK: usize = 512 * 1024;
/// Most look-ups at once: one, and earlier ones that were given up and still hang.
const LOOKUPS_MAX: usize = 4;

/// Purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Each call is a transaction of its own.
    Write,
    /// Everything is read from one snapshot, taken by the first call.
    Read,
}

/// A database of PostgreSQL, and our schema in it.
pub struct Postgres {
    settings: config::Postgres,
    mode: Mode,
    /// Name of the database for errors.
    place: String,
    /// None only while the store is dropped.
    runtime: Option<Runtime>,
    link: Option<Link>,
    /// Number of connections made so far.
    connections: u64,
    /// Time for which checks are kept.
    keep: Duration,
    /// The last batch held checks that were stored already: the next may do so too.
    is_careful: bool,
    patience: Patience,
}

impl Postgres {
    /// Connects to write. Checks of any age are stored, until [`Postgres::retain`] has set how long they
    /// are kept.
    ///
    /// # Errors
    /// The server is away or refuses us, or it is older than PostgreSQL 14.
    pub fn connect(settings: &config::Postgres) -> Result<Postgres, StoreError> {
        let mut postgres = Postgres::of(settings, Mode::Write)?;
        postgres.run("connect to", WRITING, false, async |_, _| Ok(()))?;
        Ok(postgres)
    }

    /// Connects to read: everything is read from one snapshot.
    ///
    /// # Errors
    /// The server is away, refuses us or is too old; or there is no schema of ours, or the schema is not of
    /// our version.
    pub fn open(settings: &config::Postgres) -> Result<Postgres, StoreError> {
        let mut postgres = Postgres::of(settings, Mode::Read)?;
        let schema = settings.schema.clone();
        postgres.run("read", READING, false, async |session, _| {
            migrate::look(session, &schema).await
        })?;
        Ok(postgres)
    }

    /// Returns the name of the database for people: the database, and its hosts with their ports.
    pub fn place(settings: &config::Postgres) -> String {
        connect::place(&settings.dsn.config)
    }

    /// Makes a store to write that connects at the first call.
    ///
    /// # Errors
    /// The system has no file descriptors left for us.
    pub fn new(settings: &config::Postgres) -> Result<Postgres, StoreError> {
        Postgres::of(settings, Mode::Write)
    }

    /// Gives up calls that are still under way `rest` after `stop` asked us to end.
    pub fn heed(&mut self, stop: &Stop, rest: Duration) {
        self.patience = Patience::new(stop, rest);
    }

    fn of(settings: &config::Postgres, mode: Mode) -> Result<Postgres, StoreError> {
        let place = connect::place(&settings.dsn.config);
        let mut runtime = Builder::new_current_thread();
        runtime.thread_stack_size(LOOKUP_STACK).max_blocking_threads(LOOKUPS_MAX);
        let runtime = runtime.enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| StoreError::Away {
            text: format!("cannot connect to {place}: {error}"),
        })?;
        Ok(Postgres {
            settings: settings.clone(),
            mode,
            place,
            runtime: Some(runtime),
            link: None,
            connections: 0,
            keep: Duration::MAX,
            is_careful: false,
            patience: Patience::default(),
        })
    }

    /// Brings the schema up to date if we have the rights, and returns whether the tables can be written.
    ///
    /// # Errors
    /// The server is away, or the schema is another program's or a newer sitewatch's.
    pub fn prepare(&mut self) -> Result<Ready, StoreError> {
        let schema = self.settings.schema.clone();
        let ready = self.run("prepare", WRITING, true, async |session, _| {
            migrate::prepare(session, &schema).await
        })?;
        if ready != Ready::Yes {
            // A session may not notice that it is given rights.
            self.link = None;
        }
        Ok(ready)
    }

    /// Makes schema, tables, the roles `SCHEMA_writer` and `SCHEMA_reader` and their rights, over an
    /// administrator's connection. Existing ones stay.
    ///
    /// # Errors
    /// The server is away or refuses, or the schema is another program's or a newer sitewatch's.
    pub fn setup(&mut self) -> Result<(), StoreError> {
        let schema = self.settings.schema.clone();
        self.run("set up", WRITING, true, async |session, _| migrate::setup(session, &schema).await)
    }

    /// Sets how long checks are kept: older ones are not stored, but counted as expired.
    pub fn keep(&mut self, retention: &Retention) {
        self.keep = retention.checks;
    }

    /// Stores a parcel from Kafka with its marks, in one transaction. Checks and gaps that are stored
    /// already change nothing.
    ///
    /// # Errors
    /// Nothing was stored, and the same parcel may be given again. But if the parcel is refused, one of its
    /// records is the reason, and will be refused again.
    pub fn store(&mut self, parcel: &Parcel, now_ms: i64) -> Result<Stored, StoreError> {
        let records: Vec<&Record> = parcel.records.iter().collect();
        self.batch(&records, Some(parcel), now_ms)
    }

    /// Returns the position at which each partition goes on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn positions(
        &mut self,
        cluster: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, Position>, StoreError> {
        self.run("read", WRITING, true, async |session, _| {
            read::positions(session, cluster, topic).await
        })
    }

    fn batch(
        &mut self,
        records: &[&Record],
        parcel: Option<&Parcel>,
        now_ms: i64,
    ) -> Result<Stored, StoreError> {
        let is_careful = self.is_careful;
        let keep_from_ms = self.keep_from(parcel, now_ms);
        let stored = self.run("store in", WRITING, true, async |session, before| {
            let careful = is_careful || before == Some(Kind::Repeat);
            let batch = Batch { records, parcel, now_ms, keep_from_ms, careful, is_trial: false };
            match write::store(session, &batch).await {
                // A refused batch leaves the connection as good as before.
                Err(fault) if fault.kind == Kind::Refused => {
                    session.client().batch_execute("ROLLBACK").await?;
                    Ok(Err(fault))
                }
                done => done.map(Ok),
            }
        })?;
        let stored = stored.map_err(|fault| fault.told("store in", &self.place))?;
        self.is_careful = matches!(stored, Stored::Whole(written) if written.repeats > 0);
        Ok(stored)
    }

    /// Returns the due time before which checks are not kept, in milliseconds since 1970.
    fn keep_from(&self, parcel: Option<&Parcel>, now_ms: i64) -> i64 {
        let from_ms = parcel.and_then(|parcel| parcel.age_ms).unwrap_or(now_ms);
        retain::before(from_ms, self.keep)
    }

    fn reading<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mode = self.mode;
        let mut read = Some(read);
        self.run("read", READING, false, async |session, _| {
            if mode == Mode::Read {
                session.snapshot().await?;
            }
            let read = read.take().ok_or_else(|| Fault::away("it was asked twice"))?;
            read(session).await
        })
    }

    /// Does some work over the connection, which is made anew if needed. If `may_repeat`, the work is tried
    /// again, and gets the kind of the fault before.
    fn run<T>(
        &mut self,
        verb: &str,
        limit: Duration,
        may_repeat: bool,
        mut work: impl AsyncFnMut(&mut Session, Option<Kind>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let Postgres { settings, mode, place, runtime, link, connections, patience, .. } = self;
        let Some(runtime) = runtime else {
            return Err(StoreError::Away { text: format!("cannot {verb} {place}: it was closed") });
        };
        let mut before = None;
        for tried in 1.. {
            // Taken out, so that no later call finds a half-done connection, whatever happens.
            let found = link.take();
            let made = runtime.block_on(async {
                if let Some(link) = found {
                    match link.alive().await {
                        Some(link) => return Ok(link),
                        // With the connection its snapshot went.
                        None if *mode == Mode::Read => return Err(Fault::away("it has ended")),
                        None => {}
                    }
                }
                let made = until(patience.over(limit), connect::connect(settings, *mode)).await?;
                *connections += 1;
                Ok(made)
            });
            let mut made = made.map_err(|fault| match fault.kind {
                Kind::Unfit => fault.told("connect to", place),
                _ => Fault::away(fault.why).told("connect to", place),
            })?;
            let end = patience.over(limit);
            let work = made.run(end, async |session| work(session, before).await);
            let fault = match runtime.block_on(work) {
                Ok(value) => {
                    made.used = true;
                    *link = Some(made);
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            let again = match fault.kind {
                Kind::Crossed | Kind::NoHour | Kind::Repeat => true,
                Kind::Lost => made.used,
                Kind::Away | Kind::Unfit | Kind::Refused => false,
            };
            if !(again && may_repeat) || tried >= TRIES {
                return Err(fault.told(verb, place));
            }
            before = Some(fault.kind);
        }
        unreachable!("the last try returns")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let (runtime, link) = (self.runtime.take(), self.link.take());
        let Some(runtime) = runtime else { return };
        // Close in good order only if there is time.
        if let Some(link) = link
            && !std::thread::panicking()
            && Handle::try_current().is_err()
        {
            runtime.block_on(link.close());
        }
        // A look-up that still hangs must not hold us up.
        runtime.shutdown_background();
    }
}

impl Store for Postgres {
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = &Record>,
        now_ms: i64,
    ) -> Result<Written, StoreError> {
        let records: Vec<&Record> = records.collect();
        match self.batch(&records, None, now_ms)? {
            Stored::Whole(written) => Ok(written),
            Stored::Older(_) => Ok(Written::default()),
        }
    }

    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        self.reading(async |session| read::newest(session, node).await)
    }

    fn states(&mut self) -> Result<BTreeMap<Who, State>, StoreError> {
        self.reading(async |session| read::states(session).await)
    }

    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError> {
        self.reading(async |session| read::targets(session).await)
    }

    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Who, &Check),
    ) -> Result<(), StoreError> {
        self.reading(async |session| read::checks(session, from_ms, until_ms, take).await)
    }

    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError> {
        self.reading(async |session| read::gaps(session, from_ms, until_ms, take).await)
    }

    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError> {
        self.reading(async |session| read::losses(session, from_ms, until_ms).await)
    }
}
