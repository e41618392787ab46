//! Positions in the partitions that are ours, and the meaning of an offset that comes.
//!
//! A log is recognised by messages of it that were stored ([`Anchors`]): reading begins with the
//! last of them. If another message stands there, the log was cut or begun anew, and older anchors
//! are looked for; without any, it is read from its beginning.

use std::collections::BTreeMap;

use crate::model::anchor::{Anchor, Anchors};
use crate::store::{Mark, Position};

/// Partitions that are ours.
#[derive(Debug, Default)]
pub struct PartitionPositions(BTreeMap<i32, PartitionPosition>);

/// Position in one partition.
#[derive(Debug)]
struct PartitionPosition {
    /// Next offset as it is stored, or will be with the batch that the writer has.
    mark: i64,
    /// Offset that should come next; 0: the earliest there is.
    next: i64,
    /// Messages that were stored, or will be with the batch that the writer has.
    anchors: Anchors,
    /// Message that came last, which may not be stored yet.
    last: Option<Anchor>,
    /// Message that must come first, by which the log is recognised.
    expected: Option<Anchor>,
    state: PositionState,
    /// Offset up to which the log was read before, if it was not recognised.
    was: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PositionState {
    /// Messages that come count.
    Reading,
    /// The store has less than we have read, or may have: messages do not count until reading has gone back
    /// to the store's mark.
    Invalid,
    /// The log is another, from this offset on at the latest: messages do not count until reading has gone
    /// back to an anchor before it.
    Unrecognised(i64),
}

/// Message of a partition of ours, compared with the one that was to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Next offset of its partition, as it is stored or will be before this message is.
    pub mark: i64,
    /// First offset that was left out: deleted, or none of ours to see.
    pub gap_from: Option<i64>,
    /// The message is the first of a log that was not recognised.
    pub restart: Option<LogRestart>,
}

/// Log that was not recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRestart {
    /// Offset up to which the log was read before.
    pub was: i64,
    /// Offset at which the log goes on.
    pub at: i64,
}

impl PartitionPositions {
    /// Takes a partition that is ours, to be read from [`start`] on, or one that is gone back in.
    pub fn assign(&mut self, partition: i32, position: Position) {
        let Position { next, anchors } = position;
        let expected = anchors.at(next - 1);
        let (state, was, last) = (PositionState::Reading, None, None);
        let position = PartitionPosition { mark: next, next, anchors, last, expected, state, was };
        self.0.insert(partition, position);
    }

