//! Judges a reply: takes a target and its reply, and returns the outcome. Status and expressions have a
//! result each, so that a wrong status does not hide that of the expressions.

mod content;

use std::borrow::Cow;
use std::sync::Arc;

use self::content::{Content, read, unjudged};
use super::attempts::Attempt;
use super::charset::{self, DecodedText};
use super::outcome::{Cause, ERROR_MAX, EXCERPT_MAX, Hop, Outcome, Phases, Verdict, tidy};
use super::target::Target;
use super::uplink::Silence;

/// Reply of a target, or the part of a reply that has arrived.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// Reason why the reply is not whole; none if the header and all bytes of the body that are read have
    /// arrived in time.
    pub fault: Option<CheckFault>,
    /// Kind of the silence, if nobody answered: our own network may be the reason.
    pub silence: Option<Silence>,
    /// Reason why a whole reply does not count: a redirect that cannot be followed, or the wrong version of
    /// HTTP.
    pub unusable: Option<CheckFault>,
    /// Status code of the last reply; none if its header has not arrived.
    pub status: Option<u16>,
    /// Body, up to `max_body` bytes; empty if the target has no use for it.
    pub body: Vec<u8>,
    /// Name and value of each header of the last reply that an expression of the target is about.
    pub headers: Vec<(String, String)>,
    /// Number of decoded bytes of the body that were read.
    pub bytes: u64,
    /// Duration of each phase, summed over the hops.
    pub phases: Phases,
    /// Address of the last connection.
    pub address: Option<String>,
    /// HTTP version of the last reply.
    pub http: Option<&'static str>,
    /// Number of redirects followed.
    pub redirects: u32,
    /// All hops in their order, if redirects were followed; else empty.
    pub hops: Vec<Hop>,
    /// End of the leaf certificate's validity, in seconds since 1970. Of several hops, the one counts whose
    /// chain expires first.
    pub cert_expires_s: Option<i64>,
    /// Earliest end of validity in the chain of that hop, in seconds since 1970.
    pub chain_expires_s: Option<i64>,
    /// As in [`Outcome::certificate`].
    pub certificate: Option<String>,
    /// Host that showed the certificate, if redirects were followed.
    pub certificate_host: Option<String>,
    /// True if all hops used connections of earlier checks; none without `reuse`.
    pub reused: Option<bool>,
    /// As in [`Outcome::fell_back`].
    pub fell_back: bool,
    /// Time that the attempt has waited for resources of this machine after its start, in microseconds. It is
    /// added to [`Outcome::lag_us`].
    pub late_us: i64,
}

/// Fault of a check: its cause, and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFault {
    /// Cause; it decides between down and unknown.
    pub cause: Cause,
    /// Text for people.
    pub text: String,
}

/// Judges one reply. The same arguments always give the same outcome.
pub fn judge(target: &Target, attempt: &Attempt, reply: Reply) -> Outcome {
    let responded = reply.fault.is_none();
    let status_ok = reply.status.map(|status| target.status.accepts(status));
    let read_body: &[u8] = if responded { &reply.body } else { b"" };
    let is_type = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
    let content_type = reply.headers.iter().rfind(is_type).map(|(_, value)| value.as_str());
    let DecodedText { text: body, unknown } = charset::decode(read_body, content_type);
    let unknown = unknown.and_then(|why| unjudged(target, &why));
    let mut content = match responded {
        true => read(target, &body, unknown.is_some(), &reply.headers),
        false => Content::default(),
    };
    if unknown.is_some() && content.fault.is_none() {
        content.match_ok = None;
    }
    let total_us = reply.phases.total_us();

    let remark = expiry_remark(target, attempt.due_ms, &reply);
    let fault = reply
        .fault
        .or(reply.unusable)
        .or_else(|| {
            let status = reply.status.filter(|_| status_ok == Some(false))?;
            let text = format!("status {status} is not accepted ({})", target.status);
            Some(CheckFault { cause: Cause::Status, text })
        })
        .or_else(|| content.fault.map(|text| CheckFault { cause: Cause::Body, text }))
        .or(unknown);
    // The remark is only for a check without a fault.
    let remark = remark.filter(|_| fault.is_none());
    let slow = target.slow_after.is_some_and(|limit| u128::from(total_us) > limit.as_micros());
    let verdict = match &fault {
        Some(fault) if fault.cause.is_ours() => Verdict::Unknown,
        Some(_) => Verdict::Down,
        None if slow => Verdict::Slow,
        None => Verdict::Up,
    };
    let excerpt = (target.excerpt > 0 && !body.is_empty())
        .then(|| tidy(&body, target.excerpt.min(EXCERPT_MAX)));
    Outcome {
        target: Arc::clone(&target.name),
        node: Arc::clone(&attempt.node),
        run: attempt.run,
        due_ms: attempt.due_ms,
        lag_us: attempt.lag_us.saturating_add(reply.late_us),
        interval_ms: target.interval_ms(),
        verdict,
        cause: fault.as_ref().or(remark.as_ref()).map(|fault| fault.cause),
        responded,
        status: reply.status,
        status_ok,
        match_ok: content.match_ok,
        phases: reply.phases,
        total_us,
        address: reply.address,
        http: reply.http.map(Cow::Borrowed),
        redirects: reply.redirects,
        bytes: reply.bytes,
        attempts: attempt.number,
        matched: content.matched,
        excerpt,
        error: fault.or(remark).map(|fault| tidy(&fault.text, ERROR_MAX)),
        cert_expires_s: reply.cert_expires_s,
        chain_expires_s: reply.chain_expires_s,
        certificate: reply.certificate,
        reused: reply.reused,
        fell_back: reply.fell_back,
        hops: reply.hops,
    }
}

