//! Looks after the database, beside the storing of parcels: checks that the server answers, asks for its
//! time, makes partitions ahead, and drops rows that were kept for long enough.

use super::client::{KNOCKING, Postgres, WRITING};
use super::retain::{self, Retained};
use super::{partitions, read};
use crate::config::Retention;
use crate::store::error::StoreError;

impl Postgres {
    /// Checks that the server answers.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn knock(&mut self) -> Result<(), StoreError> {
        self.run("reach", KNOCKING, true, async |session, _| {
            Ok(session.client().batch_execute("").await?)
        })
    }

    /// Returns the number of connections made so far. A new connection may lead to another server, or to an
    /// older state of the same.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Asks for the time by the database's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// The server is away.
    pub fn clock(&mut self) -> Result<i64, StoreError> {
        self.run("ask for the time of", KNOCKING, true, async |session, _| {
            read::one(session, "SELECT clock_ms()").await
        })
    }

    /// Asks for the due time of the newest check that was ever stored, in milliseconds since 1970; none if
    /// there was none.
    ///
    /// # Errors
    /// The server is away.
    pub fn newest_due(&mut self) -> Result<Option<i64>, StoreError> {
        self.run("read", WRITING, true, async |session, _| {
            read::one(session, "SELECT max(last_due_ms) FROM state").await
        })
    }

    /// Makes the partitions of this hour and of the hours after it, so that no writer waits for a session
    /// that holds the table when the hour begins. If a session holds the table now, the next call makes
    /// them.
    ///
    /// # Errors
    /// The server is away.
    pub fn make_hours(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.run("make partitions in", WRITING, true, async |session, _| {
            partitions::open_hours_ahead(session, now_ms).await
        })
    }

    /// Deletes checks and dead letters that were kept for long enough, and the oldest dead letters beyond
    /// `dead_letter_max` bytes.
    ///
    /// # Errors
    /// The server is away; a part may be done.
    pub fn retain(
        &mut self,
        retention: &Retention,
        dead_letter_max: u64,
        now_ms: i64,
    ) -> Result<Retained, StoreError> {
        self.keep(retention);
        self.run("delete old rows from", WRITING, true, async |session, _| {
            retain::retain(session, retention, dead_letter_max, now_ms).await
        })
    }
}
