//! Holds the connection to one database, makes it anew when it has ended, and tries again when another
//! session was in the way.

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::connect::{self, Access};
use super::deadline::{Deadline, run_until};
use super::error::{ErrorKind, PostgresError};
use super::lookup::Lookups;
use super::migrate::{self, Readiness};
use super::session::{OpenConnection, Session};
use crate::config;
use crate::config::RetentionConfig;
use crate::stop::Stop;
use crate::store::error::StoreError;

/// Longest time of a call that writes.
pub const WRITE_LIMIT: Duration = Duration::from_secs(6 * 60);
/// Longest time of a call that only asks for an answer.
pub const PING_LIMIT: Duration = Duration::from_secs(10);
/// Longest time of a call that reads.
pub const READ_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Most tries of one call, if another session was in the way or the connection had ended before the call.
const TRIES: u32 = 4;

/// Rule for trying a work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatRule {
    /// The work is done once.
    Never,
    /// The work is repeated if another session was in the way, or if a connection that was used before had
    /// ended.
    OnConflict,
}

/// A database of PostgreSQL, and our schema in it.
pub struct Postgres {
    settings: config::PostgresConfig,
    /// Purpose of the connections.
    pub(super) access: Access,
    /// Name of the database for errors.
    pub(super) display_name: String,
    /// None only while the store is dropped.
    runtime: Option<Runtime>,
    connection: Option<OpenConnection>,
    /// Number of connections made so far.
    pub(super) connections: u64,
    /// Age past which checks are not stored.
    pub(super) age_max: Duration,
    /// The last batch held checks that were stored already: the next may do so too.
    pub(super) expects_duplicates: bool,
    deadline: Deadline,
    lookups: Lookups,
}

impl Postgres {
    /// Connects to write. Checks of any age are stored until [`Postgres::set_retention`] limits it.
    ///
    /// # Errors
    /// The server is away or refuses us, or it is older than PostgreSQL 14.
    pub fn connect(settings: &config::PostgresConfig) -> Result<Postgres, StoreError> {
        let mut postgres = Postgres::with_access(settings, Access::Write)?;
        postgres.run("connect to", WRITE_LIMIT, RepeatRule::Never, async |_, _| Ok(()))?;
        Ok(postgres)
    }

    /// Connects to read: everything is read from one snapshot.
    ///
    /// # Errors
    /// The server is away, refuses us or is too old; or there is no schema of ours, or the schema is not of
    /// our version.
    pub fn open(settings: &config::PostgresConfig) -> Result<Postgres, StoreError> {
        let mut postgres = Postgres::with_access(settings, Access::Read)?;
        let schema = settings.schema.clone();
        postgres.run("read", READ_LIMIT, RepeatRule::Never, async |session, _| {
            migrate::check_readable(session, &schema).await
        })?;
        Ok(postgres)
    }

    /// Makes a store to write that connects at the first call.
    ///
    /// # Errors
    /// The system has no file descriptors left for us.
    pub fn new(settings: &config::PostgresConfig) -> Result<Postgres, StoreError> {
        Postgres::with_access(settings, Access::Write)
    }

    /// Returns the name of the database for people: the database, and its hosts with their ports.
    pub fn display_name(settings: &config::PostgresConfig) -> String {
        connect::display_name(&settings.dsn.config)
    }

    /// Ends calls that are still under way `grace` after `stop` was told.
    pub fn set_stop(&mut self, stop: &Stop, grace: Duration) {
        self.deadline = Deadline::new(stop, grace);
    }

    /// Sets how long checks are kept: older checks are not stored, but counted as expired.
    pub fn set_retention(&mut self, retention: &RetentionConfig) {
        self.age_max = retention.checks;
    }

