//! Decides when a writer must not put records aside, and from which moment ages count: a wrong clock or a
//! wrong table must never empty the store. All of these rules stand here.
//!
//! A record is put aside when it expires, when it becomes a dead letter for its time, or when the
//! table refuses it ([`super::refusal`]). One such record is its own fault. Many are more likely the
//! deployment's.
//!
//! - **Two clocks.** Times are judged by the database's clock. As long as this host's differs from it by
//!   more than [`CLOCKS_MAX_MS`], one of them is wrong and nobody here knows which: wait.
//! - **Ages.** Records expire, and hours are dropped, only as far as the checks themselves confirm the
//!   clock: time counts as no later than [`NEWEST_AHEAD_MS`] past the newest check. If both clocks are
//!   100 days ahead, fresh checks are stored as ever. A backlog of months is stored from its oldest
//!   record on, and records too old are dropped once newer checks have come; checks of a probe that was
//!   off for months expire at once beside the fresh ones of others.
//! - **Shares.** Of a batch, 5 % may be put aside, and 5 % of the last [`HISTORY`] records, so that
//!   batches of one record add up. The first [`FEW`] may always be put aside: a batch of one bad record
//!   is 100 % bad, and no reason to stop.
//! - **Time ahead.** Records that are more than an hour ahead of the clock are beyond their share
//!   only if no majority of their nodes agrees with the clock: one probe of ten with a wrong clock
//!   holds up nobody. Stored checks from ahead of the clock prove the clock wrong without any share.
//!   More than [`FAR_MS`] ahead is no clock's fault.

use std::collections::BTreeMap;

use super::record::Record;
use super::wire::AHEAD_MS;
use crate::date::second;

/// Largest difference allowed between this host's clock and the database's, in milliseconds.
pub const CLOCKS_MAX_MS: i64 = 5 * 60 * 1000;
/// Longest time that the clock may be past the newest check; ages count no further. In milliseconds.
pub const NEWEST_AHEAD_MS: i64 = 24 * 3_600_000;
/// Time ahead of the clock beyond which a record is bad for sure, in milliseconds: a year.
pub const FAR_MS: i64 = 366 * 24 * 3_600_000;
/// Number of records that may be put aside, whatever their share.
pub const FEW: u64 = 20;
/// Number of the last records, about, of which the share is also taken.
pub const HISTORY: u64 = 1000;
/// One record in 20, or 5 %, may be put aside.
const ONE_IN: u64 = 20;

/// Returns the reason for which the clocks cannot be believed; none if they can. `host_ms` is this host's
/// clock before and after the database was asked for its own.
pub fn clock_fault(host_ms: (i64, i64), database_ms: i64) -> Option<String> {
    let (before_ms, after_ms) = host_ms;
    let (ahead_ms, word) = if before_ms > database_ms {
        (before_ms - database_ms, "ahead of")
    } else {
        (database_ms - after_ms, "behind")
    };
    (ahead_ms > CLOCKS_MAX_MS).then(|| {
        format!(
            "this host's clock ({}) is {} {word} the database's ({}): set the one that is wrong",
            second(before_ms),
            length(ahead_ms),
            second(database_ms)
        )
    })
}

/// Returns the moment from which ages count: the database's clock, as far as the newest check bears it out.
pub fn age_moment(database_ms: i64, newest_ms: Option<i64>) -> i64 {
    newest_ms.map_or(database_ms, |ms| database_ms.min(ms.saturating_add(NEWEST_AHEAD_MS)))
}

/// Counts of the records that were put aside lately, and of all records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Share {
    aside: u64,
    all: u64,
}

impl Share {
    /// Returns how many of a batch of `all` records may be put aside.
    pub fn allowed(&self, all: u64) -> u64 {
        let of_batch = (all / ONE_IN).max(FEW);
        let of_history = ((self.all + all) / ONE_IN).max(FEW).saturating_sub(self.aside);
        of_batch.min(of_history)
    }

    /// Adds a batch of `all` records, of which `aside` were put aside.
    pub fn add(&mut self, aside: u64, all: u64) {
        (self.aside, self.all) = (self.aside + aside, self.all + all);
        if self.all > HISTORY {
            // Older batches count for less and less.
            let rest = |count: u64| {
                (u128::from(count) * u128::from(HISTORY) / u128::from(self.all)) as u64
            };
            (self.aside, self.all) = (rest(self.aside), HISTORY);
        }
    }
}

