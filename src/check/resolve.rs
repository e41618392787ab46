//! Names looked up by the system's resolver, each in a thread while it lasts, so that none waits
//! for another. libcurl's own threads would do, but for one thing: a lookup that nobody answers
//! hangs for 10 s and more after its check is over, at each check another, until ten dead names have
//! all threads and delay everybody. So here a name that hangs gets no more than a second try beside
//! the first; what comes later waits for that one. A thread that has nothing to do stays for a while:
//! to start one costs as much as many a lookup.
//!
//! `resolution` decides which lookups a name takes and what they come to, `system` is one of them,
//! `servers` finds out what ails the name servers.

mod resolution;
mod servers;
mod system;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use curl::multi::MultiWaker;

pub use self::resolution::{Ask, Question, Reply, Resolution, Resolved, Step, Unresolved};
pub use self::system::look_up;
use self::system::{Found, Missing};

/// Names looked up at once: as many as the checks that are in flight by default.
const LOOKUPS: usize = 100;
/// A lookup that takes longer hangs.
const HANGS: Duration = Duration::from_secs(1);
/// Lookups of one name that may hang at once; half of the threads are for first ones alone.
const HANGING: usize = 2;
/// Lookups beside those at once. One that finds no thread is left out: it only helps.
const BESIDE: usize = 100;
/// Of those, how many of one name may hang.
const BESIDE_HANGING: usize = 1;
/// How long a thread stays with nothing to do, and how many do.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_MAX: usize = 4;
/// Stack of each thread, in bytes: what the C library's resolver needs, with its plugins on hosts.
const STACK: usize = 256 * 1024;

/// What a lookup came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked.
    pub ask: Ask,
    /// What was found.
    pub reply: Reply,
    /// When it began: a thread was found.
    pub began: Instant,
    /// When it ended, whenever who had asked looks.
    pub ended: Instant,
}

/// Who looks up.
pub struct Resolver(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to do for a thread that has nothing.
    work: Condvar,
    waker: MultiWaker,
}

#[derive(Default)]
struct State {
    under_way: HashMap<Question, Vec<Lookup>>,
    /// For want of a thread.
    waiting: VecDeque<(Question, usize)>,
    /// Threads that look up, or are about to; at most [`LOOKUPS`].
    threads: usize,
    /// Threads that do so beside those; at most [`BESIDE`].
    beside: usize,
    /// Threads that have nothing to do; at most [`IDLE_MAX`].
    idle: usize,
    /// What those that were idle are about to look up; no more than they were.
    begun: VecDeque<(Question, usize)>,
    answers: Vec<(usize, Answer)>,
    next_id: usize,
}

/// One call of the system's resolver.
struct Lookup {
    id: usize,
    began: Instant,
    /// Who waits for it; nobody, if their time is over.
    tokens: Vec<usize>,
}

impl Resolver {
    /// One that ends a turn of `waker`'s when it has an answer.
    pub fn new(waker: MultiWaker) -> Resolver {
        Resolver(Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), waker }))
    }

    /// Looks a name up for whoever has that token.
    pub fn ask(&self, question: Question, token: usize, now: Instant) {
        let mut state = self.0.state();
        let Some(id) = state.begin(&question, token, now) else {
            if !state.answers.is_empty() {
                // It was left out, which is an answer.
                let _ = self.0.waker.wakeup();
            }
            return;
        };
        *state.count(&question) += 1;
        if state.idle > 0 {
            state.idle -= 1;
            state.begun.push_back((question, id));
            drop(state);
            self.0.work.notify_one();
            return;
        }
        drop(state);
        let (shared, asked) = (Arc::clone(&self.0), question.clone());
        let look = move || shared.work(asked, id);
        let spawned =
            thread::Builder::new().name("lookup".to_owned()).stack_size(STACK).spawn(look);
        if let Err(error) = spawned {
            let why = format!("no thread to look it up: {error}");
            let reply = match is_beside(&question) {
                true => unanswered(&question),
                false => Reply::System(Found::NoMeans(why.into())),
            };
            let mut state = self.0.state();
            *state.count(&question) -= 1;
            state.answer(
                &question,
                id,
                &Answer { ask: question.ask, reply, began: now, ended: now },
            );
            drop(state);
            // An engine that is gone needs no answer.
            let _ = self.0.waker.wakeup();
        }
    }

    /// The answers that have come, each with its token.
    pub fn answers(&self) -> Vec<(usize, Answer)> {
        std::mem::take(&mut self.0.state().answers)
    }

    /// When the lookup began that this one waits for. None: it has not.
    pub fn began(&self, question: &Question, token: usize) -> Option<Instant> {
        let state = self.0.state();
        let mut lookups = state.under_way.get(question).into_iter().flatten();
        lookups.find(|lookup| lookup.tokens.contains(&token)).map(|lookup| lookup.began)
    }

    /// Nobody waits for these answers any more. False: no thread has been free to look for one.
    pub fn forget(&self, questions: &[Question], token: usize) -> bool {
        let mut state = self.0.state();
        for question in questions {
            let lookups = state.under_way.get_mut(question).into_iter().flatten();
            lookups.for_each(|lookup| lookup.tokens.retain(|other| *other != token));
        }
        let waiting = state.waiting.len();
        state.waiting.retain(|(_, other)| *other != token);
        let is_asked = state.waiting.len() == waiting;
        state.answers.retain(|(other, _)| *other != token);
        is_asked
    }
}

