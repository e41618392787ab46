//! Judges a batch's times by the database's clock, before it is stored: messages that the consumer found
//! too far ahead of this host's clock are judged again, and ages count from the moment up to which the
//! checks bear out the clock. The rules are those of [`crate::model::safeguard`].

use std::time::Duration;

use crate::model::field::Reason;
use crate::model::record::Record;
use crate::model::safeguard::{Share, Times, age_moment, is_ahead};
use crate::model::wire::{DecodedMessage, decode, encode};
use crate::store::{Batch, DeadLetter, MessageOrigin, StoreError};

/// Result for a batch that can be stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Number of records that are dead letters for their time.
    pub letters: u64,
    /// Some records would have expired by the clock alone.
    pub is_spared: bool,
}

/// Reason for which a batch is not judged.
#[derive(Debug, PartialEq, Eq)]
pub enum ClockDoubt {
    /// The clock cannot be right; the text says why.
    Clock(String),
    /// The store did not say what it holds.
    Store(StoreError),
}

/// Judges a batch at `now_ms`, for a store that keeps checks for `keep`. On a doubt nothing in the batch
/// changes, except perhaps the order of its letters.
///
/// # Errors
/// The clock is in doubt, or the store did not say what it holds: nothing may be put aside.
pub fn judge(
    batch: &mut Batch,
    now_ms: i64,
    keep: Duration,
    share: &Share,
    newest: impl FnOnce() -> Result<Option<i64>, StoreError>,
) -> Result<Judged, ClockDoubt> {
    let doubtful = take_doubtful(batch);
    let mut times = Times::default();
    let records = batch.records.iter().chain(doubtful.iter().map(|(record, _)| record));
    records.for_each(|record| times.add(record, now_ms));
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let from_ms = now_ms.saturating_sub(keep_ms);
    let has_old = times.oldest_ms.is_some_and(|oldest| oldest < from_ms);
    let has_ahead = times.has_ahead();
    let stored_ms =
        if has_old || has_ahead { newest().map_err(ClockDoubt::Store) } else { Ok(None) };
    let judged = stored_ms.and_then(|ms| match times.fault(now_ms, ms, share) {
        Some(why) => Err(ClockDoubt::Clock(why)),
        None => Ok(ms.max(times.newest_ms)),
    });
    let newest_ms = match judged {
        Ok(newest_ms) => newest_ms,
        Err(doubt) => {
            batch.dead.extend(doubtful.into_iter().map(|(_, letter)| letter));
            return Err(doubt);
        }
    };
    let age_ms = if has_old { age_moment(now_ms, newest_ms) } else { now_ms };
    batch.age_ms = Some(age_ms);
    let letters = settle(batch, doubtful, has_ahead, now_ms);
    Ok(Judged { letters, is_spared: age_ms < now_ms })
}

/// Takes out the letters that are records except for their time.
fn take_doubtful(batch: &mut Batch) -> Vec<(Record, DeadLetter)> {
    let mut doubtful = Vec::new();
    for letter in std::mem::take(&mut batch.dead) {
        let is_early = letter.reason == Reason::Time.as_str();
        match is_early.then(|| decode(&letter.payload, i64::MAX)) {
            Some(Ok(DecodedMessage::Record(record))) => doubtful.push((record, letter)),
            _ => batch.dead.push(letter),
        }
    }
    doubtful
}

/// Sorts records and letters by the clock. Returns the number of letters for their time.
fn settle(
    batch: &mut Batch,
    doubtful: Vec<(Record, DeadLetter)>,
    has_ahead: bool,
    now_ms: i64,
) -> u64 {
    if doubtful.is_empty() && !has_ahead {
        return 0;
    }
    let (records, origins) = (std::mem::take(&mut batch.records), batch.origins.drain(..));
    let mut kept: Vec<(Record, MessageOrigin)> = Vec::with_capacity(records.len());
    let mut letters = 0;
    for (record, origin) in records.into_iter().zip(origins) {
        match bury(&record, origin, now_ms) {
            None => kept.push((record, origin)),
            Some(letter) => {
                batch.dead.push(letter);
                letters += 1;
            }
        }
    }
    for (record, letter) in doubtful {
        if is_ahead(&record, now_ms) {
            batch.dead.push(letter);
            letters += 1;
        } else {
            kept.push((record, letter.origin));
        }
    }
    // All checks of a target come in one partition: sorting by origin keeps their order.
    kept.sort_by_key(|(_, origin)| *origin);
    (batch.records, batch.origins) = kept.into_iter().unzip();
    letters
}

