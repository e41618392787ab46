//! Stage behind the connections: judges replies, and logs when the state of a target changes.
//!
//! Takes: findings of the watch. Gives: records. Ends when: the watch has ended and its queue is empty, or
//! nobody takes records any more. On failure: there is none.

mod uplink;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use smol::channel::Receiver;

use self::uplink::Answer as Answered;
pub use self::uplink::{Settled, Uplink};
use super::message::{Answer, Failed, Found, Give, Given, Judged, Line};
use crate::clock;
use crate::cmd::daemon::Shared;
use crate::model::judge::{Order, judge};
use crate::model::outcome::{Cause, Outcome, Verdict};
use crate::model::record::{NodeState, Record};
use crate::model::target::Target;
use crate::show::screen::Screen;
use crate::show::text::reason;
use crate::show::time::span;

/// State of each target, and its start in milliseconds since 1970.
pub type Stands = HashMap<Arc<str>, (Verdict, i64)>;

/// Stage that judges replies.
pub struct Judge {
    /// Findings of the watch, batch by batch.
    pub found: Receiver<Vec<Found>>,
    /// Way to the next stage.
    pub give: Give,
    /// Way back to the watch.
    pub line: Line,
    /// Number of the present run.
    pub run: u32,
    /// Holds checks that may have failed through our own network.
    pub uplink: Uplink,
    /// State of each target, and its start.
    pub stands: Stands,
    /// Counters of `/health`.
    pub shared: Arc<Shared>,
    /// Live view on the terminal, if there is one.
    pub screen: Option<Arc<Mutex<Screen>>>,
    /// Name of this node.
    pub node: Arc<str>,
    /// Targets whose certificate ends soon and that were logged for it, with the state and due time of the
    /// latest such check.
    pub soon: Stands,
    /// Records of the batch under way, for the next stage.
    pub records: Vec<Record>,
}

/// Event that the judge waits for.
enum Event {
    /// Findings of the watch; none: the watch has ended.
    Found(Option<Vec<Found>>),
    Canary(Option<Answered>),
}

impl Judge {
    /// Judges until the watch has ended.
    pub fn run(mut self) {
        loop {
            let found = async { Event::Found(self.found.recv().await.ok()) };
            let canary = async { Event::Canary(self.uplink.next().await) };
            // `race` is fair between two that are ready: neither must wait for the other to be empty.
            let goes_on = match smol::block_on(smol::future::race(found, canary)) {
                Event::Found(Some(found)) => found.into_iter().all(|found| self.take(found)),
                Event::Canary(answer) => {
                    let settled = self.uplink.go_on(answer, Instant::now());
                    self.settle(settled);
                    true
                }
                Event::Found(None) => break,
            };
            if !goes_on || !self.give() {
                return;
            }
        }
        // Checks that are still in doubt wait for the canaries, for one round.
        self.uplink.hasten();
        while self.uplink.is_holding() {
            let answer = smol::block_on(self.uplink.next());
            let settled = self.uplink.go_on(answer, Instant::now());
            self.settle(settled);
            if !self.give() {
                return;
            }
        }
    }

    /// Takes one finding of the watch. Returns false once nobody takes records any more.
    fn take(&mut self, found: Found) -> bool {
        match found {
            Found::Reply(answer) => {
                let settled = self.judge(*answer);
                self.settle(settled);
            }
            Found::Failed(failed) => {
                let Failed { target, silence, outcome, .. } = *failed;
                let settled = self.uplink.take(&target, silence, outcome, Instant::now());
                self.settle(settled);
            }
            Found::Gap(gap) => {
                self.shared.change(|health| health.missed += gap.count);
                log::debug!("{}: {} slots missed: {}", gap.target, gap.count, gap.cause.as_str());
                self.records.push(Record::Gap(gap));
            }
            Found::Run(run) => {
                self.run = run;
                let mut state = NodeState::new(&self.node, run, clock::now_ms());
                state.clock_synced = clock::is_synchronised();
                self.records.push(Record::Node(state));
            }
            Found::Targets(targets, canaries) => {
                self.uplink.plan(&targets, &canaries);
                self.plan(&targets);
                return self.give() && (self.give)(Given::Targets(targets, self.run));
            }
        }
        true
    }

