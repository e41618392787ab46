//! Stage behind the connections: judges replies, and logs when the state of a target changes.
//!
//! Takes: findings of the scheduler. Gives: records. Ends when: the scheduler has ended and its queue is
//! empty, or nobody takes records any more. On failure: there is none.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use smol::channel::Receiver;

use super::messages::{
    Decision, DecisionSender, EndedAttempt, FailedAttempt, Finding, JudgeOutput, OutputSink,
};
use crate::check::canary::CanaryClient;
use crate::clock;
use crate::model::health::SharedHealth;
use crate::model::judge::judge;
use crate::model::outcome::{Cause, Outcome, Verdict};
use crate::model::record::{NodeState, Record};
use crate::model::standing::{NodeStanding, Observation, Transition};
use crate::model::target::Target;
use crate::model::uplink::{CanaryAnswer, SettledCheck, Uplink, UplinkAction};
use crate::show::screen::Screen;
use crate::show::text::describe_reason;
use crate::show::time::show_span;

/// State of each target on this node, as it was logged.
pub type TargetStates = HashMap<Arc<str>, NodeStanding>;

/// Stage that judges replies.
pub struct Judge {
    /// Findings of the scheduler, batch by batch.
    pub findings: Receiver<Vec<Finding>>,
    /// Way to the next stage.
    pub sink: OutputSink,
    /// Way back to the scheduler.
    pub decisions: DecisionSender,
    /// Number of the present run.
    pub run: u32,
    /// Holds checks that may have failed through our own network.
    pub uplink: Uplink,
    /// Asks the hosts that show whether our own network works.
    pub canaries: CanaryClient,
    /// State of each target.
    pub states: TargetStates,
    /// Health of the daemon.
    pub health: Arc<SharedHealth>,
    /// Live view on the terminal, if there is one.
    pub screen: Option<Arc<Mutex<Screen>>>,
    /// Name of this node.
    pub node: Arc<str>,
    /// Targets that were logged because their certificate ends soon.
    pub soon_ending: HashSet<Arc<str>>,
    /// Records of the batch under way, for the next stage.
    pub records: Vec<Record>,
}

/// Event that the judge waits for.
enum Event {
    /// Findings of the scheduler; none: the scheduler has ended.
    Findings(Option<Vec<Finding>>),
    Canary(Option<CanaryAnswer>),
}

impl Judge {
    /// Judges until the scheduler has ended.
    pub fn run(mut self) {
        // A break says that nobody takes records any more: there is nothing left to do.
        let _ = self.judge_all();
    }

    fn judge_all(&mut self) -> ControlFlow<()> {
        loop {
            let until = self.uplink.next_at(Instant::now());
            let findings = async { Event::Findings(self.findings.recv().await.ok()) };
            let answer = async { Event::Canary(self.canaries.next_answer(until).await) };
            // `race` is fair: if both channels are ready, a busy one does not hold up the other.
            match smol::block_on(smol::future::race(findings, answer)) {
                Event::Findings(Some(findings)) => {
                    findings.into_iter().try_for_each(|finding| self.take(finding))?;
                }
                Event::Findings(None) => break,
                Event::Canary(answer) => self.advance_uplink(answer),
            }
            self.send_records()?;
        }
        // Checks that are still in doubt wait for the canaries, for one round.
        self.uplink.begin_last_round();
        while self.uplink.is_holding() {
            let until = self.uplink.next_at(Instant::now());
            let answer = smol::block_on(self.canaries.next_answer(until));
            self.advance_uplink(answer);
            self.send_records()?;
        }
        ControlFlow::Continue(())
    }

    /// Takes one finding of the scheduler. Breaks once nobody takes records any more.
    fn take(&mut self, finding: Finding) -> ControlFlow<()> {
        match finding {
            Finding::Reply(attempt) => self.judge(*attempt),
            Finding::Abandoned(failed) => {
                let FailedAttempt { target, silence, outcome, .. } = *failed;
                let actions = self.uplink.settle_or_hold(&target, silence, outcome, Instant::now());
                self.perform(actions);
            }
            Finding::Gap(gap) => {
                self.health.count(|counters| counters.missed += gap.count);
                log::debug!("{}: {} slots missed: {}", gap.target, gap.count, gap.cause.as_str());
                self.records.push(Record::Gap(gap));
            }
            Finding::Run(run) => {
                self.run = run;
                let mut state = NodeState::new(&self.node, run, clock::now_ms());
                state.clock_synced = clock::is_synchronised();
                self.records.push(Record::Node(state));
            }
            Finding::Targets(targets, canaries) => {
                self.uplink.replace_targets(&targets, &canaries);
                self.apply_targets(&targets);
                self.send_records()?;
                return (self.sink)(JudgeOutput::Targets(targets, self.run));
            }
        }
        ControlFlow::Continue(())
    }

    /// Hands the gathered records to the next stage. Breaks once nobody takes them any more.
    fn send_records(&mut self) -> ControlFlow<()> {
        if self.records.is_empty() {
            return ControlFlow::Continue(());
        }
        (self.sink)(JudgeOutput::Records(std::mem::take(&mut self.records)))
    }

    fn advance_uplink(&mut self, answer: Option<CanaryAnswer>) {
        let actions = self.uplink.advance(answer, Instant::now());
        self.perform(actions);
    }

