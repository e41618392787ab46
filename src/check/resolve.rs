//! Looks up names with the system's resolver. Each lookup runs on a thread of its own, so that no lookup
//! waits for another.
//!
//! libcurl has such threads too, but they have one flaw. A lookup without an answer hangs for 10 s or more
//! after its check is over, and each check of that name starts another lookup. So ten dead names occupy all
//! threads, and all other names have to wait. Here, a name whose lookup hangs gets a second lookup and no
//! third: later checks wait for the second one. A thread without work stays for a while, since starting a
//! thread can take as long as a lookup.
//!
//! `resolution` decides which lookups a name needs and what their replies mean, `system` makes one lookup,
//! and `servers` asks the name servers why there is no answer.

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
/// A lookup that takes longer than this counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// Most first lookups of one name that may hang at once. The second one starts only while fewer than half of
/// the [`LOOKUPS_MAX`] threads are busy.
const HANGING_MAX: usize = 2;
/// Most extra lookups at once: those of one family, or of the name servers. An extra lookup without a free
/// thread is left out, since the first lookup can succeed without it.
const EXTRA_MAX: usize = 100;
/// Most extra lookups for the same question that may hang at once.
const EXTRA_HANGING_MAX: usize = 1;
/// A thread ends after this time without work.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Most threads that stay without work.
const IDLE_MAX: usize = 4;
/// Stack of each thread, in bytes: enough for the C library's resolver and its plugins.
const STACK_BYTES: usize = 256 * 1024;

/// Reply to a lookup, with the times of the lookup.
#[derive(Debug, Clone)]
pub struct TimedReply {
    /// Kind of the lookup.
    pub kind: LookupKind,
    /// Result of the lookup.
    pub reply: LookupReply,
    /// Start of the lookup: from then on it had a thread.
    pub began: Instant,
    /// End of the lookup. The reply may be read later.
    pub ended: Instant,
}

/// Resolver, which shares its state with its threads.
pub struct Resolver(Arc<SharedResolver>);

struct SharedResolver {
    state: Mutex<ResolverState>,
    /// Wakes an idle thread, for a lookup in [`ResolverState::handed_over`].
    work: Condvar,
    waker: MultiWaker,
}

#[derive(Default)]
struct ResolverState {
    /// Lookups that run, by question; those of one question in the order of their start.
    under_way: HashMap<LookupQuestion, Vec<SystemCall>>,
    /// Questions that wait for a free thread, each with its token; the oldest first, without a bound of their
    /// own: the engine has at most one for each check.
    waiting: VecDeque<(LookupQuestion, usize)>,
    /// Number of threads for first lookups, at most [`LOOKUPS_MAX`].
    threads: usize,
    /// Number of threads for extra lookups, at most [`EXTRA_MAX`].
    extra_threads: usize,
    /// Number of threads without work, at most [`IDLE_MAX`].
    idle: usize,
    /// Lookups for idle threads that are still waking up; at most one for each such thread.
    handed_over: VecDeque<(LookupQuestion, usize)>,
    /// Replies that the engine has not taken yet, each with the token that waits for it.
    replies: Vec<(usize, TimedReply)>,
    next_id: usize,
}

/// One call of the system's resolver.
struct SystemCall {
    id: usize,
    began: Instant,
    /// Tokens that wait for the reply; empty if all their checks have ended.
    tokens: Vec<usize>,
}

impl Resolver {
    /// Makes a resolver that wakes the engine by `waker` when a reply has come.
    pub fn new(waker: MultiWaker) -> Resolver {
        Resolver(Arc::new(SharedResolver { state: Mutex::default(), work: Condvar::new(), waker }))
    }

    /// Starts a lookup, or joins one that is under way. The reply will carry `token`.
    pub fn ask(&self, question: LookupQuestion, token: usize, now: Instant) {
        let mut state = self.0.state();
        let Some(id) = state.enqueue(&question, token, now) else {
            if !state.replies.is_empty() {
                // The lookup was left out; that is a reply too.
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
            let why = format!("no thread for the lookup: {error}");
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
            // An engine that has ended needs no reply.
            let _ = self.0.waker.wakeup();
        }
    }

    /// Takes the replies that have come, each with its token.
    pub fn take_replies(&self) -> Vec<(usize, TimedReply)> {
        std::mem::take(&mut self.0.state().replies)
    }

    /// Returns the start of the lookup that `token` waits for; none if the lookup has not started.
    pub fn start_of(&self, question: &LookupQuestion, token: usize) -> Option<Instant> {
        let state = self.0.state();
        let mut lookups = state.under_way.get(question).into_iter().flatten();
        lookups.find(|lookup| lookup.tokens.contains(&token)).map(|lookup| lookup.began)
    }

    /// Drops the questions and replies of `token`. Returns false if one of its questions still waited for a
    /// thread.
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
    /// Makes `token` wait for the reply to `question`: by a new lookup, by one that is under way, or in the
    /// queue. Returns the number of the new lookup, which the caller must start; none if there is no new one.
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
        // Join the newest lookup, whose reply will be the newest.
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

    /// Ends the lookup `id`, and adds its reply for every token that waits for it.
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

    /// Returns the next lookup for a free thread, and counts the thread as busy. None if no question waits.
    fn next(&mut self) -> Option<(LookupQuestion, usize)> {
        // A question does not come back into the queue: a thread is free.
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

    /// Runs a thread, which makes lookups. Returns after [`IDLE_TIME`] without work, or if [`IDLE_MAX`] other
    /// threads have no work either.
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
            // An engine that has ended needs no reply.
            let _ = self.waker.wakeup();
            if stays {
                next = self.idle();
            }
        }
    }

    /// Waits for the next lookup of an idle thread. Returns none after [`IDLE_TIME`].
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

/// Returns true for an extra lookup, which runs next to a first one.
fn is_extra(question: &LookupQuestion) -> bool {
    !matches!(question.kind, LookupKind::First(_))
}

/// Returns the reply of a lookup that was left out.
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
