//! Messages between the scheduler and the judge: plans and the judge's decisions go to the scheduler, ended
//! attempts and missed slots to the judge.

use std::sync::Arc;
use std::time::Instant;

use curl::multi::MultiWaker;
use smol::channel::{Sender, TrySendError};

use crate::check::Permit;
use crate::check::trust::Trust;
use crate::model::attempts::Attempt;
use crate::model::judge::Reply;
use crate::model::outcome::{Gap, Outcome};
use crate::model::target::Target;
use crate::model::uplink::{Canaries, Silence};

/// Message from the scheduler to the judge.
pub enum Finding {
    /// Attempt that has ended.
    Reply(Box<EndedAttempt>),
    /// Slots that were missed.
    Gap(Gap),
    /// Failed attempt whose next attempt is not made, because of a stop.
    Abandoned(Box<FailedAttempt>),
    /// Number of the run that all later outcomes belong to. Sent at the start, and when the clock was stepped
    /// back.
    Run(u32),
    /// Targets and canaries from here on.
    Targets(Vec<Arc<Target>>, Canaries),
}

/// Plan of the scheduler: targets, and all that their checks need.
pub struct Plan {
    /// All targets; no two have the same name.
    pub targets: Vec<Arc<Target>>,
    /// Roots for the targets.
    pub trust: Trust,
    /// Hosts that show whether our own network works; for the judge.
    pub canaries: Canaries,
}

/// Decision of the judge about a check of a target with several attempts.
pub enum Decision {
    /// The attempt failed: make the next one.
    TryAgain(Box<FailedAttempt>),
    /// The check is over. The number is that of its target, as in [`EndedAttempt::index`].
    Done(usize),
}

/// Attempt of a check that has ended and is not judged yet.
pub struct EndedAttempt {
    /// Number of the target in the scheduler.
    pub index: usize,
    /// Target of the check.
    pub target: Arc<Target>,
    /// Attempt that has ended.
    pub attempt: Attempt,
    /// Reply of the site.
    pub reply: Reply,
    /// Memory that the body takes; drop it together with the body.
    pub permit: Option<Permit>,
    /// Time at which the attempt had ended.
    pub ended_at: Instant,
}

/// Failed attempt of a check, with the next attempt.
pub struct FailedAttempt {
    /// Number of the target, as in [`EndedAttempt::index`].
    pub index: usize,
    /// Next attempt.
    pub attempt: Attempt,
    /// Outcome of the check if there is no next attempt.
    pub outcome: Outcome,
    /// Target of the check.
    pub target: Arc<Target>,
    /// Kind of silence, as in [`Reply::silence`].
    pub silence: Option<Silence>,
}

/// Sender of the judge's decisions to the scheduler.
pub struct DecisionSender {
    pub(in crate::stage) decisions: Sender<Decision>,
    pub(in crate::stage) waker: MultiWaker,
}

impl DecisionSender {
    /// Sends a decision to the scheduler, and wakes it.
    ///
    /// # Errors
    /// The scheduler has ended; gives the decision back.
    pub fn send(&self, decision: Decision) -> Result<(), Decision> {
        self.decisions.try_send(decision).map_err(TrySendError::into_inner)?;
        // A scheduler that cannot be woken reads the decision within a second.
        let _ = self.waker.wakeup();
        Ok(())
    }
}

/// Handle to a running scheduler, for any thread.
#[derive(Clone)]
pub struct SchedulerHandle {
    pub(in crate::stage) plans: Sender<Plan>,
    pub(in crate::stage) waker: MultiWaker,
}

impl SchedulerHandle {
    /// Gives the scheduler a new plan, in place of the one before.
    pub fn replace_plan(&self, plan: Plan) {
        // A scheduler that has ended takes no plan.
        let _ = self.plans.try_send(plan);
        self.wake();
    }

    /// Wakes the scheduler, so that it sees a stop or a new plan at once.
    pub fn wake(&self) {
        if self.waker.wakeup().is_err() {
            log::debug!("the scheduler cannot be woken: it looks within a second");
        }
    }
}
