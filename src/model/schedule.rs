//! Decides when each target is due, on an open-loop grid. A slow site delays no other; a late start shows
//! as lag; a slot that could not be started before the next one came is missed, and counted in a gap; no
//! missed slot is made up later in a burst.
//!
//! The grid of a target: due times are `phase + k · interval` ms since 1970, with phase = FNV-1a(target,
//! NUL, node) modulo the interval. This spreads the load, and a restart keeps the same grid. At most one
//! check of a target is under way.
//!
//! Targets come and go by [`Schedule::plan`]; a target whose interval stays keeps its place on the grid and
//! its check under way.

mod delay;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::outcome::GapCause;

/// Time within which each target is first checked, in milliseconds. If its next slot is further away, the slot
/// that has just passed is checked.
const FIRST_WITHIN_MS: i64 = 10_000;
/// Time for which the number of a dropped target stays reserved for its name, in milliseconds. It is the
/// longest interval, so that a target that comes back is not checked twice for one slot.
const KEPT_MS: i64 = 24 * 3_600_000;

/// Hashes target, NUL and node by FNV-1a, 64 bits; the same in every version.
pub fn hash(target: &str, node: &str) -> u64 {
    let bytes = target.bytes().chain([0]).chain(node.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Slot to check now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Number of the target, as in [`PlannedTarget::index`].
    pub target: usize,
    /// Due time of the slot, in milliseconds since 1970.
    pub due_ms: i64,
    /// Slots before this one that were missed, if any.
    pub missed: Option<MissedSlots>,
}

/// Consecutive slots of one target that were not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedSlots {
    /// First due time that was missed, in milliseconds since 1970.
    pub from_ms: i64,
    /// Last due time that was missed, in milliseconds since 1970.
    pub to_ms: i64,
    /// Number of slots; at least 1.
    pub count: u64,
    /// Reason for which they were missed.
    pub cause: GapCause,
}

/// Target to schedule.
#[derive(Debug, Clone, Copy)]
pub struct PlannedTarget<'a> {
    /// Number of the target: its old number, else one that [`Schedule::is_free`], else the next.
    pub index: usize,
    /// Name of the target.
    pub name: &'a str,
    /// Time between two slots, in milliseconds.
    pub interval_ms: i64,
    /// Newest due time of the target that is stored, in milliseconds since 1970.
    pub stored_ms: Option<i64>,
}

#[derive(Debug)]
struct ScheduleEntry {
    interval_ms: i64,
    phase_ms: i64,
    /// Due time of the next slot to be checked, or of the one being checked.
    due_ms: i64,
    /// The entry's place within a time over which starts are spread, in milliseconds: from 0 to below
    /// [`FIRST_WITHIN_MS`].
    spread_ms: i64,
    /// Newest slot that a check was started for, in this run or as stored; forgotten when a new run begins.
    checked_ms: Option<i64>,
    state: EntryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryState {
    /// The entry is in the heap until its time comes.
    Waiting,
    /// The entry's time has come; its number is in the queue.
    Ready,
    /// The entry's time has come, but its start is put off; it is in the heap.
    Late,
    /// The check is under way.
    Running,
    /// The target is dropped; its last check is under way.
    Leaving,
    /// The target is dropped.
    Gone,
}

/// Due times of all targets.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<ScheduleEntry>,
    /// Start time and number of each entry that waits, soonest first.
    waiting: BinaryHeap<Reverse<(i64, usize)>>,
    /// Numbers of the entries whose time has come, in the order in which it came.
    ready: VecDeque<usize>,
}