/// Times of a batch's records, compared with the clock.
#[derive(Debug, Default)]
pub struct Times<'a> {
    /// Newest time of each node's records, without records more than [`FAR_MS`] ahead.
    nodes: BTreeMap<&'a str, i64>,
    /// Records that are too far ahead, without records more than [`FAR_MS`] ahead.
    ahead: u64,
    all: u64,
    has_ahead: bool,
    /// Time of the newest record that is not ahead, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
    /// Time of the oldest record, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// Returns true if a record is too far ahead of the clock.
pub fn is_ahead(record: &Record, now_ms: i64) -> bool {
    record.latest_ms() > now_ms.saturating_add(AHEAD_MS)
}

impl<'a> Times<'a> {
    /// Adds a record.
    pub fn add(&mut self, record: &'a Record, now_ms: i64) {
        self.all += 1;
        let ms = record.latest_ms();
        self.oldest_ms = Some(self.oldest_ms.map_or(ms, |oldest| oldest.min(ms)));
        if is_ahead(record, now_ms) {
            self.has_ahead = true;
        } else {
            self.newest_ms = self.newest_ms.max(Some(ms));
        }
        if ms > now_ms.saturating_add(FAR_MS) {
            return;
        }
        self.ahead += u64::from(is_ahead(record, now_ms));
        let newest = self.nodes.entry(record.node()).or_insert(ms);
        *newest = ms.max(*newest);
    }

    /// Returns true if some record is ahead, by however much.
    pub fn has_ahead(&self) -> bool {
        self.has_ahead
    }

    /// Returns the reason for which records that are ahead cannot be put aside; none if they can.
    /// `newest_ms` is the newest check that is stored, `share` counts the records put aside for their time
    /// before.
    pub fn fault(&self, now_ms: i64, newest_ms: Option<i64>, share: &Share) -> Option<String> {
        if self.ahead == 0 {
            return None;
        }
        let limit_ms = now_ms.saturating_add(AHEAD_MS);
        let ahead = self.nodes.values().filter(|ms| **ms > limit_ms).count();
        if ahead * 2 < self.nodes.len() {
            return None;
        }
        let clock = second(now_ms);
        if let Some(stored_ms) = newest_ms.filter(|ms| *ms > limit_ms) {
            return Some(format!(
                "the database's clock ({clock}) is {} behind the newest check: set it",
                length(stored_ms - now_ms)
            ));
        }
        (self.ahead > share.allowed(self.all)).then(|| {
            format!(
                "{} of {} records are more than an hour ahead of the database's clock ({clock}): \
                 set it, or that of the probes",
                self.ahead, self.all
            )
        })
    }
}

