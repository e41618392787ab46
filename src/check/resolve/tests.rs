//! Tests of threads and questions, with a clock of their own.

use std::net::IpAddr;

use super::*;
use crate::model::connect::Family;

const SECOND: Duration = Duration::from_secs(1);

fn question(host: &str) -> LookupQuestion {
    LookupQuestion { host: host.to_owned(), kind: LookupKind::First(Family::Any) }
}

impl ResolverState {
    /// Asks as [`Resolver::ask`] does, without a thread.
    fn ask(&mut self, host: &str, token: usize, now: Instant) -> Option<usize> {
        let id = self.enqueue(&question(host), token, now);
        self.threads += usize::from(id.is_some());
        id
    }

    /// Ends a lookup; its thread ends too, unless there is a next lookup.
    fn ended(&mut self, host: &str, id: usize) -> Option<(LookupQuestion, usize)> {
        let now = Instant::now();
        let question = question(host);
        let reply = no_reply(&question);
        self.finish(
            &question,
            id,
            &TimedReply { kind: question.kind, reply, began: now, ended: now },
        );
        self.threads -= 1;
        self.next()
    }
}

#[test]
fn a_name_that_hangs_gets_a_second_try_and_no_third() {
    let (mut state, now) = (ResolverState::default(), Instant::now());
    let first = state.ask("dead", 1, now).unwrap();
    // The first lookup does not hang yet: each check has a lookup of its own.
    let beside = state.ask("dead", 2, now).unwrap();
    assert_eq!(state.ended("dead", beside), None);
    assert_eq!(state.replies.drain(..).map(|(token, _)| token).collect::<Vec<_>>(), [2]);
    let second = state.ask("dead", 3, now + SECOND).unwrap();
    assert_eq!(state.ask("dead", 4, now + 2 * SECOND), None);
    assert_eq!(state.ask("dead", 5, now + 3 * SECOND), None);
    assert_eq!((state.threads, state.under_way.len()), (2, 1));
    // Other names are looked up.
    assert!(state.ask("alive", 6, now + 3 * SECOND).is_some());
    // Later questions wait for the second lookup.
    state.ended("dead", first);
    assert_eq!(state.replies.drain(..).map(|(token, _)| token).collect::<Vec<_>>(), [1]);
    state.ended("dead", second);
    let tokens: Vec<usize> = state.replies.drain(..).map(|(token, _)| token).collect();
    assert_eq!(tokens, [3, 4, 5]);
    assert!(state.ask("dead", 7, now + 20 * SECOND).is_some());
}

#[test]
fn a_thread_that_has_done_one_lookup_does_the_next() {
    let resolver = Resolver::new(curl::multi::Multi::new().waker());
    let (began, deadline) = (Instant::now(), Instant::now() + 10 * SECOND);
    for token in 0..3 {
        resolver.ask(question("127.0.0.1"), token, Instant::now());
        let mut answers = resolver.take_replies();
        // Wait until its thread is idle.
        while answers.is_empty() || resolver.0.state().idle == 0 {
            assert!(Instant::now() < deadline, "no answer");
            thread::sleep(Duration::from_millis(1));
            answers.extend(resolver.take_replies());
        }
        let (of, answer) = &answers[0];
        let local = IpAddr::from([127, 0, 0, 1]);
        let found = LookupReply::System(SystemReply::Addresses([local].into()));
        assert_eq!((*of, &answer.reply), (token, &found));
        assert!(began <= answer.began && answer.began <= answer.ended);
    }
    let state = resolver.0.state();
    assert_eq!((state.threads, state.idle, state.handed_over.len()), (0, 1, 0));
}

#[test]
fn first_tries_have_half_of_the_threads_for_themselves() {
    let (mut state, now) = (ResolverState::default(), Instant::now());
    let name = |i: usize| format!("name-{i}");
    let ids: Vec<usize> = (0..60).map(|i| state.ask(&name(i), i, now).unwrap()).collect();
    assert_eq!(state.ask(&name(0), 100, now + SECOND), None);
    for i in 60..LOOKUPS_MAX {
        assert!(state.ask(&name(i), i, now + SECOND).is_some());
    }
    // No thread is left: the next question waits, and gets the first thread that ends.
    assert_eq!(state.ask("late", 200, now + SECOND), None);
    assert_eq!(state.ask("later", 201, now + SECOND), None);
    let (next, id) = state.ended(&name(0), ids[0]).unwrap();
    assert_eq!((next.host.as_str(), state.threads), ("late", LOOKUPS_MAX));
    let tokens: Vec<usize> = state.replies.drain(..).map(|(token, _)| token).collect();
    assert_eq!(tokens, [0, 100]);
    let (next, id) = state.ended("late", id).unwrap();
    assert_eq!(next.host, "later");
    assert_eq!(state.ended("later", id), None);
    assert_eq!(state.threads, LOOKUPS_MAX - 1);
}

#[test]
fn extra_lookups_take_no_thread_from_others_and_never_wait() {
    let (mut state, now) = (ResolverState::default(), Instant::now());
    let beside = |i: usize| LookupQuestion {
        host: format!("name-{i}"),
        kind: LookupKind::OneFamily(Family::V4),
    };
    for i in 0..EXTRA_MAX {
        assert!(state.enqueue(&beside(i), i, now).is_some());
        state.extra_threads += 1;
    }
    assert!(state.replies.is_empty());
    // One more is left out; a question that is under way already is waited for.
    assert_eq!(state.enqueue(&beside(EXTRA_MAX), 1000, now), None);
    assert_eq!(state.enqueue(&beside(0), 1001, now + SECOND), None);
    let left_out: Vec<usize> = state.replies.drain(..).map(|(token, _)| token).collect();
    assert_eq!((left_out, state.waiting.len()), (vec![1000], 0));
    assert!(state.ask("name", 1002, now).is_some());
    // The end of an extra lookup frees no thread for first lookups.
    for i in 1..LOOKUPS_MAX {
        assert!(state.ask(&format!("first-{i}"), i, now).is_some());
    }
    assert_eq!(state.ask("late", 2000, now), None);
    state.extra_threads -= 1;
    assert_eq!(state.next(), None);
    assert_eq!(state.waiting.len(), 1);
}
