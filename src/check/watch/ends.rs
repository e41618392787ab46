//! What goes into the watch and what comes out of it: plans and the judge's word, checks and gaps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use curl::multi::MultiWaker;
use smol::channel::{Sender, TrySendError};

use super::super::room::Held;
use super::super::trust::Trust;
use crate::clock;
use crate::model::judge::{Order, Reply};
use crate::model::outcome::{Gap, Outcome};
use crate::model::target::Target;
use crate::model::uplink::{Canaries, Silence};

/// What the watch has found.
pub enum Found {
    /// A check has ended.
    Reply(Box<Answer>),
    /// Slots were missed.
    Gap(Gap),
    /// A check that was to be tried again, which a stop has kept from it.
    Failed(Box<Failed>),
    /// From here on, outcomes are of this run: it begins, or the clock was stepped back.
    Run(u32),
    /// From here on these are the targets.
    Targets(Vec<Arc<Target>>, Canaries),
}

/// What is to be watched.
pub struct Plan {
    /// All targets; no two have the same name.
    pub targets: Vec<Arc<Target>>,
    /// Roots for them.
    pub trust: Trust,
    /// Who tells our own network's trouble from theirs; for the judge.
    pub canaries: Canaries,
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
    pub(super) judged: Sender<Judged>,
    pub(super) waker: MultiWaker,
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
    /// When it came back.
    pub ended_at: Instant,
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
    /// How long a clock that is not synchronised is waited for on a host that has just booted.
    pub clock_wait: Duration,
}

/// The line to a watch under way, from any thread.
#[derive(Clone)]
pub struct Control {
    pub(super) plans: Sender<Plan>,
    pub(super) waker: MultiWaker,
}

impl Control {
    /// Gives it another plan.
    pub fn plan(&self, plan: Plan) {
        // One that has ended plans no more.
        let _ = self.plans.try_send(plan);
        self.wake();
    }

    /// Makes it look at once whether it is told to stop.
    pub fn wake(&self) {
        if self.waker.wakeup().is_err() {
            log::debug!("the watch cannot be woken: it looks within a second");
        }
    }
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