/// Makes the dead letter of a record that is too far ahead; none: the record is not.
fn bury(record: &Record, origin: MessageOrigin, now_ms: i64) -> Option<DeadLetter> {
    if !is_ahead(record, now_ms) {
        return None;
    }
    let payload = encode(record).into_bytes();
    let refused = decode(&payload, now_ms).err()?;
    let (reason, detail) = (refused.reason.as_str(), refused.detail);
    Some(DeadLetter { origin, payload, reason, detail })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::record::NodeState;

    const NOW: i64 = 1_795_230_000_000;
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const KEEP: Duration = Duration::from_secs(90 * 86_400);

    fn record(ms: i64) -> Record {
        Record::Node(NodeState::new(&Arc::from("a"), 1, ms))
    }

    /// Records of these times, in turn as they were and as the consumer's letters.
    fn batch(times: &[i64]) -> Batch {
        let mut batch = Batch::default();
        for (offset, ms) in (0..).zip(times) {
            let origin = MessageOrigin { offset, ..MessageOrigin::default() };
            if offset % 2 == 0 {
                batch.records.push(record(*ms));
                batch.origins.push(origin);
            } else {
                let payload = encode(&record(*ms)).into_bytes();
                let (reason, detail) = ("time", "by this host".to_owned());
                batch.dead.push(DeadLetter { origin, payload, reason, detail });
            }
        }
        batch
    }

    fn judged(batch: &mut Batch, newest: Option<i64>) -> Result<Judged, ClockDoubt> {
        judge(batch, NOW, KEEP, &Share::default(), || Ok(newest))
    }

    #[test]
    fn what_the_reader_found_too_early_is_judged_by_the_other_clock() {
        let mut some = batch(&[NOW, NOW + 1, NOW + 2, NOW + 2 * HOUR, NOW + 3 * HOUR, NOW + 5]);
        let done = judged(&mut some, Some(NOW));
        assert_eq!(done, Ok(Judged { letters: 2, is_spared: false }));
        let offsets: Vec<i64> = some.origins.iter().map(|origin| origin.offset).collect();
        assert_eq!((offsets, some.records.len()), (vec![0, 1, 2, 5], 4));
        let letters: Vec<_> = some.dead.iter().map(|l| (l.origin.offset, l.reason)).collect();
        assert_eq!(letters, [(4, "time"), (3, "time")]);
        assert!(some.dead[0].detail.ends_with("is more than an hour ahead"), "{:?}", some.dead[0]);
        // The same again changes nothing.
        assert_eq!(judged(&mut some, Some(NOW)), Ok(Judged { letters: 2, is_spared: false }));
        assert_eq!((some.records.len(), some.dead.len(), some.age_ms), (4, 2, Some(NOW)));
    }

    #[test]
    fn a_batch_in_doubt_stays_whole() {
        let mut all = batch(&[NOW + 2 * HOUR; 50]);
        assert!(matches!(judged(&mut all, None), Err(ClockDoubt::Clock(_))));
        assert_eq!((all.records.len(), all.origins.len(), all.dead.len()), (25, 25, 25));
        let away = StoreError::Away { text: "away".to_owned() };
        let unknown = judge(&mut all, NOW, KEEP, &Share::default(), || Err(away.clone()));
        assert_eq!(unknown, Err(ClockDoubt::Store(away)));
        assert_eq!((all.records.len(), all.dead.len()), (25, 25));
        // Two hours later it is right.
        let done = judge(&mut all, NOW + 2 * HOUR, KEEP, &Share::default(), || Ok(None));
        assert_eq!(done, Ok(Judged::default()));
        assert_eq!((all.records.len(), all.dead.len()), (50, 0));
        assert!(all.origins.is_sorted(), "{:?}", all.origins);
    }

    #[test]
    fn ages_count_from_the_newest_check() {
        for (times, newest, age) in [
            (vec![NOW - DAY], None, NOW),
            // A backlog of months, and both clocks ahead.
            (vec![NOW - 100 * DAY; 500], None, NOW - 99 * DAY),
            (vec![NOW - 100 * DAY; 500], Some(NOW - 101 * DAY), NOW - 99 * DAY),
            // A probe that was off for months, while others were not.
            (vec![NOW - 100 * DAY; 500], Some(NOW - HOUR), NOW),
            (vec![NOW - 100 * DAY, NOW - 5], None, NOW),
            // A record that is ahead proves nothing.
            (vec![NOW - 100 * DAY, NOW + 2 * HOUR], None, NOW - 99 * DAY),
        ] {
            let mut some = batch(&times);
            let done = judged(&mut some, newest).unwrap();
            assert_eq!((some.age_ms, done.is_spared), (Some(age), age < NOW), "{times:?}");
        }
    }
}
