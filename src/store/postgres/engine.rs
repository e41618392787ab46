//! The trait, and the calls for Kafka's marks, over the client's connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::{Postgres, READ_LIMIT, Repeat, WRITE_LIMIT};
use super::connect::Mode;
use super::error::{ErrorKind, PostgresError};
use super::records::WriteRequest;
use super::session::Session;
use super::{read, retain, write};
use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;
use crate::store::batch::{Batch, Position, WriteCounts, WriteResult};
use crate::store::engine::{Labels, Store};
use crate::store::error::StoreError;

impl Postgres {
    /// Stores a batch from Kafka with its marks, in one transaction. Checks and gaps that are stored already
    /// change nothing.
    ///
    /// # Errors
    /// Nothing was stored, and the same batch may be given again. But if the batch is refused, one of its
    /// records is the reason, and will be refused again.
    pub fn store(&mut self, batch: &Batch, now_ms: i64) -> Result<WriteResult, StoreError> {
        let records: Vec<&Record> = batch.records.iter().collect();
        self.batch(&records, Some(batch), now_ms)
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
        self.run("read", WRITE_LIMIT, Repeat::OnConflict, async |session, _| {
            read::positions(session, cluster, topic).await
        })
    }

    fn batch(
        &mut self,
        records: &[&Record],
        batch: Option<&Batch>,
        now_ms: i64,
    ) -> Result<WriteResult, StoreError> {
        let expects_duplicates = self.expects_duplicates;
        let oldest_ms = self.oldest_kept_ms(batch, now_ms);
        let stored =
            self.run("store in", WRITE_LIMIT, Repeat::OnConflict, async |session, before| {
                let expects_duplicates = expects_duplicates || before == Some(ErrorKind::Duplicate);
                let request = WriteRequest {
                    records,
                    batch,
                    now_ms,
                    oldest_ms,
                    expects_duplicates,
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
            })?;
        let stored =
            stored.map_err(|error| error.into_store_error("store in", &self.display_name))?;
        self.expects_duplicates =
            matches!(stored, WriteResult::Stored(written) if written.repeats > 0);
        Ok(stored)
    }

    /// Returns the oldest due time of checks that are stored, in milliseconds since 1970.
    pub(super) fn oldest_kept_ms(&self, batch: Option<&Batch>, now_ms: i64) -> i64 {
        let from_ms = batch.and_then(|batch| batch.age_ms).unwrap_or(now_ms);
        retain::time_before(from_ms, self.age_max)
    }

    /// Reads over the connection; a reader reads all from one snapshot.
    fn read<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, PostgresError>,
    ) -> Result<T, StoreError> {
        let mode = self.mode;
        let mut read = Some(read);
        self.run("read", READ_LIMIT, Repeat::Never, async |session, _| {
            if mode == Mode::Read {
                session.snapshot().await?;
            }
            let read = read.take().ok_or_else(|| PostgresError::away("it was asked twice"))?;
            read(session).await
        })
    }
}

impl Store for Postgres {
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = &Record>,
        now_ms: i64,
    ) -> Result<WriteCounts, StoreError> {
        let records: Vec<&Record> = records.collect();
        match self.batch(&records, None, now_ms)? {
            WriteResult::Stored(written) => Ok(written),
            WriteResult::Older(_) => Ok(WriteCounts::default()),
        }
    }

    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        self.read(async |session| read::newest(session, node).await)
    }

    fn states(&mut self) -> Result<BTreeMap<Who, State>, StoreError> {
        self.read(async |session| read::states(session).await)
    }

    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError> {
        self.read(async |session| read::targets(session).await)
    }

    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Who, &Check),
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
