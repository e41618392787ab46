//! Records on their way out: each is held until the next place has it, in a queue that drops its oldest.
//! Records under way cannot be dropped, so they take at most half of the room, plus one record.
//!
//! Records that go out together may be refused together, for the fault of one. So each refused record goes
//! out once more, in a batch of its own, before it is given up.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::loss::merge_loss;
use super::outcome::{Loss, LossCause};
use super::queue::{LossQueue, Queued};
use super::record::Record;
use super::wire::encode;

/// Bytes that an entry takes beside its text: itself, and its places in both trees.
const OVERHEAD: usize = 160;

/// Records that are held, oldest first.
#[derive(Debug)]
pub struct Outbox {
    queue: LossQueue<Entry>,
    /// From now on each record goes out in a batch of its own; `alone` holds the records under way that
    /// did.
    is_single: bool,
    alone: BTreeSet<u64>,
    /// A state was dropped, and must be announced again.
    is_state_dropped: bool,
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
    is_loss: bool,
}

impl Entry {
    fn new(record: &Record) -> Entry {
        let key = Arc::clone(record.target().unwrap_or(record.node()));
        let is_loss = matches!(record, Record::Loss(_));
        Entry { key, json: encode(record).into(), loss: record.loss(), is_loss }
    }

    /// Returns the oldest due time in the record, in milliseconds since 1970; none for a state.
    pub fn from_ms(&self) -> Option<i64> {
        self.loss.as_ref().map(|loss| loss.from_ms)
    }
}

impl Queued for Entry {
    fn bytes(&self) -> usize {
        self.json.len() + self.key.len() + OVERHEAD
    }

    fn loss(&self) -> Option<Loss> {
        self.loss.clone()
    }

    fn is_loss(&self) -> bool {
        self.is_loss
    }
}

impl Outbox {
    /// Creates an empty outbox that holds at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Outbox {
        Outbox {
            queue: LossQueue::new(limit_bytes),
            is_single: false,
            alone: BTreeSet::new(),
            is_state_dropped: false,
        }
    }

    /// Adds a record. Returns how many checks and gaps were dropped to make room.
    pub fn push(&mut self, record: &Record) -> u64 {
        if let Record::Loss(loss) = record
            && self.grow(loss)
        {
            return 0;
        }
        let dropped = self.queue.push(Entry::new(record));
        dropped.iter().map(|entry| self.count_dropped(entry)).sum()
    }

    /// Sends each record in a batch of its own from now on, or together with others again.
    pub fn send_singly(&mut self, is_single: bool) {
        self.is_single = is_single;
    }

    /// Adds a loss to a waiting loss of the same group, so that losses do not pile up. The waiting loss
    /// keeps its key: if it has arrived already, unknown to us, the greater count replaces it. False: none
    /// waits.
    fn grow(&mut self, more: &Loss) -> bool {
        self.queue.replace_waiting(|entry| {
            let is_fit = |loss: &Loss| {
                (&loss.node, loss.run, loss.cause) == (&more.node, more.run, more.cause)
                    && loss.from_ms <= more.from_ms
            };
            let mut loss = entry.loss.clone().filter(|loss| entry.is_loss && is_fit(loss))?;
            merge_loss(&mut loss, more);
            Some(Entry::new(&Record::Loss(loss)))
        })
    }

    /// Returns the oldest record that may go out now; none also while the records under way fill half of
    /// the room.
    pub fn first(&self) -> Option<(u64, &Entry)> {
        let is_half_under_way = self.queue.bytes_under_way() >= self.queue.limit_bytes() / 2;
        self.queue.first_waiting().filter(|_| !is_half_under_way)
    }

    /// Notes that the record is under way.
    pub fn sent(&mut self, id: u64) {
        if self.queue.begin(id) && self.is_single {
            self.alone.insert(id);
        }
    }

    /// Removes a record that the next place has.
    pub fn done(&mut self, id: u64) {
        self.queue.remove(id);
        self.alone.remove(&id);
    }

    /// Lets a record that has not arrived wait to be sent again.
    pub fn failed(&mut self, id: u64) {
        self.queue.put_back(id);
        self.alone.remove(&id);
    }

    /// Notes that a record was refused, for its own fault or that of others in its batch. Returns how many
    /// checks and gaps are lost with it; none if it was with others: it then goes out once more, singly.
    pub fn refused(&mut self, id: u64) -> Option<u64> {
        if self.alone.remove(&id) {
            let dropped = self.queue.drop(id, LossCause::Damaged);
            return Some(dropped.map_or(0, |entry| self.count_dropped(&entry)));
        }
        self.failed(id);
        None
    }

    /// Returns how many checks and gaps are lost with this entry.
    fn count_dropped(&mut self, entry: &Entry) -> u64 {
        self.is_state_dropped |= entry.loss.is_none();
        u64::from(entry.loss.is_some() && !entry.is_loss)
    }

    /// Takes the losses counted since the last call, to be sent as records.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        self.queue.take_losses()
    }

    /// Returns true if a state was dropped since the last call.
    pub fn take_state_dropped(&mut self) -> bool {
        std::mem::take(&mut self.is_state_dropped)
    }

    /// Returns the number of records held, and the oldest due time among them, in milliseconds since 1970.
    pub fn held(&self) -> (u64, Option<i64>) {
        let oldest_ms = self.queue.iter().filter_map(Entry::from_ms).min();
        (self.queue.len() as u64, oldest_ms)
    }

    /// Returns true if at most half of the room is used: enough for records that can be sent later.
    pub fn has_room(&self) -> bool {
        self.queue.bytes() <= self.queue.limit_bytes() / 2
    }

    /// Returns true if a record is under way.
    pub fn is_under_way(&self) -> bool {
        self.queue.is_under_way()
    }

    /// Returns the number of records held.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns true if no record is held.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
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
        assert!(
            outbox.is_empty() && (outbox.queue.bytes(), outbox.queue.bytes_under_way()) == (0, 0)
        );
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
        assert_eq!((outbox.queue.bytes_under_way(), outbox.len(), outbox.has_room()), (0, 2, true));
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
        let held = outbox.queue.iter().filter_map(|e| e.loss.as_ref().filter(|_| e.is_loss));
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
        assert_eq!((first(&outbox), outbox.len(), outbox.queue.bytes_under_way()), (Some(3), 1, 0));
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
        assert_eq!((outbox.push(&gap(100)), outbox.take_state_dropped()), (0, true));
        assert_eq!((outbox.take_losses(), outbox.take_state_dropped()), (Vec::new(), false));
    }
}
