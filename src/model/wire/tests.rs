use super::super::attempts::Attempt;
use super::super::judge::{Reply, judge, tests::target};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::outcome::{
    Cause, ERROR_MAX, EXCERPT_MAX, Gap, GapCause, HOP_URL_MAX, Hop, Loss, LossCause, Outcome,
    Phases, Verdict,
};
use crate::model::record::{NodeState, Record, TargetState};

/// 2026-11-21T03:00:00Z.
const NOW: i64 = 1_795_230_000_000;

fn outcome() -> Outcome {
    let attempt = Attempt {
        node: Arc::from("shop \"7\""),
        run: 5,
        due_ms: NOW,
        lag_us: 12,
        number: 1,
        jumps: 0,
    };
    let reply = Reply {
        status: Some(200),
        phases: Phases { dns_us: Some(0), connect_us: Some(7), ..Phases::default() },
        ..Reply::default()
    };
    judge(&target("site"), &attempt, reply)
}

/// Returns a check with every field that it can have.
fn full_check() -> Outcome {
    let hop = Hop {
        url: "https://example.org/é".to_owned(),
        address: Some("::1".to_owned()),
        status: Some(302),
        phases: Phases { dns_us: Some(1), ..Phases::default() },
    };
    Outcome {
        lag_us: -3,
        verdict: Verdict::Down,
        cause: Some(Cause::Body),
        match_ok: Some(false),
        phases: Phases {
            dns_us: Some(1),
            connect_us: Some(2),
            tls_us: Some(3),
            first_byte_us: Some(4),
            transfer_us: Some(5),
        },
        total_us: 15,
        address: Some("192.0.2.1".to_owned()),
        http: Some("2".into()),
        redirects: 1,
        bytes: 1 << 40,
        attempts: 3,
        matched: Some("m\u{9b}\n".to_owned()),
        excerpt: Some("<html>".to_owned()),
        error: Some("\"x\" matched".to_owned()),
        cert_expires_s: Some(0),
        chain_expires_s: Some(-1),
        certificate: None,
        fell_back: false,
        reused: Some(false),
        hops: vec![hop.clone(), Hop { url: "x".to_owned(), ..Hop::default() }],
        ..outcome()
    }
}

/// Returns one record of each kind, with every field that the kind can have.
fn full() -> Vec<Record> {
    let check = full_check();
    let (site, node) = (&check.target, &check.node);
    let gap = Gap {
        target: Arc::clone(site),
        node: Arc::clone(node),
        run: 0x7fff_ffff,
        from_ms: NOW,
        to_ms: NOW + 3000,
        count: 4,
        interval_ms: 1000,
        cause: GapCause::Suspend,
    };
    let loss = Loss {
        node: Arc::clone(node),
        run: 0,
        from_ms: NOW,
        to_ms: NOW,
        count: 1,
        cause: LossCause::SpoolFull,
        sequence: 3,
    };
    let state = NodeState {
        previous_run: Some(4),
        last_due_ms: Some(NOW - 1),
        spool_count: Some(0),
        spool_oldest_ms: Some(0),
        clock_synced: Some(false),
        ..NodeState::new(node, 5, NOW)
    };
    let labels = [("team".to_owned(), "web \"a\"".to_owned())];
    let about = TargetState {
        matches: "a\nb".to_owned(),
        rejects: "c".to_owned(),
        labels: BTreeMap::from(labels),
        ..TargetState::new(&target("site"), node, 5, NOW)
    };
    vec![
        Record::Check(Box::new(check)),
        Record::Gap(gap),
        Record::Loss(loss),
        Record::Node(state),
        Record::Target(Box::new(about)),
    ]
}

fn refused(payload: impl AsRef<[u8]>) -> String {
    decode(payload.as_ref(), NOW).unwrap_err().to_string()
}

/// Returns a check with one field changed.
fn with(field: &str, value: &str) -> String {
    let json = encode_check(&outcome());
    let key = format!("\"{field}\":");
    // The last of two counts.
    format!("{},{key}{value}}}", json.strip_suffix('}').unwrap())
}

