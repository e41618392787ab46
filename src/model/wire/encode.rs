//! Writes records as JSON.

use std::collections::BTreeMap;

use super::{ABOUT_MAX, F, RECORD_MAX, VERSION};
use crate::json::{Object, quoted};
use crate::model::outcome::{Cause, Gap, Hop, Loss, Outcome, Phases, tidy};
use crate::model::record::{NodeState, Record, TargetState};

/// Writes a record as one line, without its line end.
pub fn encode(record: &Record) -> String {
    match record {
        Record::Check(outcome) => encode_check(outcome),
        Record::Gap(gap) => encode_gap(gap),
        Record::Loss(loss) => encode_loss(loss),
        Record::Node(state) => encode_node(state),
        Record::Target(state) => encode_target(state),
    }
}

/// Writes a check.
pub fn encode_check(outcome: &Outcome) -> String {
    let mut excerpt = outcome.excerpt.as_deref().unwrap_or("");
    let mut hops = &outcome.hops[..];
    loop {
        let json = check(outcome, excerpt, hops);
        let over = json.len().saturating_sub(RECORD_MAX);
        match (over, excerpt.len(), hops.len()) {
            (0, ..) | (_, 0, 0) => return json,
            (over, 1.., _) => excerpt = shorter(excerpt, over),
            (_, 0, count) => hops = &hops[..count - 1],
        }
    }
}

/// Returns the start of the text that takes at least `over` bytes of JSON less, or no text at all.
fn shorter(text: &str, over: usize) -> &str {
    let mut freed = 0;
    for (at, c) in text.char_indices().rev() {
        // A line end takes 2 bytes, other controls 6: to count fewer is safe.
        freed +=
            if c.is_ascii_control() && !"\n\r\t\u{8}\u{c}".contains(c) { 6 } else { c.len_utf8() };
        if freed >= over {
            return &text[..at];
        }
    }
    ""
}

fn head(kind: &str, node: &str, run: u32) -> Object {
    let mut object = Object::new();
    object.value(F::V.name(), VERSION);
    object.text(F::Kind.name(), kind);
    object.text(F::Node.name(), node);
    object.value(F::Run.name(), run);
    object
}

fn check(outcome: &Outcome, excerpt: &str, hops: &[Hop]) -> String {
    let mut object = head("check", &outcome.node, outcome.run);
    object.text(F::Target.name(), &outcome.target);
    object.value(F::DueMs.name(), outcome.due_ms);
    object.value(F::LagUs.name(), outcome.lag_us);
    object.value(F::IntervalMs.name(), outcome.interval_ms);
    object.text(F::Verdict.name(), outcome.verdict.as_str());
    object.text(F::Cause.name(), outcome.cause.map_or("", Cause::as_str));
    object.value(F::Responded.name(), outcome.responded);
    object.some(F::Status.name(), outcome.status);
    object.some(F::StatusOk.name(), outcome.status_ok);
    object.some(F::MatchOk.name(), outcome.match_ok);
    phases(&mut object, &outcome.phases);
    object.value(F::TotalUs.name(), outcome.total_us);
    object.text(F::Address.name(), outcome.address.as_deref().unwrap_or(""));
    object.text(F::Http.name(), outcome.http.as_deref().unwrap_or(""));
    object.value(F::Redirects.name(), outcome.redirects);
    object.value(F::Bytes.name(), outcome.bytes);
    object.value(F::Attempts.name(), outcome.attempts);
    object.text(F::Matched.name(), outcome.matched.as_deref().unwrap_or(""));
    object.text(F::Excerpt.name(), excerpt);
    object.text(F::Error.name(), outcome.error.as_deref().unwrap_or(""));
    object.some(F::CertExpiresS.name(), outcome.cert_expires_s);
    object.some(F::ChainExpiresS.name(), outcome.chain_expires_s);
    object.some(F::Reused.name(), outcome.reused);
    if !hops.is_empty() {
        object.value(F::Hops.name(), encode_hops(hops));
    }
    object.end()
}

/// Writes hops as an array, as in a record.
pub fn encode_hops(hops: &[Hop]) -> String {
    let hop = |hop: &Hop| {
        let mut object = Object::new();
        object.text(F::Url.name(), &hop.url);
        object.text(F::Address.name(), hop.address.as_deref().unwrap_or(""));
        object.some(F::Status.name(), hop.status);
        phases(&mut object, &hop.phases);
        object.end()
    };
    format!("[{}]", hops.iter().map(hop).collect::<Vec<_>>().join(","))
}

/// Writes labels as an object, as in a record.
pub fn encode_labels(labels: &BTreeMap<String, String>) -> String {
    let mut json = String::from("{");
    for (key, value) in labels {
        let comma = if json.len() > 1 { "," } else { "" };
        json += &format!("{comma}{}:{}", quoted(key), quoted(value));
    }
    json + "}"
}

fn phases(object: &mut Object, phases: &Phases) {
    object.some(F::DnsUs.name(), phases.dns_us);
    object.some(F::ConnectUs.name(), phases.connect_us);
    object.some(F::TlsUs.name(), phases.tls_us);
    object.some(F::FirstByteUs.name(), phases.first_byte_us);
    object.some(F::TransferUs.name(), phases.transfer_us);
}

fn encode_gap(gap: &Gap) -> String {
    let mut object = head("gap", &gap.node, gap.run);
    object.text(F::Target.name(), &gap.target);
    object.value(F::FromMs.name(), gap.from_ms);
    object.value(F::ToMs.name(), gap.to_ms);
    object.value(F::Count.name(), gap.count);
    object.value(F::IntervalMs.name(), gap.interval_ms);
    object.text(F::Cause.name(), gap.cause.as_str());
    object.end()
}

fn encode_loss(loss: &Loss) -> String {
    let mut object = head("loss", &loss.node, loss.run);
    object.value(F::FromMs.name(), loss.from_ms);
    object.value(F::ToMs.name(), loss.to_ms);
    object.value(F::Count.name(), loss.count);
    object.text(F::Cause.name(), loss.cause.as_str());
    if loss.sequence > 0 {
        object.value(F::Sequence.name(), loss.sequence);
    }
    object.end()
}

fn encode_node(state: &NodeState) -> String {
    let mut object = head("node", &state.node, state.run);
    object.value(F::SentMs.name(), state.sent_ms);
    object.text(F::Version.name(), &state.version);
    object.some(F::PreviousRun.name(), state.previous_run);
    object.some(F::LastDueMs.name(), state.last_due_ms);
    object.some(F::SpoolCount.name(), state.spool_count);
    object.some(F::SpoolOldestMs.name(), state.spool_oldest_ms);
    object.some(F::ClockSynced.name(), state.clock_synced);
    object.end()
}

fn encode_target(state: &TargetState) -> String {
    let mut object = head("target", &state.node, state.run);
    object.text(F::Target.name(), &state.target);
    object.value(F::SentMs.name(), state.sent_ms);
    object.text(F::Url.name(), &tidy(&state.url, ABOUT_MAX));
    object.text(F::Method.name(), &state.method);
    object.text(F::ExpectedStatus.name(), &tidy(&state.expected_status, ABOUT_MAX));
    object.text(F::Match.name(), &tidy(&state.matches, ABOUT_MAX));
    object.text(F::Reject.name(), &tidy(&state.rejects, ABOUT_MAX));
    object.value(F::IntervalMs.name(), state.interval_ms);
    if !state.labels.is_empty() {
        object.value(F::Labels.name(), encode_labels(&state.labels));
    }
    object.end()
}
