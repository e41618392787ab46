//! Takes the plans of a scheduler, and has the words that it uses about the clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Scheduler;
use crate::clock;
use crate::clock::readings::{ClockFacts, ClockJump, ClockWaitReason};
use crate::date;
use crate::model::schedule::PlannedTarget;
use crate::model::target::Target;
use crate::stage::messages::{Finding, Plan};

impl Scheduler {
    /// Replaces the plan. A target that stays keeps its number, and with the number its place on the grid,
    /// its check under way and the room that its body needs.
    pub(super) fn apply_plan(&mut self, plan: Plan, newest: &BTreeMap<String, i64>) {
        let Plan { targets, trust, canaries } = plan;
        let now_ms = clock::now_ms();
        let numbers = self.numbers(&targets, now_ms);
        let wanted = targets.iter().zip(&numbers).map(|(target, index)| PlannedTarget {
            index: *index,
            name: &target.name,
            interval_ms: target.interval_ms(),
            stored_ms: newest.get(&*target.name).copied(),
        });
        for (target, missed) in self.schedule.plan(wanted, &self.node, now_ms) {
            self.send_gap(target, missed);
        }
        for (target, index) in targets.iter().zip(numbers) {
            // A body that was never seen may need all bytes that may be kept.
            let first = if target.wants_body() { target.max_body } else { 0 };
            match self.targets.get_mut(index) {
                Some(old) => {
                    let is_same = old.name == target.name && old.wants_body();
                    let need = &mut self.needs[index];
                    *need = if is_same { (*need).min(first) } else { first };
                    *old = Arc::clone(target);
                }
                None => {
                    self.targets.push(Arc::clone(target));
                    self.needs.push(first);
                }
            }
        }
        self.engine.trust(trust);
        self.send(Finding::Targets(targets, canaries));
    }

    /// Returns the number of each target: the one that its name has, else a free one, in ascending order.
    fn numbers(&self, targets: &[Arc<Target>], now_ms: i64) -> Vec<usize> {
        let known: HashMap<&str, usize> =
            self.targets.iter().enumerate().map(|(index, old)| (&*old.name, index)).collect();
        let own: Vec<Option<usize>> =
            targets.iter().map(|target| known.get(&*target.name).copied()).collect();
        let mut is_taken = vec![false; self.targets.len()];
        own.iter().flatten().for_each(|index| is_taken[*index] = true);
        let is_open = |index: &usize| !is_taken.get(*index).is_some_and(|taken| *taken);
        let mut free =
            (0..).filter(|index| is_open(index) && self.schedule.is_free(*index, now_ms));
        own.into_iter().map(|index| index.or_else(|| free.next()).unwrap_or(usize::MAX)).collect()
    }
}

/// Describes a jump of the clock.
pub(super) fn describe_jump(jump: ClockJump) -> String {
    let seconds = |us: i64| format!("{:.1} s", us as f64 / 1e6);
    let stepped = |us: i64| {
        let way = if us < 0 { "back" } else { "ahead" };
        format!("the clock was stepped {way} by {}", seconds(us.abs()))
    };
    match (jump.stepped_us, jump.slept_us) {
        (us, 0) => stepped(us),
        (0, us) => format!("this host was suspended for {}", seconds(us)),
        (us, slept) => {
            format!("this host was suspended for {}, and {}", seconds(slept), stepped(us))
        }
    }
}

/// Describes the doubt in the clock for which no check starts.
pub(super) fn describe_doubt(doubt: ClockWaitReason, now: &ClockFacts) -> String {
    match doubt {
        ClockWaitReason::Past => format!(
            "it says {}, before this program was made ({})",
            date::rfc3339(now.now_ms),
            date::rfc3339(now.made_ms)
        ),
        ClockWaitReason::Unsynchronised => format!(
            "this host has just booted, and the kernel calls it unsynchronised; at most {} s \
             (clock_wait)",
            now.clock_wait.as_secs()
        ),
    }
}