impl State {
    /// Where it is waited for the answer; the number of a lookup, if that is to begin.
    fn begin(&mut self, question: &Question, token: usize, now: Instant) -> Option<usize> {
        let known = self.under_way.get_mut(question);
        let hang = known.as_deref().map_or(0, |all| {
            all.iter().filter(|lookup| now.saturating_duration_since(lookup.began) >= HANGS).count()
        });
        let (hanging, threads, room) = match is_beside(question) {
            true => (BESIDE_HANGING, self.beside, BESIDE),
            false => (HANGING, self.threads, if hang == 0 { LOOKUPS } else { LOOKUPS / 2 }),
        };
        if hang < hanging && threads < room {
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let lookup = Lookup { id, began: now, tokens: vec![token] };
            self.under_way.entry(question.clone()).or_default().push(lookup);
            return Some(id);
        }
        // The newest knows most.
        match known.and_then(|all| all.last_mut()) {
            Some(newest) => newest.tokens.push(token),
            None if is_beside(question) => {
                let (ask, reply) = (question.ask, unanswered(question));
                self.answers.push((token, Answer { ask, reply, began: now, ended: now }));
            }
            None => self.waiting.push_back((question.clone(), token)),
        }
        None
    }

    /// The threads that look up such questions.
    fn count(&mut self, question: &Question) -> &mut usize {
        if is_beside(question) { &mut self.beside } else { &mut self.threads }
    }

    /// A lookup has ended: tells who waits for it.
    fn answer(&mut self, question: &Question, id: usize, answer: &Answer) {
        if let Some(all) = self.under_way.get_mut(question) {
            let ended = all.extract_if(.., |lookup| lookup.id == id);
            let tokens: Vec<usize> = ended.flat_map(|lookup| lookup.tokens).collect();
            if all.is_empty() {
                self.under_way.remove(question);
            }
            self.answers.extend(tokens.into_iter().map(|token| (token, answer.clone())));
        }
    }

    /// A thread is free. Gives what it is to look up next, if any waits for one.
    fn next(&mut self) -> Option<(Question, usize)> {
        // While there is room, none that is begun is put back.
        while self.threads < LOOKUPS
            && let Some((next, token)) = self.waiting.pop_front()
        {
            if let Some(id) = self.begin(&next, token, Instant::now()) {
                self.threads += 1;
                return Some((next, id));
            }
        }
        None
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self, question: Question, id: usize) {
        let mut next = Some((question, id));
        while let Some((question, id)) = next.take() {
            let began = Instant::now();
            let reply = reply(&question);
            let answer = Answer { ask: question.ask, reply, began, ended: Instant::now() };
            let mut state = self.state();
            state.answer(&question, id, &answer);
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

    /// Waits for something to do. None: for too long.
    fn idle(&self) -> Option<(Question, usize)> {
        let mut state = self.state();
        let until = Instant::now() + IDLE;
        loop {
            // Whoever has put it there has counted this thread as one that works.
            if let Some(begun) = state.begun.pop_front() {
                return Some(begun);
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

/// Whether it is a lookup beside another.
fn is_beside(question: &Question) -> bool {
    !matches!(question.ask, Ask::First(_))
}

/// The answer of a lookup that was left out.
fn unanswered(question: &Question) -> Reply {
    match question.ask {
        Ask::Servers(_) => Reply::Servers(None),
        _ => Reply::System(Found::Missing(Missing::Answer)),
    }
}

fn reply(question: &Question) -> Reply {
    let host = &question.host;
    match question.ask {
        Ask::First(family) | Ask::Apart(family) => Reply::System(look_up(host, family)),
        Ask::Servers(family) => Reply::Servers(servers::ask(host, family)),
    }
}

#[cfg(test)]
mod tests;
