//! When each target is due: an open-loop grid. A slow site delays nobody; a late start shows as
//! lag; a slot that could not be started before the next one came is missed, and counted in a
//! gap; nothing is ever made up in a burst.
//!
//! The grid of a target: due times are `phase + k · interval` ms since 1970, with
//! phase = FNV-1a(target, NUL, node) modulo the interval: the load is spread, and a restart
//! keeps the same grid. At most one check of a target is under way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::outcome::GapCause;

/// A target whose next slot is further away than this is checked for the slot that has just
/// passed, within the same time after the start.
const FIRST_WITHIN_MS: i64 = 10_000;

/// FNV-1a, 64 bits, of target, NUL and node: the same in every version.
pub fn hash(target: &str, node: &str) -> u64 {
    let bytes = target.bytes().chain([0]).chain(node.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A slot to be checked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Index of the target, in the order given to [`Schedule::new`].
    pub target: usize,
    /// Its due time, in milliseconds since 1970.
    pub due_ms: i64,
    /// The run of slots before it that was missed.
    pub missed: Option<Missed>,
}

/// A run of slots of one target that were not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// First due time.
    pub from_ms: i64,
    /// Last due time.
    pub to_ms: i64,
    /// How many.
    pub count: u64,
    /// Why.
    pub cause: GapCause,
}

#[derive(Debug)]
struct Entry {
    interval_ms: i64,
    /// The next slot to be checked; on the grid.
    due_ms: i64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the heap, waiting for its time.
    Waiting,
    /// Its time has come; in the queue.
    Ready,
    /// Under way.
    Running,
}

/// All targets' due times.
#[derive(Debug)]
pub struct Schedule {
    entries: Vec<Entry>,
    /// When each waiting entry is to be started, soonest first.
    waiting: BinaryHeap<Reverse<(i64, usize)>>,
    /// Those whose time has come, in the order in which it came.
    ready: VecDeque<usize>,
}

impl Schedule {
    /// A schedule from `now_ms` on. `targets` gives each target's name, interval in ms, and the
    /// newest due time that is already stored.
    pub fn new<'a>(
        targets: impl Iterator<Item = (&'a str, i64, Option<i64>)>,
        node: &str,
        now_ms: i64,
    ) -> Schedule {
        let mut schedule =
            Schedule { entries: Vec::new(), waiting: BinaryHeap::new(), ready: VecDeque::new() };
        for (index, (name, interval_ms, stored_ms)) in targets.enumerate() {
            let interval_ms = interval_ms.max(1);
            let hash = hash(name, node);
            let phase_ms = (hash % interval_ms as u64) as i64;
            let next_ms = now_ms + 1 + (phase_ms - now_ms - 1).rem_euclid(interval_ms);
            let passed_ms = next_ms - interval_ms;
            let soon = next_ms - now_ms <= FIRST_WITHIN_MS;
            let (due_ms, start_ms) = if soon || stored_ms.is_some_and(|s| s >= passed_ms) {
                (next_ms, next_ms)
            } else {
                // Other bits of the hash than those that make the phase of common intervals.
                let spread = ((hash >> 32) % FIRST_WITHIN_MS as u64) as i64;
                (passed_ms, now_ms + spread)
            };
            schedule.entries.push(Entry { interval_ms, due_ms, state: State::Waiting });
            schedule.waiting.push(Reverse((start_ms, index)));
        }
        schedule
    }

    /// The next slot to start, if one's time has come. The caller starts it and says
    /// [`Schedule::done`] when it has ended.
    pub fn next(&mut self, now_ms: i64) -> Option<Slot> {
        self.wake(now_ms);
        let target = self.ready.pop_front()?;
        let entry = &mut self.entries[target];
        entry.state = State::Running;
        let missed = skip_to(entry, now_ms);
        Some(Slot { target, due_ms: entry.due_ms, missed })
    }

    /// Whether a slot's time has come, so that [`Schedule::next`] would give it.
    pub fn is_ready(&mut self, now_ms: i64) -> bool {
        self.wake(now_ms);
        !self.ready.is_empty()
    }

    /// The target that [`Schedule::next`] would give.
    pub fn peek(&self) -> Option<usize> {
        self.ready.front().copied()
    }

    /// The check of this target has ended: its next slot counts.
    pub fn done(&mut self, target: usize) {
        let entry = &mut self.entries[target];
        if entry.state == State::Running {
            entry.due_ms += entry.interval_ms;
            entry.state = State::Waiting;
            self.waiting.push(Reverse((entry.due_ms, target)));
        }
    }

    /// When the next slot's time comes, in milliseconds since 1970; none while all are ready
    /// or under way.
    pub fn next_ms(&self) -> Option<i64> {
        self.waiting.peek().map(|Reverse((start_ms, _))| *start_ms)
    }

