//! Tests with lookups that answer as a test wants, at times that it sets.

use super::*;

const MS: Duration = Duration::from_millis(1);
const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

/// Resolution with a clock of its own, in milliseconds after its start.
struct Case {
    resolution: Resolution,
    start: Instant,
}

impl Case {
    fn new(wanted: Family, bound: Family) -> Case {
        let start = Instant::now();
        let timeout = Duration::from_secs(10);
        let mut resolution = Resolution::new("a.example".to_owned(), wanted, bound, timeout);
        assert_eq!(resolution.step(start), Step::Wait);
        resolution.set_start(start);
        Case { resolution, start }
    }

    fn any() -> Case {
        Case::new(Family::Any, Family::Any)
    }

    fn step(&mut self, ms: u32) -> Step {
        self.resolution.step(self.start + ms * MS)
    }

    fn answer(&mut self, ms: u32, kind: LookupKind, reply: LookupReply) -> Step {
        let at = self.start + ms * MS;
        self.resolution.take_reply(kind, reply, (self.start, at));
        self.resolution.step(at)
    }

    fn next_ms(&self) -> Option<u128> {
        self.resolution.next_at().map(|at| (at - self.start).as_millis())
    }
}

fn addresses(list: &[&str]) -> LookupReply {
    LookupReply::System(SystemReply::Addresses(
        list.iter().map(|text| text.parse().unwrap()).collect(),
    ))
}

fn failed(error: LookupError) -> LookupReply {
    LookupReply::System(SystemReply::Failed(error))
}

