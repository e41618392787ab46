//! Verdicts of checks in doubt, with canaries that answer as the tests say and a clock of our own.

use url::Url;

use super::*;
use crate::model::attempts::Attempt;
use crate::model::connect::{Connect, Proxy};
use crate::model::judge::{CheckFault, judge};

const SECOND: Duration = Duration::from_secs(1);

fn target(name: &str, host: &str) -> Arc<Target> {
    Arc::new(Target::new(name, Url::parse(&format!("http://{host}/")).unwrap()))
}

/// Returns a check of the target that nobody answered, one second long.
fn silent(target: &Target, silence: Silence) -> (Option<Silence>, Outcome) {
    let attempt = Attempt { node: "n".into(), run: 1, due_ms: 0, lag_us: 0, number: 1, jumps: 0 };
    let fault = Some(CheckFault { cause: Cause::Timeout, text: "no reply".to_owned() });
    let mut outcome = judge(target, &attempt, Reply { fault, ..Reply::default() });
    outcome.total_us = 1_000_000;
    (Some(silence), outcome)
}

fn answered(address: &str) -> Reply {
    Reply { status: Some(200), address: Some(address.to_owned()), ..Reply::default() }
}

fn uplink(targets: &[Arc<Target>], canaries: &[&str]) -> Uplink {
    let hosts: Vec<String> = canaries.iter().map(|text| (*text).to_owned()).collect();
    let mut uplink = Uplink::default();
    uplink.replace_targets(targets, &Canaries { stands_in: hosts.is_empty(), hosts });
    uplink
}

impl Uplink {
    fn doubt(&mut self, target: &Target, silence: Silence, now: Instant) -> Vec<UplinkAction> {
        let (silence, outcome) = silent(target, silence);
        self.settle_or_hold(target, silence, outcome, now)
    }

    /// Takes a canary's answer. Returns the verdicts of the checks that are settled by it.
    fn says(&mut self, host: &str, address: Option<&str>, now: Instant) -> Vec<Verdict> {
        let distance = address.map(|text| distance(text.parse().unwrap()));
        let named = distance.filter(|_| host.parse::<IpAddr>().is_err());
        let answer = CanaryAnswer {
            round: self.rounds,
            host: host.to_owned(),
            named,
            distance,
            is_proxy: true,
            at: now,
        };
        verdicts(self.advance(Some(answer), now))
    }
}

fn settlements(actions: Vec<UplinkAction>) -> Vec<SettledCheck> {
    let settled = |action| match action {
        UplinkAction::Settle(settled) => Some(settled),
        _ => None,
    };
    actions.into_iter().filter_map(settled).collect()
}

fn verdicts(actions: Vec<UplinkAction>) -> Vec<Verdict> {
    settlements(actions).iter().map(|settled| settled.outcome.verdict).collect()
}

#[test]
fn a_round_settles_what_had_ended_before_it() {
    let (a, b) = (target("a", "192.0.2.1"), target("b", "192.0.2.2"));
    let mut uplink = uplink(&[a.clone(), b.clone()], &["198.51.100.1:1", "198.51.100.2:1"]);
    let start = Instant::now() + 10 * SECOND;
    assert!(uplink.doubt(&a, Silence::Path, start).is_empty());
    assert_eq!(verdicts(uplink.advance(None, start)), []);
    // One canary answers: the check is down. The other canary, which is dead, tells nothing of later checks.
    assert_eq!(uplink.says("198.51.100.1", Some("198.51.100.1"), start + SECOND), [Verdict::Down]);
    assert!(uplink.doubt(&b, Silence::Path, start + 2 * SECOND).is_empty());
    assert_eq!(verdicts(uplink.advance(None, start + 3 * SECOND)), []);
    assert!(uplink.is_holding() && uplink.away.is_none());
    // The next round decides that check.
    let next = start + 6 * SECOND;
    assert_eq!(verdicts(uplink.advance(None, next)), []);
    assert_eq!(uplink.says("198.51.100.1", None, next), []);
    assert_eq!(uplink.says("198.51.100.2", None, next), [Verdict::Unknown]);
    assert!(uplink.away.is_some() && !uplink.is_holding());
}

