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
use smol::channel::{Receiver, Sender, TrySendError};

use super::engine::Engine;
use super::room::{Held, Room};
use super::trust::Trust;
use crate::clock;
use crate::error::Error;
use crate::model::judge::{Order, Reply};
use crate::model::outcome::{Cause, Gap, GapCause, Outcome};
use crate::model::schedule::{Missed, Schedule};
use crate::model::target::Target;
use crate::model::uplink::Silence;
use crate::stop::Stop;

/// Replies that may wait for the judge before checks wait too.
const QUEUE: usize = 1024;
/// Room that a body is given beyond its size of last time, in parts of that: pages grow.
const MARGIN: usize = 4;
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
    /// A check that was to be tried again, which a stop has kept from it.
    Failed(Box<Failed>),
    /// The clock was stepped back: from here on, outcomes are of this run.
    Run(u32),
}

/// What the judge tells of a check of a target with several attempts.
pub enum Judged {
    /// It failed, and is to be tried again.
    Failed(Box<Failed>),
    /// That was its last attempt.
    Done(usize),
}

/// A check that is to be tried again.
pub struct Failed {
    /// As in [`Answer::index`].
    pub index: usize,
    /// The next attempt.
    pub order: Order,
    /// What holds if there is none.
    pub outcome: Outcome,
    /// What was checked.
    pub target: Arc<Target>,
    /// As in [`Reply::silence`].
    pub silence: Option<Silence>,
}

/// The judge's line to the watch.
pub struct Line {
    judged: Sender<Judged>,
    waker: MultiWaker,
}

impl Line {
    /// Tells the watch.
    ///
    /// # Errors
    /// The watch has ended; what was to be told.
    pub fn tell(&self, judged: Judged) -> Result<(), Judged> {
        self.judged.try_send(judged).map_err(TrySendError::into_inner)?;
        // One that cannot be woken looks within a second.
        let _ = self.waker.wakeup();
        Ok(())
    }
}

/// A check that has ended, not judged yet.
pub struct Answer {
    /// Its place among the targets.
    pub index: usize,
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
    /// What is to be tried again.
    again: VecDeque<Box<Failed>>,
    judged: Receiver<Judged>,
    judged_in: Sender<Judged>,
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
        let (judged_in, judged) = smol::channel::unbounded();
        // Of a body that was never seen, all that may be kept.
        let first = |target: &Arc<Target>| if target.wants_body() { target.max_body } else { 0 };
        Watch {
            needs: targets.iter().map(first).collect(),
            room: Room::new(limits.bodies_max),
            engine: Engine::new(trust),
            offset_us: clock::now_us(),
            born: Instant::now(),
            targets,
            node,
            run,
            limits,
            schedule,
            out,
            again: VecDeque::new(),
            judged,
            judged_in,
        }
    }

    /// For the judge.
    pub fn line(&self) -> Line {
        Line { judged: self.judged_in.clone(), waker: self.engine.waker() }
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
            self.hear();
            let wait = self.start_again().unwrap_or_else(|| self.start_due());
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
            self.settle();
        }
        // From here on the judge keeps what it would have had tried again.
        self.judged.close();
        self.settle();
        for (target, order) in self.engine.abandon() {
            let cause = GapCause::Stop;
            let (from_ms, to_ms) = (order.due_ms, order.due_ms);
            self.gap(target, Missed { from_ms, to_ms, count: 1, cause });
        }
        Ok(())
    }

    /// Takes in what the judge has told.
    fn hear(&mut self) {
        while let Ok(judged) = self.judged.try_recv() {
            match judged {
                Judged::Failed(failed) => self.again.push_back(failed),
                Judged::Done(index) => self.schedule.done(index),
            }
        }
    }

    /// Starts the next attempts, before anything else. If one has to wait, gives how long the next
    /// turn may.
    fn start_again(&mut self) -> Option<Duration> {
        while let Some(failed) = self.again.pop_front() {
            let is_full = self.engine.in_flight() >= self.limits.max_in_flight;
            let held = if is_full { None } else { self.room.take(self.needs[failed.index]) };
            let Some(held) = held else {
                self.again.push_front(failed);
                return Some(if is_full { TURN } else { RETRY });
            };
            let target = Arc::clone(&self.targets[failed.index]);
            self.engine.start(target, held, (failed.index, failed.order));
        }
        None
    }

    /// While stopping nothing is tried again: what was judged holds.
    fn settle(&mut self) {
        self.hear();
        for failed in std::mem::take(&mut self.again) {
            self.give(Found::Failed(failed));
        }
    }

    /// Starts what is due and finds room. Gives how long the next turn may wait.
    fn start_due(&mut self) -> Duration {
        loop {
            let now_us = clock::now_us();
            let now_ms = now_us.div_euclid(1000);
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
                attempt: 1,
            };
            let target = Arc::clone(&self.targets[slot.target]);
            self.engine.start(target, held, (slot.target, order));
        }
    }

    /// One turn of the engine; hands on what has ended.
    fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        for done in self.engine.turn(wait)? {
            let (index, order) = done.tag;
            // The judge says whether it was the last attempt.
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
            let (target, reply, held) = (done.target, done.reply, done.held);
            self.give(Found::Reply(Box::new(Answer { index, target, order, reply, held })));
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
