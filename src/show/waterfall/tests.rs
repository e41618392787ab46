use std::time::Duration;

use super::super::sample::{NOW, outcome, target};
use super::*;
use crate::model::outcome::Phases;

const DAY_S: i64 = 86_400;

#[test]
fn each_phase_begins_where_the_one_before_ended() {
    let target = target("https://example.org/");
    assert_eq!(
        draw_waterfall(&target, &outcome(), NOW, 64, Paint::OFF),
        "\
https://example.org/
  200  HTTP/2  93.184.216.34  1256 bytes  2 redirects

  dns         ████                               12.3 ms
  connect         ██████                         20.1 ms
  tls                   ████████████             40.4 ms
  first byte                        ██████████   30.2 ms
  transfer                                   █    1.2 ms
  total                                         104.2 ms

  up
  certificate ends 2026-12-31T23:59:59Z, in 40 days
"
    );
}

#[test]
fn each_request_over_redirects_has_its_lines() {
    let mut outcome = outcome();
    let phases = Phases { dns_us: Some(0), connect_us: Some(1_500), ..Phases::default() };
    let (address, url) = (Some("192.0.2.1".to_owned()), "http://example.org/".to_owned());
    let first = Hop { url, address, status: Some(301), phases };
    let last = Hop { url: "https://www.example.org/a".to_owned(), phases, ..Hop::default() };
    outcome.hops = vec![first, last];
    outcome.certificate = Some("example.org, issued by R11".to_owned());
    let text = draw_waterfall(&target("https://example.org/"), &outcome, NOW, 64, Paint::OFF);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[2..6],
        [
            "  → 301      1.5 ms  192.0.2.1  http://example.org/",
            "         dns 0.0 ms, connect 1.5 ms",
            "  → ---      1.5 ms  https://www.example.org/a",
            "         dns 0.0 ms, connect 1.5 ms",
        ]
    );
    assert_eq!(lines.last(), Some(&"  it is for example.org, issued by R11"));
}

#[test]
fn the_phase_that_was_cut_is_marked_and_later_ones_are_left_out() {
    let mut cut = outcome();
    cut.verdict = Verdict::Down;
    cut.cause = Some(Cause::Timeout);
    cut.responded = false;
    (cut.status, cut.status_ok, cut.http, cut.redirects) = (None, None, None, 0);
    cut.phases = Phases {
        dns_us: Some(0),
        connect_us: Some(20_000),
        tls_us: Some(9_980_000),
        ..Phases::default()
    };
    cut.total_us = 10_000_000;
    cut.error = Some("timeout in tls after 10s\x1b[2J".into());
    cut.cert_expires_s = None;
    cut.chain_expires_s = None;
    let mut target = target("shop");
    target.method = Method::Head;
    assert_eq!(
        draw_waterfall(&target, &cut, NOW, 52, Paint::OFF),
        "\
shop  HEAD https://example.org/
  93.184.216.34

  dns                                 0.0 ms
  connect     █                      20.0 ms
  tls         ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒    9.98 s  cut
  total                              10.00 s

  down: timeout in tls after 10s\u{fffd}[2J
"
    );
}

#[test]
fn the_verdict_is_given_in_words() {
    let target = Target { slow_after: Some(Duration::from_millis(100)), ..target("a") };
    let last = |outcome: &Outcome| {
        let text = draw_waterfall(&target, outcome, NOW, 80, Paint::OFF);
        text.split("\n\n").last().unwrap().to_string()
    };
    let slow = Outcome {
        verdict: Verdict::Slow,
        matched: Some("Hello\n1".into()),
        cert_expires_s: Some(NOW / 1000 - 3 * DAY_S),
        chain_expires_s: Some(NOW / 1000 - 4 * DAY_S),
        ..outcome()
    };
    assert_eq!(
        last(&slow),
        "  slow: 104.2 ms is over slow_after (100.0 ms)
  found Hello 1
  certificate ended 2026-11-18T03:00:00Z, 3 days ago
  one of its chain ended 2026-11-17T03:00:00Z, 4 days ago
"
    );
    for (verdict, cause, error, want) in [
        (
            Verdict::Down,
            Cause::Status,
            Some("status 503 is not accepted (200-299)"),
            "down: status 503 is not accepted (200-299)",
        ),
        (
            Verdict::Down,
            Cause::Body,
            Some("no match of \"Hello\""),
            "down: body: no match of \"Hello\"",
        ),
        (Verdict::Down, Cause::Dns, None, "down: dns"),
        (
            Verdict::Down,
            Cause::CertificateName,
            Some("it is for example.com"),
            "down: certificate name: it is for example.com",
        ),
        (Verdict::Unknown, Cause::Overload, Some("no room"), "unknown: overload: no room"),
    ] {
        let outcome = Outcome {
            verdict,
            cause: Some(cause),
            error: error.map(String::from),
            cert_expires_s: None,
            chain_expires_s: None,
            ..outcome()
        };
        assert_eq!(last(&outcome), format!("  {want}\n"));
    }
}

#[test]
fn nothing_that_came_back_leaves_the_verdict() {
    let none = Outcome {
        verdict: Verdict::Unknown,
        cause: Some(Cause::Overload),
        responded: false,
        status: None,
        http: None,
        address: None,
        redirects: 0,
        phases: Phases::default(),
        total_us: 0,
        cert_expires_s: None,
        chain_expires_s: None,
        ..outcome()
    };
    assert_eq!(
        draw_waterfall(&target("a"), &none, NOW, 80, Paint::ON),
        "\x1b[1ma\x1b[0m  https://example.org/\n\n  \x1b[35munknown\x1b[0m: overload\n"
    );
}

#[test]
fn bars_fill_their_columns_without_a_hole() {
    for columns in [0, 1, 2, 3, 7, 60] {
        for parts in [[1, 1, 1, 1], [0, 0, 0, 5], [1, 1_000_000, 1, 1], [7, 0, 9, u64::MAX / 4]] {
            let total = parts.iter().sum();
            let mut before = 0;
            for us in parts {
                let (from, n) = place_bar(before, us, total, columns);
                before += us;
                assert!(from + n <= columns, "{parts:?} {columns}");
                assert_eq!(n > 0, us > 0 && columns > 0, "{parts:?} {columns}");
            }
        }
    }
}

#[test]
fn a_narrow_terminal_gets_no_broken_lines() {
    for width in 0..60 {
        let text = draw_waterfall(&target("a"), &outcome(), NOW, width, Paint::OFF);
        let drawn = text.lines().skip(1).filter(|line| !line.starts_with("  up"));
        assert!(
            drawn.into_iter().all(|line| text::measure_width(line) <= width),
            "{width}\n{text}"
        );
    }
}
