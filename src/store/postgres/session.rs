//! One connection, and the facts that hold for as long as it lasts. Every piece of work over it has a time
//! limit: a server that falls silent holds nobody up for ever.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::cache::IdCache;
use super::deadline::run_until;
use super::error::{ErrorKind, PostgresError};

/// Future that moves the bytes of a connection, and ends when the connection does.
type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Longest time to close a connection that is no longer needed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection: the driver that moves its bytes, and the session over it.
pub struct OpenConnection {
    /// None once the connection has ended, which may happen while work over it still succeeds.
    driver: Option<Driver>,
    /// Work was done over the connection, so that it may have ended since.
    pub used: bool,
    /// Session over the connection.
    pub session: Session,
}

/// Client of the server, with the facts that we know about the session.
pub struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// Ids of names, and hours that have a partition.
    pub cache: IdCache,
    /// The staging table exists, which takes a batch before the batch is stored.
    pub has_staging: bool,
    /// A snapshot was taken, and everything is read from it.
    pub has_snapshot: bool,
}

impl OpenConnection {
    /// Begins a session over a new connection.
    pub fn new(client: Client, driver: Driver) -> OpenConnection {
        let session = Session {
            client,
            statements: HashMap::new(),
            cache: IdCache::default(),
            has_staging: false,
            has_snapshot: false,
        };
        OpenConnection { driver: Some(driver), used: false, session }
    }

    /// Returns the connection if it has not ended, as far as the system knows.
    pub async fn if_alive(mut self) -> Option<OpenConnection> {
        for _ in 0..2 {
            let driver = self.driver.as_mut()?;
            if poll_fn(|context| Poll::Ready(driver.as_mut().poll(context).is_ready())).await {
                return None;
            }
            // Lets the runtime look at the socket.
            tokio::task::yield_now().await;
        }
        Some(self)
    }

    /// Does some work over the connection, until `end` returns an error. After any error the connection must
    /// not be used again.
    pub async fn run<T>(
        &mut self,
        end: impl Future<Output = PostgresError>,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let driver = &mut self.driver;
        let mut work = pin!(work(&mut self.session));
        let mut ended = None;
        let watched = poll_fn(|context| {
            if let Some(moving) = driver
                && let Poll::Ready(result) = moving.as_mut().poll(context)
            {
                *driver = None;
                ended = Some(result);
            }
            work.as_mut().poll(context)
        });
        let done = run_until(end, watched).await;
        // The reason for which the connection ended tells more than the fact.
        match (done, ended) {
            (Err(PostgresError { kind: ErrorKind::ConnectionLost, .. }), Some(Err(error)))
                if !error.is_closed() =>
            {
                Err(PostgresError { kind: ErrorKind::ConnectionLost, ..PostgresError::from(error) })
            }
            (done, _) => done,
        }
    }

    /// Closes the connection in good order, so that the server need not find out.
    pub async fn close(self) {
        let OpenConnection { driver, session, .. } = self;
        drop(session);
        if let Some(driver) = driver {
            // Nothing depends on the result.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, driver).await;
        }
    }
}

impl Session {
    /// Returns the client itself, for statements that run only once.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a prepared statement; returns how many rows it touched.
    pub async fn execute(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PostgresError> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    /// Runs a prepared query; returns its rows.
    pub async fn query(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    /// Takes a snapshot, once: all later queries read from it.
    pub async fn snapshot(&mut self) -> Result<(), PostgresError> {
        if !self.has_snapshot {
            let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            self.client.batch_execute(sql).await?;
            self.has_snapshot = true;
        }
        Ok(())
    }

    /// Returns the statement, prepared once for each connection.
    pub async fn statement(&mut self, sql: &'static str) -> Result<Statement, PostgresError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}