    /// Forgets a partition that is no longer ours.
    pub fn revoke(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    /// Returns our partitions, each with its next offset as it is stored, or will be soon.
    pub fn marks(&self) -> impl Iterator<Item = (i32, i64)> {
        self.0.iter().map(|(partition, position)| (*partition, position.mark))
    }

    /// Returns true if the partition is ours.
    pub fn has(&self, partition: i32) -> bool {
        self.0.contains_key(&partition)
    }

    /// Takes a message that has come. Returns none if the message does not count, or was stored before.
    pub fn arrive(&mut self, partition: i32, offset: i64, hash: u64) -> Option<Arrival> {
        let position = self
            .0
            .get_mut(&partition)
            .filter(|position| position.state == PositionState::Reading)?;
        if let Some(anchor) = position.expected.take() {
            if (anchor.offset, anchor.hash) == (offset, hash) {
                position.next = offset + 1;
                // Nothing is missing of a log that is known to its end: reading had gone back in it for
                // another reason, as librdkafka does where a batch is damaged.
                position.was = position.was.filter(|was| *was != position.next);
                return None;
            }
            // An older message, which librdkafka gives where it finds none at an offset, says nothing of the
            // one that was to come.
            if offset < anchor.offset {
                position.estrange(anchor.offset + 1);
                return None;
            }
            // A message that was deleted meanwhile says nothing; but after going back only messages that are
            // still there are looked for.
            if offset == anchor.offset || position.was.is_some() {
                position.estrange(anchor.offset);
                return None;
            }
        }
        if offset < position.next {
            position.estrange(position.next);
            return None;
        }
        let gap_from = (offset > position.next && position.next > 0).then_some(position.next);
        let at = if position.next > 0 { position.next } else { offset };
        let restart = position.was.take().map(|was| LogRestart { was, at });
        position.next = offset + 1;
        position.last = Some(Anchor { offset, hash });
        Some(Arrival { mark: position.mark, gap_from, restart })
    }

    /// Takes the marks of a batch that the writer has now.
    pub fn hand_over(&mut self, marks: &[Mark]) {
        for mark in marks {
            if let Some(position) = self.0.get_mut(&mark.partition) {
                position.mark = mark.next;
                position.anchors.cut(mark.reset.unwrap_or(i64::MAX));
                if let Some(hash) = mark.hash {
                    position.anchors.add(Anchor { offset: mark.next - 1, hash });
                }
            }
        }
    }

    /// Marks every partition to be gone back in: the store has lost something, or may have.
    pub fn invalidate(&mut self) {
        self.0.values_mut().for_each(|position| position.state = PositionState::Invalid);
    }

    /// Returns the partitions that have to be gone back in.
    pub fn invalid(&self) -> impl Iterator<Item = i32> {
        let is_adrift =
            |(_, position): &(&i32, &PartitionPosition)| position.state == PositionState::Invalid;
        self.0.iter().filter(is_adrift).map(|(partition, _)| *partition)
    }

    /// Returns the partitions whose log is no longer the same one. [`PartitionPositions::find_start`] finds
    /// the offset at which reading goes on.
    pub fn unrecognised(&self) -> impl Iterator<Item = i32> {
        let is_unrecognised = |(_, position): &(&i32, &PartitionPosition)| {
            matches!(position.state, PositionState::Unrecognised(_))
        };
        self.0.iter().filter(is_unrecognised).map(|(partition, _)| *partition)
    }

    /// Returns the partitions that are read though their log is not recognised yet.
    pub fn expecting(&self) -> impl Iterator<Item = i32> {
        let is_it = |(_, position): &(&i32, &PartitionPosition)| {
            position.state == PositionState::Reading && position.expected.is_some()
        };
        self.0.iter().filter(is_it).map(|(partition, _)| *partition)
    }

    /// Takes the bounds of a log that is not recognised yet: messages from `low` to before `high`.
    pub fn set_bounds(&mut self, partition: i32, low: i64, high: i64) {
        let Some(position) = self.0.get_mut(&partition) else { return };
        let Some(anchor) = position.expected else { return };
        if high <= anchor.offset {
            position.estrange(anchor.offset);
        } else if low > anchor.offset {
            // The message was deleted: there is nothing to recognise the log by.
            position.expected = None;
        }
    }

    /// Finds the offset from which a unrecognised log, which has messages from `low` to before `high`, has to
    /// be read to be recognised; 0: the earliest.
    pub fn find_start(&mut self, partition: i32, low: i64, high: i64) -> i64 {
        let Some(position) = self.0.get_mut(&partition) else { return 0 };
        let PositionState::Unrecognised(limit) = position.state else { return 0 };
        let until = high.min(limit);
        let last = position.last.filter(|last| (low..until).contains(&last.offset));
        position.expected = last.or_else(|| position.anchors.newest(low, until));
        position.next = position.expected.map_or(0, |anchor| anchor.offset + 1);
        position.expected.map_or(0, |anchor| anchor.offset)
    }

    /// Notes that a unrecognised log is now read from the offset that was found.
    pub fn resume(&mut self, partition: i32) {
        if let Some(position) = self.0.get_mut(&partition) {
            position.state = PositionState::Reading;
        }
    }
}

impl PartitionPosition {
    fn estrange(&mut self, limit: i64) {
        self.was.get_or_insert(self.next);
        self.state = PositionState::Unrecognised(limit);
    }
}

/// Returns the offset from which a partition has to be read: its log is recognised by the message before the
/// next one. 0: the earliest.
pub fn start_offset(position: &Position) -> i64 {
    position.anchors.at(position.next - 1).map_or(position.next, |anchor| anchor.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the hash of a message in the log that was read.
    fn hash(offset: i64) -> u64 {
        offset as u64 + 1000
    }

    fn position(next: i64, offsets: &[i64]) -> Position {
        let mut anchors = Anchors::default();
        offsets
            .iter()
            .for_each(|offset| anchors.add(Anchor { offset: *offset, hash: hash(*offset) }));
        Position { next, anchors }
    }

    fn on(mark: i64) -> Option<Arrival> {
        Some(Arrival { mark, gap_from: None, restart: None })
    }

    #[test]
    fn an_offset_tells_what_was_left_out() {
        let mut positions = PartitionPositions::default();
        positions.assign(1, position(100, &[]));
        assert_eq!(positions.arrive(2, 100, 1), None);
        assert_eq!(positions.arrive(1, 100, 1), on(100));
        assert_eq!(positions.arrive(1, 101, 1), on(100));
        let gap = Arrival { mark: 100, gap_from: Some(102), restart: None };
        assert_eq!(positions.arrive(1, 105, 1), Some(gap));
        positions.revoke(1);
        assert_eq!(positions.arrive(1, 106, 1), None);
    }

    #[test]
    fn whoever_has_nothing_begins_anywhere() {
        let mut positions = PartitionPositions::default();
        positions.assign(1, Position::default());
        assert_eq!(positions.arrive(1, 500, 1), on(0));
        assert_eq!(positions.arrive(1, 502, 1).unwrap().gap_from, Some(501));
    }

    #[test]
    fn a_log_is_recognised_by_its_last_message() {
        let mut positions = PartitionPositions::default();
        let at = position(100, &[99]);
        assert_eq!((start_offset(&at), start_offset(&position(100, &[98]))), (99, 100));
        positions.assign(1, at);
        assert_eq!(positions.expecting().collect::<Vec<_>>(), [1]);
        assert_eq!(positions.arrive(1, 99, hash(99)), None);
        assert_eq!(positions.arrive(1, 100, 5), on(100));
        assert_eq!((positions.expecting().count(), positions.unrecognised().count()), (0, 0));
        // A message that is gone says nothing, whether a message behind it comes or its log is asked for.
        positions.assign(1, position(100, &[99]));
        let gap = Arrival { mark: 100, gap_from: Some(100), restart: None };
        assert_eq!(positions.arrive(1, 120, 7), Some(gap));
        positions.assign(1, position(100, &[99]));
        positions.set_bounds(1, 100, 100);
        assert_eq!((positions.expecting().count(), positions.unrecognised().count()), (0, 0));
        assert_eq!(positions.arrive(1, 100, 7), on(100));
    }

    #[test]
    fn a_log_that_was_cut_goes_on_at_the_newest_anchor_that_is_left() {
        let mut positions = PartitionPositions::default();
        positions.assign(1, position(100, &[20, 60, 99]));
        // The log is refilled beyond the mark.
        assert_eq!(positions.arrive(1, 99, 5), None);
        assert_eq!(positions.arrive(1, 100, 5), None, "it does not count");
        assert_eq!(positions.unrecognised().collect::<Vec<_>>(), [1]);
        assert_eq!(positions.find_start(1, 0, 120), 60);
        assert_eq!(positions.find_start(1, 0, 120), 60, "asked again, since the seek failed");
        positions.resume(1);
        assert_eq!(positions.arrive(1, 60, 5), None);
        assert_eq!(positions.find_start(1, 0, 120), 20);
        positions.resume(1);
        assert_eq!(positions.arrive(1, 20, hash(20)), None);
        let restart = Some(LogRestart { was: 100, at: 21 });
        assert_eq!(
            positions.arrive(1, 21, 5),
            Some(Arrival { mark: 100, gap_from: None, restart })
        );
        assert_eq!(positions.arrive(1, 22, 5), on(100));
        positions.hand_over(&[Mark {
            partition: 1,
            from: 100,
            next: 23,
            reset: Some(21),
            hash: Some(9),
        }]);
        // The log is cut again, while it is read.
        assert_eq!(positions.arrive(1, 22, 6), None);
        assert_eq!(positions.find_start(1, 0, 24), 22, "what is handed over counts too");
        positions.resume(1);
        assert_eq!(positions.arrive(1, 22, 6), None);
        assert_eq!(positions.find_start(1, 0, 24), 20);
    }

    #[test]
    fn a_log_that_was_begun_anew_is_read_from_its_beginning() {
        for (low, high) in [(0, 200), (0, 99), (0, 40), (70, 200)] {
            let mut positions = PartitionPositions::default();
            positions.assign(1, position(100, &[60, 99]));
            positions.arrive(1, if high > 99 { 99 } else { 0 }, 5);
            while positions.unrecognised().count() > 0 {
                let from = positions.find_start(1, low, high);
                positions.resume(1);
                if from == 0 {
                    break;
                }
                assert_eq!(positions.arrive(1, from, 5), None);
            }
            let restart = Some(LogRestart { was: 100, at: low });
            assert_eq!(
                positions.arrive(1, low, 5),
                Some(Arrival { mark: 100, gap_from: None, restart })
            );
        }
    }

    #[test]
    fn a_log_that_is_known_to_its_end_is_the_same() {
        let mut positions = PartitionPositions::default();
        positions.assign(1, position(100, &[60, 99]));
        assert_eq!(positions.arrive(1, 99, hash(99)), None);
        // Two messages are not stored yet; then librdkafka begins from the earliest.
        assert_eq!((positions.arrive(1, 100, 5), positions.arrive(1, 101, 6)), (on(100), on(100)));
        for _ in 0..3 {
            assert_eq!(positions.arrive(1, 0, 7), None);
            assert_eq!(positions.find_start(1, 0, 120), 101);
            positions.resume(1);
            // A message that librdkafka had under way comes too.
            assert_eq!(positions.arrive(1, 0, 7), None);
            assert_eq!(positions.find_start(1, 0, 120), 101);
            positions.resume(1);
            assert_eq!(positions.arrive(1, 101, 6), None);
        }
        assert_eq!(positions.arrive(1, 102, 8), on(100));
        // Another message stands there: older anchors tell.
        assert_eq!(positions.arrive(1, 0, 7), None);
        assert_eq!(positions.find_start(1, 0, 120), 102);
        positions.resume(1);
        assert_eq!(positions.arrive(1, 102, 9), None);
        assert_eq!(positions.find_start(1, 0, 120), 99);
        positions.resume(1);
        assert_eq!(positions.arrive(1, 99, hash(99)), None);
        let restart = Some(LogRestart { was: 103, at: 100 });
        assert_eq!(
            positions.arrive(1, 100, 9),
            Some(Arrival { mark: 100, gap_from: None, restart })
        );
    }

    #[test]
    fn a_log_that_ends_before_the_mark_is_seen_without_a_message() {
        let mut positions = PartitionPositions::default();
        positions.assign(1, position(100, &[60, 99]));
        positions.set_bounds(1, 0, 100);
        assert_eq!(positions.unrecognised().count(), 0);
        positions.set_bounds(1, 0, 99);
        assert_eq!((positions.unrecognised().count(), positions.find_start(1, 0, 99)), (1, 60));
    }

    #[test]
    fn what_comes_does_not_count_until_we_have_gone_back() {
        let mut positions = PartitionPositions::default();
        positions.assign(1, position(100, &[]));
        positions.assign(2, position(7, &[]));
        positions.arrive(1, 100, 1);
        positions.hand_over(&[Mark { partition: 1, from: 100, next: 101, ..Mark::default() }]);
        assert_eq!(positions.arrive(1, 101, 1), on(101));
        positions.invalidate();
        assert_eq!(positions.invalid().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((positions.arrive(1, 102, 1), positions.has(1)), (None, true));
        positions.assign(1, position(40, &[]));
        assert_eq!(positions.arrive(1, 40, 1), on(40));
        assert_eq!(positions.invalid().collect::<Vec<_>>(), [2]);
    }
}
