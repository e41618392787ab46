//! One connection, and the facts that hold for as long as it lasts. Every query has a deadline: a server
//! that falls silent holds nobody up for ever.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::cache::Names;
use super::deadline::until;
use super::error::{Fault, Kind};

/// Future that moves the bytes of a connection; ends when the connection does.
type Wire = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Longest time to close a connection that is no longer needed.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection: its wire, and the session over it.
pub struct Link {
    /// None once the wire has ended, which may happen while work over it still succeeds.
    wire: Option<Wire>,
    /// Work was done over the connection, so that it may have ended since.
    pub used: bool,
    /// Session over the wire.
    pub session: Session,
}

/// Client of the server, with the facts that we know about the session.
pub struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// Names and hours that exist.
    pub names: Names,
    /// The staging table exists, which takes a batch before the batch is stored.
    pub has_staging: bool,
    /// A snapshot was taken, and everything is read from it.
    pub has_snapshot: bool,
}

impl Link {
    /// Makes a link of a new connection.
    pub fn new(client: Client, wire: Wire) -> Link {
        let session = Session {
            client,
            statements: HashMap::new(),
            names: Names::default(),
            has_staging: false,
            has_snapshot: false,
        };
        Link { wire: Some(wire), used: false, session }
    }

    /// Returns the link, if its connection has not ended as far as the system knows.
    pub async fn alive(mut self) -> Option<Link> {
        for _ in 0..2 {
            let wire = self.wire.as_mut()?;
            if poll_fn(|context| Poll::Ready(wire.as_mut().poll(context).is_ready())).await {
                return None;
            }
            // Lets the runtime look at the socket.
            tokio::task::yield_now().await;
        }
        Some(self)
    }

    /// Does some work over the connection, until `end` comes with a fault. After any fault the link must
    /// not be used again.
    pub async fn run<T>(
        &mut self,
        end: impl Future<Output = Fault>,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (wire, session) = (&mut self.wire, &mut self.session);
        let mut work = pin!(work(session));
        let mut ended = None;
        let both = poll_fn(|context| {
            if let Some(moving) = wire
                && let Poll::Ready(result) = moving.as_mut().poll(context)
            {
                (*wire, ended) = (None, Some(result));
            }
            work.as_mut().poll(context)
        });
        let done = until(end, both).await;
        // The reason for which the connection ended tells more than the fact.
        match (done, ended) {
            (Err(Fault { kind: Kind::Lost, .. }), Some(Err(error))) if !error.is_closed() => {
                Err(Fault { kind: Kind::Lost, ..Fault::from(error) })
            }
            (done, _) => done,
        }
    }

    /// Closes the connection in good order, so that the server need not find out.
    pub async fn close(self) {
        let Link { wire, session, .. } = self;
        drop(session);
        if let Some(wire) = wire {
            // Nothing depends on the result.
            let _ = tokio::time::timeout(FAREWELL, wire).await;
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
    ) -> Result<u64, Fault> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    /// Runs a prepared query; returns its rows.
    pub async fn query(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    /// Takes a snapshot, once: all later queries read from it.
    pub async fn snapshot(&mut self) -> Result<(), Fault> {
        if !self.has_snapshot {
            let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            self.client.batch_execute(sql).await?;
            self.has_snapshot = true;
        }
        Ok(())
    }

    /// Returns the statement, prepared once for each connection.
    pub async fn statement(&mut self, sql: &'static str) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}
