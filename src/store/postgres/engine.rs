//! Implements the trait, and the reading of Kafka's marks, over the client's connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::{Postgres, READ_LIMIT, RepeatRule, WRITE_LIMIT};
use super::connect::Access;
use super::error::{ErrorKind, PostgresError};
use super::records::WriteRequest;
use super::session::Session;
use super::{read, retain, write};
use crate::config::RetentionConfig;
use crate::model::outcome::Gap;
use crate::model::report::Series;
use crate::model::standing::NodeStanding;
use crate::model::tally::CheckFacts;
use crate::store::batch::{Batch, Position, WriteResult};
use crate::store::engine::{Labels, Store};
use crate::store::error::StoreError;
use crate::store::retention::{RetentionCounts, time_before};

impl Postgres {
    /// Returns the position at which each partition goes on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn positions(
        &mut self,
        cluster: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, Position>, StoreError> {
        self.run("read", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
            read::positions(session, cluster, topic).await
        })
    }

    /// Returns the oldest due time of checks that are stored, in milliseconds since 1970.
    pub(super) fn oldest_kept_ms(&self, batch: &Batch, now_ms: i64) -> i64 {
        let from_ms = batch.age_ms.unwrap_or(now_ms);
        time_before(from_ms, self.age_max)
    }

    /// Reads over the connection; a reader reads all from one snapshot.
    fn read<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, PostgresError>,
    ) -> Result<T, StoreError> {
        let access = self.access;
        let mut read = Some(read);
        self.run("read", READ_LIMIT, RepeatRule::Never, async |session, _| {
            if access == Access::Read {
                session.snapshot().await?;
            }
            let read = read.take().ok_or_else(|| PostgresError::away("it was asked twice"))?;
            read(session).await
        })
    }
}

impl Store for Postgres {
    fn write(&mut self, batch: &Batch, now_ms: i64) -> Result<WriteResult, StoreError> {
        let repeats_expected = self.expects_duplicates;
        let oldest_ms = self.oldest_kept_ms(batch, now_ms);
        let work = async |session: &mut Session, before| {
            let request = WriteRequest {
                records: &batch.records,
                batch: Some(batch),
                now_ms,
                oldest_ms,
                expects_duplicates: repeats_expected || before == Some(ErrorKind::Duplicate),
                is_trial: false,
            };
            match write::store(session, &request).await {
                // A refused batch leaves the connection as good as before.
                Err(error) if error.kind == ErrorKind::Refused => {
                    session.client().batch_execute("ROLLBACK").await?;
                    Ok(Err(error))
                }
                done => done.map(Ok),
            }
        };
        let stored = self.run("store in", WRITE_LIMIT, RepeatRule::OnConflict, work)?;
        let stored =
            stored.map_err(|error| error.into_store_error("store in", &self.display_name))?;
        self.expects_duplicates =
            matches!(stored, WriteResult::Stored(written) if written.repeats > 0);
        Ok(stored)
    }

    fn retain(
        &mut self,
        retention: &RetentionConfig,
        dead_letter_max: u64,
        now_ms: i64,
    ) -> Result<RetentionCounts, StoreError> {
        self.set_retention(retention);
        self.run("delete old rows from", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
            retain::retain(session, retention, dead_letter_max, now_ms).await
        })
    }

    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        self.read(async |session| read::newest(session, node).await)
    }

    fn states(&mut self) -> Result<BTreeMap<Series, NodeStanding>, StoreError> {
        self.read(async |session| read::states(session).await)
    }

    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError> {
        self.read(async |session| read::targets(session).await)
    }

    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Series, &CheckFacts),
    ) -> Result<(), StoreError> {
        self.read(async |session| read::checks(session, from_ms, until_ms, take).await)
    }

    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError> {
        self.read(async |session| read::gaps(session, from_ms, until_ms, take).await)
    }

    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(async |session| read::losses(session, from_ms, until_ms).await)
    }
}
