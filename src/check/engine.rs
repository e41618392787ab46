//! Runs many checks at once on one thread.
//!
//! The owner of an [`Engine`] starts checks and calls [`Engine::turn`] again and again. A turn advances all
//! checks and returns those that have ended. It never blocks longer than its timeout.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use curl::easy::Easy2;
use curl::multi::{Easy2Handle, Multi, MultiWaker, WaitFd};

use super::budget::Permit;
use super::callbacks::TransferCallbacks;
use super::pool::ConnectionPool;
use super::raw;
use super::request::{ActiveCheck, HopEnd};
use super::resolve::{LookupQuestion, Resolution, Resolver, Step, TimedReply};
use super::stall::{self, ReplyOwner, StallDetector};
use super::trust::Trust;
use crate::error::{Context, Error};
use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::Cause;
use crate::model::target::Target;

/// Most names that libcurl itself looks up at once: the names of proxies.
const PROXY_LOOKUPS_MAX: u16 = 100;

/// Runs checks. Each check carries a tag of the caller, of the type `T`.
pub struct Engine<T> {
    multi: Multi,
    trust: Trust,
    resolver: Resolver,
    /// Hops whose name is being looked up, by their token.
    lookups: HashMap<usize, PendingLookup<T>>,
    /// Hops that libcurl works on, by their token.
    transfers: HashMap<usize, Transfer<T>>,
    /// Tokens of the transfers that wait for a greeting.
    awaiting_greeting: Vec<usize>,
    /// Open connections of targets with `reuse`, by the name of the target.
    pools: HashMap<Arc<str>, Rc<ConnectionPool>>,
    /// Token of the next hop; tokens are not used twice.
    next_token: usize,
    detector: StallDetector,
    /// Sum of the stalls since the last [`Engine::take_stall`].
    stalled: Duration,
    /// Checks that have ended since the last turn, with those that could not start.
    ended: Vec<FinishedCheck<T>>,
}

/// Hop whose name is being looked up.
struct PendingLookup<T> {
    check: Box<ActiveCheck>,
    resolution: Resolution,
    permit: Permit,
    tag: T,
}

/// Hop that libcurl works on.
struct Transfer<T> {
    handle: Easy2Handle<TransferCallbacks>,
    check: Box<ActiveCheck>,
    tag: T,
}

/// Check that has ended.
pub struct FinishedCheck<T> {
    /// Tag that the caller gave to the check.
    pub tag: T,
    /// Target of the check.
    pub target: Arc<Target>,
    /// Reply of the site.
    pub reply: Reply,
    /// Permit for the body; drop it together with the body.
    pub permit: Option<Permit>,
}

impl<T> Engine<T> {
    /// Makes an engine without checks, which trusts these roots.
    pub fn new(trust: Trust) -> Engine<T> {
        curl::init();
        let multi = Multi::new();
        raw::set_lookup_threads(&multi, PROXY_LOOKUPS_MAX);
        Engine {
            trust,
            resolver: Resolver::new(multi.waker()),
            multi,
            lookups: HashMap::new(),
            transfers: HashMap::new(),
            awaiting_greeting: Vec::new(),
            pools: HashMap::new(),
            next_token: 0,
            detector: StallDetector::default(),
            stalled: Duration::ZERO,
            ended: Vec::new(),
        }
    }

    /// Returns a waker that ends a turn early, from any thread.
    pub fn waker(&self) -> MultiWaker {
        self.multi.waker()
    }

    /// Replaces the roots for all later checks, and closes the connections that were verified with the old
    /// ones.
    pub fn trust(&mut self, trust: Trust) {
        self.trust = trust;
        self.pools.clear();
    }

    /// Returns the number of checks under way.
    pub fn in_flight(&self) -> usize {
        self.lookups.len() + self.transfers.len() + self.ended.len()
    }

    /// Starts a check. `permit` is for the first bytes of its body, and grows with the body.
    pub fn start(&mut self, target: Arc<Target>, permit: Permit, tag: T) {
        let pool = target.connect.reuse.then(|| self.pool_of(&target));
        let check = Box::new(ActiveCheck::new(target, pool, Instant::now()));
        self.start_hop(check, permit, tag);
    }

    fn pool_of(&mut self, target: &Target) -> Rc<ConnectionPool> {
        Rc::clone(self.pools.entry(Arc::clone(&target.name)).or_default())
    }

    /// Advances all checks, and returns those that have ended, in no particular order. If none has ended,
    /// waits for at most `timeout`.
    ///
    /// # Errors
    /// libcurl itself fails, for example without memory; the checks stay as they are.
    pub fn turn(&mut self, timeout: Duration) -> Result<Vec<FinishedCheck<T>>, Error> {
        self.detect_stall(Duration::ZERO);
        self.multi.perform().cannot("go on with the checks")?;
        self.collect();
        if self.ended.is_empty() && !timeout.is_zero() {
            let (mut sockets, timeout) = self.sockets(timeout);
            self.detect_stall(Duration::ZERO);
            self.multi.poll(&mut sockets, timeout).cannot("wait for the checks")?;
            self.detect_stall(timeout);
            self.multi.perform().cannot("go on with the checks")?;
            self.collect();
        }
        Ok(std::mem::take(&mut self.ended))
    }