    /// The clock was stepped: slots that were jumped over are missed (`clock`), and the others
    /// wait for the first slot of the grid after `now_ms`. Gives those that were missed.
    pub fn step(&mut self, now_ms: i64) -> Vec<(usize, Missed)> {
        self.waiting.clear();
        self.ready.clear();
        let mut gaps = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.state == State::Running {
                // Its end finds the grid behind or ahead: `done` adds one interval.
                let steps = (now_ms - entry.due_ms).div_euclid(entry.interval_ms);
                let from_ms = entry.due_ms + entry.interval_ms;
                entry.due_ms += steps * entry.interval_ms;
                if steps > 0 {
                    let (to_ms, count, cause) = (entry.due_ms, steps as u64, GapCause::Clock);
                    gaps.push((index, Missed { from_ms, to_ms, count, cause }));
                }
                continue;
            }
            if entry.due_ms <= now_ms {
                let steps = (now_ms - entry.due_ms) / entry.interval_ms + 1;
                let to_ms = entry.due_ms + (steps - 1) * entry.interval_ms;
                gaps.push((
                    index,
                    Missed {
                        from_ms: entry.due_ms,
                        to_ms,
                        count: steps as u64,
                        cause: GapCause::Clock,
                    },
                ));
            }
            let ahead = (entry.due_ms - now_ms - 1).rem_euclid(entry.interval_ms);
            entry.due_ms = now_ms + 1 + ahead;
            entry.state = State::Waiting;
            self.waiting.push(Reverse((entry.due_ms, index)));
        }
        gaps
    }

    /// No check starts any more. Gives the slots that had come due and were not started
    /// (`stop`), with those that were missed before them in the same run.
    pub fn stop(&mut self, now_ms: i64) -> Vec<(usize, Missed)> {
        self.wake(now_ms);
        self.ready.clear();
        self.waiting.clear();
        let mut gaps = Vec::new();
        for (target, entry) in self.entries.iter().enumerate() {
            let from_ms = match entry.state {
                State::Ready => entry.due_ms,
                // Its own slot is being checked; those that came since are not.
                State::Running => entry.due_ms + entry.interval_ms,
                State::Waiting => continue,
            };
            if from_ms > now_ms {
                continue;
            }
            let more = (now_ms - from_ms) / entry.interval_ms;
            let to_ms = from_ms + more * entry.interval_ms;
            let count = more as u64 + 1;
            gaps.push((target, Missed { from_ms, to_ms, count, cause: GapCause::Stop }));
        }
        gaps
    }

    fn wake(&mut self, now_ms: i64) {
        while let Some(Reverse((start_ms, index))) = self.waiting.peek().copied() {
            if start_ms > now_ms {
                break;
            }
            self.waiting.pop();
            self.entries[index].state = State::Ready;
            self.ready.push_back(index);
        }
    }
}