/// Returns a remark if the chain expires in fewer days than the target allows (`min_cert_days`); else none.
fn expiry_remark(target: &Target, now_ms: i64, reply: &Reply) -> Option<CheckFault> {
    const DAY_S: i64 = 86_400;
    let wanted = i64::from(target.min_cert_days);
    let leaf_s = reply.cert_expires_s;
    let end_s = reply.chain_expires_s.or(leaf_s).filter(|_| wanted > 0)?;
    let left_s = end_s - now_ms.div_euclid(1000);
    if left_s >= wanted * DAY_S {
        return None;
    }
    let which =
        if leaf_s == Some(end_s) { "the certificate" } else { "a certificate of the chain" };
    let of_host = reply.certificate_host.as_ref().map(|host| format!(" of {host}"));
    let of_host = of_host.unwrap_or_default();
    let days = left_s.div_euclid(DAY_S);
    let text = format!(
        "{which}{of_host} ends in {days} days; at least {wanted} are wanted (min_cert_days)"
    );
    Some(CheckFault { cause: Cause::CertificateSoon, text })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use url::Url;

    use super::super::expression::Expression;
    use super::super::target::HeaderExpression;
    use super::*;

    /// Makes a target with the defaults of the configuration.
    pub(crate) fn target(name: &str) -> Target {
        let url = Url::parse("https://example.org/").unwrap();
        Target { max_body: 1000, ..Target::new(name, url) }
    }

    fn judged(target: &Target, status: u16, body: &str) -> Outcome {
        let attempt =
            Attempt { node: Arc::from("n"), run: 1, due_ms: 2, lag_us: 3, number: 1, jumps: 0 };
        let phases = Phases { first_byte_us: Some(2_000_000), ..Phases::default() };
        let body = body.as_bytes().to_vec();
        judge(target, &attempt, Reply { status: Some(status), body, phases, ..Reply::default() })
    }

    #[test]
    fn status_and_body_are_judged_apart() {
        let mut target = target("t");
        target.matches = vec![Expression::new("hel+o").unwrap(), Expression::new("w").unwrap()];
        target.rejects = vec![Expression::new("bad").unwrap()];
        let cases = [
            (200, "hello w", Verdict::Up, None, true, true),
            (500, "hello w", Verdict::Down, Some(Cause::Status), false, true),
            (500, "nothing", Verdict::Down, Some(Cause::Status), false, false),
            (200, "hello", Verdict::Down, Some(Cause::Body), true, false),
            (200, "hello w bad", Verdict::Down, Some(Cause::Body), true, false),
        ];
        for (status, body, verdict, cause, status_ok, match_ok) in cases {
            let outcome = judged(&target, status, body);
            assert_eq!((outcome.verdict, outcome.cause), (verdict, cause), "{status} {body}");
            assert_eq!(outcome.status_ok, Some(status_ok), "{status} {body}");
            assert_eq!(outcome.match_ok, Some(match_ok), "{status} {body}");
        }
        assert_eq!(judged(&target, 200, "hello w").matched.as_deref(), Some("hello"));
        let rejected = judged(&target, 200, "hello w bad").error;
        assert_eq!(rejected.as_deref(), Some(r#""bad" matched "bad""#));
        let missing = judged(&target, 200, "").error;
        assert_eq!(missing.as_deref(), Some(r#"no match of "hel+o""#));
    }

    #[test]
    fn letters_that_are_not_known_are_not_judged() {
        let attempt =
            Attempt { node: Arc::from("n"), run: 1, due_ms: 2, lag_us: 3, number: 1, jumps: 0 };
        let judged = |matches: &[&str], rejects: &[&str], charset: &str, status: u16| {
            let compiled =
                |all: &[&str]| all.iter().map(|it| Expression::new(it).unwrap()).collect();
            let mut target = target("t");
            (target.matches, target.rejects) = (compiled(matches), compiled(rejects));
            let headers = vec![("Content-Type".into(), format!("text/plain; charset={charset}"))];
            // "ok ошибка" in windows-1251.
            let body = b"ok \xee\xf8\xe8\xe1\xea\xe0".to_vec();
            let reply = Reply { status: Some(status), body, headers, ..Reply::default() };
            let outcome = judge(&target, &attempt, reply);
            (outcome.verdict, outcome.cause, outcome.match_ok)
        };
        let (up, down, unknown) = (Verdict::Up, Verdict::Down, Verdict::Unknown);
        let (body, ours) = (Some(Cause::Body), Some(Cause::Internal));
        for (matches, rejects, charset, status, want) in [
            (&["ошибка"][..], &[][..], "windows-1251", 200, (up, None, Some(true))),
            (&[], &["(?i)ОШИБКА"], "windows-1251", 200, (down, body, Some(false))),
            (&["ok"], &["ошибка"], "big5", 200, (unknown, ours, None)),
            (&["ошибка"], &[], "big5", 200, (unknown, ours, None)),
            (&[r"\x{43e}"], &[], "big5", 200, (unknown, ours, None)),
            // A worse fault, and a fault that is known, comes first.
            (&["ошибка"], &[], "big5", 500, (down, Some(Cause::Status), None)),
            (&["no"], &["ошибка"], "big5", 200, (down, body, Some(false))),
            (&["ошибка"], &["ok"], "big5", 200, (down, body, Some(false))),
            (&["ok"], &["no"], "big5", 200, (up, None, Some(true))),
        ] {
            let found = judged(matches, rejects, charset, status);
            assert_eq!(found, want, "{matches:?} {rejects:?} {charset} {status}");
        }
    }

    #[test]
    fn headers_are_judged_by_each_of_their_values() {
        let of = |name: &str, text: &str| HeaderExpression {
            name: name.to_owned(),
            expression: Expression::new(text).unwrap(),
        };
        let mut target = target("t");
        target.header_matches = vec![of("Vary", "b"), of("x-a", "^1$")];
        target.header_rejects = vec![of("X-A", "bad")];
        let attempt =
            Attempt { node: Arc::from("n"), run: 1, due_ms: 2, lag_us: 3, number: 1, jumps: 0 };
        let judged = |headers: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let headers = headers.iter().map(own).collect();
            let outcome =
                judge(&target, &attempt, Reply { headers, status: Some(200), ..Reply::default() });
            (outcome.match_ok, outcome.cause, outcome.error.unwrap_or_default())
        };
        let body = Some(Cause::Body);
        let fine = [("vary", "a"), ("VARY", "b"), ("X-a", "1")];
        assert_eq!(judged(&fine), (Some(true), None, String::new()));
        for (headers, text) in [
            (&fine[1..2], "no header x-a, which must match \"^1$\""),
            (&[("vary", "c"), ("x-a", "1")][..], "no match of \"b\" in header Vary"),
            (
                &[("vary", "b"), ("x-a", "1"), ("x-a", "bad")],
                "\"bad\" matched \"bad\" in header X-A",
            ),
        ] {
            assert_eq!(judged(headers), (Some(false), body, text.to_owned()));
        }
    }

    #[test]
    fn without_expressions_there_is_no_match() {
        assert_eq!(judged(&target("t"), 200, "anything").match_ok, None);
    }

    #[test]
    fn slow_is_up() {
        let mut target = target("t");
        target.slow_after = Some(Duration::from_secs(2));
        assert_eq!(judged(&target, 200, "").verdict, Verdict::Up);
        target.slow_after = Some(Duration::from_millis(1999));
        assert_eq!(judged(&target, 200, "").verdict, Verdict::Slow);
        assert_eq!(judged(&target, 404, "").verdict, Verdict::Down);
    }

    #[test]
    fn a_certificate_that_ends_soon_is_a_remark() {
        const DAY_S: i64 = 86_400;
        let mut target = target("t");
        let attempt =
            Attempt { node: Arc::from("n"), run: 1, due_ms: 999, lag_us: 0, number: 1, jumps: 0 };
        let judged = |target: &Target, leaf: i64, chain: i64, status: u16| {
            let reply = Reply {
                status: Some(status),
                cert_expires_s: Some(leaf),
                chain_expires_s: Some(chain),
                ..Reply::default()
            };
            let outcome = judge(target, &attempt, reply);
            (outcome.verdict, outcome.cause, outcome.error.unwrap_or_default())
        };
        let fine = (Verdict::Up, None, String::new());
        assert_eq!(judged(&target, 1, 1, 200), fine, "not asked for");
        target.min_cert_days = 14;
        assert_eq!(judged(&target, 14 * DAY_S, 14 * DAY_S, 200), fine);
        let soon = |text: &str| (Verdict::Up, Some(Cause::CertificateSoon), text.to_owned());
        let text = "ends in 13 days; at least 14 are wanted (min_cert_days)";
        let (end, far) = (14 * DAY_S - 1, 90 * DAY_S);
        assert_eq!(judged(&target, end, end, 200), soon(&format!("the certificate {text}")));
        let chain = format!("a certificate of the chain {text}");
        assert_eq!(judged(&target, far, end, 200), soon(&chain));
        // After redirects, the text names the certificate's host.
        let reply = Reply {
            status: Some(200),
            cert_expires_s: Some(end),
            chain_expires_s: Some(end),
            certificate_host: Some("a.example:8443".to_owned()),
            ..Reply::default()
        };
        let outcome = judge(&target, &attempt, reply);
        let whose = format!("the certificate of a.example:8443 {text}");
        assert_eq!(outcome.error.as_deref(), Some(&*whose));
        // A worse fault comes first.
        let down = judged(&target, end, end, 404);
        assert_eq!((down.0, down.1), (Verdict::Down, Some(Cause::Status)));
    }

    #[test]
    fn a_fault_wins_and_ours_is_unknown() {
        let target = target("t");
        let attempt =
            Attempt { node: Arc::from("n"), run: 1, due_ms: 2, lag_us: 3, number: 1, jumps: 0 };
        for (cause, verdict) in [
            (Cause::Timeout, Verdict::Down),
            (Cause::Internal, Verdict::Unknown),
            (Cause::Overload, Verdict::Unknown),
        ] {
            let fault = Some(CheckFault { cause, text: "x".repeat(9999) });
            let reply = Reply { fault, status: Some(404), ..Reply::default() };
            let outcome = judge(&target, &attempt, reply);
            assert_eq!((outcome.verdict, outcome.cause), (verdict, Some(cause)));
            assert_eq!((outcome.responded, outcome.match_ok), (false, None));
            assert_eq!(outcome.error.map(|error| error.len()), Some(ERROR_MAX));
        }
    }

    #[test]
    fn text_of_strangers_is_made_fit() {
        let mut target = target("t");
        target.matches = vec![Expression::new("(?s).+").unwrap()];
        target.excerpt = 8;
        let attempt =
            Attempt { node: Arc::from("n"), run: 1, due_ms: 2, lag_us: 3, number: 1, jumps: 0 };
        let body = b"a\0\xff\xfe and more".to_vec();
        let outcome =
            judge(&target, &attempt, Reply { body, status: Some(200), ..Reply::default() });
        assert_eq!(outcome.excerpt.as_deref(), Some("a\u{fffd}\u{fffd}"));
        assert!(outcome.matched.is_some_and(|m| !m.contains('\0')));
    }
}
