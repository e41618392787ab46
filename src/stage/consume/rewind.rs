//! Going back in a log: to the store's mark, and to where a log that was cut or begun anew is
//! recognised.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::positions::start_offset;
use super::{Consumer, RETRY_AFTER};
use crate::store::Position;

/// Time between two questions for the end of a log, while no message comes to recognise it by.
const BOUNDS_EVERY: Duration = Duration::from_secs(2);

impl Consumer {
    /// Goes back to the store's marks, in partitions of which the store has lost something.
    pub(super) fn go_back(&mut self, positions: &[(i32, Position)]) {
        let invalid: BTreeSet<i32> = self.positions.invalid().collect();
        let ours: Vec<_> = positions.iter().filter(|(p, _)| invalid.contains(p)).collect();
        if ours.is_empty() {
            return;
        }
        let starts: Vec<(i32, i64)> = ours.iter().map(|(p, at)| (*p, start_offset(at))).collect();
        let went = self.group.seek(&starts);
        log::debug!("gone back to {starts:?}, {went:?}");
        for (partition, position) in ours.iter().filter(|(p, _)| went.contains(p)) {
            self.positions.assign(*partition, position.clone());
        }
        self.postpone_look();
        if went.len() < ours.len() {
            self.ask_at = Instant::now() + RETRY_AFTER;
        }
    }

    /// Goes back in logs that are other ones than before, and looks for more of them.
    pub(super) fn recognise(&mut self) {
        let now = Instant::now();
        if now >= self.back_at {
            let unrecognised: Vec<i32> = self.positions.unrecognised().collect();
            if !unrecognised.iter().all(|partition| self.go_back_in(*partition)) {
                self.back_at = now + RETRY_AFTER;
            }
        }
        if now < self.look_at || self.is_paused || self.status.is_away() {
            return;
        }
        // If a log ends before the message that it is recognised by, no message comes.
        let expecting: Vec<i32> = self.positions.expecting().collect();
        for partition in expecting {
            self.postpone_look();
            let Some((low, high)) = self.group.bounds(partition) else { return };
            self.positions.set_bounds(partition, low, high);
        }
    }

    /// Gives messages some time to come before anybody asks for the ends of logs.
    pub(super) fn postpone_look(&mut self) {
        self.look_at = Instant::now() + BOUNDS_EVERY;
    }

    /// Goes back to where a log may be recognised. Returns false if the brokers do not answer.
    fn go_back_in(&mut self, partition: i32) -> bool {
        let Some((low, high)) = self.group.bounds(partition) else { return false };
        let from = self.positions.find_start(partition, low, high);
        log::debug!("partition {partition} is another log: looking at {from} of {low} to {high}");
        let went = self.group.seek(&[(partition, from)]).contains(&partition);
        if went {
            self.positions.resume(partition);
            self.postpone_look();
        }
        went
    }
}
