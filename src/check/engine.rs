//! Runs many checks at once on one thread, each with libcurl handles of its own.
//!
//! The owner of an [`Engine`] starts checks and takes turns. A turn moves all checks on and gives those
//! that have ended. A turn never blocks longer than its timeout.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use curl::easy::Easy2;
use curl::multi::{Easy2Handle, Multi, MultiWaker, WaitFd};

use super::budget::Held;
use super::callbacks::Wire;
use super::pool::Kept;
use super::raw;
use super::request::{End, Flight};
use super::resolve::{Answer, Question, Resolution, Resolver, Step};
use super::stall::{self, Pulse, Whom};
use super::trust::Trust;
use crate::error::{Context, Error};
use crate::model::judge::{Fault, Reply};
use crate::model::outcome::Cause;
use crate::model::target::Target;

/// Most names that libcurl looks up itself at once: those of proxies.
const LOOKUPS: u16 = 100;

/// Checks under way; each carries a tag of the caller.
pub struct Engine<T> {
    multi: Multi,
    trust: Trust,
    resolver: Resolver,
    /// Hops whose name is being looked up, by token.
    looking: HashMap<usize, Looking<T>>,
    flights: HashMap<usize, Under<T>>,
    /// Tokens of the flights that wait for a greeting.
    listening: Vec<usize>,
    /// Connections that targets keep (`reuse`), by the target's name.
    kept: HashMap<Arc<str>, Rc<Kept>>,
    next_token: usize,
    pulse: Pulse,
    /// Sum of the late turns since the last [`Engine::take_stall`].
    stalled: Duration,
    /// Checks that have ended since the last turn; those that could not begin are among them.
    ended: Vec<Done<T>>,
}

/// Hop whose name is being looked up.
struct Looking<T> {
    flight: Box<Flight>,
    resolution: Resolution,
    held: Held,
    tag: T,
}

/// Hop under way.
struct Under<T> {
    handle: Easy2Handle<Wire>,
    flight: Box<Flight>,
    tag: T,
}

/// Check that has ended.
pub struct Done<T> {
    /// Tag that the caller gave to the check.
    pub tag: T,
    /// Target of the check.
    pub target: Arc<Target>,
    /// Reply of the site.
    pub reply: Reply,
    /// Room that the body takes; drop it together with the body.
    pub held: Option<Held>,
}

impl<T> Engine<T> {
    /// Makes an engine that trusts these roots.
    pub fn new(trust: Trust) -> Engine<T> {
        curl::init();
        let (flights, kept) = (HashMap::new(), HashMap::new());
        let (listening, ended) = (Vec::new(), Vec::new());
        let multi = Multi::new();
        raw::look_up_freely(&multi, LOOKUPS);
        let (resolver, looking) = (Resolver::new(multi.waker()), HashMap::new());
        let (pulse, stalled) = (Pulse::default(), Duration::ZERO);
        Engine {
            multi,
            trust,
            resolver,
            looking,
            flights,
            listening,
            kept,
            next_token: 0,
            pulse,
            stalled,
            ended,
        }
    }

    /// Returns a waker that ends a turn early, from any thread.
    pub fn waker(&self) -> MultiWaker {
        self.multi.waker()
    }

    /// Trusts these roots from the next check on; no connection made before is used any more.
    pub fn trust(&mut self, trust: Trust) {
        self.trust = trust;
        self.kept.clear();
    }

    /// Returns the number of checks under way.
    pub fn in_flight(&self) -> usize {
        self.looking.len() + self.flights.len() + self.ended.len()
    }

    /// Starts a check. `held` is the room for its body at first; it grows with the body.
    pub fn start(&mut self, target: Arc<Target>, held: Held, tag: T) {
        let kept = target.connect.reuse.then(|| self.kept_of(&target));
        let flight = Box::new(Flight::new(target, kept, Instant::now()));
        self.launch(flight, held, tag);
    }

    fn kept_of(&mut self, target: &Target) -> Rc<Kept> {
        Rc::clone(self.kept.entry(Arc::clone(&target.name)).or_default())
    }

    /// Moves all checks on, waits for at most `timeout` if none has ended, and returns the checks that have
    /// ended, in no particular order.
    ///
    /// # Errors
    /// libcurl itself failed, for example without memory; the checks stay as they are.
    pub fn turn(&mut self, timeout: Duration) -> Result<Vec<Done<T>>, Error> {
        self.feel(Duration::ZERO);
        self.multi.perform().cannot("go on with the checks")?;
        self.collect();
        if self.ended.is_empty() && !timeout.is_zero() {
            let (mut sockets, timeout) = self.sockets(timeout);
            self.feel(Duration::ZERO);
            self.multi.poll(&mut sockets, timeout).cannot("wait for the checks")?;
            self.feel(timeout);
            self.multi.perform().cannot("go on with the checks")?;
            self.collect();
        }
        Ok(std::mem::take(&mut self.ended))
    }

