//! Finds records that the tables refuse, by halves. Each part is tried in a transaction that is rolled
//! back, so that the search stores nothing, and a stop in the middle loses nothing.

use std::ops::Range;

use super::client::{Postgres, WRITING};
use super::error::{Fault, Kind};
use super::records::Batch;
use super::session::Session;
use super::write;
use crate::model::record::Record;
use crate::store::batch::Parcel;
use crate::store::error::StoreError;

/// A record that the tables refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Index of the record in the parcel.
    pub index: usize,
    /// Reason in the server's words.
    pub why: String,
}

impl Postgres {
    /// Finds the refused records, in the parcel's order. Stops after more than `most`. Else each is tried
    /// once more, and if one is accepted now, returns none: the table has changed meanwhile, and only the
    /// records that were tried before would be blamed.
    ///
    /// # Errors
    /// The server is away.
    pub fn refused(
        &mut self,
        parcel: &Parcel,
        now_ms: i64,
        most: u64,
    ) -> Result<Vec<RefusedRecord>, StoreError> {
        let keep_from_ms = self.keep_from(Some(parcel), now_ms);
        let records: Vec<&Record> = parcel.records.iter().collect();
        self.run("store in", WRITING, true, async |session, _| {
            let trial = Trial { records: &records, now_ms, keep_from_ms };
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
    records: &'a [&'a Record],
    now_ms: i64,
    keep_from_ms: i64,
}

impl Trial<'_> {
    async fn search(&self, session: &mut Session, most: u64) -> Result<Vec<RefusedRecord>, Fault> {
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
    ) -> Result<Option<String>, Fault> {
        let Trial { now_ms, keep_from_ms, .. } = *self;
        let (records, parcel) = (&self.records[part], None);
        let (careful, is_trial) = (true, true);
        let batch = Batch { records, parcel, now_ms, keep_from_ms, careful, is_trial };
        match write::store(session, &batch).await {
            Ok(_) => Ok(None),
            Err(fault) if fault.kind == Kind::Refused => {
                session.client().batch_execute("ROLLBACK").await?;
                Ok(Some(fault.why))
            }
            Err(fault) => Err(fault),
        }
    }
}
