//! Holds back the checks that nobody answered, until it is clear whether the site or our own network was the
//! reason.
//!
//! While checks are held, canaries are asked in rounds: those of the configuration, else the brokers of Kafka
//! and some targets. An answer from at least the same distance settles the checks that had ended before: they
//! are down. A check is unknown if a whole round has brought no such answer. If nobody can be asked, a check
//! is down at once; only a check whose name was not found is unknown, since the site itself was never asked.
//!
//! Nothing is done here: each call returns the actions that its caller has to carry out, in their order.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::canary::{Canary, CanaryAnswer};
use super::settlement::{NOTHING_ELSE_ANSWERS, PROXY_IS_SILENT, SettledCheck, plain, unknown};
use super::{Canaries, Distance, DoubtfulCheck, Evidence, Silence, distance};
use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::{Cause, Outcome, Verdict};
use crate::model::target::{Target, is_name};

/// Shortest time between the end of a round and the start of the next.
const PAUSE: Duration = Duration::from_secs(3);

/// Action that the caller of [`Uplink`] has to carry out.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most actions are the large one")]
pub enum UplinkAction {
    /// Take this outcome, which is final.
    Settle(SettledCheck),
    /// Ask this canary for the round with this number, and pass its answer to [`Uplink::advance`]. If the
    /// canary cannot be asked, call [`Uplink::note_not_asked`].
    Ask(Canary, u64),
    /// Log that the uplink is away, for this reason.
    ReportAway(String),
    /// Log that the uplink is back, after this time.
    ReportBack(Duration),
}

impl From<SettledCheck> for UplinkAction {
    fn from(settled: SettledCheck) -> UplinkAction {
        UplinkAction::Settle(settled)
    }
}

/// Checks in doubt, and the facts that settle them.
#[derive(Default)]
pub struct Uplink {
    pub(super) canaries: Vec<Canary>,
    /// Targets without a proxy, by name, as hosts that can be asked.
    pub(super) targets: HashMap<Arc<str>, TargetContact>,
    /// True if targets may take the place of canaries.
    pub(super) stands_in: bool,
    evidence: Evidence,
    /// Hosts of proxies, and the last time that each has answered. A target has one at most, so that they are
    /// few.
    proxies: Vec<(String, Instant)>,
    /// Checks in doubt, in the order in which they came.
    pub(super) held: Vec<HeldCheck>,
    /// Round under way.
    pub(super) round: Option<Round>,
    /// Number of rounds that have begun.
    pub(super) rounds: u64,
    /// Earliest start of the next round; none: at once.
    may_begin: Option<Instant>,
    /// True if no more checks come: the round that ends next is the last.
    is_last: bool,
    /// Check that must be settled before the uplink counts as back; none if the uplink is not away.
    away: Option<DoubtfulCheck>,
    /// Last time that the uplink came back.
    back: Option<Instant>,
}

/// Target as a host that can be asked, and the last time that it has answered.
pub(super) struct TargetContact {
    pub(super) canary: Canary,
    pub(super) answered: Option<Instant>,
}

/// Check in doubt.
pub(super) struct HeldCheck {
    pub(super) doubt: DoubtfulCheck,
    outcome: Outcome,
    /// Proxy of the target, if there is one: only its answer settles the check.
    pub(super) via: Option<Canary>,
    /// Number of rounds that had begun when the check came.
    pub(super) round: u64,
}

/// Round in which canaries are being asked.
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) ends: Instant,
    pub(super) asked: Vec<Canary>,
    /// Hosts of the canaries that have answered.
    pub(super) answered: Vec<String>,
    /// Number of canaries without an answer so far.
    pub(super) open: usize,
}

impl Uplink {
    /// Replaces the targets and the canaries. For a target with the same host and port as before, the
    /// distance and the time of the last answer are kept.
    pub fn replace_targets(&mut self, targets: &[Arc<Target>], canaries: &Canaries) {
        let mut old = std::mem::take(&mut self.targets);
        let mut contact = |target: &Arc<Target>| {
            let host = target.connect.resolve.map(|address| address.to_string());
            let host = host.or_else(|| Some(target.url.host_str()?.to_owned()))?;
            let canary = Canary::new(&host, target.url.port_or_known_default()?);
            let known = old.remove(&target.name).filter(|known| known.canary.is_same(&canary));
            let contact = known.unwrap_or(TargetContact { canary, answered: None });
            Some((Arc::clone(&target.name), contact))
        };
        // We can ask a target only directly: behind a proxy that would prove nothing.
        let eligible = targets.iter().filter(|target| target.connect.proxy.is_none());
        self.targets = eligible.filter_map(&mut contact).collect();
        self.canaries = canaries.hosts.iter().filter_map(|text| Canary::read(text)).collect();
        self.stands_in = canaries.stands_in;
    }

