//! Looks names up with the system's resolver. Each lookup runs on a thread of its own, so that no lookup
//! waits for another. libcurl has such threads too, but with one flaw: a lookup that nobody answers
//! hangs for 10 s and more after its check is over, and each check starts another one, until ten dead
//! names occupy all threads and delay all other names. Here a name that hangs gets one second try beside
//! the first; later questions for that name wait for the second try. A thread without work stays for a
//! while: to start a thread can cost as much as a lookup.
//!
//! `resolution` decides which lookups a name takes and what their answers mean, `system` makes one
//! lookup, `servers` finds out why the name servers give no answer.

mod resolution;
mod servers;
mod system;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use curl::multi::MultiWaker;

pub use self::resolution::{
    LookupKind, LookupQuestion, LookupReply, Resolution, ResolutionResult, ResolveError, Step,
};
pub use self::system::look_up;
use self::system::{LookupError, SystemReply};

/// Most first lookups at once: the default of `max_in_flight`.
const LOOKUPS_MAX: usize = 100;
/// A lookup that has taken this long counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// Lookups of one name that may hang at once. A second try of a name starts only while fewer than half
/// of the [`LOOKUPS_MAX`] threads are busy.
const HANGING_MAX: usize = 2;
/// Most lookups at once beside the first ones (one family alone, or the name servers). A lookup that
/// finds no free thread is left out: it would only help.
const EXTRA_MAX: usize = 100;
/// Lookups beside a first one that may hang at once for the same question.
const EXTRA_HANGING_MAX: usize = 1;
/// Longest time that a thread stays without work, and the most threads that stay.
const IDLE_TIME: Duration = Duration::from_secs(10);
const IDLE_MAX: usize = 4;
/// Stack of each thread, in bytes: enough for the C library's resolver and the plugins of a host.
const STACK_BYTES: usize = 256 * 1024;

/// Answer to a lookup, with its times.
#[derive(Debug, Clone)]
pub struct TimedReply {
    /// Kind of the lookup.
    pub kind: LookupKind,
    /// Result of the lookup.
    pub reply: LookupReply,
    /// Start of the lookup: it had a thread.
    pub began: Instant,
    /// End of the lookup; the answer may be read later.
    pub ended: Instant,
}

/// Resolver with its threads; shared with them.
pub struct Resolver(Arc<SharedResolver>);

struct SharedResolver {
    state: Mutex<ResolverState>,
    /// Wakes an idle thread: there is a lookup in [`ResolverState::handed_over`].
    work: Condvar,
    waker: MultiWaker,
}

#[derive(Default)]
struct ResolverState {
    under_way: HashMap<LookupQuestion, Vec<SystemCall>>,
    /// Questions that wait for a free thread, each with its token; oldest first.
    waiting: VecDeque<(LookupQuestion, usize)>,
    /// Threads that make a first lookup, or are about to; at most [`LOOKUPS_MAX`].
    threads: usize,
    /// Threads that make a lookup beside a first one, or are about to; at most [`EXTRA_MAX`].
    extra_threads: usize,
    /// Threads without work; at most [`IDLE_MAX`].
    idle: usize,
    /// Lookups given to idle threads that have not yet woken up; at most one for each such thread.
    handed_over: VecDeque<(LookupQuestion, usize)>,
    replies: Vec<(usize, TimedReply)>,
    next_id: usize,
}

/// One call of the system's resolver.
struct SystemCall {
    id: usize,
    began: Instant,
    /// Tokens that wait for the answer; empty if the time of all of them is over.
    tokens: Vec<usize>,
}

impl Resolver {
    /// Makes a resolver that ends a turn of `waker`'s loop when an answer has come.
    pub fn new(waker: MultiWaker) -> Resolver {
        Resolver(Arc::new(SharedResolver { state: Mutex::default(), work: Condvar::new(), waker }))
    }

    /// Starts the lookup of a name, or joins one that is under way. The answer carries `token`.
    pub fn ask(&self, question: LookupQuestion, token: usize, now: Instant) {
        let mut state = self.0.state();
        let Some(id) = state.enqueue(&question, token, now) else {
            if !state.replies.is_empty() {
                // The lookup was left out, which is an answer.
                let _ = self.0.waker.wakeup();
            }
            return;
        };
        *state.count(&question) += 1;
        if state.idle > 0 {
            state.idle -= 1;
            state.handed_over.push_back((question, id));
            drop(state);
            self.0.work.notify_one();
            return;
        }
        drop(state);
        let (shared, asked) = (Arc::clone(&self.0), question.clone());
        let look = move || shared.work(asked, id);
        let spawned =
            thread::Builder::new().name("lookup".to_owned()).stack_size(STACK_BYTES).spawn(look);
        if let Err(error) = spawned {
            let why = format!("no thread to look it up: {error}");
            let reply = match is_extra(&question) {
                true => no_reply(&question),
                false => LookupReply::System(SystemReply::OutOfResources(why.into())),
            };
            let mut state = self.0.state();
            *state.count(&question) -= 1;
            state.finish(
                &question,
                id,
                &TimedReply { kind: question.kind, reply, began: now, ended: now },
            );
            drop(state);
            // An engine that is gone needs no answer.
            let _ = self.0.waker.wakeup();
        }
    }

    /// Takes the answers that have come, each with its token.
    pub fn take_replies(&self) -> Vec<(usize, TimedReply)> {
        std::mem::take(&mut self.0.state().replies)
    }

    /// Returns the start of the lookup that `token` waits for; none if it has not started.
    pub fn start_of(&self, question: &LookupQuestion, token: usize) -> Option<Instant> {
        let state = self.0.state();
        let mut lookups = state.under_way.get(question).into_iter().flatten();
        lookups.find(|lookup| lookup.tokens.contains(&token)).map(|lookup| lookup.began)
    }