#[test]
fn a_check_is_one_line_with_what_it_has() {
    assert_eq!(
        encode_check(&outcome()),
        concat!(
            r#"{"v":1,"kind":"check","node":"shop \"7\"","run":5,"target":"site","#,
            r#""due_ms":1795230000000,"lag_us":12,"interval_ms":60000,"verdict":"up","#,
            r#""responded":true,"status":200,"status_ok":true,"dns_us":0,"connect_us":7,"#,
            r#""total_us":7,"redirects":0,"bytes":0,"attempts":1}"#
        )
    );
}

#[test]
fn every_record_reads_back_as_it_was() {
    let plain = Record::Check(Box::new(outcome()));
    let bare = Record::Node(NodeState::new(&Arc::from("a"), 1, NOW));
    for record in full().into_iter().chain([plain, bare]) {
        let json = encode(&record);
        assert_eq!(decode(json.as_bytes(), NOW), Ok(DecodedMessage::Record(record)), "{json}");
    }
}

#[test]
fn every_field_is_written_by_one_record_or_another() {
    let all: String = full().iter().map(encode).collect();
    for name in NAMES {
        assert!(all.contains(&format!("\"{name}\":")), "{name}");
    }
}

#[test]
fn what_is_not_known_is_skipped() {
    let json = with("of_a_newer_version", r#"{"deep":[1,{"x":[]}],"y":null}"#);
    assert_eq!(
        decode(json.as_bytes(), NOW),
        Ok(DecodedMessage::Record(Record::Check(outcome().into())))
    );
    let kind = r#"{"v":1,"kind":"weather","node":7}"#;
    assert_eq!(decode(kind.as_bytes(), NOW), Ok(DecodedMessage::UnknownKind("weather".to_owned())));
    let Ok(DecodedMessage::Record(Record::Check(check))) =
        decode(with("cause", "\"new\"").as_bytes(), NOW)
    else {
        panic!("no check")
    };
    assert_eq!(check.cause, Some(Cause::Other));
}

#[test]
fn what_is_missing_has_the_mildest_meaning() {
    let json = r#"{"v":1,"kind":"check","node":"n","run":1,"target":"t","due_ms":1795230000000,
        "interval_ms":1000,"verdict":"up","dns_us":3,"connect_us":4,"error":"","address":null}"#;
    let Ok(DecodedMessage::Record(Record::Check(check))) = decode(json.as_bytes(), NOW) else {
        panic!("no check")
    };
    assert_eq!((check.total_us, check.attempts, check.redirects), (7, 1, 0));
    assert_eq!((check.responded, check.error, check.address), (false, None, None));
}

