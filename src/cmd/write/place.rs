//! Where we are in the partitions that are ours, and what an offset that comes means.

use std::collections::BTreeMap;

use crate::store::Mark;

/// The partitions that are ours.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<i32, Place>);

/// Where we are in one.
#[derive(Debug)]
struct Place {
    /// What is stored as the next offset, or will be with the parcel that the keeper has.
    mark: i64,
    /// The offset that should come next; 0: whichever is the earliest.
    next: i64,
    /// The store has less than we have read: what comes does not count until we have gone back.
    is_adrift: bool,
}

/// A message of a partition of ours, against what was to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is the one.
    On,
    /// Those from this offset on are left out: deleted, or none of ours to see.
    Ahead(i64),
    /// It should have come before this offset: the log was begun anew.
    Anew(i64),
}

impl Places {
    /// A partition is ours, to be read from `mark` on; or it is gone back to.
    pub fn take(&mut self, partition: i32, mark: i64) {
        self.0.insert(partition, Place { mark, next: mark, is_adrift: false });
    }

    /// A partition is no longer ours.
    pub fn leave(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    /// Whether it is ours.
    pub fn has(&self, partition: i32) -> bool {
        self.0.contains_key(&partition)
    }

    /// A message has come: what is stored of its partition, or will be before it is, and what its
    /// offset means. None: it does not count.
    pub fn arrive(&mut self, partition: i32, offset: i64) -> Option<(i64, Step)> {
        let place = self.0.get_mut(&partition).filter(|place| !place.is_adrift)?;
        let step = match place.next {
            next if offset < next => Step::Anew(next),
            next if offset > next && next > 0 => Step::Ahead(next),
            _ => Step::On,
        };
        place.next = offset + 1;
        Some((place.mark, step))
    }

    /// The keeper has a parcel with these marks.
    pub fn hand_over(&mut self, marks: &[Mark]) {
        for mark in marks {
            if let Some(place) = self.0.get_mut(&mark.partition) {
                place.mark = mark.next;
            }
        }
    }

    /// The store has lost something: everything has to be gone back to.
    pub fn lose(&mut self) {
        self.0.values_mut().for_each(|place| place.is_adrift = true);
    }

    /// Those that have to be gone back to.
    pub fn adrift(&self) -> impl Iterator<Item = i32> {
        self.0.iter().filter(|(_, place)| place.is_adrift).map(|(partition, _)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_tells_what_was_left_out_and_what_was_begun_anew() {
        let mut places = Places::default();
        places.take(1, 100);
        assert_eq!(places.arrive(2, 100), None);
        assert_eq!(places.arrive(1, 100), Some((100, Step::On)));
        assert_eq!(places.arrive(1, 101), Some((100, Step::On)));
        assert_eq!(places.arrive(1, 105), Some((100, Step::Ahead(102))));
        assert_eq!(places.arrive(1, 3), Some((100, Step::Anew(106))));
        assert_eq!(places.arrive(1, 4), Some((100, Step::On)));
        places.leave(1);
        assert_eq!(places.arrive(1, 5), None);
    }

    #[test]
    fn whoever_has_nothing_begins_anywhere() {
        let mut places = Places::default();
        places.take(1, 0);
        assert_eq!(places.arrive(1, 500), Some((0, Step::On)));
        assert_eq!(places.arrive(1, 502), Some((0, Step::Ahead(501))));
    }

    #[test]
    fn what_comes_does_not_count_until_we_have_gone_back() {
        let mut places = Places::default();
        places.take(1, 100);
        places.take(2, 7);
        places.arrive(1, 100);
        places.hand_over(&[Mark { partition: 1, from: 100, next: 101, reset: false }]);
        assert_eq!(places.arrive(1, 101), Some((101, Step::On)));
        places.lose();
        assert_eq!(places.adrift().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((places.arrive(1, 102), places.has(1)), (None, true));
        places.take(1, 40);
        assert_eq!(places.arrive(1, 40), Some((40, Step::On)));
        assert_eq!(places.adrift().collect::<Vec<_>>(), [2]);
    }
}
