//! First stage of the road: starts each check when it is due, and hands the replies on.
//!
//! Takes: a [`Plan`], and later ones, each in place of the one before. Gives: [`Finding`]. Ends when: a stop
//! is asked for; then no check starts, those in flight end, and each check that is open after
//! `stop_timeout` becomes a gap. On failure: an error of libcurl itself ends the scheduler with that error.
//!
//! The scheduler begins once the clock can be believed. If the clock is stepped, the scheduler plans the grid
//! of due times anew, and the outcomes of the checks under way are unknown.
//!
//! The scheduler has a thread of its own and does nothing else, so that nothing disturbs a measurement:
//! bodies are judged elsewhere, and items go into a queue that never blocks the scheduler. The queue itself
//! has no bound; instead, no check starts while `QUEUE` or more items wait in it.

mod batcher;
mod clock_steps;
mod plan;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

use self::batcher::FindingBatcher;
use super::messages::{
    Decision, DecisionSender, EndedAttempt, FailedAttempt, Finding, Plan, Run, SchedulerHandle,
};
use crate::check::engine::Engine;
use crate::check::trust::Trust;
use crate::check::{BodyBudget, Permit};
use crate::clock;
use crate::clock::readings::ClockReadings;
use crate::error::Error;
use crate::model::attempts::Attempt;
use crate::model::judge::CheckFault;
use crate::model::outcome::{Cause, Gap, GapCause, Verdict};
use crate::model::schedule::{MissedSlots, Schedule};
use crate::model::target::Target;
use crate::stop::Stop;

/// Start no check while so many items wait for the judge.
const QUEUE: usize = 1024;
/// Reserve 1/4 more than the last body's size: pages grow.
const MARGIN: usize = 4;
/// Hand a batch to the judge once its bodies fill 1/16 of `bodies_max`.
const PARTS: usize = 16;
/// Longest turn; a stepped clock is seen within it.
const TURN: Duration = Duration::from_secs(1);
/// Wait before the next try of a start that found no room for its body, or a full queue.
const RETRY: Duration = Duration::from_millis(5);
/// Time between two looks at a clock that cannot be believed yet.
const CLOCK_TURN: Duration = Duration::from_millis(500);

/// Bounds on the checks under way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most checks in flight at once.
    pub max_in_flight: usize,
    /// Most bytes of bodies held at once.
    pub bodies_max: usize,
    /// Longest time that checks in flight may go on after a stop.
    pub stop_timeout: Duration,
    /// Longest wait for a clock that is not synchronised, on a host that has just booted.
    pub clock_wait: Duration,
}

/// Stage that starts the checks.
pub struct Scheduler {
    targets: Vec<Arc<Target>>,
    node: Arc<str>,
    run: u32,
    limits: Limits,
    engine: Engine<CheckTag>,
    schedule: Schedule,
    budget: BodyBudget,
    /// Room that each target's body needed last, in bytes.
    needs: Vec<usize>,
    /// Failed attempts whose next attempt is to start; the first to come is the first to start.
    retries: VecDeque<Box<FailedAttempt>>,
    decisions: Receiver<Decision>,
    decisions_in: Sender<Decision>,
    plans: Receiver<Plan>,
    plans_in: Sender<Plan>,
    findings: FindingBatcher,
    /// Clocks at the last turn of the loop.
    moment: ClockReadings,
    /// Description of the last jump of the clock.
    jump_text: String,
    /// Number of the clock's jumps so far.
    jump_count: u32,
}

/// Tag of a check under way.
struct CheckTag {
    index: usize,
    attempt: Attempt,
}

impl Scheduler {
    /// Creates a scheduler without targets; [`Scheduler::run`] takes the first plan.
    pub fn new(run: Run, limits: Limits, findings: Sender<Vec<Finding>>) -> Scheduler {
        let Run { node, number: run } = run;
        let (decisions_in, decisions) = smol::channel::unbounded();
        let (plans_in, plans) = smol::channel::unbounded();
        Scheduler {
            targets: Vec::new(),
            node,
            run,
            limits,
            engine: Engine::new(Trust::default()),
            schedule: Schedule::default(),
            budget: BodyBudget::new(limits.bodies_max),
            needs: Vec::new(),
            retries: VecDeque::new(),
            decisions,
            decisions_in,
            plans,
            plans_in,
            findings: FindingBatcher::new(findings, limits.bodies_max / PARTS),
            moment: clock::read_all(),
            jump_text: String::new(),
            jump_count: 0,
        }
    }

