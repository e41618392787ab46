//! Messages between the watch and the judge. Plans and the judge's decisions go to the watch; checks and gaps
//! go to the judge.

use std::sync::Arc;
use std::time::Instant;

use curl::multi::MultiWaker;
use smol::channel::{Sender, TrySendError};

use crate::check::Held;
use crate::check::trust::Trust;
use crate::clock;
use crate::model::judge::{Order, Reply};
use crate::model::outcome::{Gap, Outcome};
use crate::model::target::Target;
use crate::model::uplink::{Canaries, Silence};

/// Item that the watch gives to the judge.
pub enum Found {
    /// Attempt that has ended.
    Reply(Box<Answer>),
    /// Slots that were missed.
    Gap(Gap),
    /// Failed attempt whose next attempt is not made, because of a stop.
    Failed(Box<Failed>),
    /// Run of all outcomes from here on. Given at the start, and when the clock was stepped back.
    Run(u32),
    /// Targets and canaries from here on.
    Targets(Vec<Arc<Target>>, Canaries),
}

/// Plan of the watch: targets, and all that their checks need.
pub struct Plan {
    /// All targets; no two have the same name.
    pub targets: Vec<Arc<Target>>,
    /// Roots for the targets.
    pub trust: Trust,
    /// Hosts that show whether our own network works; for the judge.
    pub canaries: Canaries,
}

/// Decision of the judge about a check of a target with several attempts.
pub enum Judged {
    /// The attempt failed: make the next one.
    Failed(Box<Failed>),
    /// The check is over. The number is that of its target, as in [`Answer::index`].
    Done(usize),
}

/// Failed attempt of a check, with the order for the next one.
pub struct Failed {
    /// As in [`Answer::index`].
    pub index: usize,
    /// Order for the next attempt.
    pub order: Order,
    /// Outcome of the check if there is no next attempt.
    pub outcome: Outcome,
    /// Target of the check.
    pub target: Arc<Target>,
    /// As in [`Reply::silence`].
    pub silence: Option<Silence>,
}

/// Sender of the judge's decisions to the watch.
pub struct Line {
    pub(in crate::stage) judged: Sender<Judged>,
    pub(in crate::stage) waker: MultiWaker,
}

impl Line {
    /// Sends a decision to the watch, and wakes it.
    ///
    /// # Errors
    /// The watch has ended; gives the decision back.
    pub fn tell(&self, judged: Judged) -> Result<(), Judged> {
        self.judged.try_send(judged).map_err(TrySendError::into_inner)?;
        // A watch that cannot be woken reads the decision within a second.
        let _ = self.waker.wakeup();
        Ok(())
    }
}

/// Attempt of a check that has ended and is not judged yet.
pub struct Answer {
    /// Number of the target in the watch.
    pub index: usize,
    /// Target of the check.
    pub target: Arc<Target>,
    /// Order that the attempt was made for.
    pub order: Order,
    /// Reply of the site.
    pub reply: Reply,
    /// Room that the body takes; drop it together with the body.
    pub held: Option<Held>,
    /// Time at which the attempt had ended.
    pub ended_at: Instant,
}

/// Handle to a running watch, for any thread.
#[derive(Clone)]
pub struct Control {
    pub(in crate::stage) plans: Sender<Plan>,
    pub(in crate::stage) waker: MultiWaker,
}

impl Control {
    /// Gives the watch a new plan, in place of the one before.
    pub fn plan(&self, plan: Plan) {
        // A watch that has ended takes no plan.
        let _ = self.plans.try_send(plan);
        self.wake();
    }

    /// Wakes the watch, so that it sees a stop or a new plan at once.
    pub fn wake(&self) {
        if self.waker.wakeup().is_err() {
            log::debug!("the watch cannot be woken: it looks within a second");
        }
    }
}

/// Draws the number of a run: 31 random bits.
pub fn draw_run() -> u32 {
    let mut bytes = [0; 4];
    if openssl::rand::rand_bytes(&mut bytes).is_err() {
        // No randomness this early after boot: use the time instead.
        bytes = (clock::now_us() as u32).to_le_bytes();
    }
    u32::from_le_bytes(bytes) >> 1
}
