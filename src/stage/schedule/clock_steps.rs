//! Clock of the scheduler: waits until it can be believed, and plans the due times anew when it was stepped, or
//! when this host or this process stood still.

use std::time::Instant;

use super::{CLOCK_TURN, Scheduler, plan};
use crate::clock;
use crate::clock::readings::ClockWaitReason;
use crate::error::Error;
use crate::model::judge::CheckFault;
use crate::model::outcome::{Cause, GapCause};
use crate::stage::messages::{Finding, draw_run};
use crate::stop::Stop;

impl Scheduler {
    /// Returns true if the clock is before the time at which this program was made.
    pub(super) fn is_past(&self) -> bool {
        self.moment.now_us < clock::MADE_MS * 1000
    }

    /// Waits until the clock can be believed: for a clock in the past without limit, for one that is not
    /// synchronised at most `clock_wait`. No check starts; those under way go on.
    pub(super) fn await_clock(&mut self, stop: &Stop) -> Result<(), Error> {
        let began = Instant::now();
        let mut said = None;
        while !stop.is_told() {
            let waited = began.elapsed();
            let now = clock::read_facts(waited, self.limits.clock_wait);
            let Some(doubt) = now.find_wait_reason() else { break };
            if said.replace(doubt) != Some(doubt) {
                log::warn!(
                    "no check until the clock is set: {}",
                    plan::describe_doubt(doubt, &now)
                );
            }
            self.turn(CLOCK_TURN)?;
            self.take_decisions();
            self.follow_clock();
        }
        if let Some(doubt) = said.filter(|_| !stop.is_told()) {
            let seconds = began.elapsed().as_secs();
            let is_set = doubt == ClockWaitReason::Past || clock::is_synchronised() != Some(false);
            let state = if is_set { "set" } else { "still not synchronised" };
            log::info!("the clock is {state} after {seconds} s: checks begin");
        }
        Ok(())
    }

    /// If this process stood still, spreads the checks that came due meanwhile.
    pub(super) fn spread_after_stall(&mut self) {
        let Some(stalled) = self.engine.take_stall() else { return };
        let seconds = stalled.as_secs_f64();
        log::warn!(
            "this process stood still for {seconds:.1} s or more: checks under way are unknown"
        );
        for (target, missed) in self.schedule.delay(clock::now_ms(), stalled.as_millis() as i64) {
            self.send_gap(target, missed);
        }
    }

    /// Makes the fault of a check that spans a jump of the clock: its outcome is unknown.
    pub(super) fn clock_fault(&self) -> CheckFault {
        let text = format!("the clock cannot be believed: {}", self.jump_text);
        CheckFault { cause: Cause::Clock, text }
    }

    /// Plans the grid anew when the clock was stepped, or this host was suspended.
    pub(super) fn follow_clock(&mut self) {
        let moment = clock::read_all();
        let before = std::mem::replace(&mut self.moment, moment);
        let Some(jump) = moment.since(before) else { return };
        self.jump_text = plan::describe_jump(jump);
        self.jump_count = self.jump_count.wrapping_add(1);
        log::warn!("{}: the schedule is planned anew", self.jump_text);
        let is_back = jump.stepped_us < 0;
        if is_back {
            self.run = draw_run();
            self.send(Finding::Run(self.run));
        }
        if self.is_past() {
            // Leave the grid as it is until the clock is no longer in the past.
            return;
        }
        let cause = if jump.slept_us > 0 { GapCause::Suspend } else { GapCause::Clock };
        for (target, missed) in self.schedule.step(clock::now_ms(), cause, is_back) {
            self.send_gap(target, missed);
        }
    }
}