/// Returns the result of the resolution in words, and the milliseconds after which it ended.
#[track_caller]
fn done(case: &Case, step: Step) -> (String, u128) {
    let Step::Done(ResolutionResult { addresses, began, ended }) = step else { panic!("{step:?}") };
    let words = match addresses {
        Ok(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(why) => format!("{why:?}"),
    };
    assert_eq!(began, case.start);
    (words, (ended - began).as_millis())
}

fn is(words: &str, ms: u128) -> (String, u128) {
    (words.to_owned(), ms)
}

const BOTH: LookupKind = LookupKind::First(Family::Any);
const ONLY_V4: LookupKind = LookupKind::OneFamily(Family::V4);
const ONLY_V6: LookupKind = LookupKind::OneFamily(Family::V6);
const SERVERS: LookupKind = LookupKind::NameServers(Family::Any);

#[test]
fn where_both_are_answered_it_takes_one_lookup() {
    let mut case = Case::any();
    assert_eq!((case.step(49), case.next_ms()), (Step::Wait, Some(50)));
    let step = case.answer(49, BOTH, addresses(&[V6, V4]));
    assert_eq!(done(&case, step), is("2001:db8::1 192.0.2.1", 49));
}

#[test]
fn a_family_that_is_silent_costs_the_delay_and_no_more() {
    for (kind, address, used) in [(ONLY_V4, V4, 60), (ONLY_V6, V6, 110)] {
        let mut case = Case::any();
        assert_eq!(case.step(50), Step::Ask(vec![ONLY_V4, ONLY_V6]));
        assert_eq!((case.step(51), case.next_ms()), (Step::Wait, Some(1000)));
        let first = case.answer(60, kind, addresses(&[address]));
        let step = if used == 60 {
            first
        } else {
            // An IPv4 address may still come.
            assert_eq!((first, case.next_ms()), (Step::Wait, Some(used)));
            case.step(used as u32)
        };
        assert_eq!(done(&case, step), is(address, 60));
    }
}

#[test]
fn one_that_fails_does_not_cost_the_other_its_addresses() {
    for why in [LookupError::UnknownName, LookupError::NoAddress, LookupError::NoAnswer] {
        for (with, without, address) in [(ONLY_V4, ONLY_V6, V4), (ONLY_V6, ONLY_V4, V6)] {
            let mut case = Case::any();
            // musl gives no address if one family fails.
            assert_eq!(case.answer(1, BOTH, failed(why)), Step::Ask(vec![ONLY_V4, ONLY_V6]));
            assert_eq!(case.answer(2, without, failed(why)), Step::Wait);
            let step = case.answer(3, with, addresses(&[address]));
            assert_eq!(done(&case, step), is(address, 3), "{why:?}");
        }
    }
}

#[test]
fn what_is_missing_is_told_apart() {
    use LookupError::{NoAddress, NoAnswer, UnknownName};
    for (v4, v6, server_reply, want) in [
        (UnknownName, UnknownName, None, "UnknownName"),
        (NoAddress, NoAddress, None, "NoAddress(Any)"),
        // Servers that do not know AAAA may give any answer.
        (UnknownName, NoAnswer, None, "UnknownName"),
        (NoAddress, UnknownName, None, "NoAddress(Any)"),
        (NoAnswer, UnknownName, Some(ServerReply::Failed(2)), "ServerFailed(2)"),
        (NoAnswer, NoAnswer, Some(ServerReply::Silent), "NoServerAnswers"),
        (NoAddress, NoAnswer, Some(ServerReply::Failed(5)), "ServerFailed(5)"),
        (NoAnswer, NoAnswer, Some(ServerReply::Answered), "Unknown"),
    ] {
        let mut case = Case::any();
        case.answer(1, BOTH, failed(NoAnswer));
        assert_eq!(case.answer(2, ONLY_V6, failed(v6)), Step::Wait);
        let step = case.answer(3, ONLY_V4, failed(v4));
        let step = match server_reply {
            None => step,
            Some(server_reply) => {
                assert_eq!(step, Step::Ask(vec![SERVERS]));
                case.answer(4, SERVERS, LookupReply::Servers(Some(server_reply)))
            }
        };
        assert_eq!(done(&case, step), is(want, 3));
    }
}

#[test]
fn servers_are_asked_while_the_system_waits_for_them() {
    let mut case = Case::any();
    assert_eq!(case.step(50), Step::Ask(vec![ONLY_V4, ONLY_V6]));
    assert_eq!(case.resolution.failure_so_far(), None);
    assert_eq!(case.step(1000), Step::Ask(vec![SERVERS]));
    assert_eq!(case.next_ms(), None);
    assert_eq!(case.resolution.failure_so_far(), Some(ResolveError::NoServerAnswers));
    case.answer(1001, SERVERS, LookupReply::Servers(Some(ServerReply::Failed(2))));
    assert_eq!(case.resolution.failure_so_far(), Some(ResolveError::ServerFailed(2)));
    for (ms, kind) in [(5000, BOTH), (5050, ONLY_V4)] {
        assert_eq!(case.answer(ms, kind, failed(LookupError::NoAnswer)), Step::Wait);
    }
    let step = case.answer(5051, ONLY_V6, failed(LookupError::NoAnswer));
    assert_eq!(done(&case, step), is("ServerFailed(2)", 5051));
}

#[test]
fn of_one_family_there_is_nothing_to_ask_apart() {
    for (wanted, address) in [(Family::V4, V4), (Family::V6, V6)] {
        let mut case = Case::new(wanted, Family::Any);
        assert_eq!((case.step(500), case.next_ms()), (Step::Wait, Some(1000)));
        let first = LookupKind::First(wanted);
        let step = case.answer(600, first, addresses(&[address]));
        assert_eq!(done(&case, step), is(address, 600));
        let mut case = Case::new(wanted, Family::Any);
        let step = case.answer(600, first, failed(LookupError::NoAddress));
        assert_eq!(done(&case, step), is(&format!("NoAddress({wanted:?})"), 600));
        let mut case = Case::new(wanted, Family::Any);
        let step = case.answer(1, first, failed(LookupError::NoAnswer));
        assert_eq!(step, Step::Ask(vec![LookupKind::NameServers(wanted)]));
    }
}

#[test]
fn an_address_of_ours_asks_for_its_own_family_first() {
    let mut case = Case::new(Family::Any, Family::V6);
    assert_eq!((case.step(50), case.next_ms()), (Step::Wait, Some(1000)));
    let step = case.answer(60, LookupKind::First(Family::V6), failed(LookupError::NoAddress));
    assert_eq!(step, Step::Ask(vec![ONLY_V4]));
    // Without IPv6, the IPv4 address is given, so that the check can say that it is of no use.
    let step = case.answer(61, ONLY_V4, addresses(&[V4]));
    assert_eq!(done(&case, step), is(V4, 61));
}

#[test]
fn a_lack_of_resources_ends_it_at_once() {
    let mut case = Case::any();
    let step =
        case.answer(1, BOTH, LookupReply::System(SystemReply::OutOfResources("no thread".into())));
    assert_eq!(done(&case, step), is("OutOfResources(\"no thread\")", 1));
}
