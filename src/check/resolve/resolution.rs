//! Resolves the name of one hop: decides which lookups to make, and when the resolution is over. Pure:
//! takes times and answers, gives questions and a result.
//!
//! The first lookup asks for addresses of both families, so that the system sorts them (RFC 6724). It
//! ends when both families are answered. A server that is silent for one family delays that by 5 s and
//! more, and musl finds no address at all if the lookup of one family fails. So each family is looked up
//! alone as well, if the first lookup has no answer after [`DELAY`] or finds no address. An IPv4 address
//! is used as soon as it has come: the lookup for both families had a head start, the «Resolution Delay»
//! of RFC 8305.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::Served;
use super::system::{Found, Missing};
use crate::model::connect::Family;

/// Head start of the lookup for both families (RFC 8305, 8); also the time that IPv6 addresses wait for
/// an IPv4 answer when each family is looked up alone.
const DELAY: Duration = Duration::from_millis(50);
/// Time after which the name servers are asked why there is no answer; a quarter of the check's timeout
/// if that is shorter.
const DOUBT: Duration = Duration::from_secs(1);

/// Kind of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Ask the system for addresses.
    First(Family),
    /// Ask the system for addresses of one family, beside a first lookup.
    Apart(Family),
    /// Ask the name servers why there is no answer.
    Servers(Family),
}

/// A question about a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, in ASCII.
    pub host: String,
    /// Kind of the lookup.
    pub ask: Ask,
}

/// Reply to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Reply of the system's resolver.
    System(Found),
    /// Reply of the name servers; none if they could not be asked.
    Servers(Option<Served>),
}

/// Reason for which there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The name does not exist.
    NoName,
    /// The name has no address of this family.
    NoAddress(Family),
    /// No name server answers.
    Silent,
    /// The name server failed, with this code.
    Failed(u8),
    /// There was no answer, and the reason is not known.
    Unknown,
    /// This machine could not ask, for this reason (a text for people).
    NoMeans(Arc<str>),
}

/// Result of a resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Addresses, at least one, in the order in which to try them; or the reason for which there are none.
    pub addresses: Result<Arc<[IpAddr]>, Unresolved>,
    /// Start of the first lookup: it had a thread.
    pub began: Instant,
    /// End of the lookup that decided the result.
    pub ended: Instant,
}

/// Next thing to do for a resolution.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Start these lookups.
    Ask(Vec<Ask>),
    /// Use this result: the resolution is over.
    Done(Resolved),
    /// Do nothing until an answer comes or [`Resolution::next_at`] is reached.
    Wait,
}

/// A resolution under way.
pub struct Resolution {
    host: String,
    wanted: Family,
    first: Family,
    timeout: Duration,
    began: Option<Instant>,
    /// Lookups that were asked for and are not answered.
    open: Vec<Ask>,
    answers: Vec<(Ask, Found, Instant)>,
    is_apart: bool,
    /// The name servers were asked; `served` is their reply, once it has come.
    has_doubts: bool,
    served: Option<Option<Served>>,
}

impl Resolution {
    /// Begins a resolution of addresses of the `wanted` families. Addresses of the family `bound` are looked
    /// up first: it is the only one that we can connect from. `timeout` is the check's.
    pub fn new(host: String, wanted: Family, bound: Family, timeout: Duration) -> Resolution {
        let first = if wanted == Family::Any { bound } else { wanted };
        Resolution {
            host,
            wanted,
            first,
            timeout,
            began: None,
            open: vec![Ask::First(first)],
            answers: Vec::new(),
            is_apart: false,
            has_doubts: false,
            served: None,
        }
    }

    /// Returns the lookup that the resolution begins with.
    pub fn first(&self) -> Ask {
        Ask::First(self.first)
    }

    /// Makes the question of this resolution for one lookup.
    pub fn question(&self, ask: Ask) -> Question {
        Question { host: self.host.clone(), ask }
    }

    /// Returns the lookups that are under way.
    pub fn open(&self) -> &[Ask] {
        &self.open
    }

    /// Sets the start of the first lookup, the time at which it had a thread; a second call changes nothing.
    pub fn begun(&mut self, at: Instant) {
        self.began.get_or_insert(at);
    }

    /// Returns true once the first lookup has had a thread.
    pub fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// Returns the time of the next [`Resolution::step`] that is needed even if no answer comes.
    pub fn next_at(&self) -> Option<Instant> {
        let apart = self.apart_at().filter(|_| self.may_ask_apart());
        let doubt = self.doubt_at().filter(|_| !self.has_doubts);
        let late = self.late().map(|(_, ended)| ended + DELAY);
        [apart, doubt, late].into_iter().flatten().min()
    }

    /// Takes the reply to the lookup `ask`, which began and ended at these times.
    pub fn take(&mut self, ask: Ask, reply: Reply, (began, ended): (Instant, Instant)) {
        self.open.retain(|other| *other != ask);
        if ask == self.first() {
            self.begun(began);
        }
        match reply {
            Reply::Servers(served) => self.served = Some(served),
            Reply::System(found) => self.answers.push((ask, found, ended)),
        }
    }