#[test]
fn what_does_not_fit_is_refused_with_its_field() {
    let cases = [
        (String::new(), "json: no JSON object"),
        ("[]".to_owned(), "json: no JSON object"),
        (encode_check(&outcome())[..90].to_owned(), "json: no JSON object"),
        (
            r#"{"kind":"check"}"#.to_owned(),
            "field: v: a whole number is expected, and it is missing",
        ),
        (with("v", "2"), "version: v is 2, and at most 1 is known"),
        (with("v", "\"1\""), "field: v: a whole number is expected, and it is text"),
        (with("v", "0"), "field: v: 0 is not from 1 to 9223372036854775807"),
        (with("kind", "null"), "field: kind: text is expected, and it is missing"),
        (with("target", "\"\""), "field: target: text is expected, and it is missing"),
        (with("node", "7"), "field: node: text is expected, and it is a whole number"),
        (with("run", "2147483648"), "field: run: 2147483648 is not from 0 to 2147483647"),
        (
            with("due_ms", "253370764800000"),
            "time: due_ms: 253370764800000 is more than an hour ahead",
        ),
        (with("due_ms", "0"), "time: due_ms: 0 is before 2024"),
        (
            with("due_ms", "1e300"),
            "field: due_ms: a whole number is expected, and it is a number with a fraction, or too large",
        ),
        (
            with("verdict", "\"fine\""),
            "field: verdict: up, slow, down or unknown is expected, not \"fine\"",
        ),
        (with("total_us", "-1"), "field: total_us: -1 is not from 0 to 9007199254740992"),
        (with("status", "65536"), "field: status: 65536 is not from 100 to 999"),
        (
            with("responded", "1"),
            "field: responded: true or false is expected, and it is a whole number",
        ),
        (with("error", "[[[]]]"), "field: error: text is expected, and it is an array"),
        (with("interval_ms", "0"), "field: interval_ms: 0 is not from 1 to 31622400000"),
        (
            with("hops", "[7]"),
            "field: hops: an array of objects is expected, and it is a whole number",
        ),
        (
            with("hops", "[{\"dns_us\":\"x\"}]"),
            "field: dns_us: a whole number is expected, and it is text",
        ),
        (
            with("target", &format!("\"{}\"", "n".repeat(129))),
            "field: target: 129 characters, and at most 128 are a name",
        ),
    ];
    for (json, want) in cases {
        assert_eq!(refused(&json), want, "{json}");
    }
    let gap = encode(&full()[1]);
    let turned = gap.replace("\"to_ms\":1795230003000", "\"to_ms\":1795229999999");
    assert_eq!(refused(turned), "field: to_ms: 1795229999999 is before from_ms 1795230000000");
    let about = encode(&full()[4]).replace(r#"{"team":"#, r#"{"x":1,"team":"#);
    assert_eq!(
        refused(about),
        "field: labels: an object of texts is expected, and it is a whole number"
    );
    assert_eq!(refused(b"{\"v\":1,\"a\":\"\xff\"}"), "json: no UTF-8 at byte 12");
    assert_eq!(
        refused(vec![b' '; RECORD_MAX + 1]),
        "size: 65537 bytes: at most 65536 are a record"
    );
}

#[test]
fn text_is_made_fit_when_it_is_read() {
    let long = format!("\"a\\u0000{}\"", "é".repeat(ERROR_MAX));
    let json = with("error", &long);
    let Ok(DecodedMessage::Record(Record::Check(check))) = decode(json.as_bytes(), NOW) else {
        panic!("no check")
    };
    let error = check.error.unwrap();
    assert!(error.starts_with("a\u{fffd}é") && error.len() <= ERROR_MAX, "{}", error.len());
}

#[test]
fn a_record_that_is_too_long_loses_excerpt_first_and_then_hops() {
    let mut outcome = outcome();
    // Each takes six bytes of JSON.
    outcome.excerpt = Some("\u{1}".repeat(EXCERPT_MAX));
    outcome.error = Some("why".to_owned());
    let hop = Hop { url: "h".repeat(HOP_URL_MAX), ..Hop::default() };
    outcome.hops = vec![hop; 3];
    let read = |outcome: &Outcome| {
        let json = encode_check(outcome);
        assert!(json.len() <= RECORD_MAX, "{}", json.len());
        match decode(json.as_bytes(), NOW) {
            Ok(DecodedMessage::Record(Record::Check(check))) => check,
            other => panic!("{other:?}"),
        }
    };
    let cut = read(&outcome);
    assert!(cut.excerpt.is_some_and(|text| !text.is_empty() && text.len() < EXCERPT_MAX));
    assert_eq!((cut.hops.len(), cut.error.as_deref()), (3, Some("why")));

    outcome.hops = vec![outcome.hops[0].clone(); 100];
    let cut = read(&outcome);
    assert_eq!(cut.excerpt, None);
    assert!((25..100).contains(&cut.hops.len()), "{}", cut.hops.len());
}

/// Bytes from strangers never panic us: records with some bytes changed, cut out, or put twice.
#[test]
fn whatever_comes_is_a_record_or_refused() {
    let texts: Vec<String> = full().iter().map(encode).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..30_000 {
        let mut bytes = texts[round % texts.len()].clone().into_bytes();
        for _ in 0..=random(3) {
            let (at, other) = (random(bytes.len()), random(bytes.len()));
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] = b"{}[]\",:0-9e.\\tfn"[random(16)],
                2 => drop(bytes.drain(at.min(other)..at.max(other))),
                _ => {
                    let piece = bytes[at.min(other)..at.max(other)].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        match decode(&bytes, NOW) {
            Ok(DecodedMessage::Record(record)) => {
                // A record that was read can be written, and reads the same then.
                let again = decode(encode(&record).as_bytes(), NOW);
                assert_eq!(again, Ok(DecodedMessage::Record(record)));
                read += 1;
            }
            Ok(DecodedMessage::UnknownKind(_)) => {}
            Err(_) => refused += 1,
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