    /// Notes that somebody has answered, if the reply shows that. Returns the checks that are settled by the
    /// answer.
    pub fn note_reply(
        &mut self,
        target: &Target,
        reply: &Reply,
        now: Instant,
    ) -> Vec<UplinkAction> {
        let address = reply.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        // Two kinds of replies prove nothing about the present: one that went silent, whose connection was
        // made some time ago; and one that failed by our clock or overload, which may have waited for us.
        let is_ours = |fault: &CheckFault| matches!(fault.cause, Cause::Clock | Cause::Overload);
        let is_clock = reply.fault.as_ref().is_some_and(is_ours);
        let is_news = reply.silence.is_none() && !is_clock && target.connect.proxy.is_none();
        let Some(address) = address.filter(|_| is_news) else { return Vec::new() };
        let distance = distance(address);
        if let Some(contact) = self.targets.get_mut(&target.name).filter(|_| reply.redirects == 0) {
            contact.answered = Some(now);
            contact.canary.distance = Some(distance);
        }
        let by_name =
            target.connect.resolve.is_none() && is_name(&target.url) && reply.reused != Some(true);
        self.evidence.answered(now, distance, by_name);
        self.settled(now)
    }

    /// Takes a check as it was judged. Settles the check at once if there is no doubt about it, or if nobody
    /// could settle the doubt; else holds it, and returns no action.
    pub fn settle_or_hold(
        &mut self,
        target: &Target,
        silence: Option<Silence>,
        outcome: Outcome,
        now: Instant,
    ) -> Vec<UplinkAction> {
        // A missing route may be the fault of the target alone, or of the uplink.
        let no_route = (outcome.cause == Some(Cause::Uplink)).then_some(Silence::Path);
        let silence = silence.filter(|_| outcome.verdict == Verdict::Down).or(no_route);
        let Some(silence) = silence.filter(|_| !target.own_network) else {
            return vec![plain(outcome).into()];
        };
        let began = now.checked_sub(Duration::from_micros(outcome.total_us)).unwrap_or(now);
        let distance = self.targets.get(&target.name).and_then(|contact| contact.canary.distance);
        let distance = distance.unwrap_or(Distance::Public);
        let doubt = DoubtfulCheck { began, since: now, silence, distance };
        if let Some(proxy) = target.connect.proxy.as_ref().filter(|_| silence == Silence::Path) {
            // A missing route needs no second opinion. A proxy that was silent is asked in the next round.
            let via = Canary::proxy(&proxy.url);
            if no_route.is_some() || via.is_none() {
                return vec![plain(outcome).into()];
            }
            self.hold(doubt, outcome, via);
            return Vec::new();
        }
        if doubt.distance == Distance::Loopback && silence == Silence::Path {
            return vec![plain(outcome).into()];
        }
        if !self.can_settle(&doubt, &outcome.target) {
            return match silence {
                Silence::NameServers if !self.evidence.clears_uplink_of(&doubt) => {
                    self.settle_unasked(&doubt, outcome)
                }
                _ => vec![plain(outcome).into()],
            };
        }
        if self.back.is_some_and(|back| began < back) {
            return vec![unknown(outcome, NOTHING_ELSE_ANSWERS).into()];
        }
        if self.evidence.clears_uplink_of(&doubt) {
            return vec![plain(outcome).into()];
        }
        self.hold(doubt, outcome, None);
        Vec::new()
    }

    fn hold(&mut self, doubt: DoubtfulCheck, outcome: Outcome, via: Option<Canary>) {
        self.held.push(HeldCheck { doubt, outcome, via, round: self.rounds });
    }

    /// Makes the round under way the last, since no more checks come; without one, the last round begins at
    /// once.
    pub fn begin_last_round(&mut self) {
        self.is_last = true;
        self.may_begin = None;
    }