    /// Decides what to do now.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(done) = self.done(now) {
            return Step::Done(done);
        }
        let mut asks = Vec::new();
        let has_failed = self.found(self.first()).is_some();
        if self.may_ask_apart() && (has_failed || self.apart_at().is_some_and(|at| at <= now)) {
            self.is_apart = true;
            let families = [Family::V4, Family::V6].into_iter();
            asks.extend(families.filter(|of| *of != self.first).map(Ask::Apart));
        }
        let is_over = has_failed && self.is_apart == (self.wanted == Family::Any);
        let is_vain = asks.is_empty() && is_over && self.open.is_empty();
        if !self.has_doubts && (is_vain || self.doubt_at().is_some_and(|at| at <= now)) {
            self.has_doubts = true;
            asks.push(Ask::Servers(self.wanted));
        }
        self.open.extend(&asks);
        if asks.is_empty() { Step::Wait } else { Step::Ask(asks) }
    }

    /// Returns the reason for which there is no address yet, as far as it is known.
    pub fn doubt(&self) -> Option<Unresolved> {
        match self.served {
            Some(Some(Served::Failed(code))) => Some(Unresolved::Failed(code)),
            Some(Some(Served::Silent)) => Some(Unresolved::Silent),
            Some(_) => None,
            // The name servers have not replied either.
            None => self.has_doubts.then_some(Unresolved::Silent),
        }
    }

    fn may_ask_apart(&self) -> bool {
        self.wanted == Family::Any && !self.is_apart
    }

    /// Returns the time at which each family is looked up alone if the first lookup has no answer. None if
    /// the first lookup asks for one family: the other one is then asked only after that lookup has failed,
    /// to tell why there is no address.
    fn apart_at(&self) -> Option<Instant> {
        self.began.filter(|_| self.first == Family::Any).map(|began| began + DELAY)
    }

    fn doubt_at(&self) -> Option<Instant> {
        self.began.map(|began| began + DOUBT.min(self.timeout / 4))
    }

    fn found(&self, ask: Ask) -> Option<(&Found, Instant)> {
        let answer = self.answers.iter().find(|(of, ..)| *of == ask);
        answer.map(|(_, found, ended)| (found, *ended))
    }

    fn addresses(&self, ask: Ask) -> Option<(&Arc<[IpAddr]>, Instant)> {
        match self.found(ask) {
            Some((Found::Addresses(found), ended)) => Some((found, ended)),
            _ => None,
        }
    }

    /// Returns the IPv6 addresses that wait for the IPv4 answer.
    fn late(&self) -> Option<(&Arc<[IpAddr]>, Instant)> {
        self.addresses(Ask::Apart(Family::V6))
    }

    fn done(&self, now: Instant) -> Option<Resolved> {
        let done = |addresses, ended| {
            Some(Resolved { addresses, began: self.began.unwrap_or(ended), ended })
        };
        if let Some((Found::NoMeans(why), ended)) = self.found(self.first()) {
            return done(Err(Unresolved::NoMeans(Arc::clone(why))), ended);
        }
        let best = self.addresses(self.first()).or(self.addresses(Ask::Apart(Family::V4)));
        if let Some((found, ended)) = best {
            return done(Ok(Arc::clone(found)), ended);
        }
        let waits = self.open.contains(&Ask::Apart(Family::V4));
        if let Some((found, ended)) = self.late()
            && (!waits || ended + DELAY <= now)
        {
            return done(Ok(Arc::clone(found)), ended);
        }
        let ended = self.answers.iter().map(|(.., ended)| *ended).max()?;
        let why = match self.missing()? {
            Missing::Name => Unresolved::NoName,
            Missing::Address => Unresolved::NoAddress(self.wanted),
            // Another lookup may still find an address.
            Missing::Answer if self.open.iter().any(|ask| !matches!(ask, Ask::Servers(_))) => {
                return None;
            }
            Missing::Answer => match self.served? {
                Some(Served::Silent) => Unresolved::Silent,
                Some(Served::Failed(code)) => Unresolved::Failed(code),
                // The server answers us now, though it did not answer the system's resolver.
                Some(Served::Answered) | None => Unresolved::Unknown,
            },
        };
        done(Err(why), ended)
    }

    /// Returns the reason for which there is no address, once both families have none. A name without an
    /// IPv4 address has no address only if IPv6 is answered too. In all other cases the answer for IPv4
    /// counts, since many servers give a wrong answer for IPv6 (RFC 4074).
    fn missing(&self) -> Option<Missing> {
        let of = |family| {
            let found = self.found(Ask::Apart(family));
            let found = found.or_else(|| self.found(self.first()).filter(|_| self.first == family));
            found.map(|(found, _)| match found {
                Found::Missing(missing) => *missing,
                _ => Missing::Answer,
            })
        };
        match self.wanted {
            Family::V4 | Family::V6 => of(self.wanted),
            Family::Any => match (of(Family::V4)?, of(Family::V6)?) {
                (Missing::Address, Missing::Answer) => Some(Missing::Answer),
                (v4, _) => Some(v4),
            },
        }
    }
}

#[cfg(test)]
mod tests;
