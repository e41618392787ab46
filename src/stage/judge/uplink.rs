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
mod settled;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

pub use self::canary::Answer;
use self::canary::{Ask, Place, ask};
pub use self::settled::Settled;
use self::settled::{ELSE, PROXY, plain, unknown};
use crate::model::judge::{Fault, Reply};
use crate::model::outcome::{Cause, Outcome, Verdict};
use crate::model::target::{Target, is_name};
use crate::model::uplink::{Canaries, Doubt, Evidence, Reach, Silence, reach};
use crate::show::time::span;

/// Least time between the end of a round and the beginning of the next.
const PAUSE: Duration = Duration::from_secs(3);

/// Part of the judge that holds the checks in doubt.
pub struct Uplink {
    canaries: Vec<Place>,
    /// Places of the targets, and the last time that each answered.
    targets: HashMap<Arc<str>, Stand>,
    /// Targets may stand in for canaries.
    stands_in: bool,
    evidence: Evidence,
    /// Hosts of proxies, and the last time that each answered; few.
    proxies: Vec<(String, Instant)>,
    held: Vec<Held>,
    round: Option<Round>,
    rounds: u64,
    may_begin: Option<Instant>,
    /// No more checks come: the round that ends next is the last.
    is_last: bool,
    answers: Receiver<Answer>,
    answers_in: Sender<Answer>,
    ask: Ask,
    /// Doubt that must be settled before the uplink is back; none: the uplink is not away.
    away: Option<Doubt>,
    /// Last time that the uplink came back.
    back: Option<Instant>,
}

/// Place of a target, and the last time that it answered.
struct Stand {
    place: Place,
    answered: Option<Instant>,
}

/// Check in doubt.
struct Held {
    doubt: Doubt,
    outcome: Outcome,
    /// Proxy between us and the target, whose answer alone settles the check.
    via: Option<Place>,
    /// Number of the last round that had begun when the check came.
    round: u64,
}

/// Round in which canaries are being asked.
struct Round {
    number: u64,
    ends: Instant,
    asked: Vec<Place>,
    /// Hosts of the canaries that have answered.
    heard: Vec<String>,
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
    /// Replaces the targets and the canaries. A target that stays at the same place keeps what is known of
    /// it.
    pub fn plan(&mut self, targets: &[Arc<Target>], canaries: &Canaries) {
        let mut old = std::mem::take(&mut self.targets);
        let mut stand = |target: &Arc<Target>| {
            let host = target.connect.resolve.map(|address| address.to_string());
            let host = host.or_else(|| Some(target.url.host_str()?.to_owned()))?;
            let place = Place::new(&host, target.url.port_or_known_default()?);
            let known = old.remove(&target.name).filter(|known| known.place.is_same(&place));
            let stand = known.unwrap_or(Stand { place, answered: None });
            Some((Arc::clone(&target.name), stand))
        };
        // With a proxy between, a connection of our own says nothing about the target.
        let eligible = targets.iter().filter(|target| target.connect.proxy.is_none());
        self.targets = eligible.filter_map(&mut stand).collect();
        self.canaries = canaries.hosts.iter().filter_map(|text| Place::read(text)).collect();
        self.stands_in = canaries.stands_in;
    }

    /// Notes the answer that a reply shows, whatever the answer said. Returns the checks that are settled by
    /// it.
    pub fn heard(&mut self, target: &Target, reply: &Reply, now: Instant) -> Vec<Settled> {
        let address = reply.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        // A connection that fell silent was made some time ago. A check that failed through our clock or
        // overload may have been asleep in between. Neither shows anything about the present.
        let is_ours = |fault: &Fault| matches!(fault.cause, Cause::Clock | Cause::Overload);
        let is_clock = reply.fault.as_ref().is_some_and(is_ours);
        let is_news = reply.silence.is_none() && !is_clock && target.connect.proxy.is_none();
        let Some(address) = address.filter(|_| is_news) else { return Vec::new() };
        let reach = reach(address);
        if let Some(stand) = self.targets.get_mut(&target.name).filter(|_| reply.redirects == 0) {
            stand.answered = Some(now);
            stand.place.reach = Some(reach);
        }
        let by_name =
            target.connect.resolve.is_none() && is_name(&target.url) && reply.reused != Some(true);
        self.evidence.answered(now, reach, by_name);
        self.settled(now)
    }

