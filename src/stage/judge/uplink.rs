//! Them or us: holds back the checks that nobody answered until something shows whether our own network was
//! to blame. Part of the judge's stage, which also asks the canaries; `model::uplink` decides the meaning of
//! an answer.
//!
//! While checks are held, canaries are connected to, in rounds: those that are configured, else the brokers
//! of Kafka and some targets. An answer from far enough away settles the checks that had ended before it:
//! they are down. Checks that a whole round could have spoken for, and did not, are unknown. Where nobody can
//! be asked, a check is down at once; but a check whose name could not be looked up is unknown, since that is
//! no answer about a site.

mod canary;
mod round;
mod settlement;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

pub use self::canary::CanaryAnswer;
use self::canary::{AskCanary, Canary, ask};
pub use self::settlement::SettledCheck;
use self::settlement::{NOTHING_ELSE_ANSWERS, PROXY_IS_SILENT, plain, unknown};
use crate::model::judge::{Fault, Reply};
use crate::model::outcome::{Cause, Outcome, Verdict};
use crate::model::target::{Target, is_name};
use crate::model::uplink::{Canaries, Doubt, Evidence, Reach, Silence, reach};
use crate::show::time::span;

/// Least time between the end of a round and the beginning of the next.
const PAUSE: Duration = Duration::from_secs(3);

/// Part of the judge that holds the checks in doubt.
pub struct Uplink {
    canaries: Vec<Canary>,
    /// Places of the targets, and the last time that each answered.
    targets: HashMap<Arc<str>, TargetContact>,
    /// Targets may contact in for canaries.
    stands_in: bool,
    evidence: Evidence,
    /// Hosts of proxies, and the last time that each answered; few.
    proxies: Vec<(String, Instant)>,
    held: Vec<HeldCheck>,
    round: Option<Round>,
    rounds: u64,
    may_begin: Option<Instant>,
    /// No more checks come: the round that ends next is the last.
    is_last: bool,
    answers: Receiver<CanaryAnswer>,
    answers_in: Sender<CanaryAnswer>,
    ask: AskCanary,
    /// Doubt that must be settled before the uplink is back; none: the uplink is not away.
    away: Option<Doubt>,
    /// Last time that the uplink came back.
    back: Option<Instant>,
}

/// Canary of a target, and the last time that it answered.
struct TargetContact {
    canary: Canary,
    answered: Option<Instant>,
}

/// Check in doubt.
struct HeldCheck {
    doubt: Doubt,
    outcome: Outcome,
    /// Proxy between us and the target, whose answer alone settles the check.
    via: Option<Canary>,
    /// Number of the last round that had begun when the check came.
    round: u64,
}

/// Round in which canaries are being asked.
struct Round {
    number: u64,
    ends: Instant,
    asked: Vec<Canary>,
    /// Hosts of the canaries that have answered.
    answered: Vec<String>,
    open: usize,
}

/// Uplink with nobody to ask yet.
impl Default for Uplink {
    fn default() -> Uplink {
        let (answers_in, answers) = smol::channel::unbounded();
        Uplink {
            canaries: Vec::new(),
            targets: HashMap::new(),
            stands_in: false,
            evidence: Evidence::default(),
            proxies: Vec::new(),
            held: Vec::new(),
            round: None,
            rounds: 0,
            may_begin: None,
            is_last: false,
            answers,
            answers_in,
            ask,
            away: None,
            back: None,
        }
    }
}

