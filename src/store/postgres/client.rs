//! Client of one database: holds the connection, makes it anew when it has ended, and tries again when another
//! session was in the way.

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::connect::{self, Mode};
use super::deadline::{Patience, until};
use super::error::{Fault, Kind};
use super::migrate::{self, Ready};
use super::session::{Link, Session};
use crate::config;
use crate::config::Retention;
use crate::stop::Stop;
use crate::store::error::StoreError;

/// Longest time of a call that writes.
pub const WRITING: Duration = Duration::from_secs(6 * 60);
/// Longest time of a call that only asks for an answer.
pub const KNOCKING: Duration = Duration::from_secs(10);
/// Longest time of a call that reads.
pub const READING: Duration = Duration::from_secs(30 * 60);
/// Most tries of one call, if another session was in the way or the connection had ended before the call.
const TRIES: u32 = 4;
/// Stack of a thread that looks up the server's name, in bytes; by default it would be 2 MiB.
const LOOKUP_STACK: usize = 512 * 1024;
/// Most look-ups at once: one, and earlier ones that were given up and still hang.
const LOOKUPS_MAX: usize = 4;

/// A database of PostgreSQL, and our schema in it.
pub struct Postgres {
    settings: config::Postgres,
    /// Purpose of the connections.
    pub(super) mode: Mode,
    /// Name of the database for errors.
    pub(super) place: String,
    /// None only while the store is dropped.
    runtime: Option<Runtime>,
    link: Option<Link>,
    /// Number of connections made so far.
    pub(super) connections: u64,
    /// Time for which checks are kept.
    pub(super) keep: Duration,
    /// The last batch held checks that were stored already: the next may do so too.
    pub(super) is_careful: bool,
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

    /// Does some work over the connection, which is made anew if needed. If `may_repeat`, the work is tried
    /// again, and gets the kind of the fault before.
    pub(super) fn run<T>(
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
