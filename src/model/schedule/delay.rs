//! Schedule after a time in which no check could be started.

use std::cmp::Reverse;

use super::{EntryState, FIRST_WITHIN_MS, MissedSlots, Schedule};
use crate::model::outcome::GapCause;

impl Schedule {
    /// Spreads the slots that came due during the last `by_ms`, in which no check could be started, over the
    /// next `by_ms`, at most 10 s: each target starts at its own place in that time. If the target's next slot
    /// comes sooner, the check is made then, and the slot before is missed. Targets under way go on with their
    /// next slot. Returns the slots that these have missed.
    pub fn delay(&mut self, now_ms: i64, by_ms: i64) -> Vec<(usize, MissedSlots)> {
        let within_ms = by_ms.clamp(0, FIRST_WITHIN_MS);
        self.wake(now_ms);
        for index in std::mem::take(&mut self.ready) {
            let entry = &mut self.entries[index];
            entry.state = EntryState::Late;
            let start_ms = now_ms + entry.spread_ms * within_ms / FIRST_WITHIN_MS;
            self.waiting.push(Reverse((start_ms.min(entry.slot_after(now_ms)), index)));
        }
        let mut gaps = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let from_ms = entry.slot_after(entry.due_ms);
            if entry.state == EntryState::Running && from_ms <= now_ms {
                let cause = GapCause::Overload;
                gaps.push((index, MissedSlots { cause, ..entry.missed_until(from_ms, now_ms) }));
                entry.due_ms = entry.slot_after(now_ms) - entry.interval_ms;
            }
        }
        gaps
    }
}
