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

use super::servers::ServerReply;
use super::system::{LookupError, SystemReply};
use crate::model::connect::Family;

/// Head start of the lookup for both families (RFC 8305, 8); also the time that IPv6 addresses wait for
/// an IPv4 answer when each family is looked up alone.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Time after which the name servers are asked why there is no answer; a quarter of the check's timeout
/// if that is shorter.
const ASK_SERVERS_AFTER: Duration = Duration::from_secs(1);

/// Kind of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupKind {
    /// Ask the system for addresses.
    First(Family),
    /// Ask the system for addresses of one family, beside a first lookup.
    OneFamily(Family),
    /// Ask the name servers why there is no answer.
    NameServers(Family),
}

/// A question about a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupQuestion {
    /// The name, in ASCII.
    pub host: String,
    /// Kind of the lookup.
    pub kind: LookupKind,
}

/// Reply to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupReply {
    /// Reply of the system's resolver.
    System(SystemReply),
    /// Reply of the name servers; none if they could not be asked.
    Servers(Option<ServerReply>),
}

/// Reason for which there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// The name does not exist.
    NoName,
    /// The name has no address of this family.
    NoAddress(Family),
    /// No name server answers.
    NoServerAnswers,
    /// The name server failed, with this code.
    ServerFailed(u8),
    /// There was no answer, and the reason is not known.
    Unknown,
    /// This machine could not ask, for this reason (a text for people).
    OutOfResources(Arc<str>),
}

/// Result of a resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionResult {
    /// Addresses, at least one, in the order in which to try them; or the reason for which there are none.
    pub addresses: Result<Arc<[IpAddr]>, ResolveError>,
    /// Start of the first lookup: it had a thread.
    pub began: Instant,
    /// End of the lookup that decided the result.
    pub ended: Instant,
}