impl Schedule {
    /// Makes a schedule of these targets from `now_ms` on.
    pub fn new<'a>(
        targets: impl Iterator<Item = PlannedTarget<'a>>,
        node: &str,
        now_ms: i64,
    ) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.plan(targets, node, now_ms);
        schedule
    }

    /// Replaces the targets from `now_ms` on. New targets, and those whose interval has changed, are
    /// checked within 10 s, each on its new grid; if a check of the slot that has just passed is known,
    /// not before the next slot. Returns the slots that had come due and are not checked any more (`stop`).
    pub fn plan<'a>(
        &mut self,
        targets: impl Iterator<Item = PlannedTarget<'a>>,
        node: &str,
        now_ms: i64,
    ) -> Vec<(usize, MissedSlots)> {
        self.wake(now_ms);
        let mut gaps = Vec::new();
        // Entries that start anew, and a mark for each old entry that is still wanted.
        let mut starts: Vec<Reverse<(i64, usize)>> = Vec::new();
        let mut wanted = vec![false; self.entries.len()];
        for target in targets {
            let PlannedTarget { index, name, interval_ms, stored_ms } = target;
            let interval_ms = interval_ms.max(1);
            let old = self.entries.get_mut(index);
            if let (Some(wanted), true) = (wanted.get_mut(index), old.is_some()) {
                *wanted = true;
            }
            let mut checked_ms = stored_ms;
            if let Some(entry) = old {
                checked_ms = entry.checked_ms.max(stored_ms);
                let is_same = entry.interval_ms == interval_ms;
                match entry.state {
                    EntryState::Waiting | EntryState::Ready | EntryState::Late if is_same => {
                        continue;
                    }
                    EntryState::Running | EntryState::Leaving => {
                        entry.state = EntryState::Running;
                        (entry.interval_ms, entry.phase_ms) =
                            (interval_ms, phase_ms(name, node, interval_ms));
                        continue;
                    }
                    EntryState::Ready | EntryState::Late => {
                        gaps.push((index, entry.missed_until(entry.due_ms, now_ms)));
                    }
                    EntryState::Waiting | EntryState::Gone => {}
                }
            }
            let (entry, start_ms) = ScheduleEntry::new(name, node, interval_ms, checked_ms, now_ms);
            starts.push(Reverse((start_ms, index)));
            match self.entries.get_mut(index) {
                Some(old) => *old = entry,
                None => self.entries.push(entry),
            }
        }
        let others = self.entries.iter_mut().enumerate().zip(wanted);
        for ((index, entry), _) in others.filter(|(_, wanted)| !wanted) {
            if matches!(entry.state, EntryState::Ready | EntryState::Late) {
                gaps.push((index, entry.missed_until(entry.due_ms, now_ms)));
            }
            entry.leave();
        }
        let mut anew: Vec<usize> = starts.iter().map(|Reverse((_, index))| *index).collect();
        anew.sort_unstable();
        let entries = &self.entries;
        let stays = |index: &usize, states: &[EntryState]| {
            anew.binary_search(index).is_err() && states.contains(&entries[*index].state)
        };
        self.ready.retain(|index| stays(index, &[EntryState::Ready]));
        self.waiting
            .retain(|Reverse((_, index))| stays(index, &[EntryState::Waiting, EntryState::Late]));
        self.waiting.extend(starts);
        gaps
    }

    /// Returns true if that number may be given to a target of another name.
    pub fn is_free(&self, index: usize, now_ms: i64) -> bool {
        self.entries.get(index).is_none_or(|entry| {
            entry.state == EntryState::Gone
                && entry.checked_ms.is_none_or(|ms| ms + KEPT_MS < now_ms)
        })
    }

    /// Returns the next slot to start, if one has come due. The caller starts it and calls
    /// [`Schedule::done`] at its end.
    pub fn next(&mut self, now_ms: i64) -> Option<Slot> {
        self.wake(now_ms);
        let target = self.ready.pop_front()?;
        let entry = &mut self.entries[target];
        entry.state = EntryState::Running;
        let missed = skip_to(entry, now_ms);
        entry.checked_ms = Some(entry.due_ms);
        Some(Slot { target, due_ms: entry.due_ms, missed })
    }

    /// Returns true if a slot has come due, so that [`Schedule::next`] would return one.
    pub fn is_ready(&mut self, now_ms: i64) -> bool {
        self.wake(now_ms);
        !self.ready.is_empty()
    }

    /// Returns the target whose slot [`Schedule::next`] would return.
    pub fn peek(&self) -> Option<usize> {
        self.ready.front().copied()
    }

    /// Notes that the check of this target has ended, and waits for the target's next slot.
    pub fn done(&mut self, target: usize) {
        let entry = &mut self.entries[target];
        match entry.state {
            EntryState::Running => {
                entry.due_ms = entry.slot_after(entry.due_ms);
                entry.state = EntryState::Waiting;
                self.waiting.push(Reverse((entry.due_ms, target)));
            }
            EntryState::Leaving => entry.state = EntryState::Gone,
            EntryState::Waiting | EntryState::Ready | EntryState::Late | EntryState::Gone => {}
        }
    }

    /// Returns the start time of the next slot, in milliseconds since 1970; none while all targets are
    /// ready or under way.
    pub fn next_ms(&self) -> Option<i64> {
        self.waiting.peek().map(|Reverse((start_ms, _))| *start_ms)
    }

    /// Moves all targets to the first slot of their grid after `now_ms`, since the clock was stepped or
    /// this host was suspended. Returns the slots that were jumped over, as missed for that `cause`.
    /// `is_new_run`: checks made before have keys of another run, so the same slots may be checked again.
    pub fn step(
        &mut self,
        now_ms: i64,
        cause: GapCause,
        is_new_run: bool,
    ) -> Vec<(usize, MissedSlots)> {
        self.waiting.clear();
        self.ready.clear();
        let mut gaps = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if is_new_run {
                entry.checked_ms = None;
            }
            let first_ms = match entry.state {
                EntryState::Gone | EntryState::Leaving => continue,
                EntryState::Running => entry.slot_after(entry.due_ms),
                EntryState::Waiting | EntryState::Ready | EntryState::Late => entry.due_ms,
            };
            if first_ms <= now_ms {
                gaps.push((index, MissedSlots { cause, ..entry.missed_until(first_ms, now_ms) }));
            }
            let next_ms = entry.slot_after(now_ms);
            if entry.state == EntryState::Running {
                // The end of this check moves the entry on by one interval, to `next_ms`.
                entry.due_ms = next_ms - entry.interval_ms;
            } else {
                entry.due_ms = next_ms;
                entry.state = EntryState::Waiting;
                self.waiting.push(Reverse((next_ms, index)));
            }
        }
        gaps
    }

    /// Ends all checks to come. Returns the slots that had come due and were not started (`stop`), up to
    /// the newest one.
    pub fn stop(&mut self, now_ms: i64) -> Vec<(usize, MissedSlots)> {
        self.wake(now_ms);
        self.ready.clear();
        self.waiting.clear();
        let mut gaps = Vec::new();
        for (target, entry) in self.entries.iter_mut().enumerate() {
            let from_ms = match entry.state {
                EntryState::Ready | EntryState::Late => entry.due_ms,
                // The entry's own slot is being checked; the slots that came since are not.
                EntryState::Running => entry.slot_after(entry.due_ms),
                EntryState::Waiting | EntryState::Leaving | EntryState::Gone => {
                    entry.leave();
                    continue;
                }
            };
            entry.leave();
            if from_ms <= now_ms {
                gaps.push((target, entry.missed_until(from_ms, now_ms)));
            }
        }
        gaps
    }

    fn wake(&mut self, now_ms: i64) {
        while let Some(Reverse((start_ms, index))) = self.waiting.peek().copied() {
            if start_ms > now_ms {
                break;
            }
            self.waiting.pop();
            self.entries[index].state = EntryState::Ready;
            self.ready.push_back(index);
        }
    }
}