/// Writes a duration for people.
fn length(ms: i64) -> String {
    match ms / 60_000 {
        minutes @ ..120 => format!("{minutes} minutes"),
        minutes @ 120..2880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::record::NodeState;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const NOW: i64 = 1_795_230_000_000;

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        for (before, after, word) in [
            (0, 10, None),
            (5 * MINUTE, 5 * MINUTE, None),
            (-5 * MINUTE, -5 * MINUTE, None),
            // The answer took its time.
            (-7 * MINUTE, -4 * MINUTE, None),
            (5 * MINUTE + 1, 6 * MINUTE, Some("is 5 minutes ahead of")),
            (-6 * MINUTE, -5 * MINUTE - 1, Some("is 5 minutes behind")),
            (-2 * HOUR, -2 * HOUR, Some("is 2 hours behind")),
            (100 * DAY, 100 * DAY, Some("is 100 days ahead of")),
            (-NOW, -NOW, Some("is 20778 days behind")),
        ] {
            let fault = clock_fault((NOW + before, NOW + after), NOW);
            assert_eq!(fault.is_some(), word.is_some(), "{fault:?}");
            assert!(fault.is_none_or(|text| text.contains(word.unwrap())), "{before}");
        }
    }

    #[test]
    fn ages_count_no_further_than_a_day_past_the_newest_check() {
        for (newest, want) in [
            (None, NOW),
            (Some(NOW), NOW),
            (Some(NOW + HOUR), NOW),
            (Some(NOW - 23 * HOUR), NOW),
            (Some(NOW - 100 * DAY), NOW - 99 * DAY),
            (Some(i64::MAX), NOW),
        ] {
            assert_eq!(age_moment(NOW, newest), want, "{newest:?}");
        }
    }

    #[test]
    fn five_percent_of_a_batch_and_of_the_history_may_be_put_aside() {
        let mut share = Share::default();
        for (all, allowed) in [(1, 20), (20, 20), (400, 20), (420, 21), (20_000, 1000)] {
            assert_eq!(share.allowed(all), allowed, "{all}");
        }
        // Batches of one bad record add up.
        for _ in 0..20 {
            assert!(share.allowed(1) >= 1);
            share.add(1, 1);
        }
        assert_eq!(share.allowed(1), 0);
        // Bad records count for less, the more good ones come.
        share.add(0, 400);
        assert_eq!((share.allowed(1), share.allowed(20)), (1, 2));
        share.add(0, 100_000);
        assert_eq!((share.allowed(1), share.allowed(2000)), (20, 100));
        // But a large batch has no credit.
        assert_eq!(share.allowed(100), 20);
        share.add(u64::MAX / 4, u64::MAX / 2);
        assert_eq!(share.allowed(1), 0);
    }

    /// Makes a record of a node, `ahead` ms after `NOW`.
    fn record(node: &str, ahead: i64) -> Record {
        Record::Node(NodeState::new(&Arc::from(node), 1, NOW + ahead))
    }

    fn fault(records: &[Record], newest: Option<i64>, share: &Share) -> Option<String> {
        let mut times = Times::default();
        records.iter().for_each(|record| times.add(record, NOW));
        times.fault(NOW, newest.map(|ms| NOW + ms), share)
    }

    #[test]
    fn records_that_are_ahead_are_put_aside_where_they_are_few_or_their_nodes_are() {
        let (none, fresh) = (Share::default(), Some(-MINUTE));
        let many = |node, ahead, count| vec![record(node, ahead); count];
        assert_eq!(fault(&many("a", HOUR, 500), fresh, &none), None);
        assert_eq!(fault(&many("a", 2 * HOUR, 20), fresh, &none), None);
        let text = fault(&many("a", 2 * HOUR, 21), fresh, &none).unwrap();
        assert!(text.starts_with("21 of 21 records are more than an hour ahead of"), "{text}");
        // In one batch or in several.
        let mut share = Share::default();
        share.add(20, 20);
        assert!(fault(&many("a", 2 * HOUR, 1), fresh, &share).is_some());
        // A year, and more.
        assert!(fault(&many("a", 366 * DAY, 21), None, &none).is_some());
        assert_eq!(fault(&many("a", 366 * DAY + 1, 500), None, &share), None);

        // One probe among others; one of two is enough for a doubt, one of three is not.
        let mut records = many("a", 2 * HOUR, 100);
        records.push(record("b", 0));
        assert!(fault(&records, fresh, &none).is_some());
        records.push(record("c", -30 * DAY));
        assert_eq!(fault(&records, fresh, &none), None);
        // A backlog reaches the time at which the clock is behind: the newest time of each node counts.
        records.extend([record("b", 2 * HOUR), record("c", 2 * HOUR)]);
        assert!(fault(&records, fresh, &none).is_some());
    }

    #[test]
    fn stored_checks_from_ahead_of_the_clock_prove_it_wrong() {
        let none = Share::default();
        let text = fault(&[record("a", 3 * HOUR)], Some(3 * HOUR), &none).unwrap();
        assert!(text.contains("is 3 hours behind the newest check"), "{text}");
        assert_eq!(fault(&[record("a", 3 * HOUR)], Some(HOUR), &none), None);
        assert_eq!(fault(&[record("a", HOUR)], Some(3 * HOUR), &none), None);
        let others = [record("a", 3 * HOUR), record("b", 0), record("c", 0)];
        assert_eq!(fault(&others, Some(3 * HOUR), &none), None);
    }
}