#[test]
fn what_fell_silent_itself_is_no_sign_of_life() {
    let (a, b) = (target("a", "192.0.2.1"), target("b", "192.0.2.2"));
    let mut uplink = uplink(&[a.clone(), b.clone()], &[]);
    let now = Instant::now() + 10 * SECOND;
    assert!(uplink.doubt(&a, Silence::Path, now).is_empty());
    let silent = Reply { silence: Some(Silence::Path), ..answered("192.0.2.2") };
    assert_eq!(verdicts(uplink.note_reply(&b, &silent, now + SECOND)), []);
    assert_eq!(
        verdicts(uplink.note_reply(&b, &answered("192.0.2.2"), now + SECOND)),
        [Verdict::Down]
    );
}

#[test]
fn a_target_without_a_route_is_not_the_uplink() {
    let (six, four) = (target("six", "[2001:db8::1]"), target("four", "192.0.2.1"));
    let mut uplink = uplink(&[six.clone(), four.clone()], &[]);
    let now = Instant::now() + 10 * SECOND;
    let no_route = |uplink: &mut Uplink, now| {
        let (_, mut outcome) = silent(&six, Silence::Path);
        (outcome.verdict, outcome.cause) = (Verdict::Unknown, Some(Cause::Uplink));
        uplink.settle_or_hold(&six, None, outcome, now)
    };
    assert!(no_route(&mut uplink, now).is_empty());
    let settled = settlements(uplink.note_reply(&four, &answered("192.0.2.1"), now + SECOND));
    assert!(matches!(&settled[..], [SettledCheck { is_logged: false, outcome }]
        if outcome.verdict == Verdict::Unknown));
    assert!(uplink.away.is_none());
    // If the other target is silent too, the missing route is the uplink's fault.
    assert!(no_route(&mut uplink, now + 2 * SECOND).is_empty());
    uplink.advance(None, now + 2 * SECOND);
    let settled = settlements(uplink.advance(None, now + 5 * SECOND));
    assert!(
        matches!(&settled[..], [SettledCheck { is_logged: true, .. }]) && uplink.away.is_some()
    );
}

#[test]
fn a_canary_s_place_is_learned_by_its_answer() {
    let a = target("a", "192.0.2.1");
    let mut uplink = uplink(std::slice::from_ref(&a), &["kafka.lan:9092"]);
    let now = Instant::now() + 10 * SECOND;
    assert!(uplink.doubt(&a, Silence::Path, now).is_empty());
    uplink.advance(None, now);
    // The canary is near: it cannot speak for the internet, and no other host can.
    assert_eq!(uplink.says("kafka.lan", Some("192.168.1.5"), now + SECOND), [Verdict::Down]);
    let later = uplink.doubt(&a, Silence::Path, now + 9 * SECOND);
    assert_eq!(verdicts(later), [Verdict::Down]);
    assert!(uplink.away.is_none());
}

#[test]
fn this_host_s_own_names_say_nothing_of_the_name_server() {
    let (own, a) = (target("own", "localhost"), target("a", "a.example"));
    let b = target("b", "b.example");
    let now = Instant::now() + 10 * SECOND;
    let mut alone = uplink(&[own.clone(), a.clone()], &[]);
    // No other host could tell, and a name server's silence is no answer.
    assert_eq!(verdicts(alone.doubt(&a, Silence::NameServers, now)), [Verdict::Unknown]);
    assert_eq!(verdicts(alone.doubt(&a, Silence::Path, now)), [Verdict::Down]);
    let mut both = uplink(&[own.clone(), a.clone(), b], &[]);
    assert!(both.doubt(&a, Silence::NameServers, now).is_empty());
    assert_eq!(verdicts(both.note_reply(&own, &answered("127.0.0.1"), now + SECOND)), []);
    both.advance(None, now + SECOND);
    // A name that is found is enough, though nobody answers there.
    let (host, at) = ("b.example".into(), now + 2 * SECOND);
    let named = Some(Distance::Public);
    let answer =
        CanaryAnswer { round: both.rounds, host, named, distance: None, is_proxy: false, at };
    assert_eq!(verdicts(both.advance(Some(answer), now + 2 * SECOND)), [Verdict::Down]);
}

