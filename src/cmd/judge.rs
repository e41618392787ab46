//! The stage behind the connections: judges what came back, tells of changes.
//!
//! Takes: what the watch found. Gives: records. Ends when: the watch has ended and its queue is
//! empty, or nobody takes records any more. On failure: there is none.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use smol::channel::Receiver;

use super::daemon::Shared;
use crate::check::watch::{Answer, Failed, Found, Judged, Line};
use crate::clock;
use crate::model::judge::{Order, judge};
use crate::model::outcome::{Cause, Outcome, Verdict};
use crate::model::record::{NodeState, Record};
use crate::show::screen::Screen;
use crate::show::text::reason;
use crate::show::time::span;

/// A state, and since when, in milliseconds since 1970.
pub type Stands = HashMap<Arc<str>, (Verdict, i64)>;

/// Takes a record, waiting while there is no room; false: nobody takes any more.
pub type Give = Box<dyn Fn(Record) -> bool + Send>;

/// The stage.
pub struct Judge {
    /// What the watch found.
    pub found: Receiver<Found>,
    /// To the next stage.
    pub give: Give,
    /// Back to the watch.
    pub line: Line,
    /// How each target stands.
    pub stands: Stands,
    /// What others may know of us.
    pub shared: Arc<Shared>,
    /// What is on the terminal.
    pub screen: Option<Arc<Mutex<Screen>>>,
    /// This node.
    pub node: Arc<str>,
    /// Targets whose certificate ends soon, as was told.
    pub soon: HashSet<Arc<str>>,
}

impl Judge {
    /// Judges until the watch has ended.
    pub fn run(mut self) {
        while let Ok(found) = self.found.recv_blocking() {
            let record = match found {
                Found::Reply(answer) => match self.judge(*answer) {
                    Some(outcome) => self.settled(outcome),
                    None => continue,
                },
                Found::Outcome(outcome) => self.settled(*outcome),
                Found::Gap(gap) => {
                    self.shared.change(|health| health.missed += gap.count);
                    log::debug!(
                        "{}: {} slots missed: {}",
                        gap.target,
                        gap.count,
                        gap.cause.as_str()
                    );
                    Record::Gap(gap)
                }
                Found::Run(run) => Record::Node(NodeState::new(&self.node, run, clock::now_ms())),
            };
            if !(self.give)(record) {
                return;
            }
        }
    }

    /// None: it is tried again.
    fn judge(&self, answer: Answer) -> Option<Outcome> {
        let Answer { index, target, order, reply, held } = answer;
        let outcome = judge(&target, &order, reply);
        // The body is gone, and makes room before we wait for the next stage.
        drop(held);
        if target.attempts == 1 {
            return Some(outcome);
        }
        if outcome.verdict != Verdict::Down || order.attempt >= target.attempts {
            // One that has ended plans no more.
            let _ = self.line.tell(Judged::Done(index));
            return Some(outcome);
        }
        log::debug!("{}: attempt {} failed", outcome.target, order.attempt);
        let order = Order { attempt: order.attempt + 1, ..order };
        match self.line.tell(Judged::Failed(Box::new(Failed { index, order, outcome }))) {
            Err(Judged::Failed(failed)) => Some(failed.outcome),
            _ => None,
        }
    }

    /// What holds of a check.
    fn settled(&mut self, outcome: Outcome) -> Record {
        self.shared.change(|health| health.checks += 1);
        self.tell(&outcome);
        Record::Check(Box::new(outcome))
    }

    /// Logs once that a certificate ends soon, until it does not.
    fn tell_soon(&mut self, outcome: &Outcome) {
        if outcome.cause == Some(Cause::CertificateSoon) {
            if self.soon.insert(Arc::clone(&outcome.target)) {
                let why = outcome.error.as_deref().unwrap_or_default();
                log::warn!("{}: {why}", outcome.target);
            }
        } else if outcome.verdict.state() == Verdict::Up {
            self.soon.remove(&outcome.target);
        }
    }

    /// Shows the outcome, and logs it if it changes how the target stands.
    fn tell(&mut self, outcome: &Outcome) {
        if let Some(screen) = &self.screen {
            screen.lock().unwrap_or_else(PoisonError::into_inner).outcome(outcome);
        }
        self.tell_soon(outcome);
        let state = outcome.verdict.state();
        let before = self.stands.get(&outcome.target).copied();
        if before.is_some_and(|(verdict, _)| verdict == state) {
            return;
        }
        self.stands.insert(Arc::clone(&outcome.target), (state, outcome.due_ms));
        let name = &outcome.target;
        let why = reason(outcome).unwrap_or_default();
        match (state, before) {
            (Verdict::Down, _) => log::warn!("{name} is down: {why}"),
            (Verdict::Unknown, _) => log::warn!("{name} is unknown: {why}"),
            // What is up from the start is no change.
            (_, None) => log::debug!("{name} is up"),
            (_, Some((was, since_ms))) => {
                let time = span(outcome.due_ms - since_ms);
                log::info!("{name} is up again, after {time} {}", was.as_str());
            }
        }
    }
}
