//! Finds records that the tables refuse, by halves. Each part is tried in a transaction that is rolled back,
//! so that the search stores nothing, and a stop in the middle loses nothing.

use std::ops::Range;

use super::client::{Postgres, RepeatRule, WRITE_LIMIT};
use super::error::{ErrorKind, PostgresError};
use super::records::WriteRequest;
use super::session::Session;
use super::write;
use crate::model::record::Record;
use crate::store::batch::Batch;
use crate::store::error::StoreError;

/// A record that the tables refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Index of the record in the batch.
    pub index: usize,
    /// Reason in the server's words.
    pub why: String,
}

impl Postgres {
    /// Finds the refused records, in the batch's order. Stops after more than `most`. Else each is tried once
    /// more, and if one is accepted now, returns none: the table has changed meanwhile, and only the records
    /// that were tried before would be blamed.
    ///
    /// # Errors
    /// The server is away.
    pub fn find_refused(
        &mut self,
        batch: &Batch,
        now_ms: i64,
        most: u64,
    ) -> Result<Vec<RefusedRecord>, StoreError> {
        let oldest_ms = self.oldest_kept_ms(batch, now_ms);
        self.run("store in", WRITE_LIMIT, RepeatRule::OnConflict, async |session, _| {
            let trial = Trial { records: &batch.records, now_ms, oldest_ms };
            let refused = trial.search(session, most).await?;
            if refused.len() as u64 > most {
                return Ok(refused);
            }
            for RefusedRecord { index, .. } in &refused {
                if trial.refuses(session, *index..index + 1).await?.is_none() {
                    return Ok(Vec::new());
                }
            }
            Ok(refused)
        })
    }
}

/// Records to try on the tables.
struct Trial<'a> {
    records: &'a [Record],
    now_ms: i64,
    oldest_ms: i64,
}

impl Trial<'_> {
    async fn search(
        &self,
        session: &mut Session,
        most: u64,
    ) -> Result<Vec<RefusedRecord>, PostgresError> {
        let mut refused = Vec::new();
        let mut parts: Vec<Range<usize>> = std::iter::once(0..self.records.len()).collect();
        while let Some(part) = parts.pop() {
            let Some(why) = self.refuses(session, part.clone()).await? else { continue };
            match part.len() {
                0 => {}
                1 => {
                    refused.push(RefusedRecord { index: part.start, why });
                    if refused.len() as u64 > most {
                        break;
                    }
                }
                count => {
                    let middle = part.start + count / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                }
            }
        }
        Ok(refused)
    }

    /// Returns the reason for which a part is refused; none if it is accepted.
    async fn refuses(
        &self,
        session: &mut Session,
        part: Range<usize>,
    ) -> Result<Option<String>, PostgresError> {
        let Trial { now_ms, oldest_ms, .. } = *self;
        let request = WriteRequest {
            records: &self.records[part],
            batch: None,
            now_ms,
            oldest_ms,
            expects_duplicates: true,
            is_trial: true,
        };
        match write::store(session, &request).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind == ErrorKind::Refused => {
                session.client().batch_execute("ROLLBACK").await?;
                Ok(Some(error.why))
            }
            Err(error) => Err(error),
        }
    }
}
