//! Them or us: holds back the checks that nobody answered until something shows whether our own
//! network was to blame. A part of the judge's stage, and the one that asks the canaries; what
//! follows from their answers is decided in `model::uplink`.
//!
//! While it holds any, it connects to canaries, once in [`PAUSE`] at most: those that are
//! configured, else the brokers of Kafka and some targets. If one answers that is far enough away,
//! the held checks are down; if none does, they are unknown. Where nobody can be asked, a check is
//! down at once.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

use super::daemon::thread;
use crate::model::judge::Reply;
use crate::model::outcome::{Cause, ERROR_MAX, Outcome, Verdict, tidy};
use crate::model::target::Target;
use crate::model::uplink::{Doubt, Evidence, Reach, Silence, reach};
use crate::show::time::span;

/// How long a canary has to answer, and how soon after a round the next may begin.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(3);
/// Targets that stand in for canaries in one round.
const STAND_INS: usize = 3;
/// Canaries that are being asked, those included that hang on a dead name server.
const ASKED_MAX: usize = 32;

/// The part of the judge that doubts.
pub struct Uplink {
    canaries: Vec<Place>,
    /// What targets are at, if they may stand in.
    targets: HashMap<Arc<str>, Stand>,
    stands_in: bool,
    evidence: Evidence,
    held: Vec<(Doubt, Outcome)>,
    round: Option<Round>,
    rounds: u64,
    may_begin: Option<Instant>,
    answers: Receiver<Answer>,
    answers_in: Sender<Answer>,
    /// Since when, and what would show that it is over.
    away: Option<Doubt>,
    /// When it was over last.
    back: Option<Instant>,
}

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    /// Where that is, as far as it is known.
    reach: Option<Reach>,
}

/// What is known of a target.
struct Stand {
    /// With where it was when it answered last.
    place: Place,
    /// When that was.
    answered: Option<Instant>,
}

/// A check about which there is no doubt any more.
pub struct Settled {
    /// What holds of it.
    pub outcome: Outcome,
    /// The line about the uplink tells of it already.
    pub is_told: bool,
}

/// Canaries being asked.
struct Round {
    number: u64,
    asked: Vec<Place>,
    open: usize,
    ends: Instant,
}

/// Of one canary, in which round; where it was if it answered.
pub struct Answer {
    round: u64,
    reach: Option<Reach>,
    by_name: bool,
}

impl Uplink {
    /// For these targets. `canaries`: those of the configuration, else of Kafka; `stands_in`:
    /// targets may stand in for them.
    pub fn new(targets: &[Arc<Target>], canaries: &[String], stands_in: bool) -> Uplink {
        let (answers_in, answers) = smol::channel::unbounded();
        let stand = |target: &Arc<Target>| {
            let host = target.connect.resolve.map(|address| address.to_string());
            let host = host.or_else(|| Some(target.url.host_str()?.to_owned()))?;
            let place = Place::new(&host, target.url.port_or_known_default()?);
            Some((Arc::clone(&target.name), Stand { place, answered: None }))
        };
        // Where a proxy stands between, a connection of our own says nothing.
        let eligible = |target: &&Arc<Target>| target.connect.proxy.is_none();
        Uplink {
            canaries: canaries.iter().filter_map(|text| Place::read(text)).collect(),
            targets: targets.iter().filter(eligible).filter_map(stand).collect(),
            stands_in,
            evidence: Evidence::default(),
            held: Vec::new(),
            round: None,
            rounds: 0,
            may_begin: None,
            answers,
            answers_in,
            away: None,
            back: None,
        }
    }

    /// Takes in what a reply shows: that something answered there, whatever it said. Gives the
    /// checks that are down because of it.
    pub fn heard(&mut self, target: &Target, reply: &Reply, now: Instant) -> Vec<Settled> {
        let address = reply.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        let Some(address) = address.filter(|_| target.connect.proxy.is_none()) else {
            return Vec::new();
        };
        let by_name = target.connect.resolve.is_none() && is_name(target.url.host_str());
        let reach = reach(address);
        if let Some(stand) = self.targets.get_mut(&target.name) {
            stand.answered = Some(now);
            stand.place.reach = Some(reach);
        }
        self.evidence.answered(now, reach, by_name);
        self.settled(now)
    }

