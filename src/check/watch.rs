//! The head of the road: starts each check when it is due, and hands on what came back.
//!
//! Takes: targets, and the newest due time that is stored of each. Gives: [`Found`]. Ends when:
//! told to stop; then no check starts, those in flight end, and what is open after
//! `stop_timeout` is a gap. On failure: libcurl's own trouble ends it with an error.
//!
//! It runs on a thread of its own and does nothing else, so that nothing disturbs a measurement:
//! bodies are judged elsewhere, and what it gives goes into a queue that never blocks it. The
//! bound is kept at the other end: while [`QUEUE`] or more wait there, no check starts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use curl::multi::MultiWaker;
use smol::channel::Sender;

use super::engine::Engine;
use super::room::{Held, Room};
use super::trust::Trust;
use crate::clock;
use crate::error::Error;
use crate::model::judge::{Order, Reply};
use crate::model::outcome::{Cause, Gap, GapCause};
use crate::model::schedule::{Missed, Schedule};
use crate::model::target::Target;
use crate::stop::Stop;

/// Replies that may wait for the judge before checks wait too.
const QUEUE: usize = 1024;
/// Room that a body is given before its size is known, in bytes.
const FIRST_BODY: usize = 64 * 1024;
/// Longest turn; a stepped clock is seen within it.
const TURN: Duration = Duration::from_secs(1);
/// How soon a start is tried again that waits for others to let go of their room.
const RETRY: Duration = Duration::from_millis(5);
/// The clock was stepped if it differs from the monotonic one by more than this, in µs.
const STEP_US: i64 = 1_000_000;

/// What the watch has found.
pub enum Found {
    /// A check has ended.
    Reply(Box<Answer>),
    /// Slots were missed.
    Gap(Gap),
    /// The clock was stepped back: from here on, outcomes are of this run.
    Run(u32),
}

/// A check that has ended, not judged yet.
pub struct Answer {
    /// What was checked.
    pub target: Arc<Target>,
    /// Which check it was.
    pub order: Order,
    /// What came back.
    pub reply: Reply,
    /// The room that its body takes; to be dropped with the body.
    pub held: Option<Held>,
}

/// Bounds on what is under way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Checks in flight at once.
    pub max_in_flight: usize,
    /// Bytes of bodies held at once.
    pub bodies_max: usize,
    /// How long checks in flight may go on after a stop.
    pub stop_timeout: Duration,
}

/// A number for a run: 31 random bits.
pub fn draw_run() -> u32 {
    let mut bytes = [0; 4];
    if openssl::rand::rand_bytes(&mut bytes).is_err() {
        // No randomness this early after boot: the time is the next best.
        bytes = (clock::now_us() as u32).to_le_bytes();
    }
    u32::from_le_bytes(bytes) >> 1
}

/// The stage.
pub struct Watch {
    targets: Vec<Arc<Target>>,
    node: Arc<str>,
    run: u32,
    limits: Limits,
    engine: Engine<(usize, Order)>,
    schedule: Schedule,
    room: Room,
    /// Room that each target's body needed last, in bytes.
    needs: Vec<usize>,
    /// Checks that were cut since their bodies outgrew the room, oldest first: they are made
    /// again when there is room for all of it. At most one for each target.
    again: VecDeque<(usize, Box<Answer>)>,
    out: Sender<Found>,
    /// Wall clock less monotonic clock, in µs, at the last turn.
    offset_us: i64,
    born: Instant,
}

impl Watch {
    /// A watch over `targets`; `stored` gives the newest due time that is stored of a target.
    pub fn new(
        targets: Vec<Arc<Target>>,
        stored: impl Fn(&str) -> Option<i64>,
        (node, run): (Arc<str>, u32),
        limits: Limits,
        trust: Trust,
        out: Sender<Found>,
    ) -> Watch {
        let grid = targets.iter().map(|t| (&*t.name, t.interval_ms(), stored(&t.name)));
        let schedule = Schedule::new(grid, &node, clock::now_ms());
        let first = |target: &Arc<Target>| {
            if target.wants_body() { FIRST_BODY.min(target.max_body) } else { 0 }
        };
        Watch {
            needs: targets.iter().map(first).collect(),
            room: Room::new(limits.bodies_max),
            again: VecDeque::new(),
            engine: Engine::new(trust),
            offset_us: clock::now_us(),
            born: Instant::now(),
            targets,
            node,
            run,
            limits,
            schedule,
            out,
        }
    }

    /// Makes the watch look at once whether it is told to stop; from any thread.
    pub fn waker(&self) -> MultiWaker {
        self.engine.waker()
    }