    /// Returns the sum of all late turns since the last call, a stall that ends now included; none if that is
    /// less than 1 s.
    pub fn take_stall(&mut self) -> Option<Duration> {
        self.feel(Duration::ZERO);
        let stalled = std::mem::take(&mut self.stalled);
        (stalled >= stall::STALLED).then_some(stalled)
    }

    /// Notes a stall if this call comes far too late after the last one, of which `allowed` was the longest
    /// wait. The stall is added to all checks under way: they have waited for us.
    fn feel(&mut self, allowed: Duration) {
        let now = Instant::now();
        let Some(late) = self.pulse.late(allowed, now) else { return };
        self.stalled += late;
        let flights = self.flights.values_mut().map(|under| &mut under.flight);
        let looking = self.looking.values_mut().map(|looking| &mut looking.flight);
        flights.chain(looking).for_each(|flight| flight.stall(late, now));
    }

    /// Ends all checks that are under way without a reply, and returns their tags.
    pub fn abandon(&mut self) -> Vec<T> {
        let flights = std::mem::take(&mut self.flights).into_values().map(|under| {
            drop(self.multi.remove2(under.handle));
            under.tag
        });
        let looking = std::mem::take(&mut self.looking).into_values().map(|looking| looking.tag);
        flights.chain(looking).collect()
    }

    /// Sends a check on its next hop.
    fn launch(&mut self, mut flight: Box<Flight>, held: Held, tag: T) {
        let Some(resolution) = flight.resolution() else { return self.connect(flight, held, tag) };
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        self.resolver.ask(resolution.question(resolution.first()), token, Instant::now());
        self.looking.insert(token, Looking { flight, resolution, held, tag });
    }

    /// Moves on all hops whose name is being looked up. Returns false if no lookup has ended.
    fn look(&mut self) -> bool {
        if self.looking.is_empty() {
            return false;
        }
        for (token, answer) in self.resolver.answers() {
            if let Some(looking) = self.looking.get_mut(&token) {
                let Answer { ask, reply, began, ended } = answer;
                looking.resolution.take(ask, reply, (began, ended));
            }
        }
        let tokens: Vec<usize> = self.looking.keys().copied().collect();
        tokens.into_iter().filter(|token| self.look_on(*token)).count() > 0
    }

    /// Moves on one hop whose name is being looked up. Returns false if the lookup goes on.
    fn look_on(&mut self, token: usize) -> bool {
        let now = Instant::now();
        let Some(Looking { flight, resolution, .. }) = self.looking.get_mut(&token) else {
            return false;
        };
        if !resolution.has_begun()
            && let Some(began) =
                self.resolver.began(&resolution.question(resolution.first()), token)
        {
            resolution.begun(began);
            flight.begun(began);
        }
        let resolved = match resolution.step(now) {
            Step::Done(resolved) => Some(resolved),
            Step::Ask(asks) => {
                for ask in asks {
                    self.resolver.ask(resolution.question(ask), token, now);
                }
                None
            }
            Step::Wait => None,
        };
        if resolved.is_none() && flight.deadline() > now {
            return false;
        }
        let Some(looking) = self.looking.remove(&token) else { return false };
        let Looking { mut flight, resolution, held, tag } = looking;
        let open: Vec<Question> =
            resolution.open().iter().map(|ask| resolution.question(*ask)).collect();
        let is_asked = self.resolver.forget(&open, token);
        let reply = match resolved {
            Some(resolved) => match flight.found(resolved) {
                Ok(()) => {
                    self.connect(flight, held, tag);
                    return true;
                }
                Err(reply) => reply,
            },
            None => flight.lost(is_asked, resolution.doubt().as_ref()),
        };
        self.end(flight.whom(), *reply, Some(held), tag);
        true
    }

    /// Sends a check on its next hop; the name needs no lookup, or has been looked up.
    fn connect(&mut self, flight: Box<Flight>, held: Held, tag: T) {
        let easy = match flight.request(&self.trust, held) {
            Ok(easy) => easy,
            Err(reply) => return self.end(flight.whom(), *reply, None, tag),
        };
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        match self.add(easy, token) {
            Ok(handle) => {
                self.flights.insert(token, Under { handle, flight, tag });
            }
            Err(error) => {
                let text = format!("cannot start the check: {error}");
                let fault = Some(Fault { cause: Cause::Internal, text });
                self.end(flight.whom(), Reply { fault, ..Reply::default() }, None, tag);
            }
        }
    }