    /// Carries out what the uplink decided.
    fn perform(&mut self, actions: Vec<UplinkAction>) {
        for action in actions {
            if let Some(settled) = perform(action, &mut self.uplink, &self.canaries) {
                let record = self.record_of(settled);
                self.records.push(record);
            }
        }
    }

    /// Forgets the targets that are no longer watched; `/health` and the screen learn of the new ones.
    fn apply_targets(&mut self, targets: &[Arc<Target>]) {
        let names: HashSet<&str> = targets.iter().map(|target| &*target.name).collect();
        self.states.retain(|name, _| names.contains(&**name));
        self.soon_ending.retain(|name| names.contains(&**name));
        self.health.count(|counters| counters.targets = targets.len() as u64);
        if let Some(screen) = &self.screen {
            let shown = targets.iter().map(|t| (Arc::clone(&t.name), t.shown_url()));
            screen.lock().unwrap_or_else(PoisonError::into_inner).set_targets(shown);
        }
    }

    /// Judges one reply, and takes every outcome that is final now: those of other checks that the reply
    /// settles included. The reply's own is missing if the check is tried again or in doubt.
    fn judge(&mut self, attempt: EndedAttempt) {
        let now = attempt.ended_at;
        let (target, silence) = (Arc::clone(&attempt.target), attempt.reply.silence);
        let actions = self.uplink.note_reply(&target, &attempt.reply, now);
        self.perform(actions);
        if let Some(outcome) = self.try_again(attempt) {
            let actions = self.uplink.settle_or_hold(&target, silence, outcome, now);
            self.perform(actions);
        }
    }

    /// Judges the reply of one attempt. Returns none if the check is tried again.
    fn try_again(&self, answer: EndedAttempt) -> Option<Outcome> {
        let EndedAttempt { index, target, attempt, reply, permit, .. } = answer;
        let silence = reply.silence;
        let outcome = judge(&target, &attempt, reply);
        // The body is no longer needed: its memory is free before we wait for the next stage.
        drop(permit);
        let Some(next) = attempt.next(&target, outcome.verdict) else {
            if target.attempts > 1 {
                // a scheduler that has ended plans no more: it need not know.
                let _ = self.decisions.send(Decision::Done(index));
            }
            return Some(outcome);
        };
        log::debug!("{}: attempt {} failed", outcome.target, attempt.number);
        let attempt = next;
        let failed = Box::new(FailedAttempt { index, attempt, outcome, target, silence });
        match self.decisions.send(Decision::TryAgain(failed)) {
            Err(Decision::TryAgain(failed)) => Some(failed.outcome),
            _ => None,
        }
    }

    /// Turns a settled check into a record; counts, shows and logs its outcome.
    fn record_of(&mut self, SettledCheck { outcome, is_logged }: SettledCheck) -> Record {
        self.health.count(|counters| counters.checks += 1);
        self.show(&outcome);
        if !is_logged {
            self.log_change(&outcome);
        }
        Record::Check(Box::new(outcome))
    }

    /// Logs once that a certificate ends soon, and again only after a check that was up without that cause.
    fn log_certificate(&mut self, outcome: &Outcome) {
        if outcome.cause == Some(Cause::CertificateSoon) {
            if self.soon_ending.insert(Arc::clone(&outcome.target)) {
                let why = outcome.error.as_deref().unwrap_or_default();
                log::warn!("{}: {why}", outcome.target);
            }
        } else if outcome.verdict.state() == Verdict::Up {
            self.soon_ending.remove(&outcome.target);
        }
    }

    fn show(&self, outcome: &Outcome) {
        if let Some(screen) = &self.screen {
            screen.lock().unwrap_or_else(PoisonError::into_inner).add_outcome(outcome);
        }
    }

    /// Logs the outcome if it changes the state of its target.
    fn log_change(&mut self, outcome: &Outcome) {
        self.log_certificate(outcome);
        let before = self.states.get(&outcome.target).copied();
        let check = Observation::from(outcome);
        let (state, transition) = NodeStanding::advance(before, check, clock::now_ms());
        self.states.insert(Arc::clone(&outcome.target), state);
        let Some(Transition { from, to, lasted_ms, .. }) = transition else { return };
        let name = &outcome.target;
        let why = describe_reason(outcome).unwrap_or_default();
        match (to, from) {
            (Verdict::Down, _) => log::warn!("{name} is down: {why}"),
            (Verdict::Unknown, _) => log::warn!("{name} is unknown: {why}"),
            // A target that is up from the start is no change.
            (_, None) => log::debug!("{name} is up"),
            (_, Some(from)) => {
                let time = show_span(lasted_ms);
                log::info!("{name} is up again, after {time} {}", from.as_str());
            }
        }
    }
}

/// Carries out one action of the uplink: returns the settled check, asks the canary, or writes to the log.
pub fn perform(
    action: UplinkAction,
    uplink: &mut Uplink,
    canaries: &CanaryClient,
) -> Option<SettledCheck> {
    match action {
        UplinkAction::Settle(settled) => return Some(settled),
        UplinkAction::Ask(canary, round) => {
            if !canaries.ask(canary.clone(), round) {
                uplink.note_not_asked(&canary, round);
            }
        }
        UplinkAction::ReportAway(why) => {
            log::warn!("the uplink is away: {why}; checks that nobody answers are unknown");
        }
        UplinkAction::ReportBack(after) => {
            log::info!("the uplink is back, after {}", show_span(after.as_millis() as i64));
        }
    }
    None
}