    fn with_access(
        settings: &config::PostgresConfig,
        access: Access,
    ) -> Result<Postgres, StoreError> {
        let display_name = Postgres::display_name(settings);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| StoreError::Away {
            text: format!("cannot connect to {display_name}: {error}"),
        })?;
        Ok(Postgres {
            settings: settings.clone(),
            access,
            display_name,
            runtime: Some(runtime),
            connection: None,
            connections: 0,
            age_max: Duration::MAX,
            expects_duplicates: false,
            deadline: Deadline::default(),
            lookups: Lookups::default(),
        })
    }

    /// Brings the schema up to date if we have the rights, and returns whether the tables can be written.
    ///
    /// # Errors
    /// The server is away, or the schema is another program's or a newer sitewatch's.
    pub fn prepare(&mut self) -> Result<Readiness, StoreError> {
        let schema = self.settings.schema.clone();
        let readiness =
            self.run("prepare", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
                migrate::prepare(session, &schema).await
            })?;
        if readiness != Readiness::Ready {
            // A session may not notice that it is granted rights.
            self.connection = None;
        }
        Ok(readiness)
    }

    /// Makes schema, tables, the roles `SCHEMA_writer` and `SCHEMA_reader` and their rights, over an
    /// administrator's connection. Existing ones stay.
    ///
    /// # Errors
    /// The server is away or refuses, or the schema is another program's or a newer sitewatch's.
    pub fn setup(&mut self) -> Result<(), StoreError> {
        let schema = self.settings.schema.clone();
        self.run("set up", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
            migrate::setup(session, &schema).await
        })
    }

    /// Does some work over the connection, which is made anew if needed. A work that is repeated gets the
    /// kind of the error before.
    pub(super) fn run<T>(
        &mut self,
        verb: &str,
        limit: Duration,
        repeat: RepeatRule,
        mut work: impl AsyncFnMut(&mut Session, Option<ErrorKind>) -> Result<T, PostgresError>,
    ) -> Result<T, StoreError> {
        let mut before = None;
        for tried in 1.. {
            let mut connection = self.connected(verb, limit)?;
            let Some(runtime) = &self.runtime else { return Err(self.closed(verb)) };
            let end = self.deadline.wait(limit);
            let done = connection.run(end, async |session| work(session, before).await);
            let error = match runtime.block_on(done) {
                Ok(value) => {
                    connection.used = true;
                    self.connection = Some(connection);
                    return Ok(value);
                }
                Err(error) => error,
            };
            let may_succeed = match error.kind {
                ErrorKind::Conflict | ErrorKind::NoPartition | ErrorKind::Duplicate => true,
                ErrorKind::ConnectionLost => connection.used,
                ErrorKind::Away | ErrorKind::Unfit | ErrorKind::Refused => false,
            };
            if !may_succeed || repeat == RepeatRule::Never || tried >= TRIES {
                return Err(error.into_store_error(verb, &self.display_name));
            }
            before = Some(error.kind);
        }
        unreachable!("the last try returns")
    }

    /// Takes the connection out, or makes a new one. It is put back only after a call that succeeds: no call
    /// finds a half-done connection, whatever happened before.
    fn connected(&mut self, verb: &str, limit: Duration) -> Result<OpenConnection, StoreError> {
        let earlier = self.connection.take();
        let Some(runtime) = &self.runtime else { return Err(self.closed(verb)) };
        let settings = &self.settings;
        let access = self.access;
        let deadline = &self.deadline;
        let lookups = &self.lookups;
        let connection = runtime.block_on(async {
            if let Some(connection) = earlier {
                match connection.if_alive().await {
                    Some(connection) => return Ok((connection, 0)),
                    // The snapshot has ended with the connection.
                    None if access == Access::Read => {
                        return Err(PostgresError::away("it has ended"));
                    }
                    None => {}
                }
            }
            let connection =
                run_until(deadline.wait(limit), connect::connect(settings, access, lookups))
                    .await?;
            Ok((connection, 1))
        });
        let (connection, new) = connection.map_err(|error| match error.kind {
            ErrorKind::Unfit => error.into_store_error("connect to", &self.display_name),
            _ => PostgresError::away(error.why).into_store_error("connect to", &self.display_name),
        })?;
        self.connections += new;
        Ok(connection)
    }

    fn closed(&self, verb: &str) -> StoreError {
        StoreError::Away { text: format!("cannot {verb} {}: it was closed", self.display_name) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let connection = self.connection.take();
        let Some(runtime) = self.runtime.take() else { return };
        // Close in good order only if there is time.
        if let Some(connection) = connection
            && !std::thread::panicking()
            && Handle::try_current().is_err()
        {
            runtime.block_on(connection.close());
        }
        // A look-up that still hangs must not hold us up.
        runtime.shutdown_background();
    }
}