#[test]
fn what_began_while_it_was_away_is_unknown_when_it_is_back() {
    let (a, b) = (target("a", "192.0.2.1"), target("b", "192.0.2.2"));
    let mut uplink = uplink(&[a.clone(), b.clone()], &[]);
    let now = Instant::now() + 10 * SECOND;
    assert!(uplink.doubt(&a, Silence::Path, now).is_empty());
    uplink.advance(None, now);
    assert_eq!(verdicts(uplink.advance(None, now + 3 * SECOND)), [Verdict::Unknown]);
    assert!(uplink.doubt(&a, Silence::Path, now + 4 * SECOND).is_empty());
    let back = now + 5 * SECOND;
    assert_eq!(verdicts(uplink.note_reply(&b, &answered("192.0.2.2"), back)), [Verdict::Unknown]);
    assert!(uplink.away.is_none());
    // One check was under way at that time, and one began later.
    let under_way = uplink.doubt(&a, Silence::Path, back + SECOND / 2);
    assert_eq!(verdicts(under_way), [Verdict::Unknown]);
    assert!(uplink.doubt(&a, Silence::Path, back + 2 * SECOND).is_empty());
}

#[test]
fn who_is_exempt_is_told_at_once() {
    let mut own = Target::clone(&target("own", "192.0.2.1"));
    own.own_network = true;
    let url = Url::parse("http://192.0.2.9:3128").unwrap();
    let proxy = Some(Arc::new(Proxy { url, login: None }));
    let mut behind = Target::clone(&target("behind", "192.0.2.2"));
    behind.connect = Connect { proxy, ..Connect::default() };
    let (own, behind) = (Arc::new(own), Arc::new(behind));
    let all = [own.clone(), behind.clone(), target("here", "127.0.0.1"), target("c", "192.0.2.3")];
    let mut uplink = uplink(&all, &[]);
    let now = Instant::now() + 10 * SECOND;
    for target in [&own, &all[2]] {
        let settled = uplink.doubt(target, Silence::Path, now);
        assert_eq!(verdicts(settled), [Verdict::Down], "{}", target.name);
    }
    assert!(uplink.doubt(&all[3], Silence::Path, now).is_empty());
    uplink.begin_last_round();
    uplink.advance(None, now);
    uplink.doubt(&all[3], Silence::Path, now + SECOND);
    assert_eq!(verdicts(uplink.advance(None, now + 3 * SECOND)).len(), 2);
    assert!(!uplink.is_holding());
    // The proxy alone can tell about a target behind it.
    for (address, want) in [(Some("192.0.2.9"), Verdict::Down), (None, Verdict::Unknown)] {
        let now = now + 60 * SECOND;
        uplink.proxies.clear();
        assert!(uplink.doubt(&behind, Silence::Path, now).is_empty());
        uplink.note_reply(&all[3], &answered("192.0.2.3"), now + SECOND);
        assert!(uplink.is_holding());
        uplink.round = None;
        uplink.may_begin = None;
        uplink.advance(None, now);
        assert!(uplink.round.as_ref().is_some_and(|round| round.asked[0].host == "192.0.2.9"));
        let mut found = uplink.says("192.0.2.9", address, now + SECOND);
        found.extend(verdicts(uplink.advance(None, now + 4 * SECOND)));
        assert_eq!(found, [want]);
    }
}

