//! Records on their way out: each is held until the next place has it. Their bytes are bounded: past the
//! bound the oldest records that are not under way are dropped, and counted as a loss. Records under way
//! cannot be dropped, so they take at most half of the room, plus one record.
//!
//! Records that go out together may be refused together, for the fault of one. So each refused record goes
//! out once more, in a batch of its own, before it is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lost::{self, Lost};
use super::outcome::{Loss, LossCause};
use super::record::Record;
use super::wire::encode;

/// Bytes that an entry takes beside its text: itself, and its places in both trees.
const OVERHEAD: usize = 160;

/// Records that are held, oldest first.
#[derive(Debug)]
pub struct Outbox {
    entries: BTreeMap<u64, Entry>,
    /// Numbers of the records that are not under way.
    waiting: BTreeSet<u64>,
    /// From now on each record goes out in a batch of its own; `alone` holds the records under way that
    /// did.
    is_single: bool,
    alone: BTreeSet<u64>,
    bytes: usize,
    /// Bytes of the records under way, a part of `bytes`.
    sent_bytes: usize,
    limit_bytes: usize,
    next: u64,
    lost: Lost,
    /// A state was dropped, and must be announced again.
    untold: bool,
}

/// A record in the form in which it goes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Key of the Kafka message: the target, or the node.
    pub key: Arc<str>,
    /// The record as JSON, as it is on the wire.
    pub json: Box<str>,
    /// The loss to count if the record is dropped; none for a state.
    loss: Option<Loss>,
    /// The record is a loss itself: its checks were counted when they were lost.
    is_counted: bool,
}

impl Entry {
    fn new(record: &Record) -> Entry {
        let loss = match record {
            Record::Loss(loss) => Some(loss.clone()),
            other => other.span().map(|(run, from_ms, to_ms)| Loss {
                node: Arc::clone(other.node()),
                run,
                from_ms,
                to_ms,
                count: 1,
                cause: LossCause::MemoryFull,
                sequence: 0,
            }),
        };
        let key = Arc::clone(record.target().unwrap_or(record.node()));
        let is_counted = matches!(record, Record::Loss(_));
        Entry { key, json: encode(record).into(), loss, is_counted }
    }

    fn bytes(&self) -> usize {
        self.json.len() + self.key.len() + OVERHEAD
    }

    /// Returns the oldest due time in the record, in milliseconds since 1970; none for a state.
    pub fn from_ms(&self) -> Option<i64> {
        self.loss.as_ref().map(|loss| loss.from_ms)
    }
}