    /// Takes a check as it was judged. Returns the check at once if there is no doubt about it, or nobody to
    /// settle the doubt.
    pub fn take(
        &mut self,
        target: &Target,
        silence: Option<Silence>,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Settled> {
        // A missing route may be the fault of the target alone, or of the uplink.
        let no_route = (outcome.cause == Some(Cause::Uplink)).then_some(Silence::Way);
        let silence = silence.filter(|_| outcome.verdict == Verdict::Down).or(no_route);
        let Some(silence) = silence.filter(|_| !target.own_network) else {
            return Some(plain(outcome));
        };
        let began = now.checked_sub(Duration::from_micros(outcome.total_us)).unwrap_or(now);
        let reach = self.targets.get(&target.name).and_then(|stand| stand.place.reach);
        let reach = reach.unwrap_or(Reach::Public);
        let doubt = Doubt { began, since: now, silence, reach };
        if let Some(proxy) = target.connect.proxy.as_ref().filter(|_| silence == Silence::Way) {
            // A missing route is taken as it was reported; a proxy that was silent is asked whether it is
            // there.
            let via = Place::proxy(&proxy.url);
            if no_route.is_some() || via.is_none() {
                return Some(plain(outcome));
            }
            self.hold(doubt, outcome, via);
            return None;
        }
        if doubt.reach == Reach::Loopback && silence == Silence::Way {
            return Some(plain(outcome));
        }
        if !self.can_tell(&doubt, &outcome.target) {
            return Some(match silence {
                Silence::Names if !self.evidence.settles(&doubt) => self.untold(&doubt, outcome),
                _ => plain(outcome),
            });
        }
        if self.back.is_some_and(|back| began < back) {
            return Some(unknown(outcome, ELSE));
        }
        if self.evidence.settles(&doubt) {
            return Some(plain(outcome));
        }
        self.hold(doubt, outcome, None);
        None
    }

    fn hold(&mut self, doubt: Doubt, outcome: Outcome, via: Option<Place>) {
        self.held.push(Held { doubt, outcome, via, round: self.rounds });
    }

    /// Has the held checks settled by one round, since no more checks come. The round begins at once if none
    /// is under way.
    pub fn hasten(&mut self) {
        self.is_last = true;
        self.may_begin = None;
    }

    /// Returns true if checks are held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Waits for the next answer, or for the time to do something; for ever if there is nothing to wait for.
    pub async fn next(&self) -> Option<Answer> {
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

    /// Goes on with the result of [`Uplink::next`]. Returns the checks that are settled by it.
    pub fn go_on(&mut self, answer: Option<Answer>, now: Instant) -> Vec<Settled> {
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
                self.begin(now);
            }
            round => self.round = round,
        }
        settled
    }

    /// Notes what a canary's answer shows, its distance included.
    fn note(&mut self, answer: &Answer) {
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
                round.heard.push(answer.host.clone());
            }
            &mut round.asked
        });
        let places = self.canaries.iter_mut().chain(asked.into_iter().flatten());
        for place in places.filter(|place| place.host == answer.host) {
            place.reach = answer.reach.or(answer.named).or(place.reach);
        }
    }

    /// Returns the held checks that are settled now: down, or unknown if the uplink was away when they began.
    fn settled(&mut self, now: Instant) -> Vec<Settled> {
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
        let judged = settled.map(|Held { doubt, outcome, via, .. }| match back {
            Some(back) if doubt.began < back && via.is_none() => unknown(outcome, ELSE),
            _ => plain(outcome),
        });
        judged.collect()
    }

    /// Ends a round. Of the checks that were held when it began, those that a host of the round could have
    /// spoken for are unknown, the others down, or unknown if a name was not found. Later checks wait for the
    /// next round.
    fn conclude(&mut self, round: &Round, now: Instant) -> Vec<Settled> {
        let is_last = self.is_last;
        let held = self.held.extract_if(.., |held| is_last || held.round < round.number);
        let held: Vec<Held> = held.collect();
        let mut given = Vec::with_capacity(held.len());
        for Held { doubt, outcome, via, round: came } in held {
            if let Some(proxy) = via {
                let is_asked = round.asked.iter().any(|place| place.is_same(&proxy));
                let settled = if is_asked { unknown(outcome, PROXY) } else { plain(outcome) };
                given.push(Settled { is_told: false, ..settled });
                continue;
            }
            let own = self.targets.get(&outcome.target).map(|stand| &*stand.place.host);
            let mut could =
                round.asked.iter().filter(|place| place.speaks_for(&doubt, own)).peekable();
            // In the last round, a check that came while the round was under way has no later one: an answer
            // of some seconds ago must do.
            let is_heard = |place: &Place| round.heard.contains(&place.host);
            if could.peek().is_none() {
                given.push(match doubt.silence {
                    Silence::Names => self.untold(&Doubt { since: now, ..doubt }, outcome),
                    Silence::Way => plain(outcome),
                });
                continue;
            }
            if came >= round.number && could.any(is_heard) {
                given.push(plain(outcome));
                continue;
            }
            let settled = unknown(outcome, ELSE);
            self.tell_away(&settled.outcome, &Doubt { since: now, ..doubt });
            given.push(settled);
        }
        given
    }

    /// Returns the check as unknown, since nobody can settle its doubt.
    fn untold(&mut self, doubt: &Doubt, outcome: Outcome) -> Settled {
        let known = self.targets.get(&outcome.target).and_then(|stand| stand.place.reach);
        let settled = unknown(outcome, "nobody else can tell");
        // The outage is over once a name is found again, wherever its target turns out to be.
        self.tell_away(
            &settled.outcome,
            &Doubt { reach: known.unwrap_or(Reach::Private), ..*doubt },
        );
        settled
    }

    /// Logs that the uplink is away, once.
    fn tell_away(&mut self, outcome: &Outcome, doubt: &Doubt) {
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
