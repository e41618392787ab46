//! Calls that look after the database: is the server there, what time does it have, partitions of the hours
//! to come.

use super::client::{PING_LIMIT, Postgres, RepeatRule, WRITE_LIMIT};
use super::{partitions, read};
use crate::store::error::StoreError;

impl Postgres {
    /// Checks that the server answers.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn ping(&mut self) -> Result<(), StoreError> {
        self.run("reach", PING_LIMIT, RepeatRule::OnConflict, async |session, _| {
            Ok(session.client().batch_execute("").await?)
        })
    }

    /// Returns the number of connections made so far. A new connection may lead to another server, or to an
    /// older state of the same.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Returns the time by the database's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// The server is away.
    pub fn server_time_ms(&mut self) -> Result<i64, StoreError> {
        self.run("ask for the time of", PING_LIMIT, RepeatRule::OnConflict, async |session, _| {
            read::query_value(session, "SELECT clock_ms()").await
        })
    }

    /// Returns the due time of the newest check that was ever stored, in milliseconds since 1970; none if
    /// there was none.
    ///
    /// # Errors
    /// The server is away.
    pub fn newest_due(&mut self) -> Result<Option<i64>, StoreError> {
        self.run("read", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
            read::query_value(session, "SELECT max(last_due_ms) FROM state").await
        })
    }

    /// Makes the partitions of this hour and of the hours after it, so that no writer waits for a session
    /// that holds the table when the hour begins. If a session holds the table now, the next call makes them.
    ///
    /// # Errors
    /// The server is away.
    pub fn make_hours(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.run("make partitions in", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
            partitions::create_ahead(session, now_ms).await
        })
    }
}