    /// Takes a check that was judged down. It comes back at once if there is no doubt, or nobody to
    /// settle it.
    pub fn take(
        &mut self,
        target: &Target,
        silence: Option<Silence>,
        outcome: Outcome,
    ) -> Option<Settled> {
        let Some(silence) =
            silence.filter(|_| !target.own_network && outcome.verdict == Verdict::Down)
        else {
            let is_told = outcome.cause == Some(Cause::Uplink) && self.note(&outcome);
            return Some(Settled { outcome, is_told });
        };
        if target.connect.proxy.is_some() {
            return Some(plain(outcome));
        }
        let took = Duration::from_micros(outcome.total_us);
        let since = Instant::now();
        let began = since.checked_sub(took).unwrap_or(since);
        let reach = self.targets.get(&target.name).and_then(|stand| stand.place.reach);
        let reach = reach.unwrap_or(Reach::Public);
        let doubt = Doubt { began, since, silence, reach };
        if doubt.reach == Reach::Loopback && silence == Silence::Way
            || !self.can_tell(&doubt, &outcome.target)
        {
            return Some(plain(outcome));
        }
        if self.back.is_some_and(|back| began < back) {
            return Some(unknown(outcome));
        }
        self.held.push((doubt, outcome));
        None
    }

    /// The next round begins at once.
    pub fn hasten(&mut self) {
        self.may_begin = None;
    }

    /// Whether checks are held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Waits for the next answer, or for the time to do something; for ever if there is nothing to
    /// wait for.
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

    /// Goes on with what [`Uplink::next`] gave; gives the checks that are settled by it.
    pub fn go_on(&mut self, answer: Option<Answer>) -> Vec<Settled> {
        let now = Instant::now();
        if let Some(Answer { round, reach, by_name }) = answer {
            if let Some(reach) = reach {
                self.evidence.answered(now, reach, by_name);
            }
            if let Some(own) = self.round.as_mut().filter(|own| own.number == round) {
                own.open -= 1;
            }
        }
        let mut settled = self.settled(now);
        match self.round.take() {
            Some(round) if round.open == 0 || round.ends <= now => {
                self.may_begin = Some(now + PAUSE);
                settled.extend(self.conclude(&round.asked, now));
            }
            None if self.is_holding() && self.may_begin.is_none_or(|at| at <= now) => {
                self.begin(now);
            }
            round => self.round = round,
        }
        settled
    }

    /// The checks that are down after all; or not, where the uplink was away as they began.
    fn settled(&mut self, now: Instant) -> Vec<Settled> {
        if let Some(away) = self.away.take_if(|away| self.evidence.settles(away)) {
            let time = span(now.saturating_duration_since(away.since).as_millis() as i64);
            log::info!("the uplink is back, after {time}");
            self.back = Some(now);
        }
        let (evidence, back) = (self.evidence, self.back);
        let settled = self.held.extract_if(.., |(doubt, _)| evidence.settles(doubt));
        let judged = settled.map(|(doubt, outcome)| match back {
            Some(back) if doubt.began < back => unknown(outcome),
            _ => plain(outcome),
        });
        judged.collect()
    }

    /// Nobody who was asked has answered: what they could have spoken for is unknown, the rest down.
    fn conclude(&mut self, asked: &[Place], now: Instant) -> Vec<Settled> {
        let held = std::mem::take(&mut self.held);
        let mut given = Vec::with_capacity(held.len());
        for (doubt, outcome) in held {
            let own = self.targets.get(&outcome.target).map(|stand| stand.place.host.clone());
            if asked.iter().any(|place| place.speaks_for(&doubt, own.as_deref())) {
                let settled = unknown(outcome);
                self.away(&settled.outcome, Doubt { since: now, ..doubt });
                given.push(settled);
            } else {
                given.push(plain(outcome));
            }
        }
        given
    }

    /// That there is no route needs no canary. But where there never was one to that target while
    /// others answer, it is the target that is out of reach, and not the uplink away. Gives whether
    /// it is.
    fn note(&mut self, outcome: &Outcome) -> bool {
        let stand = self.targets.get(&outcome.target);
        let was_there = stand.is_some_and(|stand| stand.answered.is_some());
        let nobody_was = self.targets.values().all(|stand| stand.answered.is_none());
        if was_there || nobody_was {
            let now = Instant::now();
            let (silence, reach) = (Silence::Way, Reach::Private);
            self.away(outcome, Doubt { began: now, since: now, silence, reach });
        }
        self.away.is_some()
    }

