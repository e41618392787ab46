//! Looks for records that the tables refuse, by halves. Each part is tried in a transaction that
//! is rolled back, so that nothing is stored by looking, and a stop in the middle loses nothing.

use std::ops::Range;

use super::fault::Kind;
use super::write::{self, Batch};
use super::{Postgres, WRITING};
use crate::model::record::Record;
use crate::store::{Parcel, StoreError};

/// Names a record that the tables refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its place in the parcel.
    pub index: usize,
    /// The server's words.
    pub why: String,
}

impl Postgres {
    /// Finds the records that are refused, in the parcel's order. Ends once there are more than
    /// `most`.
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
            let mut refused = Vec::new();
            let mut parts: Vec<Range<usize>> = std::iter::once(0..records.len()).collect();
            while let Some(part) = parts.pop() {
                let records = &records[part.clone()];
                let (parcel, careful, is_trial) = (None, true, true);
                let batch = Batch { records, parcel, now_ms, keep_from_ms, careful, is_trial };
                let why = match write::store(session, &batch).await {
                    Ok(_) => continue,
                    Err(fault) if fault.kind == Kind::Refused => fault.why,
                    Err(fault) => return Err(fault),
                };
                session.client().batch_execute("ROLLBACK").await?;
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
        })
    }
}
