//! Names looked up by the system's resolver, each in a thread while it lasts, so that none waits
//! for another. libcurl's own threads would do, but for one thing: a lookup that nobody answers
//! hangs for 10 s and more after its check is over, at each check another, until ten dead names have
//! all threads and delay everybody. So here a name that hangs gets no more than a second try beside
//! the first; what comes later waits for that one. A thread that has nothing to do stays for a while:
//! to start one costs as much as many a lookup.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use curl::multi::MultiWaker;
use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};
use rustix::process::{Resource, getrlimit};

use super::fault::is_no_means;
use crate::model::connect::Family;

/// Names looked up at once: as many as the checks that are in flight by default.
const LOOKUPS: usize = 100;
/// A lookup that takes longer hangs.
const HANGS: Duration = Duration::from_secs(1);
/// Lookups of one name that may hang at once; half of the threads are for first ones alone.
const HANGING: usize = 2;
/// How long a thread stays with nothing to do, and how many do.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_MAX: usize = 4;
/// Stack of each thread, in bytes: what the C library's resolver needs, with its plugins on hosts.
const STACK: usize = 256 * 1024;

/// What some lookups at once may need of descriptors.
const DESCRIPTORS: u64 = 16;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// A name, in ASCII.
    pub host: String,
    /// Addresses of which kind.
    pub family: Family,
}

/// The addresses, in the order in which they are to be tried; empty: there are none, or nobody
/// could tell. An error is trouble of this machine: why it could not ask.
pub type Addresses = Result<Arc<[IpAddr]>, Arc<str>>;

