//! The trait, and the calls for Kafka's marks, over the client's connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::{Postgres, READING, WRITING};
use super::connect::Mode;
use super::error::{Fault, Kind};
use super::records::Batch;
use super::session::Session;
use super::{read, retain, write};
use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;
use crate::store::batch::{Parcel, Position, Stored, Written};
use crate::store::engine::{Labels, Store};
use crate::store::error::StoreError;

impl Postgres {
    /// Stores a parcel from Kafka with its marks, in one transaction. Checks and gaps that are stored
    /// already change nothing.
    ///
    /// # Errors
    /// Nothing was stored, and the same parcel may be given again. But if the parcel is refused, one of its
    /// records is the reason, and will be refused again.
    pub fn store(&mut self, parcel: &Parcel, now_ms: i64) -> Result<Stored, StoreError> {
        let records: Vec<&Record> = parcel.records.iter().collect();
        self.batch(&records, Some(parcel), now_ms)
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
        self.run("read", WRITING, true, async |session, _| {
            read::positions(session, cluster, topic).await
        })
    }

    fn batch(
        &mut self,
        records: &[&Record],
        parcel: Option<&Parcel>,
        now_ms: i64,
    ) -> Result<Stored, StoreError> {
        let is_careful = self.is_careful;
        let keep_from_ms = self.keep_from(parcel, now_ms);
        let stored = self.run("store in", WRITING, true, async |session, before| {
            let careful = is_careful || before == Some(Kind::Repeat);
            let batch = Batch { records, parcel, now_ms, keep_from_ms, careful, is_trial: false };
            match write::store(session, &batch).await {
                // A refused batch leaves the connection as good as before.
                Err(fault) if fault.kind == Kind::Refused => {
                    session.client().batch_execute("ROLLBACK").await?;
                    Ok(Err(fault))
                }
                done => done.map(Ok),
            }
        })?;
        let stored = stored.map_err(|fault| fault.told("store in", &self.place))?;
        self.is_careful = matches!(stored, Stored::Whole(written) if written.repeats > 0);
        Ok(stored)
    }

    /// Returns the due time before which checks are not kept, in milliseconds since 1970.
    pub(super) fn keep_from(&self, parcel: Option<&Parcel>, now_ms: i64) -> i64 {
        let from_ms = parcel.and_then(|parcel| parcel.age_ms).unwrap_or(now_ms);
        retain::before(from_ms, self.keep)
    }

    fn reading<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Session) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mode = self.mode;
        let mut read = Some(read);
        self.run("read", READING, false, async |session, _| {
            if mode == Mode::Read {
                session.snapshot().await?;
            }
            let read = read.take().ok_or_else(|| Fault::away("it was asked twice"))?;
            read(session).await
        })
    }
}

impl Store for Postgres {
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = &Record>,
        now_ms: i64,
    ) -> Result<Written, StoreError> {
        let records: Vec<&Record> = records.collect();
        match self.batch(&records, None, now_ms)? {
            Stored::Whole(written) => Ok(written),
            Stored::Older(_) => Ok(Written::default()),
        }
    }

    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        self.reading(async |session| read::newest(session, node).await)
    }

    fn states(&mut self) -> Result<BTreeMap<Who, State>, StoreError> {
        self.reading(async |session| read::states(session).await)
    }

    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError> {
        self.reading(async |session| read::targets(session).await)
    }

    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Who, &Check),
    ) -> Result<(), StoreError> {
        self.reading(async |session| read::checks(session, from_ms, until_ms, take).await)
    }

    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError> {
        self.reading(async |session| read::gaps(session, from_ms, until_ms, take).await)
    }

    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError> {
        self.reading(async |session| read::losses(session, from_ms, until_ms).await)
    }
}
