//! One check drawn: each phase a bar that begins where the one before it ended, and in words
//! what was judged and why.

use super::text::{self, Line, Paint, Side, Style, cell, clean, count};
use super::time::{away, measured, rfc3339};
use crate::model::outcome::{Cause, Hop, Outcome, Verdict};
use crate::model::target::{Method, Target};

/// Columns of the phases' names: `first byte`.
const NAME: usize = 10;
/// Columns of a time: `213d 12h`, `999.9 ms`.
const TIME: usize = 10;
/// Most columns of the bars: longer ones are no easier to read.
const BARS_MAX: usize = 60;
/// A certificate that ends sooner than this stands out, in milliseconds: 14 days, about when
/// whatever renews it should have done so.
const SOON_MS: i64 = 14 * 86_400_000;

/// What `sitewatch check` prints of one outcome, in lines of at most `width` columns, but for
/// the URL and the words of the verdict, which are whole whatever their length.
pub fn waterfall(
    target: &Target,
    outcome: &Outcome,
    now_ms: i64,
    width: usize,
    paint: Paint,
) -> String {
    let mut lines = vec![title(target, paint)];
    lines.extend(reply(outcome, width, paint));
    lines.extend(outcome.hops.iter().flat_map(|hop| passed(hop, width, paint)));
    let phases = phases(outcome, width, paint);
    if !phases.is_empty() {
        lines.push(String::new());
        lines.extend(phases);
    }
    lines.push(String::new());
    lines.push(verdict(target, outcome, paint));
    if let Some(matched) = &outcome.matched {
        let mut line = Line::new(width, paint);
        line.push(Style::Plain, "  found ").push(Style::Dim, &clean(matched));
        lines.push(line.end());
    }
    let leaf = outcome.cert_expires_s;
    if let Some(end_s) = leaf {
        lines.push(end("certificate", end_s, now_ms, width, paint));
    }
    if let Some(whose) = &outcome.certificate {
        let mut line = Line::new(width, paint);
        line.push(Style::Plain, "  it is for ").push(Style::Plain, &clean(whose));
        lines.push(line.end());
    }
    if let Some(end_s) = outcome.chain_expires_s.filter(|end_s| leaf.is_none_or(|l| *end_s < l)) {
        lines.push(end("one of its chain", end_s, now_ms, width, paint));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The name, if it is one of its own, and what is asked.
fn title(target: &Target, paint: Paint) -> String {
    let url = target.shown_url();
    let mut line = Line::new(usize::MAX, paint);
    let (name, shown) = (clean(&target.name), clean(&url));
    // `https://example.org` and `https://example.org/` are the same to people.
    let own = name.trim_end_matches('/') != shown.trim_end_matches('/');
    if own {
        line.push(Style::Bold, &name).push(Style::Plain, "  ");
    }
    if target.method != Method::Get {
        line.push(Style::Plain, target.method.as_str()).push(Style::Plain, " ");
    }
    line.push(if own { Style::Plain } else { Style::Bold }, &shown);
    line.end()
}

/// What came back, in one line; none if nothing did.
fn reply(outcome: &Outcome, width: usize, paint: Paint) -> Option<String> {
    let mut parts: Vec<(Style, String)> = Vec::new();
    if let Some(status) = outcome.status {
        let ok = outcome.status_ok != Some(false);
        parts.push((if ok { Style::Up } else { Style::Down }, status.to_string()));
    }
    if let Some(http) = &outcome.http {
        parts.push((Style::Plain, format!("HTTP/{http}")));
    }
    if let Some(address) = &outcome.address {
        parts.push((Style::Plain, clean(address).into_owned()));
    }
    if outcome.status.is_some() {
        parts.push((Style::Plain, count(outcome.bytes, "byte")));
    }
    if outcome.reused == Some(true) {
        parts.push((Style::Plain, "kept connection".to_owned()));
    }
    if outcome.fell_back {
        let is_v4 = outcome.address.as_ref().is_some_and(|address| !address.contains(':'));
        let first = if is_v4 { "IPv6" } else { "IPv4" };
        parts.push((Style::Slow, format!("{first} tried in vain")));
    }
    if outcome.redirects > 0 {
        parts.push((Style::Plain, count(outcome.redirects.into(), "redirect")));
    }
    if outcome.attempts > 1 {
        parts.push((Style::Plain, count(outcome.attempts.into(), "attempt")));
    }
    if parts.is_empty() {
        return None;
    }
    let mut line = Line::new(width, paint);
    for (style, part) in &parts {
        line.push(Style::Plain, "  ").push(*style, part);
    }
    Some(line.end())
}

/// One of several requests: what came back, after what time, from where, for which URL; and its
/// phases.
fn passed(hop: &Hop, width: usize, paint: Paint) -> [String; 2] {
    let mut line = Line::new(width, paint);
    let status = hop.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    line.push(Style::Plain, "  → ").push(Style::Plain, &status).push(Style::Plain, "  ");
    line.push(Style::Plain, &cell(&measured(hop.phases.total_us()), TIME, Side::Right));
    if let Some(address) = &hop.address {
        line.push(Style::Plain, "  ").push(Style::Plain, &clean(address));
    }
    line.push(Style::Plain, "  ").push(Style::Dim, &clean(&hop.url));
    let named = hop.phases.named().into_iter();
    let phases = named.filter_map(|(name, us)| Some(format!("{name} {}", measured(us?))));
    let mut below = Line::new(width, paint);
    below.push(Style::Dim, "         ").push(Style::Dim, &phases.collect::<Vec<_>>().join(", "));
    [line.end(), below.end()]
}

/// A line for each phase that was reached, and one for the total.
fn phases(outcome: &Outcome, width: usize, paint: Paint) -> Vec<String> {
    let reached: Vec<(&str, u64)> = outcome
        .phases
        .named()
        .into_iter()
        .filter_map(|(name, us)| us.map(|us| (name, us)))
        .collect();
    if reached.is_empty() {
        return Vec::new();
    }
    // Two columns of margin, two round the bars, and room for "  failed" behind the time.
    let bars = width.saturating_sub(2 + NAME + 2 + TIME + 8).min(BARS_MAX);
    // Over redirects the phases are sums, and the last of them need not be the last hop's.
    let cut = (!outcome.responded && outcome.redirects == 0).then(|| reached.len() - 1);
    let total: u64 = reached.iter().map(|(_, us)| us).sum();
    let mut lines = Vec::with_capacity(reached.len() + 1);
    let mut before = 0;
    for (i, (name, us)) in reached.iter().enumerate() {
        let (from, columns) = bar(before, *us, total, bars);
        before += us;
        let is_cut = cut == Some(i);
        let (sign, style) = if is_cut { ("▒", Style::Down) } else { ("█", Style::Bar) };
        let mut line = Line::new(width, paint);
        line.push(Style::Plain, "  ").push(Style::Plain, &cell(name, NAME, Side::Left));
        line.push(Style::Plain, &" ".repeat(2 + from)).push(style, &sign.repeat(columns));
        line.push(Style::Plain, &" ".repeat(bars - from - columns));
        line.push(Style::Plain, &cell(&measured(*us), TIME, Side::Right));
        if is_cut {
            let timeout = outcome.cause == Some(Cause::Timeout);
            line.push(Style::Down, if timeout { "  cut" } else { "  failed" });
        }
        lines.push(line.end());
    }
    let mut line = Line::new(width, paint);
    line.push(Style::Plain, "  ").push(Style::Bold, &cell("total", NAME + 2 + bars, Side::Left));
    line.push(Style::Bold, &cell(&measured(outcome.total_us), TIME, Side::Right));
    lines.push(line.end());
    lines
}

/// First column and number of columns of a bar. What took any time has at least one column;
/// what took none has none.
fn bar(before_us: u64, us: u64, total_us: u64, columns: usize) -> (usize, usize) {
    let column = |at: u64| {
        // Rounded to the nearest.
        let twice = u128::from(at) * columns as u128 * 2 / u128::from(total_us.max(1));
        twice.div_ceil(2) as usize
    };
    if us == 0 || columns == 0 {
        return (column(before_us).min(columns), 0);
    }
    let from = column(before_us).min(columns - 1);
    let to = column(before_us + us).clamp(from + 1, columns);
    (from, to - from)
}

/// The verdict and why.
fn verdict(target: &Target, outcome: &Outcome, paint: Paint) -> String {
    let mut line = Line::new(usize::MAX, paint);
    line.push(Style::Plain, "  ").push(Style::of(outcome.verdict), outcome.verdict.as_str());
    let why = match (outcome.verdict, target.slow_after) {
        (Verdict::Slow, Some(limit)) => {
            let limit = measured(limit.as_micros() as u64);
            Some(format!("{} is over slow_after ({limit})", measured(outcome.total_us)))
        }
        _ => text::reason(outcome),
    };
    if let Some(why) = why {
        line.push(Style::Plain, ": ").push(Style::Plain, &why);
    }
    line.end()
}

/// When a certificate ends or has ended.
fn end(what: &str, end_s: i64, now_ms: i64, width: usize, paint: Paint) -> String {
    let end_ms = end_s.saturating_mul(1000);
    let (word, style) = match end_ms.saturating_sub(now_ms) {
        ..0 => ("ended", Style::Down),
        0..SOON_MS => ("ends", Style::Slow),
        _ => ("ends", Style::Plain),
    };
    let mut line = Line::new(width, paint);
    line.push(Style::Plain, &format!("  {what} {word} {}, ", rfc3339(end_ms)));
    line.push(style, &away(end_ms, now_ms));
    line.end()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::sample::{NOW, outcome, target};
    use super::*;
    use crate::model::outcome::Phases;

    const DAY_S: i64 = 86_400;

    #[test]
    fn each_phase_begins_where_the_one_before_ended() {
        let target = target("https://example.org/");
        assert_eq!(
            waterfall(&target, &outcome(), NOW, 64, Paint::OFF),
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
        let text = waterfall(&target("https://example.org/"), &outcome, NOW, 64, Paint::OFF);
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
            waterfall(&target, &cut, NOW, 52, Paint::OFF),
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
            let text = waterfall(&target, outcome, NOW, 80, Paint::OFF);
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
            waterfall(&target("a"), &none, NOW, 80, Paint::ON),
            "\x1b[1ma\x1b[0m  https://example.org/\n\n  \x1b[35munknown\x1b[0m: overload\n"
        );
    }

    #[test]
    fn bars_fill_their_columns_without_a_hole() {
        for columns in [0, 1, 2, 3, 7, 60] {
            for parts in [[1, 1, 1, 1], [0, 0, 0, 5], [1, 1_000_000, 1, 1], [7, 0, 9, u64::MAX / 4]]
            {
                let total = parts.iter().sum();
                let mut before = 0;
                for us in parts {
                    let (from, n) = bar(before, us, total, columns);
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
            let text = waterfall(&target("a"), &outcome(), NOW, width, Paint::OFF);
            let drawn = text.lines().skip(1).filter(|line| !line.starts_with("  up"));
            assert!(drawn.into_iter().all(|line| text::width(line) <= width), "{width}\n{text}");
        }
    }
}