/// Next thing to do for a resolution.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Start these lookups.
    Ask(Vec<LookupKind>),
    /// Use this result: the resolution is over.
    Done(ResolutionResult),
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
    open: Vec<LookupKind>,
    answers: Vec<(LookupKind, SystemReply, Instant)>,
    is_split: bool,
    /// The name servers were asked; `served` is their reply, once it has come.
    has_asked_servers: bool,
    server_reply: Option<Option<ServerReply>>,
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
            open: vec![LookupKind::First(first)],
            answers: Vec::new(),
            is_split: false,
            has_asked_servers: false,
            server_reply: None,
        }
    }

    /// Returns the lookup that the resolution begins with.
    pub fn first(&self) -> LookupKind {
        LookupKind::First(self.first)
    }

    /// Makes the question of this resolution for one lookup.
    pub fn question(&self, kind: LookupKind) -> LookupQuestion {
        LookupQuestion { host: self.host.clone(), kind }
    }

    /// Returns the lookups that are under way.
    pub fn open(&self) -> &[LookupKind] {
        &self.open
    }

    /// Sets the start of the first lookup, the time at which it had a thread; a second call changes nothing.
    pub fn set_start(&mut self, at: Instant) {
        self.began.get_or_insert(at);
    }

    /// Returns true once the first lookup has had a thread.
    pub fn has_started(&self) -> bool {
        self.began.is_some()
    }

    /// Returns the time of the next [`Resolution::step`] that is needed even if no answer comes.
    pub fn next_at(&self) -> Option<Instant> {
        let apart = self.split_at().filter(|_| self.may_split());
        let doubt = self.ask_servers_at().filter(|_| !self.has_asked_servers);
        let late = self.waiting_ipv6().map(|(_, ended)| ended + RESOLUTION_DELAY);
        [apart, doubt, late].into_iter().flatten().min()
    }

    /// Takes the reply to the lookup `ask`, which began and ended at these times.
    pub fn take_reply(
        &mut self,
        kind: LookupKind,
        reply: LookupReply,
        (began, ended): (Instant, Instant),
    ) {
        self.open.retain(|other| *other != kind);
        if kind == self.first() {
            self.set_start(began);
        }
        match reply {
            LookupReply::Servers(server_reply) => self.server_reply = Some(server_reply),
            LookupReply::System(found) => self.answers.push((kind, found, ended)),
        }
    }

    /// Decides what to do now.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(done) = self.result(now) {
            return Step::Done(done);
        }
        let mut kinds = Vec::new();
        let has_failed = self.reply_to(self.first()).is_some();
        if self.may_split() && (has_failed || self.split_at().is_some_and(|at| at <= now)) {
            self.is_split = true;
            let families = [Family::V4, Family::V6].into_iter();
            kinds.extend(families.filter(|of| *of != self.first).map(LookupKind::OneFamily));
        }
        let is_over = has_failed && self.is_split == (self.wanted == Family::Any);
        let is_vain = kinds.is_empty() && is_over && self.open.is_empty();
        if !self.has_asked_servers && (is_vain || self.ask_servers_at().is_some_and(|at| at <= now))
        {
            self.has_asked_servers = true;
            kinds.push(LookupKind::NameServers(self.wanted));
        }
        self.open.extend(&kinds);
        if kinds.is_empty() { Step::Wait } else { Step::Ask(kinds) }
    }

    /// Returns the reason for which there is no address yet, as far as it is known.
    pub fn failure_so_far(&self) -> Option<ResolveError> {
        match self.server_reply {
            Some(Some(ServerReply::Failed(code))) => Some(ResolveError::ServerFailed(code)),
            Some(Some(ServerReply::Silent)) => Some(ResolveError::NoServerAnswers),
            Some(_) => None,
            // The name servers have not replied either.
            None => self.has_asked_servers.then_some(ResolveError::NoServerAnswers),
        }
    }

    fn may_split(&self) -> bool {
        self.wanted == Family::Any && !self.is_split
    }

    /// Returns the time at which each family is looked up alone if the first lookup has no answer. None if
    /// the first lookup asks for one family: the other one is then asked only after that lookup has failed,
    /// to tell why there is no address.
    fn split_at(&self) -> Option<Instant> {
        self.began.filter(|_| self.first == Family::Any).map(|began| began + RESOLUTION_DELAY)
    }

    fn ask_servers_at(&self) -> Option<Instant> {
        self.began.map(|began| began + ASK_SERVERS_AFTER.min(self.timeout / 4))
    }

    fn reply_to(&self, kind: LookupKind) -> Option<(&SystemReply, Instant)> {
        let answer = self.answers.iter().find(|(of, ..)| *of == kind);
        answer.map(|(_, found, ended)| (found, *ended))
    }

    fn addresses(&self, kind: LookupKind) -> Option<(&Arc<[IpAddr]>, Instant)> {
        match self.reply_to(kind) {
            Some((SystemReply::Addresses(found), ended)) => Some((found, ended)),
            _ => None,
        }
    }

    /// Returns the IPv6 addresses that wait for the IPv4 answer.
    fn waiting_ipv6(&self) -> Option<(&Arc<[IpAddr]>, Instant)> {
        self.addresses(LookupKind::OneFamily(Family::V6))
    }

    fn result(&self, now: Instant) -> Option<ResolutionResult> {
        let done = |addresses, ended| {
            Some(ResolutionResult { addresses, began: self.began.unwrap_or(ended), ended })
        };
        if let Some((SystemReply::OutOfResources(why), ended)) = self.reply_to(self.first()) {
            return done(Err(ResolveError::OutOfResources(Arc::clone(why))), ended);
        }
        let best =
            self.addresses(self.first()).or(self.addresses(LookupKind::OneFamily(Family::V4)));
        if let Some((found, ended)) = best {
            return done(Ok(Arc::clone(found)), ended);
        }
        let waits = self.open.contains(&LookupKind::OneFamily(Family::V4));
        if let Some((found, ended)) = self.waiting_ipv6()
            && (!waits || ended + RESOLUTION_DELAY <= now)
        {
            return done(Ok(Arc::clone(found)), ended);
        }
        let ended = self.answers.iter().map(|(.., ended)| *ended).max()?;
        let why = match self.lookup_error()? {
            LookupError::NoName => ResolveError::NoName,
            LookupError::NoAddress => ResolveError::NoAddress(self.wanted),
            // Another lookup may still find an address.
            LookupError::NoAnswer
                if self.open.iter().any(|kind| !matches!(kind, LookupKind::NameServers(_))) =>
            {
                return None;
            }
            LookupError::NoAnswer => match self.server_reply? {
                Some(ServerReply::Silent) => ResolveError::NoServerAnswers,
                Some(ServerReply::Failed(code)) => ResolveError::ServerFailed(code),
                // The server answers us now, though it did not answer the system's resolver.
                Some(ServerReply::Answered) | None => ResolveError::Unknown,
            },
        };
        done(Err(why), ended)
    }

    /// Returns the reason for which there is no address, once both families have none. A name without an
    /// IPv4 address has no address only if IPv6 is answered too. In all other cases the answer for IPv4
    /// counts, since many servers give a wrong answer for IPv6 (RFC 4074).
    fn lookup_error(&self) -> Option<LookupError> {
        let of = |family| {
            let found = self.reply_to(LookupKind::OneFamily(family));
            let found =
                found.or_else(|| self.reply_to(self.first()).filter(|_| self.first == family));
            found.map(|(found, _)| match found {
                SystemReply::Failed(missing) => *missing,
                _ => LookupError::NoAnswer,
            })
        };
        match self.wanted {
            Family::V4 | Family::V6 => of(self.wanted),
            Family::Any => match (of(Family::V4)?, of(Family::V6)?) {
                (LookupError::NoAddress, LookupError::NoAnswer) => Some(LookupError::NoAnswer),
                (v4, _) => Some(v4),
            },
        }
    }
}

#[cfg(test)]
mod tests;