    /// Hands the gathered records to the next stage. Returns false once nobody takes them any more.
    fn give(&mut self) -> bool {
        self.records.is_empty() || (self.give)(Given::Records(std::mem::take(&mut self.records)))
    }

    /// Forgets the targets that are no longer watched; `/health` and the screen learn of the new ones.
    fn plan(&mut self, targets: &[Arc<Target>]) {
        let names: HashSet<&str> = targets.iter().map(|target| &*target.name).collect();
        self.stands.retain(|name, _| names.contains(&**name));
        self.soon.retain(|name, _| names.contains(&**name));
        self.shared.change(|health| health.targets = targets.len() as u64);
        if let Some(screen) = &self.screen {
            let shown = targets.iter().map(|t| (Arc::clone(&t.name), t.shown_url()));
            screen.lock().unwrap_or_else(PoisonError::into_inner).targets(shown);
        }
    }

    fn settle(&mut self, settled: impl IntoIterator<Item = Settled>) {
        for settled in settled {
            let record = self.settled(settled);
            self.records.push(record);
        }
    }

    /// Judges one reply. Returns every outcome that is final now, those of other checks that the reply
    /// settles included. The reply's own is missing if the check is tried again or in doubt.
    fn judge(&mut self, answer: Answer) -> Vec<Settled> {
        let now = answer.ended_at;
        let (target, silence) = (Arc::clone(&answer.target), answer.reply.silence);
        let mut settled = self.uplink.heard(&target, &answer.reply, now);
        if let Some(outcome) = self.try_again(answer) {
            settled.extend(self.uplink.take(&target, silence, outcome, now));
        }
        settled
    }

    /// Judges the reply of one attempt. Returns none if the check is tried again.
    fn try_again(&self, answer: Answer) -> Option<Outcome> {
        let Answer { index, target, order, reply, held, .. } = answer;
        let silence = reply.silence;
        let outcome = judge(&target, &order, reply);
        // The body is no longer needed: its memory is free before we wait for the next stage.
        drop(held);
        if target.attempts == 1 {
            return Some(outcome);
        }
        if outcome.verdict != Verdict::Down || order.attempt >= target.attempts {
            // A watch that has ended plans no more: it need not know.
            let _ = self.line.tell(Judged::Done(index));
            return Some(outcome);
        }
        log::debug!("{}: attempt {} failed", outcome.target, order.attempt);
        let order = Order { attempt: order.attempt + 1, ..order };
        let failed = Box::new(Failed { index, order, outcome, target, silence });
        match self.line.tell(Judged::Failed(failed)) {
            Err(Judged::Failed(failed)) => Some(failed.outcome),
            _ => None,
        }
    }

    /// Turns a settled check into a record; counts, shows and logs its outcome.
    fn settled(&mut self, Settled { outcome, is_told }: Settled) -> Record {
        self.shared.change(|health| health.checks += 1);
        self.show(&outcome);
        if !is_told {
            self.tell(&outcome);
        }
        Record::Check(Box::new(outcome))
    }

    /// Logs once that a certificate ends soon, and again only after a check that was up without that cause.
    fn tell_soon(&mut self, outcome: &Outcome) {
        if outcome.cause == Some(Cause::CertificateSoon) {
            let since = (outcome.verdict, outcome.due_ms);
            if self.soon.insert(Arc::clone(&outcome.target), since).is_none() {
                let why = outcome.error.as_deref().unwrap_or_default();
                log::warn!("{}: {why}", outcome.target);
            }
        } else if outcome.verdict.state() == Verdict::Up {
            self.soon.remove(&outcome.target);
        }
    }

    fn show(&self, outcome: &Outcome) {
        if let Some(screen) = &self.screen {
            screen.lock().unwrap_or_else(PoisonError::into_inner).outcome(outcome);
        }
    }

    /// Logs the outcome if it changes how the target stands.
    fn tell(&mut self, outcome: &Outcome) {
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
            // A target that is up from the start is no change.
            (_, None) => log::debug!("{name} is up"),
            (_, Some((was, since_ms))) => {
                let time = span(outcome.due_ms - since_ms);
                log::info!("{name} is up again, after {time} {}", was.as_str());
            }
        }
    }
}
