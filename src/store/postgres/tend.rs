//! Keeps the database in order, beside the storing of parcels: asks whether somebody answers and what
//! the time is there, makes hours ahead, and drops what has been kept for long enough.

use super::retain::{self, Retained};
use super::{KNOCKING, Postgres, WRITING, names, read};
use crate::config::Retention;
use crate::store::StoreError;

impl Postgres {
    /// Asks for nothing, to see whether somebody answers.
    ///
    /// # Errors
    /// Nobody does.
    pub fn knock(&mut self) -> Result<(), StoreError> {
        self.run("reach", KNOCKING, true, async |session, _| {
            Ok(session.client().batch_execute("").await?)
        })
    }

    /// Counts the connections that were made until now. Another one may be to another server, or to an
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

    /// Asks for the due time of the newest check that was ever stored; none: there was none.
    ///
    /// # Errors
    /// The server is away.
    pub fn newest_due(&mut self) -> Result<Option<i64>, StoreError> {
        self.run("read", WRITING, true, async |session, _| {
            read::one(session, "SELECT max(last_due_ms) FROM state").await
        })
    }

    /// Makes the partitions of this hour and of those after it, so that nobody waits for one who
    /// holds the table when the hour turns. If somebody holds it now, the next time makes them.
    ///
    /// # Errors
    /// The server is away.
    pub fn make_hours(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.run("make partitions in", WRITING, true, async |session, _| {
            names::open_hours_ahead(session, now_ms).await
        })
    }

    /// Lets go of checks and dead letters that were kept for long enough, and of the oldest dead
    /// letters beyond `dead_letter_max` bytes.
    ///
    /// # Errors
    /// The server is away; some of it may be done.
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