/// Moves an entry to the newest slot that is due, and tells which it passed over.
fn skip_to(entry: &mut Entry, now_ms: i64) -> Option<Missed> {
    let steps = (now_ms - entry.due_ms) / entry.interval_ms;
    if steps < 1 {
        return None;
    }
    let from_ms = entry.due_ms;
    entry.due_ms += steps * entry.interval_ms;
    let to_ms = entry.due_ms - entry.interval_ms;
    Some(Missed { from_ms, to_ms, count: steps as u64, cause: GapCause::Overload })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn one(interval_ms: i64, stored: Option<i64>) -> Schedule {
        Schedule::new([("site", interval_ms, stored)].into_iter(), "node", NOW)
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published vector of "foobar" begins from the same offset and prime.
        let plain = "foobar".bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(plain, 0x8594_4171_f739_67e8);
        assert_eq!(hash("a", "b"), hash("a", "b"));
        assert_ne!(hash("a", "b"), hash("ab", ""));
    }

    #[test]
    fn a_short_interval_waits_for_its_grid() {
        let mut schedule = one(5000, None);
        let first = schedule.next_ms().unwrap();
        assert!(first > NOW && first <= NOW + 5000);
        assert_eq!(first.rem_euclid(5000), (hash("site", "node") % 5000) as i64);
        assert_eq!(schedule.next(first - 1), None);
        let slot = schedule.next(first).unwrap();
        assert_eq!(slot, Slot { target: 0, due_ms: first, missed: None });
        assert_eq!(schedule.next(first + 4999), None);
        schedule.done(0);
        assert_eq!(schedule.next_ms(), Some(first + 5000));
    }

    #[test]
    fn a_long_interval_is_checked_soon_for_the_slot_that_passed() {
        let day = 86_400_000;
        let mut schedule = one(day, None);
        let start = schedule.next_ms().unwrap();
        assert!((NOW..NOW + FIRST_WITHIN_MS).contains(&start));
        let slot = schedule.next(start).unwrap();
        assert!(slot.due_ms <= NOW && slot.due_ms > NOW - day);
        assert_eq!(slot.missed, None);
        schedule.done(0);
        assert_eq!(schedule.next_ms(), Some(slot.due_ms + day));
        // Unless the store has it.
        assert_eq!(one(day, Some(slot.due_ms)).next_ms(), Some(slot.due_ms + day));
    }

    #[test]
    fn the_grid_goes_on_past_2038_and_2106() {
        for now in [2_147_483_647_999, 4_294_967_295_999, 253_402_300_799_000] {
            let mut schedule = Schedule::new([("site", 5000, None)].into_iter(), "node", now);
            let first = schedule.next_ms().unwrap();
            assert!((now + 1..=now + 5000).contains(&first), "{first} after {now}");
            assert_eq!(first.rem_euclid(5000), (hash("site", "node") % 5000) as i64);
            let slot = schedule.next(first + 11_000).unwrap();
            assert_eq!((slot.due_ms, slot.missed.map(|gap| gap.count)), (first + 10_000, Some(2)));
        }
    }

    #[test]
    fn first_checks_are_spread() {
        let names: Vec<String> = (0..1000).map(|i| format!("site {i}")).collect();
        let targets = names.iter().map(|name| (name.as_str(), 60_000, None));
        let mut schedule = Schedule::new(targets, "node", NOW);
        for second in 0..10 {
            let mut started = 0;
            while let Some(slot) = schedule.next(NOW + second * 1000 + 999) {
                assert!(slot.missed.is_none());
                started += 1;
            }
            assert!((50..=150).contains(&started), "{started} in second {second}");
        }
    }

    #[test]
    fn missed_slots_are_one_gap_and_no_burst() {
        let mut schedule = one(1000, None);
        let first = schedule.next_ms().unwrap();
        let slot = schedule.next(first + 3500).unwrap();
        assert_eq!(slot.due_ms, first + 3000);
        let missed = slot.missed.unwrap();
        assert_eq!((missed.from_ms, missed.to_ms, missed.count), (first, first + 2000, 3));
        assert_eq!(missed.cause, GapCause::Overload);
        schedule.done(0);
        assert_eq!(schedule.next(first + 3500), None);
        assert_eq!(schedule.next(first + 4000).map(|s| s.due_ms), Some(first + 4000));
    }

    #[test]
    fn a_check_that_ends_late_delays_only_its_own_next() {
        let mut schedule = one(1000, None);
        let first = schedule.next_ms().unwrap();
        schedule.next(first).unwrap();
        assert!(!schedule.is_ready(first + 1500));
        schedule.done(0);
        let slot = schedule.next(first + 1500).unwrap();
        assert_eq!((slot.due_ms, slot.missed), (first + 1000, None));
    }

    #[test]
    fn what_is_due_at_a_stop_is_a_gap() {
        let mut schedule = one(1000, None);
        let first = schedule.next_ms().unwrap();
        let gaps = schedule.stop(first + 1200);
        let missed =
            Missed { from_ms: first, to_ms: first + 1000, count: 2, cause: GapCause::Stop };
        assert_eq!(gaps, [(0, missed)]);
        assert_eq!((schedule.next(first + 9000), schedule.next_ms()), (None, None));
    }

    #[test]
    fn what_came_due_behind_a_check_under_way_is_a_gap_too() {
        let mut schedule = one(1000, None);
        let first = schedule.next_ms().unwrap();
        schedule.next(first).unwrap();
        assert_eq!(schedule.stop(first + 999), []);
        let mut schedule = one(1000, None);
        schedule.next(first).unwrap();
        let gaps = schedule.stop(first + 2500);
        let (from_ms, to_ms) = (first + 1000, first + 2000);
        assert_eq!(gaps, [(0, Missed { from_ms, to_ms, count: 2, cause: GapCause::Stop })]);
    }

    #[test]
    fn a_clock_stepped_ahead_leaves_one_gap_and_one_stepped_back_none() {
        let mut schedule = one(1000, None);
        let first = schedule.next_ms().unwrap();
        let gaps = schedule.step(first + 3_600_000);
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].1.from_ms, gaps[0].1.count), (first, 3601));
        assert_eq!(gaps[0].1.cause, GapCause::Clock);
        assert_eq!(schedule.next_ms(), Some(first + 3_601_000));
        assert_eq!(schedule.step(first), []);
        assert_eq!(schedule.next_ms(), Some(first + 1000));
        // Under way while the clock steps ahead: the slots behind its own are missed.
        schedule.next(first + 1000).unwrap();
        let gaps = schedule.step(first + 4500);
        assert_eq!((gaps[0].1.from_ms, gaps[0].1.to_ms), (first + 2000, first + 4000));
        schedule.done(0);
        assert_eq!(schedule.step(first), []);
        // Under way while the clock steps back: it goes on from the new time.
        schedule.next(first + 1000).unwrap();
        assert_eq!(schedule.step(first - 10_500), []);
        schedule.done(0);
        assert_eq!(schedule.next_ms(), Some(first - 10_000));
    }
}