    /// Returns the sum of all stalls since the last call, with one that ends now; none if the sum is less
    /// than 1 s.
    pub fn take_stall(&mut self) -> Option<Duration> {
        self.detect_stall(Duration::ZERO);
        let stalled = std::mem::take(&mut self.stalled);
        (stalled >= stall::STALLED).then_some(stalled)
    }

    /// Notes a stall if this call comes much later than `allowed` after the last call. Adds the stall to all
    /// checks under way, since they have waited for us.
    fn detect_stall(&mut self, allowed: Duration) {
        let now = Instant::now();
        let Some(late) = self.detector.late(allowed, now) else { return };
        self.stalled += late;
        let transfers = self.transfers.values_mut().map(|transfer| &mut transfer.check);
        let lookups = self.lookups.values_mut().map(|lookup| &mut lookup.check);
        transfers.chain(lookups).for_each(|check| check.add_stall(late, now));
    }

    /// Drops all checks that are under way, and returns their tags.
    pub fn abandon(&mut self) -> Vec<T> {
        let transfers = std::mem::take(&mut self.transfers).into_values().map(|transfer| {
            drop(self.multi.remove2(transfer.handle));
            transfer.tag
        });
        let lookups = std::mem::take(&mut self.lookups).into_values().map(|lookup| lookup.tag);
        transfers.chain(lookups).collect()
    }

    /// Starts the next hop of a check: looks up its name, or connects at once if no name has to be looked up.
    fn start_hop(&mut self, mut check: Box<ActiveCheck>, permit: Permit, tag: T) {
        let Some(resolution) = check.resolution() else { return self.connect(check, permit, tag) };
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        self.resolver.ask(resolution.question(resolution.first()), token, Instant::now());
        self.lookups.insert(token, PendingLookup { check, resolution, permit, tag });
    }

    /// Advances all lookups. Returns false if none has ended.
    fn advance_lookups(&mut self) -> bool {
        if self.lookups.is_empty() {
            return false;
        }
        for (token, answer) in self.resolver.take_replies() {
            if let Some(lookup) = self.lookups.get_mut(&token) {
                let TimedReply { kind, reply, began, ended } = answer;
                lookup.resolution.take_reply(kind, reply, (began, ended));
            }
        }
        let tokens: Vec<usize> = self.lookups.keys().copied().collect();
        tokens.into_iter().filter(|token| self.advance_lookup(*token)).count() > 0
    }

    /// Advances one lookup. Returns false if the lookup goes on.
    fn advance_lookup(&mut self, token: usize) -> bool {
        let now = Instant::now();
        let Some(PendingLookup { check, resolution, .. }) = self.lookups.get_mut(&token) else {
            return false;
        };
        if !resolution.has_started()
            && let Some(began) =
                self.resolver.start_of(&resolution.question(resolution.first()), token)
        {
            resolution.set_start(began);
            check.set_lookup_start(began);
        }
        let resolved = match resolution.step(now) {
            Step::Done(resolved) => Some(resolved),
            Step::Ask(kinds) => {
                for kind in kinds {
                    self.resolver.ask(resolution.question(kind), token, now);
                }
                None
            }
            Step::Wait => None,
        };
        if resolved.is_none() && check.deadline() > now {
            return false;
        }
        let Some(lookup) = self.lookups.remove(&token) else { return false };
        let PendingLookup { mut check, resolution, permit, tag } = lookup;
        let open: Vec<LookupQuestion> =
            resolution.open().iter().map(|kind| resolution.question(*kind)).collect();
        let is_asked = self.resolver.forget(&open, token);
        let reply = match resolved {
            Some(resolved) => match check.take_resolution(resolved) {
                Ok(()) => {
                    self.connect(check, permit, tag);
                    return true;
                }
                Err(reply) => reply,
            },
            None => check.lookup_timeout(is_asked, resolution.failure_so_far().as_ref()),
        };
        self.finish(check.owner(), *reply, Some(permit), tag);
        true
    }

    /// Hands the hop of a check to libcurl. By now the address is known, or libcurl has to find it.
    fn connect(&mut self, check: Box<ActiveCheck>, permit: Permit, tag: T) {
        let easy = match check.make_request(&self.trust, permit) {
            Ok(easy) => easy,
            Err(reply) => return self.finish(check.owner(), *reply, None, tag),
        };
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        match self.add(easy, token) {
            Ok(handle) => {
                self.transfers.insert(token, Transfer { handle, check, tag });
            }
            Err(error) => {
                let text = format!("cannot start the check: {error}");
                let fault = Some(CheckFault { cause: Cause::Internal, text });
                self.finish(check.owner(), Reply { fault, ..Reply::default() }, None, tag);
            }
        }
    }

