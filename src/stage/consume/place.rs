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
pub struct Places(BTreeMap<i32, Place>);

/// Position in one partition.
#[derive(Debug)]
struct Place {
    /// Next offset as it is stored, or will be with the parcel that the keeper has.
    mark: i64,
    /// Offset that should come next; 0: the earliest there is.
    next: i64,
    /// Messages that were stored, or will be with the parcel that the keeper has.
    anchors: Anchors,
    /// Message that came last, which may not be stored yet.
    last: Option<Anchor>,
    /// Message that must come first, by which the log is recognised.
    expected: Option<Anchor>,
    state: State,
    /// Offset up to which the log was read before, if it was not recognised.
    was: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Messages that come count.
    Reading,
    /// The store has less than we have read, or may have: messages do not count until reading has gone back
    /// to the store's mark.
    Adrift,
    /// The log is another, from this offset on at the latest: messages do not count until reading has gone
    /// back to an anchor before it.
    Strange(i64),
}

/// Message of a partition of ours, compared with the one that was to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Next offset of its partition, as it is stored or will be before this message is.
    pub mark: i64,
    /// First offset that was left out: deleted, or none of ours to see.
    pub left_out: Option<i64>,
    /// The message is the first of a log that was not recognised.
    pub anew: Option<Anew>,
}

/// Log that was not recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anew {
    /// Offset up to which the log was read before.
    pub was: i64,
    /// Offset at which the log goes on.
    pub at: i64,
}

impl Places {
    /// Takes a partition that is ours, to be read from [`start`] on, or one that is gone back in.
    pub fn take(&mut self, partition: i32, position: Position) {
        let Position { next, anchors } = position;
        let expected = anchors.at(next - 1);
        let (state, was, last) = (State::Reading, None, None);
        let place = Place { mark: next, next, anchors, last, expected, state, was };
        self.0.insert(partition, place);
    }