    /// Watches until told to stop.
    ///
    /// # Errors
    /// libcurl's own trouble.
    pub fn run(mut self, stop: &Stop) -> Result<(), Error> {
        while !stop.is_told() {
            self.follow_clock();
            let wait = self.start_due();
            self.turn(wait)?;
        }
        for (target, missed) in self.schedule.stop(clock::now_ms()) {
            self.gap(target, missed);
        }
        let limit = Instant::now() + self.limits.stop_timeout;
        while self.engine.in_flight() > 0 && !self.out.is_closed() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn(left.min(TURN))?;
        }
        for (_, answer) in std::mem::take(&mut self.again) {
            self.give(Found::Reply(answer));
        }
        for (target, order) in self.engine.abandon() {
            let cause = GapCause::Stop;
            let (from_ms, to_ms) = (order.due_ms, order.due_ms);
            self.gap(target, Missed { from_ms, to_ms, count: 1, cause });
        }
        Ok(())
    }

    /// Starts what is due and finds room. Gives how long the next turn may wait.
    fn start_due(&mut self) -> Duration {
        loop {
            let now_us = clock::now_us();
            let now_ms = now_us.div_euclid(1000);
            if let Some((index, answer)) = self.again.pop_front() {
                if let Some((index, answer)) = self.start_again(index, answer, now_us) {
                    self.again.push_front((index, answer));
                    return RETRY;
                }
                continue;
            }
            if !self.schedule.is_ready(now_ms) {
                let Some(next_ms) = self.schedule.next_ms() else { return TURN };
                // Whole milliseconds, rounded up: the poll of libcurl knows no smaller ones.
                let wait_us = (next_ms * 1000 - now_us).max(0) as u64;
                return Duration::from_millis(wait_us.div_ceil(1000)).min(TURN);
            }
            if self.engine.in_flight() >= self.limits.max_in_flight {
                return TURN;
            }
            if self.out.len() >= QUEUE {
                return RETRY;
            }
            let Some(next) = self.schedule.peek() else { return TURN };
            let Some(held) = self.room.take(self.needs[next]) else { return RETRY };
            let Some(slot) = self.schedule.next(now_ms) else { return TURN };
            if let Some(missed) = slot.missed {
                self.gap(slot.target, missed);
            }
            let order = Order {
                node: Arc::clone(&self.node),
                run: self.run,
                due_ms: slot.due_ms,
                lag_us: now_us - slot.due_ms * 1000,
            };
            let target = Arc::clone(&self.targets[slot.target]);
            self.engine.start(target, held, (slot.target, order));
        }
    }

    /// Makes a check again that was cut for want of room; once its next slot has come, it stays
    /// as it was. Gives it back if it has to wait.
    fn start_again(
        &mut self,
        index: usize,
        answer: Box<Answer>,
        now_us: i64,
    ) -> Option<(usize, Box<Answer>)> {
        let lag_us = now_us - answer.order.due_ms * 1000;
        if lag_us >= answer.target.interval_ms() * 1000 {
            self.schedule.done(index);
            self.give(Found::Reply(answer));
            return None;
        }
        if self.engine.in_flight() >= self.limits.max_in_flight {
            return Some((index, answer));
        }
        match self.room.take(self.needs[index]) {
            None => return Some((index, answer)),
            Some(held) => {
                let Answer { target, order, .. } = *answer;
                self.engine.start(target, held, (index, Order { lag_us, ..order }));
            }
        }
        None
    }

    /// One turn of the engine; hands on what has ended.
    fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        for done in self.engine.turn(wait)? {
            let (index, order) = done.tag;
            let (target, reply, held) = (done.target, done.reply, done.held);
            let before = self.needs[index];
            if target.wants_body() {
                self.needs[index] = match &reply.fault {
                    None => reply.body.len(),
                    Some(fault) if fault.cause == Cause::Overload => target.max_body,
                    Some(_) => 0,
                };
            }
            let is_cut = reply.fault.as_ref().is_some_and(|f| f.cause == Cause::Overload);
            let mut answer = Box::new(Answer { target, order, reply, held });
            if is_cut && before < self.needs[index] {
                // What there is of the body must not take the room that it waits for.
                (answer.reply.body, answer.held) = (Vec::new(), None);
                self.again.push_back((index, answer));
            } else {
                self.schedule.done(index);
                self.give(Found::Reply(answer));
            }
        }
        Ok(())
    }

    /// Plans the grid anew when the clock was stepped.
    fn follow_clock(&mut self) {
        let elapsed_us = self.born.elapsed().as_micros() as i64;
        let offset_us = clock::now_us() - elapsed_us;
        let step_us = offset_us - self.offset_us;
        self.offset_us = offset_us;
        if step_us.abs() < STEP_US {
            return;
        }
        log::warn!("the clock was stepped by {} ms: the schedule is planned anew", step_us / 1000);
        if step_us < 0 {
            self.run = draw_run();
            self.give(Found::Run(self.run));
        }
        for (target, missed) in self.schedule.step(clock::now_ms()) {
            self.gap(target, missed);
        }
    }

    fn gap(&self, target: usize, missed: Missed) {
        let target = &self.targets[target];
        self.give(Found::Gap(Gap {
            target: Arc::clone(&target.name),
            node: Arc::clone(&self.node),
            run: self.run,
            from_ms: missed.from_ms,
            to_ms: missed.to_ms,
            count: missed.count,
            interval_ms: target.interval_ms(),
            cause: missed.cause,
        }));
    }

    fn give(&self, found: Found) {
        // The queue has no bound of its own, so only a judge that is gone refuses; then we are
        // stopping, and it has said why.
        let _ = self.out.try_send(found);
    }
}