    /// Drops the questions and answers of `token`. Returns false if one of its questions still waited for
    /// a thread.
    pub fn forget(&self, questions: &[LookupQuestion], token: usize) -> bool {
        let mut state = self.0.state();
        for question in questions {
            let lookups = state.under_way.get_mut(question).into_iter().flatten();
            lookups.for_each(|lookup| lookup.tokens.retain(|other| *other != token));
        }
        let waiting = state.waiting.len();
        state.waiting.retain(|(_, other)| *other != token);
        let is_asked = state.waiting.len() == waiting;
        state.replies.retain(|(other, _)| *other != token);
        is_asked
    }
}

impl ResolverState {
    /// Makes `token` wait for the answer to `question`: with a new lookup, with one that is under way, or in
    /// the queue. Returns the number of the new lookup, which the caller must start.
    fn enqueue(&mut self, question: &LookupQuestion, token: usize, now: Instant) -> Option<usize> {
        let known = self.under_way.get_mut(question);
        let hang = known.as_deref().map_or(0, |all| {
            all.iter()
                .filter(|lookup| now.saturating_duration_since(lookup.began) >= HANGS_AFTER)
                .count()
        });
        let (hanging, threads, room) = match is_extra(question) {
            true => (EXTRA_HANGING_MAX, self.extra_threads, EXTRA_MAX),
            false => {
                (HANGING_MAX, self.threads, if hang == 0 { LOOKUPS_MAX } else { LOOKUPS_MAX / 2 })
            }
        };
        if hang < hanging && threads < room {
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let lookup = SystemCall { id, began: now, tokens: vec![token] };
            self.under_way.entry(question.clone()).or_default().push(lookup);
            return Some(id);
        }
        // Join the newest lookup: its answer is the freshest.
        match known.and_then(|all| all.last_mut()) {
            Some(newest) => newest.tokens.push(token),
            None if is_extra(question) => {
                let (kind, reply) = (question.kind, no_reply(question));
                self.replies.push((token, TimedReply { kind, reply, began: now, ended: now }));
            }
            None => self.waiting.push_back((question.clone(), token)),
        }
        None
    }

    /// Returns the count of threads for this kind of question.
    fn count(&mut self, question: &LookupQuestion) -> &mut usize {
        if is_extra(question) { &mut self.extra_threads } else { &mut self.threads }
    }

    /// Ends the lookup `id`: adds its answer for every token that waits for it.
    fn finish(&mut self, question: &LookupQuestion, id: usize, reply: &TimedReply) {
        if let Some(all) = self.under_way.get_mut(question) {
            let ended = all.extract_if(.., |lookup| lookup.id == id);
            let tokens: Vec<usize> = ended.flat_map(|lookup| lookup.tokens).collect();
            if all.is_empty() {
                self.under_way.remove(question);
            }
            self.replies.extend(tokens.into_iter().map(|token| (token, reply.clone())));
        }
    }

    /// Returns the next lookup for a thread that is free, if a question waits; counts the thread as busy.
    fn next(&mut self) -> Option<(LookupQuestion, usize)> {
        // While a thread is free, `begin` puts no question back into the queue.
        while self.threads < LOOKUPS_MAX
            && let Some((next, token)) = self.waiting.pop_front()
        {
            if let Some(id) = self.enqueue(&next, token, Instant::now()) {
                self.threads += 1;
                return Some((next, id));
            }
        }
        None
    }
}

impl SharedResolver {
    fn state(&self) -> MutexGuard<'_, ResolverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a thread: makes lookups until there is no work for [`IDLE_TIME`], or [`IDLE_MAX`] others are idle.
    fn work(&self, question: LookupQuestion, id: usize) {
        let mut next = Some((question, id));
        while let Some((question, id)) = next.take() {
            let began = Instant::now();
            let reply = reply(&question);
            let answer = TimedReply { kind: question.kind, reply, began, ended: Instant::now() };
            let mut state = self.state();
            state.finish(&question, id, &answer);
            *state.count(&question) -= 1;
            next = state.next();
            let stays = next.is_none() && state.idle < IDLE_MAX;
            state.idle += usize::from(stays);
            drop(state);
            // An engine that is gone needs no answer.
            let _ = self.waker.wakeup();
            if stays {
                next = self.idle();
            }
        }
    }

    /// Waits for the next lookup of an idle thread; none after [`IDLE_TIME`] without one.
    fn idle(&self) -> Option<(LookupQuestion, usize)> {
        let mut state = self.state();
        let until = Instant::now() + IDLE_TIME;
        loop {
            // `Resolver::ask` has counted this thread as busy already.
            if let Some(handed_over) = state.handed_over.pop_front() {
                return Some(handed_over);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.idle -= 1;
                return None;
            }
            let woken = self.work.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Returns true for a lookup that runs beside a first one.
fn is_extra(question: &LookupQuestion) -> bool {
    !matches!(question.kind, LookupKind::First(_))
}

/// Returns the answer of a lookup that was left out.
fn no_reply(question: &LookupQuestion) -> LookupReply {
    match question.kind {
        LookupKind::NameServers(_) => LookupReply::Servers(None),
        _ => LookupReply::System(SystemReply::Failed(LookupError::NoAnswer)),
    }
}

fn reply(question: &LookupQuestion) -> LookupReply {
    let host = &question.host;
    match question.kind {
        LookupKind::First(family) | LookupKind::OneFamily(family) => {
            LookupReply::System(look_up(host, family))
        }
        LookupKind::NameServers(family) => LookupReply::Servers(servers::ask(host, family)),
    }
}

#[cfg(test)]
mod tests;