    /// Forgets a partition that is no longer ours.
    pub fn leave(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    /// Returns our partitions, each with its next offset as it is stored, or will be soon.
    pub fn marks(&self) -> impl Iterator<Item = (i32, i64)> {
        self.0.iter().map(|(partition, place)| (*partition, place.mark))
    }

    /// Returns true if the partition is ours.
    pub fn has(&self, partition: i32) -> bool {
        self.0.contains_key(&partition)
    }

    /// Takes a message that has come. Returns none if the message does not count, or was stored before.
    pub fn arrive(&mut self, partition: i32, offset: i64, hash: u64) -> Option<Arrived> {
        let place = self.0.get_mut(&partition).filter(|place| place.state == State::Reading)?;
        if let Some(anchor) = place.expected.take() {
            if (anchor.offset, anchor.hash) == (offset, hash) {
                place.next = offset + 1;
                // Nothing is missing of a log that is known to its end: reading had gone back in it for
                // another reason, as librdkafka does where a batch is damaged.
                place.was = place.was.filter(|was| *was != place.next);
                return None;
            }
            // An older message, which librdkafka gives where it finds none at an offset, says nothing of the
            // one that was to come.
            if offset < anchor.offset {
                place.estrange(anchor.offset + 1);
                return None;
            }
            // A message that was deleted meanwhile says nothing; but after going back only messages that are
            // still there are looked for.
            if offset == anchor.offset || place.was.is_some() {
                place.estrange(anchor.offset);
                return None;
            }
        }
        if offset < place.next {
            place.estrange(place.next);
            return None;
        }
        let left_out = (offset > place.next && place.next > 0).then_some(place.next);
        let at = if place.next > 0 { place.next } else { offset };
        let anew = place.was.take().map(|was| Anew { was, at });
        place.next = offset + 1;
        place.last = Some(Anchor { offset, hash });
        Some(Arrived { mark: place.mark, left_out, anew })
    }

    /// Takes the marks of a parcel that the keeper has now.
    pub fn hand_over(&mut self, marks: &[Mark]) {
        for mark in marks {
            if let Some(place) = self.0.get_mut(&mark.partition) {
                place.mark = mark.next;
                place.anchors.cut(mark.reset.unwrap_or(i64::MAX));
                if let Some(hash) = mark.hash {
                    place.anchors.add(Anchor { offset: mark.next - 1, hash });
                }
            }
        }
    }

    /// Marks every partition to be gone back in: the store has lost something, or may have.
    pub fn lose(&mut self) {
        self.0.values_mut().for_each(|place| place.state = State::Adrift);
    }

    /// Returns the partitions that have to be gone back in.
    pub fn adrift(&self) -> impl Iterator<Item = i32> {
        let is_adrift = |(_, place): &(&i32, &Place)| place.state == State::Adrift;
        self.0.iter().filter(is_adrift).map(|(partition, _)| *partition)
    }

    /// Returns the partitions whose log is another than before: [`Places::look`] finds where to go on.
    pub fn strange(&self) -> impl Iterator<Item = i32> {
        let is_strange = |(_, place): &(&i32, &Place)| matches!(place.state, State::Strange(_));
        self.0.iter().filter(is_strange).map(|(partition, _)| *partition)
    }

    /// Returns the partitions that are read though their log is not recognised yet.
    pub fn expecting(&self) -> impl Iterator<Item = i32> {
        let is_it =
            |(_, place): &(&i32, &Place)| place.state == State::Reading && place.expected.is_some();
        self.0.iter().filter(is_it).map(|(partition, _)| *partition)
    }

    /// Takes the bounds of a log that is not recognised yet: messages from `low` to before `high`.
    pub fn bound(&mut self, partition: i32, low: i64, high: i64) {
        let Some(place) = self.0.get_mut(&partition) else { return };
        let Some(anchor) = place.expected else { return };
        if high <= anchor.offset {
            place.estrange(anchor.offset);
        } else if low > anchor.offset {
            // The message was deleted: there is nothing to recognise the log by.
            place.expected = None;
        }
    }

    /// Finds the offset from which a strange log, which has messages from `low` to before `high`, has to be
    /// read to be recognised; 0: the earliest.
    pub fn look(&mut self, partition: i32, low: i64, high: i64) -> i64 {
        let Some(place) = self.0.get_mut(&partition) else { return 0 };
        let State::Strange(limit) = place.state else { return 0 };
        let until = high.min(limit);
        let last = place.last.filter(|last| (low..until).contains(&last.offset));
        place.expected = last.or_else(|| place.anchors.newest(low, until));
        place.next = place.expected.map_or(0, |anchor| anchor.offset + 1);
        place.expected.map_or(0, |anchor| anchor.offset)
    }

    /// Notes that a strange log is now read from the offset that was found.
    pub fn go_on(&mut self, partition: i32) {
        if let Some(place) = self.0.get_mut(&partition) {
            place.state = State::Reading;
        }
    }
}

impl Place {
    fn estrange(&mut self, limit: i64) {
        self.was.get_or_insert(self.next);
        self.state = State::Strange(limit);
    }
}

/// Returns the offset from which a partition has to be read: its log is recognised by the message before the
/// next one. 0: the earliest.
pub fn start(position: &Position) -> i64 {
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

    fn on(mark: i64) -> Option<Arrived> {
        Some(Arrived { mark, left_out: None, anew: None })
    }

    #[test]
    fn an_offset_tells_what_was_left_out() {
        let mut places = Places::default();
        places.take(1, position(100, &[]));
        assert_eq!(places.arrive(2, 100, 1), None);
        assert_eq!(places.arrive(1, 100, 1), on(100));
        assert_eq!(places.arrive(1, 101, 1), on(100));
        let hole = Arrived { mark: 100, left_out: Some(102), anew: None };
        assert_eq!(places.arrive(1, 105, 1), Some(hole));
        places.leave(1);
        assert_eq!(places.arrive(1, 106, 1), None);
    }

    #[test]
    fn whoever_has_nothing_begins_anywhere() {
        let mut places = Places::default();
        places.take(1, Position::default());
        assert_eq!(places.arrive(1, 500, 1), on(0));
        assert_eq!(places.arrive(1, 502, 1).unwrap().left_out, Some(501));
    }

    #[test]
    fn a_log_is_recognised_by_its_last_message() {
        let mut places = Places::default();
        let at = position(100, &[99]);
        assert_eq!((start(&at), start(&position(100, &[98]))), (99, 100));
        places.take(1, at);
        assert_eq!(places.expecting().collect::<Vec<_>>(), [1]);
        assert_eq!(places.arrive(1, 99, hash(99)), None);
        assert_eq!(places.arrive(1, 100, 5), on(100));
        assert_eq!((places.expecting().count(), places.strange().count()), (0, 0));
        // A message that is gone says nothing, whether a message behind it comes or its log is asked for.
        places.take(1, position(100, &[99]));
        let hole = Arrived { mark: 100, left_out: Some(100), anew: None };
        assert_eq!(places.arrive(1, 120, 7), Some(hole));
        places.take(1, position(100, &[99]));
        places.bound(1, 100, 100);
        assert_eq!((places.expecting().count(), places.strange().count()), (0, 0));
        assert_eq!(places.arrive(1, 100, 7), on(100));
    }

    #[test]
    fn a_log_that_was_cut_goes_on_at_the_newest_anchor_that_is_left() {
        let mut places = Places::default();
        places.take(1, position(100, &[20, 60, 99]));
        // The log is refilled beyond the mark.
        assert_eq!(places.arrive(1, 99, 5), None);
        assert_eq!(places.arrive(1, 100, 5), None, "it does not count");
        assert_eq!(places.strange().collect::<Vec<_>>(), [1]);
        assert_eq!(places.look(1, 0, 120), 60);
        assert_eq!(places.look(1, 0, 120), 60, "asked again, since the seek failed");
        places.go_on(1);
        assert_eq!(places.arrive(1, 60, 5), None);
        assert_eq!(places.look(1, 0, 120), 20);
        places.go_on(1);
        assert_eq!(places.arrive(1, 20, hash(20)), None);
        let anew = Some(Anew { was: 100, at: 21 });
        assert_eq!(places.arrive(1, 21, 5), Some(Arrived { mark: 100, left_out: None, anew }));
        assert_eq!(places.arrive(1, 22, 5), on(100));
        places.hand_over(&[Mark {
            partition: 1,
            from: 100,
            next: 23,
            reset: Some(21),
            hash: Some(9),
        }]);
        // The log is cut again, while it is read.
        assert_eq!(places.arrive(1, 22, 6), None);
        assert_eq!(places.look(1, 0, 24), 22, "what is handed over counts too");
        places.go_on(1);
        assert_eq!(places.arrive(1, 22, 6), None);
        assert_eq!(places.look(1, 0, 24), 20);
    }

    #[test]
    fn a_log_that_was_begun_anew_is_read_from_its_beginning() {
        for (low, high) in [(0, 200), (0, 99), (0, 40), (70, 200)] {
            let mut places = Places::default();
            places.take(1, position(100, &[60, 99]));
            places.arrive(1, if high > 99 { 99 } else { 0 }, 5);
            while places.strange().count() > 0 {
                let from = places.look(1, low, high);
                places.go_on(1);
                if from == 0 {
                    break;
                }
                assert_eq!(places.arrive(1, from, 5), None);
            }
            let anew = Some(Anew { was: 100, at: low });
            assert_eq!(places.arrive(1, low, 5), Some(Arrived { mark: 100, left_out: None, anew }));
        }
    }

    #[test]
    fn a_log_that_is_known_to_its_end_is_the_same() {
        let mut places = Places::default();
        places.take(1, position(100, &[60, 99]));
        assert_eq!(places.arrive(1, 99, hash(99)), None);
        // Two messages are not stored yet; then librdkafka begins from the earliest.
        assert_eq!((places.arrive(1, 100, 5), places.arrive(1, 101, 6)), (on(100), on(100)));
        for _ in 0..3 {
            assert_eq!(places.arrive(1, 0, 7), None);
            assert_eq!(places.look(1, 0, 120), 101);
            places.go_on(1);
            // A message that librdkafka had under way comes too.
            assert_eq!(places.arrive(1, 0, 7), None);
            assert_eq!(places.look(1, 0, 120), 101);
            places.go_on(1);
            assert_eq!(places.arrive(1, 101, 6), None);
        }
        assert_eq!(places.arrive(1, 102, 8), on(100));
        // Another message stands there: older anchors tell.
        assert_eq!(places.arrive(1, 0, 7), None);
        assert_eq!(places.look(1, 0, 120), 102);
        places.go_on(1);
        assert_eq!(places.arrive(1, 102, 9), None);
        assert_eq!(places.look(1, 0, 120), 99);
        places.go_on(1);
        assert_eq!(places.arrive(1, 99, hash(99)), None);
        let anew = Some(Anew { was: 103, at: 100 });
        assert_eq!(places.arrive(1, 100, 9), Some(Arrived { mark: 100, left_out: None, anew }));
    }

    #[test]
    fn a_log_that_ends_before_the_mark_is_seen_without_a_message() {
        let mut places = Places::default();
        places.take(1, position(100, &[60, 99]));
        places.bound(1, 0, 100);
        assert_eq!(places.strange().count(), 0);
        places.bound(1, 0, 99);
        assert_eq!((places.strange().count(), places.look(1, 0, 99)), (1, 60));
    }

    #[test]
    fn what_comes_does_not_count_until_we_have_gone_back() {
        let mut places = Places::default();
        places.take(1, position(100, &[]));
        places.take(2, position(7, &[]));
        places.arrive(1, 100, 1);
        places.hand_over(&[Mark { partition: 1, from: 100, next: 101, ..Mark::default() }]);
        assert_eq!(places.arrive(1, 101, 1), on(101));
        places.lose();
        assert_eq!(places.adrift().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((places.arrive(1, 102, 1), places.has(1)), (None, true));
        places.take(1, position(40, &[]));
        assert_eq!(places.arrive(1, 40, 1), on(40));
        assert_eq!(places.adrift().collect::<Vec<_>>(), [2]);
    }
}
