//! A batch that waits: some of its records are refused, and too few others have come to tell whether
//! the table or they are at fault. The next batches join it until that is known.

use std::time::{Duration, Instant};

use super::{BatchWriter, StoreReply};
use crate::model::refusal::PATIENCE;
use crate::store::Batch;

/// Word of `/health` for a batch in doubt.
const WORD: &str = "store_refuses";

/// Take no more while this many records are in doubt: all of them are tried again each second.
const SUSPECTS_MAX: u64 = 20_000;

/// Batch in doubt.
pub struct SuspectBatch {
    batch: Batch,
    since: Instant,
    is_told: bool,
}

impl SuspectBatch {
    /// Returns the number of records that wait.
    pub fn count(&self) -> u64 {
        self.batch.records.len() as u64
    }
}

impl BatchWriter {
    /// Takes out the batch in doubt, with a later one joined to it. The doubt itself stays, until
    /// [`BatchWriter::end_doubt`] or [`BatchWriter::hold`].
    pub(super) fn join_suspects(&mut self, later: Batch) -> Batch {
        let Some(doubt) = &mut self.doubt else { return later };
        let mut batch = std::mem::take(&mut doubt.batch);
        batch.append(later);
        batch
    }

    /// Returns true while so many records are in doubt that no more are taken.
    pub(super) fn is_full(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.count() >= SUSPECTS_MAX)
    }

    /// Returns the time for which records have been in doubt.
    pub(super) fn waited(&self) -> Duration {
        self.doubt.as_ref().map_or(Duration::ZERO, |doubt| doubt.since.elapsed())
    }

    /// Holds a batch back until others have come.
    pub(super) fn hold(&mut self, batch: Batch, why: &str) {
        let new =
            || SuspectBatch { batch: Batch::default(), since: Instant::now(), is_told: false };
        let doubt = self.doubt.get_or_insert_with(new);
        doubt.batch = batch;
        if !doubt.is_told && doubt.since.elapsed() >= PATIENCE {
            doubt.is_told = true;
            log::error!(
                "records are held back: {why}; too few other records have come to tell whether the \
                 table or these are at fault: waiting for more, Kafka keeps the records"
            );
            self.reply(StoreReply::Doubt(WORD, true));
        }
    }

    /// Ends the doubt: the batch is stored.
    pub(super) fn end_doubt(&mut self) {
        let Some(doubt) = self.doubt.take() else { return };
        if doubt.is_told {
            log::info!("storing again after {} s", doubt.since.elapsed().as_secs());
            self.reply(StoreReply::Doubt(WORD, false));
        }
    }
}
