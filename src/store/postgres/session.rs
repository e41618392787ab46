//! One connection, and what is known over it for as long as it lasts. Whatever is asked has a
//! deadline: a server that falls silent holds nobody for ever.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::fault::{Fault, Kind};
use super::names::Names;
use super::patience::until;

/// The side of a connection that moves bytes; ends when the connection does.
type Wire = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// How long a connection that is no longer needed may take to say so.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection: the wire, and the session over it.
pub struct Link {
    /// None once it has ended, which may be while something over it succeeds.
    wire: Option<Wire>,
    /// Something was done over it, so that it may have ended since.
    pub used: bool,
    /// What is asked over it.
    pub session: Session,
}

/// What the server knows us by, and what we know of it.
pub struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// Names and hours that are there.
    pub names: Names,
    /// The table that takes a batch before it is stored.
    pub has_staging: bool,
    /// A snapshot was taken, and everything is read from it.
    pub has_snapshot: bool,
}

impl Link {
    /// A connection that was just made.
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

    /// The same, if it is still there as far as the system has heard.
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

    /// Does something over it, until it must end: `end` says why. After any fault it must not be
    /// used again.
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
        // Why the connection ended says more than that it has.
        match (done, ended) {
            (Err(Fault { kind: Kind::Lost, .. }), Some(Err(error))) if !error.is_closed() => {
                Err(Fault { kind: Kind::Lost, ..Fault::from(error) })
            }
            (done, _) => done,
        }
    }

    /// Says goodbye, so that the server need not find out.
    pub async fn close(self) {
        let Link { wire, session, .. } = self;
        drop(session);
        if let Some(wire) = wire {
            // Nothing depends on it.
            let _ = tokio::time::timeout(FAREWELL, wire).await;
        }
    }
}

impl Session {
    /// The connection itself, for what is asked but once.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a statement of a batch; gives how many rows it touched.
    pub async fn execute(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    /// Asks with a statement of a batch.
    pub async fn query(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    /// Makes everything that is asked from now on come from one moment.
    pub async fn snapshot(&mut self) -> Result<(), Fault> {
        if !self.has_snapshot {
            let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            self.client.batch_execute(sql).await?;
            self.has_snapshot = true;
        }
        Ok(())
    }

    /// The statement, prepared once.
    pub async fn statement(&mut self, sql: &'static str) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}