impl Uplink {
    /// Replaces the targets and the canaries. A target that stays at the same canary keeps what is known of
    /// it.
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
        // With a proxy between, a connection of our own says nothing about the target.
        let eligible = targets.iter().filter(|target| target.connect.proxy.is_none());
        self.targets = eligible.filter_map(&mut contact).collect();
        self.canaries = canaries.hosts.iter().filter_map(|text| Canary::read(text)).collect();
        self.stands_in = canaries.stands_in;
    }

    /// Notes the answer that a reply shows, whatever the answer said. Returns the checks that are settled by
    /// it.
    pub fn note_reply(
        &mut self,
        target: &Target,
        reply: &Reply,
        now: Instant,
    ) -> Vec<SettledCheck> {
        let address = reply.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        // A connection that fell silent was made some time ago. A check that failed through our clock or
        // overload may have been asleep in between. Neither shows anything about the present.
        let is_ours = |fault: &Fault| matches!(fault.cause, Cause::Clock | Cause::Overload);
        let is_clock = reply.fault.as_ref().is_some_and(is_ours);
        let is_news = reply.silence.is_none() && !is_clock && target.connect.proxy.is_none();
        let Some(address) = address.filter(|_| is_news) else { return Vec::new() };
        let reach = reach(address);
        if let Some(contact) = self.targets.get_mut(&target.name).filter(|_| reply.redirects == 0) {
            contact.answered = Some(now);
            contact.canary.reach = Some(reach);
        }
        let by_name =
            target.connect.resolve.is_none() && is_name(&target.url) && reply.reused != Some(true);
        self.evidence.answered(now, reach, by_name);
        self.settled(now)
    }

    /// Takes a check as it was judged. Returns the check at once if there is no doubt about it, or nobody to
    /// settle the doubt.
    pub fn settle_or_hold(
        &mut self,
        target: &Target,
        silence: Option<Silence>,
        outcome: Outcome,
        now: Instant,
    ) -> Option<SettledCheck> {
        // A missing route may be the fault of the target alone, or of the uplink.
        let no_route = (outcome.cause == Some(Cause::Uplink)).then_some(Silence::Way);
        let silence = silence.filter(|_| outcome.verdict == Verdict::Down).or(no_route);
        let Some(silence) = silence.filter(|_| !target.own_network) else {
            return Some(plain(outcome));
        };
        let began = now.checked_sub(Duration::from_micros(outcome.total_us)).unwrap_or(now);
        let reach = self.targets.get(&target.name).and_then(|contact| contact.canary.reach);
        let reach = reach.unwrap_or(Reach::Public);
        let doubt = Doubt { began, since: now, silence, reach };
        if let Some(proxy) = target.connect.proxy.as_ref().filter(|_| silence == Silence::Way) {
            // A missing route is taken as it was reported; a proxy that was silent is asked whether it is
            // there.
            let via = Canary::proxy(&proxy.url);
            if no_route.is_some() || via.is_none() {
                return Some(plain(outcome));
            }
            self.hold(doubt, outcome, via);
            return None;
        }
        if doubt.reach == Reach::Loopback && silence == Silence::Way {
            return Some(plain(outcome));
        }
        if !self.can_settle(&doubt, &outcome.target) {
            return Some(match silence {
                Silence::Names if !self.evidence.settles(&doubt) => {
                    self.settle_unasked(&doubt, outcome)
                }
                _ => plain(outcome),
            });
        }
        if self.back.is_some_and(|back| began < back) {
            return Some(unknown(outcome, NOTHING_ELSE_ANSWERS));
        }
        if self.evidence.settles(&doubt) {
            return Some(plain(outcome));
        }
        self.hold(doubt, outcome, None);
        None
    }

    fn hold(&mut self, doubt: Doubt, outcome: Outcome, via: Option<Canary>) {
        self.held.push(HeldCheck { doubt, outcome, via, round: self.rounds });
    }

    /// Has the held checks settled by one round, since no more checks come. The round begins at once if none
    /// is under way.
    pub fn begin_last_round(&mut self) {
        self.is_last = true;
        self.may_begin = None;
    }

    /// Returns true if checks are held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Waits for the next answer, or for the time to do something; for ever if there is nothing to wait for.
    pub async fn next_answer(&self) -> Option<CanaryAnswer> {
        let until = match &self.round {
            Some(round) => Some(round.ends),
            None if self.is_holding() => Some(self.may_begin.unwrap_or_else(Instant::now)),
            None => None,
        };
        let answer = async { self.answers.recv().await.ok() };
        let Some(until) = until else { return answer.await };
        let time = async {
            smol::Timer::at(until).await;
            None
        };
        smol::future::or(answer, time).await
    }

    /// Goes on with the result of [`Uplink::next_answer`]. Returns the checks that are settled by it.
    pub fn advance(&mut self, answer: Option<CanaryAnswer>, now: Instant) -> Vec<SettledCheck> {
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
                self.begin_round(now);
            }
            round => self.round = round,
        }
        settled
    }

    /// Notes what a canary's answer shows, its distance included.
    fn note(&mut self, answer: &CanaryAnswer) {
        if let Some(reach) = answer.named {
            self.evidence.named(answer.at, reach);
        }
        if let Some(reach) = answer.reach {
            self.evidence.answered(answer.at, reach, false);
        }
        if answer.is_proxy && answer.reach.is_some() {
            self.proxies.retain(|(host, _)| *host != answer.host);
            self.proxies.push((answer.host.clone(), answer.at));
        }
        let round = self.round.as_mut().filter(|round| round.number == answer.round);
        let asked = round.map(|round| {
            round.open -= 1;
            if answer.reach.or(answer.named).is_some() {
                round.answered.push(answer.host.clone());
            }
            &mut round.asked
        });
        let canaries = self.canaries.iter_mut().chain(asked.into_iter().flatten());
        for canary in canaries.filter(|canary| canary.host == answer.host) {
            canary.reach = answer.reach.or(answer.named).or(canary.reach);
        }
    }

    /// Returns the held checks that are settled now: down, or unknown if the uplink was away when they began.
    fn settled(&mut self, now: Instant) -> Vec<SettledCheck> {
        if let Some(away) = self.away.take_if(|away| self.evidence.settles(away)) {
            let time = span(now.saturating_duration_since(away.since).as_millis() as i64);
            log::info!("the uplink is back, after {time}");
            self.back = Some(now);
        }
        let (evidence, back, proxies) = (self.evidence, self.back, &self.proxies);
        let settled = self.held.extract_if(.., |held| match &held.via {
            Some(proxy) => {
                proxies.iter().any(|(host, at)| *host == proxy.host && *at >= held.doubt.since)
            }
            None => evidence.settles(&held.doubt),
        });
        let judged = settled.map(|HeldCheck { doubt, outcome, via, .. }| match back {
            Some(back) if doubt.began < back && via.is_none() => {
                unknown(outcome, NOTHING_ELSE_ANSWERS)
            }
            _ => plain(outcome),
        });
        judged.collect()
    }

    /// Ends a round. Of the checks that were held when it began, those that a host of the round could have
    /// spoken for are unknown, the others down, or unknown if a name was not found. Later checks wait for the
    /// next round.
    fn conclude(&mut self, round: &Round, now: Instant) -> Vec<SettledCheck> {
        let is_last = self.is_last;
        let held = self.held.extract_if(.., |held| is_last || held.round < round.number);
        let held: Vec<HeldCheck> = held.collect();
        let mut given = Vec::with_capacity(held.len());
        for HeldCheck { doubt, outcome, via, round: came } in held {
            if let Some(proxy) = via {
                let is_asked = round.asked.iter().any(|canary| canary.is_same(&proxy));
                let settled =
                    if is_asked { unknown(outcome, PROXY_IS_SILENT) } else { plain(outcome) };
                given.push(SettledCheck { is_logged: false, ..settled });
                continue;
            }
            let own = self.targets.get(&outcome.target).map(|contact| &*contact.canary.host);
            let mut could =
                round.asked.iter().filter(|canary| canary.speaks_for(&doubt, own)).peekable();
            // In the last round, a check that came while the round was under way has no later one: an answer
            // of some seconds ago must do.
            let has_answered = |canary: &Canary| round.answered.contains(&canary.host);
            if could.peek().is_none() {
                given.push(match doubt.silence {
                    Silence::Names => self.settle_unasked(&Doubt { since: now, ..doubt }, outcome),
                    Silence::Way => plain(outcome),
                });
                continue;
            }
            if came >= round.number && could.any(has_answered) {
                given.push(plain(outcome));
                continue;
            }
            let settled = unknown(outcome, NOTHING_ELSE_ANSWERS);
            self.log_away(&settled.outcome, &Doubt { since: now, ..doubt });
            given.push(settled);
        }
        given
    }

    /// Returns the check as unknown, since nobody can settle its doubt.
    fn settle_unasked(&mut self, doubt: &Doubt, outcome: Outcome) -> SettledCheck {
        let known = self.targets.get(&outcome.target).and_then(|contact| contact.canary.reach);
        let settled = unknown(outcome, "nobody else can tell");
        // The outage is over once a name is found again, wherever its target turns out to be.
        self.log_away(
            &settled.outcome,
            &Doubt { reach: known.unwrap_or(Reach::Private), ..*doubt },
        );
        settled
    }

    /// Logs that the uplink is away, once.
    fn log_away(&mut self, outcome: &Outcome, doubt: &Doubt) {
        if self.away.is_none() {
            let Outcome { target, error, .. } = outcome;
            let why = error.as_deref().unwrap_or_default();
            log::warn!("the uplink is away: {target}: {why}; such checks are unknown");
            self.away = Some(*doubt);
        }
    }
}

#[cfg(test)]
mod tests;
