//! One hop's name on its way to addresses: which lookups it takes, and when it is over. Pure: times
//! and answers in, questions and a result out.
//!
//! The first lookup asks for addresses of both families, so that the system sorts them (RFC 6724). It
//! ends when both are answered, which a silent server for one of them puts off for 5 s and more; and
//! musl finds no address at all where one of the two fails. So the families are asked apart as well
//! if the first has no answer after [`DELAY`], or none that leads anywhere. An IPv4 address is used as
//! soon as it is there: the lookup for both had a head start, which is the «Resolution Delay» of
//! RFC 8305.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::Served;
use super::system::{Found, Missing};
use crate::model::connect::Family;

/// Head start of the lookup for both families (RFC 8305, 8), and what IPv4 gets over IPv6 apart.
const DELAY: Duration = Duration::from_millis(50);
/// When name servers are asked what ails them, at the latest; a quarter of a shorter timeout.
const DOUBT: Duration = Duration::from_secs(1);

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// The system, for addresses.
    First(Family),
    /// The same beside a first lookup, for one family.
    Apart(Family),
    /// The name servers, why there is no answer.
    Servers(Family),
}

/// A question about a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, in ASCII.
    pub host: String,
    /// What is asked.
    pub ask: Ask,
}

/// An answer to one of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The system's.
    System(Found),
    /// The servers'. None: they could not be asked.
    Servers(Option<Served>),
}

/// Why there are no addresses.
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
    /// Nobody could tell, and why is not known.
    Unknown,
    /// This machine could not ask: why.
    NoMeans(Arc<str>),
}

/// Result of a resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses, in the order in which they are to be tried; at least one.
    pub addresses: Result<Arc<[IpAddr]>, Unresolved>,
    /// When the first lookup began: it had a thread.
    pub began: Instant,
    /// When the last one ended that mattered.
    pub ended: Instant,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// These are to be asked.
    Ask(Vec<Ask>),
    /// It is over.
    Done(Resolved),
    /// Nothing, until an answer comes or [`Resolution::next_at`].
    Wait,
}

/// A resolution under way.
pub struct Resolution {
    host: String,
    wanted: Family,
    first: Family,
    timeout: Duration,
    began: Option<Instant>,
    /// Asked, and not answered.
    open: Vec<Ask>,
    answers: Vec<(Ask, Found, Instant)>,
    is_apart: bool,
    /// The servers were asked; and what came of it, once that is known.
    has_doubts: bool,
    served: Option<Option<Served>>,
}

impl Resolution {
    /// For addresses of the `wanted` families; those of `bound` come first, where we can connect from
    /// no other. `timeout` is the check's.
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

    /// The lookup that the resolution begins with.
    pub fn first(&self) -> Ask {
        Ask::First(self.first)
    }

    /// A question of this resolution.
    pub fn question(&self, ask: Ask) -> Question {
        Question { host: self.host.clone(), ask }
    }

    /// Lookups that are under way.
    pub fn open(&self) -> &[Ask] {
        &self.open
    }

    /// Takes in when the first lookup began: it has a thread.
    pub fn begun(&mut self, at: Instant) {
        self.began.get_or_insert(at);
    }

    /// Whether the first lookup has a thread.
    pub fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// When there is something to do even if no answer comes.
    pub fn next_at(&self) -> Option<Instant> {
        let apart = self.apart_at().filter(|_| self.may_ask_apart());
        let doubt = self.doubt_at().filter(|_| !self.has_doubts);
        let late = self.late().map(|(_, ended)| ended + DELAY);
        [apart, doubt, late].into_iter().flatten().min()
    }

    /// Takes an answer to what was asked between these times.
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

    /// Says what is to be done now.
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

    /// Why there is no address yet, as far as it is known.
    pub fn doubt(&self) -> Option<Unresolved> {
        match self.served {
            Some(Some(Served::Failed(code))) => Some(Unresolved::Failed(code)),
            Some(Some(Served::Silent)) => Some(Unresolved::Silent),
            Some(_) => None,
            // As silent as the system's resolver.
            None => self.has_doubts.then_some(Unresolved::Silent),
        }
    }

    fn may_ask_apart(&self) -> bool {
        self.wanted == Family::Any && !self.is_apart
    }

    /// Where another family would be of no use, it is asked only to tell why there is no address.
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

    /// IPv6 addresses that wait for those of IPv4.
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
            // Another lookup may still find one.
            Missing::Answer if self.open.iter().any(|ask| !matches!(ask, Ask::Servers(_))) => {
                return None;
            }
            Missing::Answer => match self.served? {
                Some(Served::Silent) => Unresolved::Silent,
                Some(Served::Failed(code)) => Unresolved::Failed(code),
                // The server has an answer again, which it had not for the system.
                Some(Served::Answered) | None => Unresolved::Unknown,
            },
        };
        done(Err(why), ended)
    }

    /// Why there is no address, once both families have none. A name without IPv4 has none if IPv6
    /// is answered too; else the answer for IPv4 holds, since many servers give a wrong one for IPv6
    /// (RFC 4074).
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