impl Outbox {
    /// Makes an empty outbox that holds at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Outbox {
        Outbox {
            entries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            is_single: false,
            alone: BTreeSet::new(),
            bytes: 0,
            sent_bytes: 0,
            limit_bytes,
            next: 0,
            lost: Lost::default(),
            untold: false,
        }
    }

    /// Adds a record. Returns how many checks and gaps were dropped to make room.
    pub fn push(&mut self, record: &Record) -> u64 {
        let grown = if let Record::Loss(loss) = record { self.grow(loss) } else { false };
        if !grown {
            let entry = Entry::new(record);
            self.bytes += entry.bytes();
            self.entries.insert(self.next, entry);
            self.waiting.insert(self.next);
            self.next += 1;
        }
        let mut dropped = 0;
        while self.bytes > self.limit_bytes && self.waiting.len() > 1 {
            // A loss stays: it may have arrived without our knowing, and would then be counted twice.
            let is_loss = |id: &u64| self.entries.get(id).is_some_and(|entry| entry.is_counted);
            let Some(id) = self.waiting.iter().copied().find(|id| !is_loss(id)) else { break };
            dropped += self.drop(id, LossCause::MemoryFull);
        }
        dropped
    }

    /// Sends each record in a batch of its own from now on, or together with others again.
    pub fn send_singly(&mut self, is_single: bool) {
        self.is_single = is_single;
    }

    /// Adds a loss to a waiting loss of the same group, so that losses do not pile up. The waiting loss
    /// keeps its key: if it has arrived already, unknown to us, the greater count replaces it. False: none
    /// waits.
    fn grow(&mut self, more: &Loss) -> bool {
        let is_fit = |loss: &Loss| {
            (&loss.node, loss.run, loss.cause) == (&more.node, more.run, more.cause)
                && loss.from_ms <= more.from_ms
        };
        let found = self.waiting.iter().copied().find(|id| {
            let entry = self.entries.get(id).filter(|entry| entry.is_counted);
            entry.and_then(|entry| entry.loss.as_ref()).is_some_and(is_fit)
        });
        let entry = found.and_then(|id| self.entries.get_mut(&id));
        let Some((entry, mut loss)) = entry.and_then(|e| e.loss.clone().map(|loss| (e, loss)))
        else {
            return false;
        };
        lost::grow(&mut loss, more);
        self.bytes -= entry.bytes();
        *entry = Entry::new(&Record::Loss(loss));
        self.bytes += entry.bytes();
        true
    }

    /// Returns the oldest record that may go out now; none also while the records under way fill half of
    /// the room.
    pub fn first(&self) -> Option<(u64, &Entry)> {
        if self.sent_bytes >= self.limit_bytes / 2 {
            return None;
        }
        let id = *self.waiting.first()?;
        self.entries.get(&id).map(|entry| (id, entry))
    }

    /// Notes that the record is under way.
    pub fn sent(&mut self, id: u64) {
        if self.waiting.remove(&id) {
            self.sent_bytes += self.bytes_of(id);
            if self.is_single {
                self.alone.insert(id);
            }
        }
    }

    /// Removes a record that the next place has.
    pub fn done(&mut self, id: u64) {
        self.remove(id);
    }

    /// Lets a record that has not arrived wait to be sent again.
    pub fn failed(&mut self, id: u64) {
        if self.entries.contains_key(&id) && self.waiting.insert(id) {
            self.sent_bytes -= self.bytes_of(id);
            self.alone.remove(&id);
        }
    }

    /// Notes that a record was refused, for its own fault or that of others in its batch. Returns how many
    /// checks and gaps are lost with it; none if it was with others: it then goes out once more, singly.
    pub fn refused(&mut self, id: u64) -> Option<u64> {
        if self.alone.contains(&id) {
            return Some(self.drop(id, LossCause::Damaged));
        }
        self.failed(id);
        None
    }

    fn bytes_of(&self, id: u64) -> usize {
        self.entries.get(&id).map_or(0, Entry::bytes)
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.bytes();
        if !self.waiting.remove(&id) {
            self.sent_bytes -= entry.bytes();
        }
        self.alone.remove(&id);
        Some(entry)
    }

    fn drop(&mut self, id: u64, cause: LossCause) -> u64 {
        let Some(entry) = self.remove(id) else { return 0 };
        match entry.loss {
            None => {
                self.untold = true;
                0
            }
            Some(mut loss) => {
                if !entry.is_counted {
                    loss.cause = cause;
                }
                self.lost.add(&loss);
                u64::from(!entry.is_counted)
            }
        }
    }

    /// Takes the losses counted since the last call, to be sent as records.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        self.lost.take()
    }

    /// Returns true if a state was dropped since the last call.
    pub fn take_untold(&mut self) -> bool {
        std::mem::take(&mut self.untold)
    }

    /// Returns the number of records held, and the oldest due time among them, in milliseconds since 1970.
    pub fn held(&self) -> (u64, Option<i64>) {
        let oldest_ms = self.entries.values().filter_map(Entry::from_ms).min();
        (self.entries.len() as u64, oldest_ms)
    }

    /// Returns true if at most half of the room is used: enough for records that can be sent later.
    pub fn has_room(&self) -> bool {
        self.bytes <= self.limit_bytes / 2
    }

    /// Returns true if a record is under way.
    pub fn is_under_way(&self) -> bool {
        self.entries.len() > self.waiting.len()
    }

    /// Returns the number of records held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if no record is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Gap, GapCause};
    use super::super::record::NodeState;
    use super::*;

    fn gap(from_ms: i64) -> Record {
        Record::Gap(Gap {
            target: Arc::from("site"),
            node: Arc::from("a"),
            run: 7,
            from_ms,
            to_ms: from_ms + 5,
            count: 6,
            interval_ms: 1,
            cause: GapCause::Overload,
        })
    }

    /// Makes an outbox with room for `count` gaps.
    fn outbox(count: usize) -> Outbox {
        Outbox::new(count * Entry::new(&gap(100)).bytes())
    }

    fn first(outbox: &Outbox) -> Option<u64> {
        outbox.first().map(|(id, _)| id)
    }

    #[test]
    fn what_failed_goes_out_again_before_what_is_newer() {
        let mut outbox = outbox(9);
        for from_ms in [100, 200, 300] {
            assert_eq!(outbox.push(&gap(from_ms)), 0);
        }
        outbox.sent(0);
        outbox.sent(1);
        assert_eq!((first(&outbox), outbox.len()), (Some(2), 3));
        outbox.done(1);
        outbox.failed(0);
        assert_eq!((first(&outbox), outbox.len()), (Some(0), 2));
        outbox.done(0);
        outbox.failed(0);
        assert_eq!(first(&outbox), Some(2));
        outbox.done(2);
        assert!(outbox.is_empty() && (outbox.bytes, outbox.sent_bytes) == (0, 0));
    }

    #[test]
    fn no_more_than_half_of_the_room_is_under_way() {
        let mut outbox = outbox(4);
        for from_ms in [100, 200, 300, 400] {
            outbox.push(&gap(from_ms));
        }
        assert!(!outbox.has_room());
        for id in 0..2 {
            assert_eq!(first(&outbox), Some(id));
            outbox.sent(id);
        }
        assert_eq!(first(&outbox), None);
        // New records push out those that wait.
        assert_eq!((outbox.push(&gap(500)), outbox.push(&gap(600)), outbox.len()), (1, 1, 4));
        outbox.failed(1);
        assert_eq!(first(&outbox), Some(1));
        outbox.sent(1);
        outbox.done(0);
        outbox.done(1);
        outbox.done(1);
        assert_eq!((outbox.sent_bytes, outbox.len(), outbox.has_room()), (0, 2, true));
    }

    #[test]
    fn the_oldest_that_are_not_under_way_are_one_loss() {
        let mut outbox = outbox(3);
        for from_ms in [100, 200, 300] {
            outbox.push(&gap(from_ms));
        }
        outbox.sent(0);
        assert_eq!(outbox.push(&gap(400)), 1);
        assert_eq!(outbox.push(&gap(500)), 1);
        let node = Arc::from("a");
        let cause = LossCause::MemoryFull;
        let want = Loss { node, run: 7, from_ms: 200, to_ms: 305, count: 2, cause, sequence: 0 };
        assert_eq!(outbox.take_losses(), std::slice::from_ref(&want));
        assert_eq!(outbox.take_losses(), []);
        // A loss that waits is not dropped itself; records lost meanwhile become a second loss.
        outbox.push(&Record::Loss(want.clone()));
        for from_ms in [600, 700, 800] {
            outbox.push(&gap(from_ms));
        }
        let more = outbox.take_losses();
        assert!(more[0].count > 2 && more[0].sequence == 1, "{more:?}");
        // While the first waits it grows instead, under its key.
        outbox.push(&Record::Loss(more[0].clone()));
        let held = outbox.entries.values().filter_map(|e| e.loss.as_ref().filter(|_| e.is_counted));
        let held: Vec<&Loss> = held.collect();
        let (to_ms, count) = (more[0].to_ms, 2 + more[0].count);
        assert_eq!(held, [&Loss { to_ms, count, ..want }]);
    }

    #[test]
    fn what_is_refused_goes_out_singly_before_it_is_lost_as_damaged() {
        let mut outbox = outbox(10);
        for from_ms in [100, 200, 300, 400] {
            outbox.push(&gap(from_ms));
        }
        for id in 0..3 {
            outbox.sent(id);
        }
        // Three records of one batch, of which two are reported late.
        assert_eq!((outbox.refused(0), first(&outbox)), (None, Some(0)));
        outbox.send_singly(true);
        outbox.sent(0);
        assert_eq!((outbox.refused(1), outbox.refused(2), first(&outbox)), (None, None, Some(1)));
        outbox.failed(0);
        assert_eq!(first(&outbox), Some(0));
        for id in 0..3 {
            outbox.sent(id);
        }
        assert_eq!((outbox.refused(0), outbox.refused(0)), (Some(1), None));
        outbox.done(1);
        outbox.done(2);
        assert_eq!((first(&outbox), outbox.len(), outbox.sent_bytes), (Some(3), 1, 0));
        let loss = outbox.take_losses().remove(0);
        assert_eq!((loss.cause, loss.count, loss.from_ms), (LossCause::Damaged, 1, 100));
        outbox.send_singly(false);
        outbox.sent(3);
        assert_eq!((outbox.refused(3), outbox.alone.len()), (None, 0));
    }

    #[test]
    fn a_state_that_is_dropped_is_to_be_told_again() {
        let mut outbox = outbox(1);
        outbox.push(&Record::Node(NodeState::new(&Arc::from("a"), 7, 1)));
        assert_eq!((outbox.push(&gap(100)), outbox.take_untold()), (0, true));
        assert_eq!((outbox.take_losses(), outbox.take_untold()), (Vec::new(), false));
    }
}