#[test]
fn a_kept_connection_proves_no_name_server_and_who_slept_proves_nothing() {
    let (a, b) = (target("a", "a.example"), target("b", "b.example"));
    let mut uplink = uplink(&[a.clone(), b.clone()], &["canary.example:1"]);
    let start = Instant::now() + 10 * SECOND;
    assert!(uplink.doubt(&b, Silence::NameServers, start).is_empty());
    let later = start + SECOND;
    let kept = Reply { reused: Some(true), ..answered("198.51.100.7") };
    assert_eq!(verdicts(uplink.note_reply(&a, &kept, later)), []);
    let slept = Some(CheckFault { cause: Cause::Clock, text: "suspended".to_owned() });
    let slept = Reply { fault: slept, ..answered("198.51.100.7") };
    assert_eq!(verdicts(uplink.note_reply(&a, &slept, later)), []);
    assert_eq!(verdicts(uplink.note_reply(&a, &answered("198.51.100.7"), later)), [Verdict::Down]);
}

#[test]
fn names_of_our_own_network_do_not_speak_for_those_of_the_internet() {
    let (near, a) = (target("near", "nas.lan"), target("a", "a.example"));
    let now = Instant::now() + 10 * SECOND;
    let mut both = uplink(&[near.clone(), a.clone()], &[]);
    both.note_reply(&near, &answered("192.168.1.5"), now);
    both.note_reply(&a, &answered("192.0.2.1"), now);
    // No host is left that could tell, whether or not our own name server knows the names of our own network.
    assert_eq!(verdicts(both.doubt(&a, Silence::NameServers, now + SECOND)), [Verdict::Unknown]);
    assert!(both.away.is_some());
    both.note_reply(&near, &answered("192.168.1.5"), now + 2 * SECOND);
    assert!(both.away.is_some());
    both.note_reply(&a, &answered("192.0.2.1"), now + 3 * SECOND);
    assert!(both.away.is_none());
    // A name of the internet does speak for one of our own network.
    assert!(both.doubt(&near, Silence::NameServers, now + 4 * SECOND).is_empty());
    let later = now + 5 * SECOND;
    assert_eq!(verdicts(both.note_reply(&a, &answered("192.0.2.1"), later)), [Verdict::Down]);
}

#[test]
fn where_all_canaries_are_addresses_targets_are_asked_for_their_names() {
    let (a, b) = (target("a", "a.example"), target("b", "b.example"));
    let now = Instant::now() + 10 * SECOND;
    let mut uplink = uplink(&[a.clone(), b.clone()], &["192.0.2.9:53"]);
    for (named, verdict) in [
        (None, Verdict::Unknown),
        (Some(Distance::Private), Verdict::Unknown),
        (Some(Distance::Public), Verdict::Down),
    ] {
        let now = now + 60 * SECOND * uplink.rounds as u32;
        uplink.away = None;
        assert!(uplink.doubt(&a, Silence::NameServers, now).is_empty());
        uplink.round = None;
        uplink.may_begin = None;
        uplink.advance(None, now);
        let asked = uplink.round.as_ref().map(|round| round.asked.len());
        assert_eq!(asked, Some(3));
        let answer = CanaryAnswer {
            round: uplink.rounds,
            host: "b.example".into(),
            named,
            distance: None,
            is_proxy: false,
            at: now,
        };
        let mut found = verdicts(uplink.advance(Some(answer), now));
        found.extend(verdicts(uplink.advance(None, now + 3 * SECOND)));
        assert_eq!(found, [verdict], "{named:?}");
    }
    // For the way, only the canary is asked.
    assert!(uplink.doubt(&a, Silence::Path, now + 999 * SECOND).is_empty());
    uplink.round = None;
    uplink.may_begin = None;
    uplink.advance(None, now + 999 * SECOND);
    assert_eq!(uplink.round.as_ref().map(|round| round.asked.len()), Some(1));
}
