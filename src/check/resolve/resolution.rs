//! Resolves the name of one hop: decides which lookups to make, and when the resolution is over. Pure code:
//! takes times and replies, and returns questions and a result.
//!
//! The first lookup asks the system for addresses of both families, because the system also sorts them (RFC
//! 6724). That lookup ends when both families are answered. A name server that does not answer for one family
//! delays it by 5 s or more, and musl then finds no address at all. So each family is also looked up alone,
//! if the first lookup has no reply after [`RESOLUTION_DELAY`], or finds no address. An IPv4 address from
//! such a lookup is used at once; IPv6 had its head start by the first lookup (the «Resolution Delay» of RFC
//! 8305).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::ServerReply;
use super::system::{LookupError, SystemReply};
use crate::model::connect::Family;

/// Head start of the lookup for both families (RFC 8305, section 8). Also the time that IPv6 addresses wait
/// for an IPv4 reply, when each family is looked up alone.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Ask the name servers why there is no answer after this time, or after a quarter of the check's timeout if
/// that is shorter.
const ASK_SERVERS_AFTER: Duration = Duration::from_secs(1);

/// Kind of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupKind {
    /// Ask the system for addresses, first of all.
    First(Family),
    /// Ask the system for addresses of one family, next to a first lookup.
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

/// Reply to a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupReply {
    /// Reply of the system's resolver.
    System(SystemReply),
    /// Reply of the name servers; none if nobody could be asked.
    Servers(Option<ServerReply>),
}

/// Reason why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// The name does not exist.
    UnknownName,
    /// The name has no address of this family.
    NoAddress(Family),
    /// No name server answers.
    NoServerAnswers,
    /// A name server has answered with this error code (RFC 1035, 4.1.1).
    ServerFailed(u8),
    /// No answer has come, for a reason that is not known.
    Unknown,
    /// This machine could not ask; with the reason as a text for people.
    OutOfResources(Arc<str>),
}

/// Result of a resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionResult {
    /// Addresses, at least one, in the order in which to try them; or the reason why there are none.
    pub addresses: Result<Arc<[IpAddr]>, ResolveError>,
    /// Start of the first lookup: from then on it had a thread.
    pub began: Instant,
    /// End of the lookup that decided the result.
    pub ended: Instant,
}

/// Next thing to do for a resolution.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Start these lookups.
    Ask(Vec<LookupKind>),
    /// The resolution is over, with this result.
    Done(ResolutionResult),
    /// Wait for a reply, or until [`Resolution::next_at`].
    Wait,
}

/// A resolution under way.
pub struct Resolution {
    host: String,
    /// Families of which addresses are wanted.
    wanted: Family,
    /// Families of the first lookup.
    first: Family,
    /// Timeout of the check.
    timeout: Duration,
    /// Start of the first lookup; none before.
    began: Option<Instant>,
    /// Lookups without a reply so far.
    open: Vec<LookupKind>,
    /// Replies of the system, with the end of each lookup.
    answers: Vec<(LookupKind, SystemReply, Instant)>,
    /// True once each family is looked up alone.
    is_split: bool,
    /// True once the name servers are asked.
    has_asked_servers: bool,
    /// Reply of the name servers; none before it has come.
    server_reply: Option<Option<ServerReply>>,
}

impl Resolution {
    /// Starts a resolution of addresses of the `wanted` families. The family `bound` is looked up first,
    /// since our address to connect from is of that family. `timeout` is the check's.
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

    /// Returns the kind of the first lookup.
    pub fn first(&self) -> LookupKind {
        LookupKind::First(self.first)
    }

    /// Makes the question for one lookup of this resolution.
    pub fn question(&self, kind: LookupKind) -> LookupQuestion {
        LookupQuestion { host: self.host.clone(), kind }
    }

    /// Returns the lookups without a reply so far.
    pub fn open(&self) -> &[LookupKind] {
        &self.open
    }

    /// Sets the start of the first lookup: from then on it had a thread. A second call changes nothing.
    pub fn set_start(&mut self, at: Instant) {
        self.began.get_or_insert(at);
    }

    /// Returns true once the first lookup has a thread.
    pub fn has_started(&self) -> bool {
        self.began.is_some()
    }

    /// Returns the time at which [`Resolution::step`] must be called even if no reply comes; none if there is
    /// no such time.
    pub fn next_at(&self) -> Option<Instant> {
        let apart = self.split_at().filter(|_| self.may_split());
        let doubt = self.ask_servers_at().filter(|_| !self.has_asked_servers);
        let late = self.waiting_ipv6().map(|(_, ended)| ended + RESOLUTION_DELAY);
        [apart, doubt, late].into_iter().flatten().min()
    }

    /// Takes the reply to a lookup, which began and ended at these times.
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

    /// Returns the reason why there is no address yet, if it is known.
    pub fn failure_so_far(&self) -> Option<ResolveError> {
        match self.server_reply {
            Some(Some(ServerReply::Failed(code))) => Some(ResolveError::ServerFailed(code)),
            Some(Some(ServerReply::Silent)) => Some(ResolveError::NoServerAnswers),
            Some(_) => None,
            // The name servers do not reply either.
            None => self.has_asked_servers.then_some(ResolveError::NoServerAnswers),
        }
    }

    fn may_split(&self) -> bool {
        self.wanted == Family::Any && !self.is_split
    }

    /// Returns the time at which each family is looked up alone, if the first lookup has no reply by then.
    /// None if the first lookup is of one family: then the other family is looked up only after the first
    /// lookup has failed, to find the reason.
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

    /// Returns the IPv6 addresses that wait for the reply for IPv4, and the end of their lookup.
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
            LookupError::UnknownName => ResolveError::UnknownName,
            LookupError::NoAddress => ResolveError::NoAddress(self.wanted),
            // Another lookup is under way and may find an address.
            LookupError::NoAnswer
                if self.open.iter().any(|kind| !matches!(kind, LookupKind::NameServers(_))) =>
            {
                return None;
            }
            LookupError::NoAnswer => match self.server_reply? {
                Some(ServerReply::Silent) => ResolveError::NoServerAnswers,
                Some(ServerReply::Failed(code)) => ResolveError::ServerFailed(code),
                // A server answers us, though none has answered the system's resolver.
                Some(ServerReply::Answered) | None => ResolveError::Unknown,
            },
        };
        done(Err(why), ended)
    }

    /// Returns the reason why there is no address, once both families have failed. The reply for IPv4
    /// decides, since many servers give a wrong answer for IPv6 (RFC 4074); with one exception: a name
    /// without an IPv4 address may have an IPv6 address as long as IPv6 has no answer.
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
