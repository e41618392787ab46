//! Waterfall of a check: each phase is a bar that begins where the bar before it ends; the reply, the verdict
//! and its reason are words.

use super::text::{self, Line, Paint, Side, Style, clean, pad_cell, show_count};
use super::time::{rfc3339, show_distance, show_measured};
use crate::model::outcome::{Cause, Hop, Outcome, Verdict};
use crate::model::target::{Method, Target};

/// Columns of the phases' names: `first byte`.
const NAME: usize = 10;
/// Columns of a time: `213d 12h`, `999.9 ms`.
const TIME: usize = 10;
/// Most columns of the bars: longer bars are no easier to read.
const BARS_MAX: usize = 60;
/// Remaining time of a certificate, in milliseconds, below which it is shown in colour: 14 days. By then it
/// should have been renewed.
const SOON_MS: i64 = 14 * 86_400_000;

/// Returns the output of `sitewatch check` for one outcome, in lines of at most `width` columns, except for
/// the URL and the words of the verdict, which are whole whatever their length.
pub fn draw_waterfall(
    target: &Target,
    outcome: &Outcome,
    now_ms: i64,
    width: usize,
    paint: Paint,
) -> String {
    let mut lines = vec![draw_title(target, paint)];
    lines.extend(draw_reply(outcome, width, paint));
    lines.extend(outcome.hops.iter().flat_map(|hop| draw_hop(hop, width, paint)));
    let phases = draw_phases(outcome, width, paint);
    if !phases.is_empty() {
        lines.push(String::new());
        lines.extend(phases);
    }
    lines.push(String::new());
    lines.push(draw_verdict(target, outcome, paint));
    if let Some(matched) = &outcome.matched {
        let mut line = Line::new(width, paint);
        line.push(Style::Plain, "  found ").push(Style::Dim, &clean(matched));
        lines.push(line.end());
    }
    let leaf = outcome.cert_expires_s;
    if let Some(end_s) = leaf {
        lines.push(draw_end("certificate", end_s, now_ms, width, paint));
    }
    if let Some(subject) = &outcome.certificate {
        let mut line = Line::new(width, paint);
        line.push(Style::Plain, "  it is for ").push(Style::Plain, &clean(subject));
        lines.push(line.end());
    }
    if let Some(end_s) = outcome.chain_expires_s.filter(|end_s| leaf.is_none_or(|l| *end_s < l)) {
        lines.push(draw_end("one of its chain", end_s, now_ms, width, paint));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns the line with the URL, and the name if it is another.
fn draw_title(target: &Target, paint: Paint) -> String {
    let url = target.shown_url();
    let mut line = Line::new(usize::MAX, paint);
    let (name, shown) = (clean(&target.name), clean(&url));
    // People take `https://example.org` and `https://example.org/` for the same.
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

/// Returns the reply in one line; none if nothing came back.
fn draw_reply(outcome: &Outcome, width: usize, paint: Paint) -> Option<String> {
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
        parts.push((Style::Plain, show_count(outcome.bytes, "byte")));
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
        parts.push((Style::Plain, show_count(outcome.redirects.into(), "redirect")));
    }
    if outcome.attempts > 1 {
        parts.push((Style::Plain, show_count(outcome.attempts.into(), "attempt")));
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

/// Returns two lines for one of several requests: status, time, address and URL; and its phases.
fn draw_hop(hop: &Hop, width: usize, paint: Paint) -> [String; 2] {
    let mut line = Line::new(width, paint);
    let status = hop.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    line.push(Style::Plain, "  → ").push(Style::Plain, &status).push(Style::Plain, "  ");
    line.push(Style::Plain, &pad_cell(&show_measured(hop.phases.total_us()), TIME, Side::Right));
    if let Some(address) = &hop.address {
        line.push(Style::Plain, "  ").push(Style::Plain, &clean(address));
    }
    line.push(Style::Plain, "  ").push(Style::Dim, &clean(&hop.url));
    let named = hop.phases.named().into_iter();
    let phases = named.filter_map(|(name, us)| Some(format!("{name} {}", show_measured(us?))));
    let mut below = Line::new(width, paint);
    below.push(Style::Dim, "         ").push(Style::Dim, &phases.collect::<Vec<_>>().join(", "));
    [line.end(), below.end()]
}

/// Returns a line for each phase that was reached, and one for the total.
fn draw_phases(outcome: &Outcome, width: usize, paint: Paint) -> Vec<String> {
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
        let (from, columns) = place_bar(before, *us, total, bars);
        before += us;
        let is_cut = cut == Some(i);
        let (sign, style) = if is_cut { ("▒", Style::Down) } else { ("█", Style::Bar) };
        let mut line = Line::new(width, paint);
        line.push(Style::Plain, "  ").push(Style::Plain, &pad_cell(name, NAME, Side::Left));
        line.push(Style::Plain, &" ".repeat(2 + from)).push(style, &sign.repeat(columns));
        line.push(Style::Plain, &" ".repeat(bars - from - columns));
        line.push(Style::Plain, &pad_cell(&show_measured(*us), TIME, Side::Right));
        if is_cut {
            let timeout = outcome.cause == Some(Cause::Timeout);
            line.push(Style::Down, if timeout { "  cut" } else { "  failed" });
        }
        lines.push(line.end());
    }
    let mut line = Line::new(width, paint);
    line.push(Style::Plain, "  ")
        .push(Style::Bold, &pad_cell("total", NAME + 2 + bars, Side::Left));
    line.push(Style::Bold, &pad_cell(&show_measured(outcome.total_us), TIME, Side::Right));
    lines.push(line.end());
    lines
}

/// Returns first column and number of columns of a bar. A phase that took any time has at least one column;
/// one that took none has none.
fn place_bar(before_us: u64, us: u64, total_us: u64, columns: usize) -> (usize, usize) {
    let column = |at: u64| {
        // Round to the nearest column.
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

/// Returns the line with the verdict and its reason.
fn draw_verdict(target: &Target, outcome: &Outcome, paint: Paint) -> String {
    let mut line = Line::new(usize::MAX, paint);
    line.push(Style::Plain, "  ").push(Style::of(outcome.verdict), outcome.verdict.as_str());
    let why = match (outcome.verdict, target.slow_after) {
        (Verdict::Slow, Some(limit)) => {
            let limit = show_measured(limit.as_micros() as u64);
            Some(format!("{} is over slow_after ({limit})", show_measured(outcome.total_us)))
        }
        _ => text::describe_reason(outcome),
    };
    if let Some(why) = why {
        line.push(Style::Plain, ": ").push(Style::Plain, &why);
    }
    line.end()
}

/// Returns the line with the time at which a certificate ends or has ended.
fn draw_end(what: &str, end_s: i64, now_ms: i64, width: usize, paint: Paint) -> String {
    let end_ms = end_s.saturating_mul(1000);
    let (word, style) = match end_ms.saturating_sub(now_ms) {
        ..0 => ("ended", Style::Down),
        0..SOON_MS => ("ends", Style::Slow),
        _ => ("ends", Style::Plain),
    };
    let mut line = Line::new(width, paint);
    line.push(Style::Plain, &format!("  {what} {word} {}, ", rfc3339(end_ms)));
    line.push(style, &show_distance(end_ms, now_ms));
    line.end()
}

#[cfg(test)]
mod tests;