impl ScheduleEntry {
    /// Makes an entry that waits, and returns it with its start time.
    fn new(
        name: &str,
        node: &str,
        interval_ms: i64,
        checked_ms: Option<i64>,
        now_ms: i64,
    ) -> (ScheduleEntry, i64) {
        let (phase_ms, state) = (phase_ms(name, node, interval_ms), EntryState::Waiting);
        // Takes other bits of the hash than those that make the phase of common intervals.
        let spread_ms = ((hash(name, node) >> 32) % FIRST_WITHIN_MS as u64) as i64;
        let mut entry =
            ScheduleEntry { interval_ms, phase_ms, due_ms: 0, spread_ms, checked_ms, state };
        let next_ms = entry.slot_after(now_ms);
        let passed_ms = next_ms - interval_ms;
        let soon = next_ms - now_ms <= FIRST_WITHIN_MS;
        if soon || checked_ms.is_some_and(|ms| ms >= passed_ms) {
            entry.due_ms = next_ms;
            return (entry, next_ms);
        }
        entry.due_ms = passed_ms;
        (entry, now_ms + spread_ms)
    }

    /// Drops the target, once its check under way has ended.
    fn leave(&mut self) {
        self.state = match self.state {
            EntryState::Running | EntryState::Leaving => EntryState::Leaving,
            EntryState::Waiting | EntryState::Ready | EntryState::Late | EntryState::Gone => {
                EntryState::Gone
            }
        };
    }

    /// Returns the first slot of this grid after `ms`.
    fn slot_after(&self, ms: i64) -> i64 {
        ms + 1 + (self.phase_ms - ms - 1).rem_euclid(self.interval_ms)
    }

    /// Returns the entry's slots from `from_ms` up to `now_ms` as missed; at least the one at `from_ms`.
    fn missed_until(&self, from_ms: i64, now_ms: i64) -> MissedSlots {
        let more = (now_ms - from_ms).max(0) / self.interval_ms;
        let to_ms = from_ms + more * self.interval_ms;
        MissedSlots { from_ms, to_ms, count: more as u64 + 1, cause: GapCause::Stop }
    }
}

/// Returns the offset of the target's grid, from 0 to below the interval, in milliseconds.
fn phase_ms(name: &str, node: &str, interval_ms: i64) -> i64 {
    (hash(name, node) % interval_ms as u64) as i64
}

/// Moves an entry to its newest slot that is due, and returns the slots passed over.
fn skip_to(entry: &mut ScheduleEntry, now_ms: i64) -> Option<MissedSlots> {
    let steps = (now_ms - entry.due_ms) / entry.interval_ms;
    if steps < 1 {
        return None;
    }
    let from_ms = entry.due_ms;
    entry.due_ms += steps * entry.interval_ms;
    let to_ms = entry.due_ms - entry.interval_ms;
    Some(MissedSlots { from_ms, to_ms, count: steps as u64, cause: GapCause::Overload })
}

#[cfg(test)]
mod tests;
