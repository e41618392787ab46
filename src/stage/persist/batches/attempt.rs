//! Tries to store a batch: judges its times by the database's clock and, if records are refused, leaves out
//! the few that are at fault themselves.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;
use std::time::{Duration, Instant};

use super::outage::StoreFault;
use super::times::{ClockDoubt, judge};
use super::{BatchWriter, StoreReply};
use crate::model::refusal::{Blame, judge as judge_refused, limit};
use crate::model::safeguard::Share;
use crate::model::wire::encode;
use crate::show::text::show_count;
use crate::store::{Batch, DeadLetter, Postgres, RefusedRecord, Store, StoreError, WriteResult};

/// Reason of dead letters that are too far ahead of the clock.
const TIME: &str = "time";
/// Reason of dead letters that the tables refuse.
const STORE: &str = "store";
/// Word of `/health` for a clock that is in doubt.
const CLOCK: &str = "clock";
/// Time after which the log says again that records become dead letters for a reason.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// Result of a try to store a batch.
pub enum TryResult {
    /// The store has answered for the whole batch.
    Done(WriteResult),
    /// Records are refused, and nobody can tell yet whether they or the table are at fault; the text says
    /// more.
    Doubtful(String),
}

/// Counts of the records that were put aside until now.
#[derive(Default)]
pub struct SetAsideCounts {
    /// Records that were too far ahead.
    time: Share,
    /// Records that the tables refused.
    refused: Share,
    /// Last time that each reason was logged.
    said: HashMap<&'static str, Instant>,
    /// Ages do not count by the clock, and the log has said so.
    is_spared: bool,
}

impl SetAsideCounts {
    /// Counts the letters of a batch that is stored, and logs a reason for them. Returns their number.
    pub fn count(&mut self, batch: &Batch) -> u64 {
        let of = |reason| batch.dead.iter().filter(move |letter| letter.reason == reason);
        let (early, refused) = (of(TIME).count() as u64, of(STORE).count() as u64);
        let all = batch.records.len() as u64 + early + refused;
        self.time.add(early, all);
        self.refused.add(refused, all);
        for reason in [TIME, STORE] {
            if let Some(letter) = of(reason).next()
                && self.is_news(reason)
            {
                log::warn!(
                    "partition {}, offset {} cannot be {} and goes to dead_letter: {reason}: {}",
                    letter.origin.partition,
                    letter.origin.offset,
                    if reason == TIME { "read" } else { "stored" },
                    letter.detail
                );
            }
        }
        early + refused
    }

    /// Returns true, and notes the time, if the log has not said this for `SAY_AGAIN`.
    fn is_news(&mut self, what: &'static str) -> bool {
        let now = Instant::now();
        let is_old = self.said.get(what).is_none_or(|said| now - *said >= SAY_AGAIN);
        if is_old {
            self.said.insert(what, now);
        }
        is_old
    }
}

impl BatchWriter {
    /// Tries to store a batch that has been in doubt for `waited`. Records that become dead letters are
    /// moved within the batch.
    pub(super) fn try_store(
        &mut self,
        store: &mut Postgres,
        batch: &mut Batch,
        waited: Duration,
    ) -> Result<TryResult, StoreFault> {
        let now_ms = self.now_ms(store)?;
        let keep = self.retention.checks;
        let judged = judge(batch, now_ms, keep, &self.aside.time, || store.newest_due());
        let judged = judged.map_err(|doubt| match doubt {
            ClockDoubt::Clock(why) => StoreFault::Clock(why),
            ClockDoubt::Store(error) => error.into(),
        })?;
        let stored = match store.write(batch, now_ms) {
            Err(StoreError::Refused { text }) => {
                if let Some(why) = self.sift(store, batch, now_ms, (waited, text))? {
                    return Ok(TryResult::Doubtful(why));
                }
                // A refusal now is not the fault of single records.
                store.write(batch, now_ms).map_err(|error| match error {
                    StoreError::Refused { text } => StoreFault::Refused(text),
                    other => other.into(),
                })
            }
            other => Ok(other?),
        }?;
        self.log_spared(judged.is_spared);
        Ok(TryResult::Done(stored))
    }

    /// Makes dead letters of the refused records, if they are at fault themselves. Returns a text if nobody
    /// can tell that yet.
    fn sift(
        &mut self,
        store: &mut Postgres,
        batch: &mut Batch,
        now_ms: i64,
        (waited, why): (Duration, String),
    ) -> Result<Option<String>, StoreFault> {
        let before = batch.dead.iter().filter(|letter| letter.reason == STORE).count() as u64;
        let most = limit(batch.records.len() as u64 + before).saturating_sub(before);
        let refused = store.find_refused(batch, now_ms, most)?;
        if refused.is_empty() {
            return Ok(None);
        }
        let all = of_their_kinds(batch, &refused) + before;
        let why = refused.first().map_or(why, |first| first.why.clone());
        match judge_refused(refused.len() as u64 + before, all, waited, &self.aside.refused) {
            Blame::Records => {}
            Blame::Table => {
                let all = show_count(all, "record");
                return Err(StoreFault::Refused(format!(
                    "more than 5 % of {all} are refused: {why}"
                )));
            }
            Blame::Unknown => {
                let few = refused.len() as u64 + before;
                return Ok(Some(format!("{few} of {} refused: {why}", show_count(all, "record"))));
            }
        }
        for refused in refused.into_iter().rev() {
            let record = batch.records.remove(refused.index);
            let origin = batch.origins.remove(refused.index);
            let (payload, detail) = (encode(&record).into_bytes(), refused.why);
            let letter = DeadLetter { origin, payload, reason: STORE, detail };
            batch.dead.push(letter);
        }
        Ok(None)
    }

    /// Logs that ages do not count by the clock, and that they do again.
    fn log_spared(&mut self, is_spared: bool) {
        if is_spared == self.aside.is_spared {
            return;
        }
        self.aside.is_spared = is_spared;
        if is_spared {
            log::error!(
                "is the database's clock right? By it even the newest checks are old; nothing expires \
                 until newer ones have come"
            );
        } else {
            log::info!("checks expire by the database's clock again");
        }
        self.reply(StoreReply::Doubt(CLOCK, is_spared));
    }
}

/// Counts the records of the same kinds as the refused ones: a table that takes nodes may refuse every check.
fn of_their_kinds(batch: &Batch, refused: &[RefusedRecord]) -> u64 {
    let of = |refused: &RefusedRecord| batch.records.get(refused.index).map(discriminant);
    let kinds: HashSet<_> = refused.iter().filter_map(of).collect();
    batch.records.iter().filter(|record| kinds.contains(&discriminant(*record))).count() as u64
}