    /// Says once that it is away.
    fn away(&mut self, outcome: &Outcome, doubt: Doubt) {
        if self.away.is_none() {
            let why = outcome.error.as_deref().unwrap_or_default();
            log::warn!("the uplink is away: {}: {why}; such checks are unknown", outcome.target);
            self.away = Some(doubt);
        }
    }

    fn begin(&mut self, now: Instant) {
        let mut asked = self.canaries.clone();
        if self.stands_in {
            let mut all: Vec<&Stand> = self.targets.values().collect();
            all.sort_by_key(|stand| std::cmp::Reverse(stand.answered));
            for silence in [Silence::Names, Silence::Way] {
                // Who speaks for the farthest speaks for all.
                let doubts = self.held.iter().map(|(doubt, _)| doubt);
                let farthest = doubts.filter(|doubt| doubt.silence == silence);
                let Some(doubt) = farthest.max_by_key(|doubt| doubt.reach) else { continue };
                let mut found = 0;
                for Stand { place, .. } in &all {
                    let is_new = asked.iter().all(|other| other.host != place.host);
                    if found < STAND_INS && is_new && place.speaks_for(doubt, None) {
                        asked.push(place.clone());
                        found += 1;
                    }
                }
            }
        }
        self.rounds += 1;
        let number = self.rounds;
        let mut open = 0;
        for place in &asked {
            // Threads that hang in a lookup still hold the channel.
            if self.answers_in.sender_count() > ASKED_MAX {
                break;
            }
            let (place, answers) = (place.clone(), self.answers_in.clone());
            let ask = move || {
                let reach = place.connect();
                let answer = Answer { round: number, reach, by_name: is_name(Some(&place.host)) };
                // The judge may have ended.
                let _ = answers.try_send(answer);
            };
            open += usize::from(thread("canary").spawn(ask).is_ok());
        }
        self.round = Some(Round { number, asked, open, ends: now + PATIENCE });
    }

    /// Whether anybody could settle it.
    fn can_tell(&self, doubt: &Doubt, target: &str) -> bool {
        let own = self.targets.get(target).map(|stand| &*stand.place.host);
        let stand_ins = self.targets.values().filter(|_| self.stands_in).map(|stand| &stand.place);
        self.canaries.iter().chain(stand_ins).any(|place| place.speaks_for(doubt, own))
    }
}

impl Place {
    fn new(host: &str, port: u16) -> Place {
        let host = bare(host);
        let reach = host.parse().ok().map(reach);
        Place { host, port, reach }
    }

    /// `host:port` or `[address]:port`.
    fn read(text: &str) -> Option<Place> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Place::new(host, port.parse().ok()?))
    }

    /// Whether an answer from here would settle it; `own` is the host that is in doubt.
    fn speaks_for(&self, doubt: &Doubt, own: Option<&str>) -> bool {
        own != Some(&*self.host)
            && match doubt.silence {
                Silence::Names => is_name(Some(&self.host)),
                Silence::Way => self.reach.is_none_or(|reach| reach >= doubt.reach),
            }
    }

    /// Where it is, if it answers: a connection that is refused is an answer too.
    fn connect(&self) -> Option<Reach> {
        let addresses = (&*self.host, self.port).to_socket_addrs().ok()?;
        let mut addresses: Vec<SocketAddr> = addresses.collect();
        addresses.truncate(4);
        let each = PATIENCE / addresses.len().max(1) as u32;
        addresses.iter().find_map(|address| match TcpStream::connect_timeout(address, each) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => None,
            _ => Some(reach(address.ip())),
        })
    }
}

/// The check as it was judged.
fn plain(outcome: Outcome) -> Settled {
    Settled { outcome, is_told: false }
}

/// The same as our own network's fault.
fn unknown(outcome: Outcome) -> Settled {
    let why = outcome.error.as_deref().unwrap_or_default();
    let error = Some(tidy(&format!("{why}; nothing else answers"), ERROR_MAX));
    let (verdict, cause) = (Verdict::Unknown, Some(Cause::Uplink));
    Settled { outcome: Outcome { verdict, cause, error, ..outcome }, is_told: true }
}

/// An address without its brackets.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn is_name(host: Option<&str>) -> bool {
    host.is_some_and(|host| bare(host).parse::<IpAddr>().is_err())
}