    fn add(
        &self,
        easy: Easy2<TransferCallbacks>,
        token: usize,
    ) -> Result<Easy2Handle<TransferCallbacks>, Error> {
        let mut handle = self.multi.add2(easy).cannot("add the request")?;
        handle.set_token(token).cannot("mark the request")?;
        // Let the request begin now and not with the next turn: else its first phase would include the wait
        // for that turn, and the starts of other checks. This call advances only new transfers and those
        // whose timer has run out.
        handle.get_mut().started = Instant::now();
        self.multi.timeout().cannot("begin with the request")?;
        Ok(handle)
    }

    fn finish(&mut self, owner: ReplyOwner, mut reply: Reply, permit: Option<Permit>, tag: T) {
        let ReplyOwner { target, stalled } = owner;
        if let Some(fault) = stall::fault(&reply, stalled) {
            reply.fault = Some(fault);
            reply.silence = None;
        }
        self.ended.push(FinishedCheck { tag, target, reply, permit });
    }

    /// Returns the sockets to wait for, other than libcurl's own, and the longest time to wait, at most
    /// `timeout`.
    fn sockets(&self, timeout: Duration) -> (Vec<WaitFd>, Duration) {
        let greetings = self.awaiting_greeting.iter().filter_map(|token| self.transfers.get(token));
        let now = Instant::now();
        let open = greetings.clone().map(|transfer| transfer.check.deadline());
        let lookups =
            self.lookups.values().flat_map(|PendingLookup { check, resolution, .. }| {
                [Some(check.deadline()), resolution.next_at()].into_iter().flatten()
            });
        let open = open.chain(lookups);
        let left = open.map(|deadline| deadline.saturating_duration_since(now));
        // Add a millisecond: poll counts in whole milliseconds and would return too early.
        let left = left.min().map(|left| left + Duration::from_millis(1));
        let sockets = greetings.filter_map(|transfer| {
            let mut socket = WaitFd::new();
            socket.set_fd(raw::socket(&transfer.handle)?);
            socket.poll_on_read(true);
            Some(socket)
        });
        (sockets.collect(), left.map_or(timeout, |left| left.min(timeout)))
    }

    /// Reads the greetings that have arrived. Returns the token and the result of each that is over.
    fn read_greetings(&mut self) -> Vec<(usize, Result<(), curl::Error>)> {
        let now = Instant::now();
        let mut over = Vec::new();
        self.awaiting_greeting.retain(|token| {
            let Some(Transfer { handle, check, .. }) = self.transfers.get_mut(token) else {
                return false;
            };
            let end = check.read_greeting(handle, now);
            let goes_on = end.is_none();
            over.extend(end.map(|end| (*token, end)));
            goes_on
        });
        over
    }

    /// Removes from libcurl all transfers that have ended. Repeats that until none is left: a hop that starts
    /// may end at once, or end others, and the turn must not wait while a transfer has ended.
    fn collect(&mut self) {
        while self.advance_lookups() | self.collect_once() {}
    }

    /// Removes from libcurl the transfers that have ended by now. Returns false if there was none.
    fn collect_once(&mut self) -> bool {
        let mut results = Vec::new();
        let mut connected = Vec::new();
        self.multi.messages(|message| {
            let Ok(token) = message.token() else { return };
            let Some(transfer) = self.transfers.get(&token) else { return };
            match message.result_for2(&transfer.handle) {
                Some(Ok(())) if transfer.check.awaits_greeting() => connected.push(token),
                Some(result) => results.push((token, result)),
                None => {}
            }
        });
        for token in &connected {
            let Some(transfer) = self.transfers.get_mut(token) else { continue };
            transfer.handle.get_mut().connected_at = Some(Instant::now());
        }
        self.awaiting_greeting.append(&mut connected);
        results.append(&mut self.read_greetings());
        let any = !results.is_empty();
        for (token, result) in results {
            let Some(Transfer { handle, check, tag }) = self.transfers.remove(&token) else {
                continue;
            };
            let owner = check.owner();
            match self.multi.remove2(handle) {
                Ok(easy) => match check.evaluate(easy, result) {
                    HopEnd::Reply(reply, permit) => self.finish(owner, *reply, Some(permit), tag),
                    HopEnd::Next(check, permit) => self.start_hop(check, permit, tag),
                },
                Err(error) => {
                    let text = format!("cannot end the check: {error}");
                    let fault = Some(CheckFault { cause: Cause::Internal, text });
                    self.finish(owner, Reply { fault, ..Reply::default() }, None, tag);
                }
            }
        }
        any
    }
}