    /// Returns the judge's sender of decisions.
    pub fn decision_sender(&self) -> DecisionSender {
        DecisionSender { decisions: self.decisions_in.clone(), waker: self.engine.waker() }
    }

    /// Returns a handle that wakes the scheduler, or gives it a new plan.
    pub fn handle(&self) -> SchedulerHandle {
        SchedulerHandle { plans: self.plans_in.clone(), waker: self.engine.waker() }
    }

    /// Runs the checks of `plan`, and of later plans, until a stop. `newest` has the newest due time of each
    /// target that is stored, in milliseconds since 1970.
    ///
    /// # Errors
    /// libcurl itself failed.
    pub fn run(
        mut self,
        plan: Plan,
        newest: BTreeMap<String, i64>,
        stop: &Stop,
    ) -> Result<(), Error> {
        self.await_clock(stop)?;
        if !stop.is_told() {
            self.send(Finding::Run(self.run));
            self.apply_plan(plan, &newest);
        }
        drop(newest);
        while !stop.is_told() {
            self.follow_clock();
            if self.is_past() {
                self.await_clock(stop)?;
                // The slots that came due during the wait are missed.
                for (target, missed) in self.schedule.step(clock::now_ms(), GapCause::Clock, false)
                {
                    self.send_gap(target, missed);
                }
                continue;
            }
            self.take_decisions();
            while let Ok(plan) = self.plans.try_recv() {
                self.apply_plan(plan, &BTreeMap::new());
            }
            let wait = self.start_retries().unwrap_or_else(|| self.start_due());
            self.turn(wait)?;
        }
        for (target, missed) in self.schedule.stop(clock::now_ms()) {
            self.send_gap(target, missed);
        }
        let limit = Instant::now() + self.limits.stop_timeout;
        while self.engine.in_flight() > 0 && !self.findings.is_closed() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn(left.min(TURN))?;
            self.abandon_retries();
        }
        // From here on the judge keeps the failed attempts itself: no next attempt is made.
        self.decisions.close();
        self.abandon_retries();
        for CheckTag { index, attempt } in self.engine.abandon() {
            let cause = GapCause::Stop;
            let (from_ms, to_ms) = (attempt.due_ms, attempt.due_ms);
            self.send_gap(index, MissedSlots { from_ms, to_ms, count: 1, cause });
        }
        self.findings.flush();
        Ok(())
    }

    /// Takes the decisions that the judge has sent.
    fn take_decisions(&mut self) {
        while let Ok(decision) = self.decisions.try_recv() {
            match decision {
                Decision::TryAgain(failed) => self.retries.push_back(failed),
                Decision::Done(index) => self.schedule.done(index),
            }
        }
    }

    /// Starts the next attempts, which come before due checks. If an attempt has to wait, returns the longest
    /// wait of the next turn.
    fn start_retries(&mut self) -> Option<Duration> {
        while let Some(failed) = self.retries.pop_front() {
            let is_full = self.engine.in_flight() >= self.limits.max_in_flight;
            let permit = if is_full { None } else { self.budget.take(self.needs[failed.index]) };
            let Some(permit) = permit else {
                self.retries.push_front(failed);
                self.findings.flush();
                return Some(if is_full { TURN } else { RETRY });
            };
            let FailedAttempt { index, attempt, target, .. } = *failed;
            self.start(target, permit, index, attempt);
        }
        None
    }

    fn start(&mut self, target: Arc<Target>, permit: Permit, index: usize, attempt: Attempt) {
        self.engine.start(target, permit, CheckTag { index, attempt });
    }

    /// Gives up the next attempts, since a stop was asked for: the outcomes of the failed attempts count.
    fn abandon_retries(&mut self) {
        self.take_decisions();
        for mut failed in std::mem::take(&mut self.retries) {
            if failed.attempt.jumps != self.jump_count {
                let CheckFault { cause, text } = self.clock_fault();
                (failed.outcome.verdict, failed.outcome.cause) = (Verdict::Unknown, Some(cause));
                (failed.outcome.error, failed.silence) = (Some(text), None);
            }
            self.send(Finding::Abandoned(failed));
        }
    }

    /// Starts the checks that are due and find room. Returns the longest wait of the next turn.
    fn start_due(&mut self) -> Duration {
        loop {
            // Before the clock is read: after a stall, everything would be due at once.
            self.spread_after_stall();
            let now_us = clock::now_us();
            let now_ms = now_us.div_euclid(1000);
            if !self.schedule.is_ready(now_ms) {
                let Some(next_ms) = self.schedule.next_ms() else { return TURN };
                // Rounded up to whole milliseconds: libcurl's poll knows no smaller unit.
                let wait_us = (next_ms * 1000 - now_us).max(0) as u64;
                return Duration::from_millis(wait_us.div_ceil(1000)).min(TURN);
            }
            if self.engine.in_flight() >= self.limits.max_in_flight {
                return TURN;
            }
            if self.findings.queued() >= QUEUE {
                return RETRY;
            }
            let Some(next) = self.schedule.peek() else { return TURN };
            let Some(permit) = self.budget.take(self.needs[next]) else {
                // The judge gives the room of a body back once it has read the body.
                self.findings.flush();
                return RETRY;
            };
            let Some(slot) = self.schedule.next(now_ms) else { return TURN };
            if let Some(missed) = slot.missed {
                self.send_gap(slot.target, missed);
            }
            let attempt = Attempt {
                node: Arc::clone(&self.node),
                run: self.run,
                due_ms: slot.due_ms,
                lag_us: now_us - slot.due_ms * 1000,
                number: 1,
                jumps: self.jump_count,
            };
            let target = Arc::clone(&self.targets[slot.target]);
            self.start(target, permit, slot.target, attempt);
        }
    }

    /// Makes one turn of the engine. Before the wait, hands the batch on, unless more is due soon.
    fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        self.findings.flush_before(wait, Instant::now());
        let ended = self.engine.turn(wait).inspect_err(|_| self.findings.flush())?;
        let ended_at = Instant::now();
        if !ended.is_empty() {
            // Look for a jump of the clock before the replies are used.
            self.follow_clock();
        }
        self.spread_after_stall();
        for mut done in ended {
            let CheckTag { index, attempt } = done.tag;
            if attempt.jumps != self.jump_count {
                done.reply.fault = Some(self.clock_fault());
                done.reply.silence = None;
            }
            // With several attempts, the judge decides if this one was the last.
            if done.target.attempts == 1 {
                self.schedule.done(index);
            }
            if done.target.wants_body() {
                self.needs[index] = match &done.reply.fault {
                    None => {
                        let size = done.reply.body.len();
                        (size + size / MARGIN).min(done.target.max_body)
                    }
                    Some(fault) if fault.cause == Cause::Overload => done.target.max_body,
                    Some(_) => 0,
                };
            }
            let (target, reply, permit) = (done.target, done.reply, done.permit);
            let bytes = reply.body.len();
            let is_tried_again = attempt.may_repeat(&target) && reply.fault.is_some();
            let answer = EndedAttempt { index, target, attempt, reply, permit, ended_at };
            self.findings.push(Finding::Reply(Box::new(answer)), bytes, ended_at);
            if is_tried_again {
                self.findings.flush();
            }
        }
        Ok(())
    }

    fn send_gap(&mut self, target: usize, missed: MissedSlots) {
        let target = &self.targets[target];
        let gap = Gap {
            target: Arc::clone(&target.name),
            node: Arc::clone(&self.node),
            run: self.run,
            from_ms: missed.from_ms,
            to_ms: missed.to_ms,
            count: missed.count,
            interval_ms: target.interval_ms(),
            cause: missed.cause,
        };
        self.send(Finding::Gap(gap));
    }

    fn send(&mut self, found: Finding) {
        self.findings.push(found, 0, Instant::now());
    }
}