/// What a lookup came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was found.
    pub addresses: Addresses,
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
        let Some(id) = state.begin(&question, token, now) else { return };
        state.threads += 1;
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
            let addresses = Err(format!("no thread to look it up: {error}").into());
            let mut state = self.0.state();
            state.threads -= 1;
            state.answer(&question, id, &Answer { addresses, began: now, ended: now });
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

    /// Nobody waits for that answer any more. False: no thread has been free to look for it.
    pub fn forget(&self, question: &Question, token: usize) -> bool {
        let mut state = self.0.state();
        let lookups = state.under_way.get_mut(question).into_iter().flatten();
        lookups.for_each(|lookup| lookup.tokens.retain(|other| *other != token));
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
        let room = if hang == 0 { LOOKUPS } else { LOOKUPS / 2 };
        if hang < HANGING && self.threads < room {
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let lookup = Lookup { id, began: now, tokens: vec![token] };
            self.under_way.entry(question.clone()).or_default().push(lookup);
            return Some(id);
        }
        // The newest knows most.
        match known.and_then(|all| all.last_mut()) {
            Some(newest) => newest.tokens.push(token),
            None => self.waiting.push_back((question.clone(), token)),
        }
        None
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
        while let Some((next, token)) = self.waiting.pop_front() {
            // This thread takes it on, and counts no longer as the one that it was.
            self.threads -= 1;
            let begun = self.begin(&next, token, Instant::now());
            self.threads += 1;
            if let Some(id) = begun {
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
            let addresses = look_up(&question);
            let answer = Answer { addresses, began, ended: Instant::now() };
            let mut state = self.state();
            state.answer(&question, id, &answer);
            next = state.next();
            let stays = next.is_none() && state.idle < IDLE_MAX;
            state.threads -= usize::from(next.is_none());
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

/// Asks the system's resolver.
fn look_up(question: &Question) -> Addresses {
    let address = match question.family {
        Family::Any => 0,
        Family::V4 => AddrFamily::Inet.into(),
        Family::V6 => AddrFamily::Inet6.into(),
    };
    let socktype = SockType::Stream.into();
    let hints = AddrInfoHints { socktype, address, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(&question.host), None, Some(hints));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.into_iter().flatten().flatten() {
        let address = address.sockaddr.ip();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() && is_short_of_descriptors() {
        return Err("too few descriptors to look a name up".into());
    }
    Ok(addresses.into())
}

/// Whether so few are left that the resolver may have found none for its files and sockets: it says
/// of that that there is no such name.
fn is_short_of_descriptors() -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    match std::fs::read_dir("/proc/self/fd") {
        Ok(open) => open.count() as u64 + DESCRIPTORS >= limit,
        Err(error) => is_no_means(error.raw_os_error().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn question(host: &str) -> Question {
        Question { host: host.to_owned(), family: Family::Any }
    }

    impl State {
        /// As [`Resolver::ask`], without a thread.
        fn ask(&mut self, host: &str, token: usize, now: Instant) -> Option<usize> {
            let id = self.begin(&question(host), token, now);
            self.threads += usize::from(id.is_some());
            id
        }

        /// Its thread has ended too, unless it took on another.
        fn ended(&mut self, host: &str, id: usize) -> Option<(Question, usize)> {
            let now = Instant::now();
            let answer = Answer { addresses: Err("".into()), began: now, ended: now };
            self.answer(&question(host), id, &answer);
            let next = self.next();
            self.threads -= usize::from(next.is_none());
            next
        }
    }

    #[test]
    fn a_name_that_hangs_gets_a_second_try_and_no_third() {
        let (mut state, now) = (State::default(), Instant::now());
        let first = state.ask("dead", 1, now).unwrap();
        // Not hanging yet: each check has its own.
        let beside = state.ask("dead", 2, now).unwrap();
        assert_eq!(state.ended("dead", beside), None);
        assert_eq!(state.answers.drain(..).map(|(token, _)| token).collect::<Vec<_>>(), [2]);
        let second = state.ask("dead", 3, now + SECOND).unwrap();
        assert_eq!(state.ask("dead", 4, now + 2 * SECOND), None);
        assert_eq!(state.ask("dead", 5, now + 3 * SECOND), None);
        assert_eq!((state.threads, state.under_way.len()), (2, 1));
        // Others are free.
        assert!(state.ask("alive", 6, now + 3 * SECOND).is_some());
        // Who came later waits for the second.
        state.ended("dead", first);
        assert_eq!(state.answers.drain(..).map(|(token, _)| token).collect::<Vec<_>>(), [1]);
        state.ended("dead", second);
        let tokens: Vec<usize> = state.answers.drain(..).map(|(token, _)| token).collect();
        assert_eq!(tokens, [3, 4, 5]);
        assert!(state.ask("dead", 7, now + 20 * SECOND).is_some());
    }

    #[test]
    fn a_thread_that_has_done_one_lookup_does_the_next() {
        let resolver = Resolver::new(curl::multi::Multi::new().waker());
        let (began, deadline) = (Instant::now(), Instant::now() + 10 * SECOND);
        for token in 0..3 {
            resolver.ask(question("127.0.0.1"), token, Instant::now());
            let mut answers = resolver.answers();
            // Until its thread has nothing to do any more.
            while answers.is_empty() || resolver.0.state().idle == 0 {
                assert!(Instant::now() < deadline, "no answer");
                thread::sleep(Duration::from_millis(1));
                answers.extend(resolver.answers());
            }
            let (of, answer) = &answers[0];
            let local = IpAddr::from([127, 0, 0, 1]);
            assert_eq!((*of, answer.addresses.as_deref()), (token, Ok(&[local][..])));
            assert!(began <= answer.began && answer.began <= answer.ended);
        }
        let state = resolver.0.state();
        assert_eq!((state.threads, state.idle, state.begun.len()), (0, 1, 0));
    }

    #[test]
    fn first_tries_have_half_of_the_threads_for_themselves() {
        let (mut state, now) = (State::default(), Instant::now());
        let name = |i: usize| format!("name-{i}");
        let ids: Vec<usize> = (0..60).map(|i| state.ask(&name(i), i, now).unwrap()).collect();
        assert_eq!(state.ask(&name(0), 100, now + SECOND), None);
        for i in 60..LOOKUPS {
            assert!(state.ask(&name(i), i, now + SECOND).is_some());
        }
        // No thread is left: the next waits, and has that of the first that ends.
        assert_eq!(state.ask("late", 200, now + SECOND), None);
        assert_eq!(state.ask("later", 201, now + SECOND), None);
        let (next, id) = state.ended(&name(0), ids[0]).unwrap();
        assert_eq!((next.host.as_str(), state.threads), ("late", LOOKUPS));
        let tokens: Vec<usize> = state.answers.drain(..).map(|(token, _)| token).collect();
        assert_eq!(tokens, [0, 100]);
        let (next, id) = state.ended("late", id).unwrap();
        assert_eq!(next.host, "later");
        assert_eq!(state.ended("later", id), None);
        assert_eq!(state.threads, LOOKUPS - 1);
    }
}