    /// Returns true if checks are held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns the time at which [`Uplink::advance`] must be called, even without an answer. None if there is
    /// nothing to wait for.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        match &self.round {
            Some(round) => Some(round.ends),
            None if self.is_holding() => Some(self.may_begin.unwrap_or(now)),
            None => None,
        }
    }

    /// Takes an answer, or notes that the time of [`Uplink::next_at`] has come.
    pub fn advance(&mut self, answer: Option<CanaryAnswer>, now: Instant) -> Vec<UplinkAction> {
        if let Some(answer) = answer {
            self.note(&answer);
        }
        let mut settled = self.settled(now);
        match self.round.take() {
            Some(round) if round.open == 0 || round.ends <= now => {
                self.may_begin = Some(now + PAUSE);
                settled.extend(self.conclude(&round, now));
            }
            None if self.is_holding() && self.may_begin.is_none_or(|at| at <= now) => {
                settled.extend(self.begin_round(now));
            }
            round => self.round = round,
        }
        settled
    }

    /// Notes the answer of a canary, and its distance.
    fn note(&mut self, answer: &CanaryAnswer) {
        if let Some(distance) = answer.named {
            self.evidence.named(answer.at, distance);
        }
        if let Some(distance) = answer.distance {
            self.evidence.answered(answer.at, distance, false);
        }
        if answer.is_proxy && answer.distance.is_some() {
            self.proxies.retain(|(host, _)| *host != answer.host);
            self.proxies.push((answer.host.clone(), answer.at));
        }
        let round = self.round.as_mut().filter(|round| round.number == answer.round);
        let asked = round.map(|round| {
            round.open -= 1;
            if answer.distance.or(answer.named).is_some() {
                round.answered.push(answer.host.clone());
            }
            &mut round.asked
        });
        let canaries = self.canaries.iter_mut().chain(asked.into_iter().flatten());
        for canary in canaries.filter(|canary| canary.host == answer.host) {
            canary.distance = answer.distance.or(answer.named).or(canary.distance);
        }
    }

    /// Settles the held checks that an answer has decided: they are down, or unknown if the uplink was away
    /// at their start.
    fn settled(&mut self, now: Instant) -> Vec<UplinkAction> {
        let mut actions = Vec::new();
        if let Some(away) = self.away.take_if(|away| self.evidence.clears_uplink_of(away)) {
            actions.push(UplinkAction::ReportBack(now.saturating_duration_since(away.since)));
            self.back = Some(now);
        }
        let (evidence, back, proxies) = (self.evidence, self.back, &self.proxies);
        let settled = self.held.extract_if(.., |held| match &held.via {
            Some(proxy) => {
                proxies.iter().any(|(host, at)| *host == proxy.host && *at >= held.doubt.since)
            }
            None => evidence.clears_uplink_of(&held.doubt),
        });
        let judged = settled.map(|HeldCheck { doubt, outcome, via, .. }| match back {
            Some(back) if doubt.began < back && via.is_none() => {
                UplinkAction::from(unknown(outcome, NOTHING_ELSE_ANSWERS))
            }
            _ => plain(outcome).into(),
        });
        actions.extend(judged);
        actions
    }

    /// Ends a round, and settles the checks that were held at its start. A check is unknown if some host of
    /// the round could have settled it. Otherwise it is down, or unknown if its name was not found. Later
    /// checks wait for the next round.
    fn conclude(&mut self, round: &Round, now: Instant) -> Vec<UplinkAction> {
        let is_last = self.is_last;
        let held = self.held.extract_if(.., |held| is_last || held.round < round.number);
        let held: Vec<HeldCheck> = held.collect();
        held.into_iter().flat_map(|held| self.conclude_check(held, round, now)).collect()
    }

    fn conclude_check(
        &mut self,
        held: HeldCheck,
        round: &Round,
        now: Instant,
    ) -> Vec<UplinkAction> {
        let HeldCheck { doubt, outcome, via, round: came } = held;
        if let Some(proxy) = via {
            let is_asked = round.asked.iter().any(|canary| canary.is_same(&proxy));
            let settled = if is_asked { unknown(outcome, PROXY_IS_SILENT) } else { plain(outcome) };
            return vec![SettledCheck { is_logged: false, ..settled }.into()];
        }
        let doubt_now = DoubtfulCheck { since: now, ..doubt };
        let own = self.targets.get(&outcome.target).map(|contact| &*contact.canary.host);
        let mut could =
            round.asked.iter().filter(|canary| canary.speaks_for(&doubt, own)).peekable();
        if could.peek().is_none() {
            return match doubt.silence {
                Silence::NameServers => self.settle_unasked(&doubt_now, outcome),
                Silence::Path => vec![plain(outcome).into()],
            };
        }
        // A check that came during the last round has no later round: an answer that is some seconds old has
        // to do.
        let has_answered = |canary: &Canary| round.answered.contains(&canary.host);
        if came >= round.number && could.any(has_answered) {
            return vec![plain(outcome).into()];
        }
        self.settle_away(unknown(outcome, NOTHING_ELSE_ANSWERS), &doubt_now)
    }

    /// Settles a check as unknown, since nobody can be asked.
    fn settle_unasked(&mut self, doubt: &DoubtfulCheck, outcome: Outcome) -> Vec<UplinkAction> {
        let known = self.targets.get(&outcome.target).and_then(|contact| contact.canary.distance);
        // Any name that is found again ends the outage, if the distance of this target is not known.
        let doubt = DoubtfulCheck { distance: known.unwrap_or(Distance::Private), ..*doubt };
        self.settle_away(unknown(outcome, "no other host can be asked"), &doubt)
    }

    /// Settles a check as unknown because the uplink is away; reports the first such check of an outage.
    fn settle_away(&mut self, settled: SettledCheck, doubt: &DoubtfulCheck) -> Vec<UplinkAction> {
        let mut actions = Vec::new();
        if self.away.is_none() {
            let Outcome { target, error, .. } = &settled.outcome;
            let why = error.as_deref().unwrap_or_default();
            actions.push(UplinkAction::ReportAway(format!("{target}: {why}")));
            self.away = Some(*doubt);
        }
        actions.push(settled.into());
        actions
    }
}

#[cfg(test)]
mod tests;