    fn add(&self, easy: Easy2<Wire>, token: usize) -> Result<Easy2Handle<Wire>, Error> {
        let mut handle = self.multi.add2(easy).cannot("add the request")?;
        handle.set_token(token).cannot("mark the request")?;
        // The request begins now and not with the next turn: else its first phase would include the wait
        // for that turn, and the starts of other checks. This call moves on new or overdue transfers only.
        handle.get_mut().started = Instant::now();
        self.multi.timeout().cannot("begin with the request")?;
        Ok(handle)
    }

    fn end(&mut self, whom: Whom, mut reply: Reply, held: Option<Held>, tag: T) {
        let Whom { target, stalled } = whom;
        if let Some(fault) = stall::doubt(&reply, stalled) {
            (reply.fault, reply.silence) = (Some(fault), None);
        }
        self.ended.push(Done { tag, target, reply, held });
    }

    /// Returns the sockets to wait for besides libcurl's own, and the longest wait, at most `timeout`.
    fn sockets(&self, timeout: Duration) -> (Vec<WaitFd>, Duration) {
        let under = self.listening.iter().filter_map(|token| self.flights.get(token));
        let now = Instant::now();
        let open = under.clone().map(|under| under.flight.deadline());
        let looking = self.looking.values().flat_map(|Looking { flight, resolution, .. }| {
            [Some(flight.deadline()), resolution.next_at()].into_iter().flatten()
        });
        let open = open.chain(looking);
        let left = open.map(|deadline| deadline.saturating_duration_since(now));
        // One millisecond more, since poll knows whole milliseconds only and would wake up too early.
        let left = left.min().map(|left| left + Duration::from_millis(1));
        let sockets = under.filter_map(|under| {
            let mut socket = WaitFd::new();
            socket.set_fd(raw::socket(&under.handle)?);
            socket.poll_on_read(true);
            Some(socket)
        });
        (sockets.collect(), left.map_or(timeout, |left| left.min(timeout)))
    }

    /// Reads the greetings that are waited for; returns those that are over.
    fn listen(&mut self) -> Vec<(usize, Result<(), curl::Error>)> {
        let (mut over, now) = (Vec::new(), Instant::now());
        self.listening.retain(|token| {
            let Some(Under { handle, flight, .. }) = self.flights.get_mut(token) else {
                return false;
            };
            let end = flight.listen(handle, now);
            let goes_on = end.is_none();
            over.extend(end.map(|end| (*token, end)));
            goes_on
        });
        over
    }

    /// Takes the transfers that have ended out of libcurl, again and again until none is left. A next hop
    /// that starts may end at once, or end others: the turn must not wait while an ended transfer is left.
    fn collect(&mut self) {
        while self.look() | self.collect_once() {}
    }

    /// Takes the transfers out of libcurl that have ended by now. Returns false if there were none.
    fn collect_once(&mut self) -> bool {
        let (mut results, mut connected) = (Vec::new(), Vec::new());
        self.multi.messages(|message| {
            let Ok(token) = message.token() else { return };
            let Some(under) = self.flights.get(&token) else { return };
            match message.result_for2(&under.handle) {
                Some(Ok(())) if under.flight.awaits_greeting() => connected.push(token),
                Some(result) => results.push((token, result)),
                None => {}
            }
        });
        for token in &connected {
            let Some(under) = self.flights.get_mut(token) else { continue };
            under.handle.get_mut().connected_at = Some(Instant::now());
        }
        self.listening.append(&mut connected);
        results.append(&mut self.listen());
        let any = !results.is_empty();
        for (token, result) in results {
            let Some(Under { handle, flight, tag }) = self.flights.remove(&token) else { continue };
            let whom = flight.whom();
            match self.multi.remove2(handle) {
                Ok(easy) => match flight.end(easy, result) {
                    End::Reply(reply, held) => self.end(whom, *reply, Some(held), tag),
                    End::Next(flight, held) => self.launch(flight, held, tag),
                },
                Err(error) => {
                    let text = format!("cannot end the check: {error}");
                    let fault = Some(Fault { cause: Cause::Internal, text });
                    self.end(whom, Reply { fault, ..Reply::default() }, None, tag);
                }
            }
        }
        any
    }
}
