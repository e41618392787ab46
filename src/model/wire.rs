//! The record's one shape on the wire, in Kafka and in `check --format json`: written here and
//! read here.
//!
//! - One JSON object a record, UTF-8, at most [`RECORD_MAX`] bytes, flat but for `labels` (an
//!   object of texts) and `hops` (an array of objects).
//! - Absent, null and empty text mean the same, and are left out; 0 and false are values and stay.
//! - All times are UTC: `_ms` and `_s` since 1970, `_us` are durations.
//! - Every record has `v` (1), `kind`, `node` and `run`.
//! - A reader skips fields and kinds that it does not know. A higher `v` may mean anything, so it
//!   is refused.
//! - Text never holds NUL (U+FFFD instead) and is cut to its bound, in bytes of UTF-8. Over the
//!   size of a record the `excerpt` is cut first, then `hops`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::field::{misfit, text, truth, whole};
use super::json::{Fields, Object, Shape, Value, quoted};
use super::outcome::{
    Cause, ERROR_MAX, EXCERPT_MAX, Gap, GapCause, HOP_URL_MAX, Hop, Loss, LossCause, MATCHED_MAX,
    Outcome, Phases, Verdict, tidy,
};
use super::record::{NodeState, Record, TargetState};

pub use super::field::{Reason, Refused};

/// Version of the record.
pub const VERSION: i64 = 1;
/// Longest record, in bytes.
pub const RECORD_MAX: usize = 64 * 1024;
/// Longest name of a target or node, in characters.
const NAME_MAX: usize = 128;
/// Longest address, version and the like, in bytes.
const WORD_MAX: usize = 256;
/// Longest text about a target (its URL, its expressions), in bytes each.
const ABOUT_MAX: usize = 8 * 1024;
/// No record is older: 2024-01-01T00:00:00Z, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_704_067_200_000;
/// How far ahead of the reader's clock a record may be, in milliseconds.
pub const AHEAD_MS: i64 = 3_600_000;
/// Runs have 31 bits.
const RUNS: RangeInclusive<i64> = 0..=0x7fff_ffff;
/// Counts and durations: what every reader of JSON holds exactly.
const COUNTS: RangeInclusive<i64> = 0..=1 << 53;
/// Status codes, as far as there can be any.
const STATUSES: RangeInclusive<i64> = 100..=999;
/// An interval, in milliseconds: up to a year.
const INTERVALS: RangeInclusive<i64> = 1..=366 * 86_400_000;
/// Seconds since 1970, from the year 1 to the year 9999.
const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Milliseconds since 1970, as far as they can be judged.
const TIMES: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// The fields, each with its name, in the order in which they are written.
macro_rules! fields {
    ($($field:ident $name:literal)*) => {
        #[derive(Clone, Copy)]
        enum F { $($field,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

fields! {
    V "v" Kind "kind" Node "node" Run "run" Target "target"
    DueMs "due_ms" LagUs "lag_us" IntervalMs "interval_ms" Verdict "verdict" Cause "cause"
    Responded "responded" Status "status" StatusOk "status_ok" MatchOk "match_ok"
    DnsUs "dns_us" ConnectUs "connect_us" TlsUs "tls_us" FirstByteUs "first_byte_us"
    TransferUs "transfer_us" TotalUs "total_us" Address "address" Http "http"
    Redirects "redirects" Bytes "bytes" Attempts "attempts" Matched "matched"
    Excerpt "excerpt" Error "error" CertExpiresS "cert_expires_s"
    ChainExpiresS "chain_expires_s" Reused "reused" Hops "hops"
    FromMs "from_ms" ToMs "to_ms" Count "count" Sequence "sequence"
    SentMs "sent_ms" Version "version" PreviousRun "previous_run" LastDueMs "last_due_ms"
    SpoolCount "spool_count" SpoolOldestMs "spool_oldest_ms" ClockSynced "clock_synced"
    Url "url" Method "method" ExpectedStatus "expected_status" Match "match" Reject "reject"
    Labels "labels"
}

impl F {
    fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

struct Flat;

impl Shape for Flat {
    const NAMES: &'static [&'static str] = NAMES;

    fn depth(field: usize) -> u8 {
        match field {
            _ if field == F::Hops as usize => 2,
            _ if field == F::Labels as usize => 1,
            _ => 0,
        }
    }
}

/// Writes a record, in one line without its end.
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

/// Text that takes at least `over` bytes of JSON less, or none at all.
fn shorter(text: &str, over: usize) -> &str {
    let mut freed = 0;
    for (at, c) in text.char_indices().rev() {
        // A line's end takes 2, other controls 6: the least is safe.
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

/// Writes hops as the array that the record has.
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

/// Writes labels as the object that the record has.
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

/// What a message holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// A record.
    Record(Record),
    /// A record of a kind that we do not know.
    Skipped(String),
}

/// Reads a record, now being `now_ms`.
///
/// # Errors
/// It cannot be stored, and why.
pub fn decode(payload: &[u8], now_ms: i64) -> Result<Decoded, Refused> {
    let refuse = |reason, detail: String| Err(Refused { reason, detail });
    if payload.len() > RECORD_MAX {
        let detail = format!("{} bytes: at most {RECORD_MAX} are a record", payload.len());
        return refuse(Reason::Size, detail);
    }
    let text = match std::str::from_utf8(payload) {
        Ok(text) => text,
        Err(error) => {
            return refuse(Reason::Json, format!("no UTF-8 at byte {}", error.valid_up_to()));
        }
    };
    let Some(fields) = Fields::<Flat>::read(text) else {
        return refuse(Reason::Json, "no JSON object".to_owned());
    };
    let mut reader = Reader { fields, now_ms };
    let version = reader.whole(F::V, 1..=i64::MAX)?;
    if version > VERSION {
        return refuse(Reason::Version, format!("v is {version}, and at most {VERSION} is known"));
    }
    let kind = reader.required(F::Kind, WORD_MAX)?;
    let record = match kind.as_str() {
        "check" => Record::Check(Box::new(reader.check()?)),
        "gap" => Record::Gap(reader.gap()?),
        "loss" => Record::Loss(reader.loss()?),
        "node" => Record::Node(reader.node()?),
        "target" => Record::Target(Box::new(reader.target()?)),
        _ => return Ok(Decoded::Skipped(kind)),
    };
    Ok(Decoded::Record(record))
}

/// An object's fields, taken one by one.
struct Reader {
    fields: Fields<Flat>,
    now_ms: i64,
}

impl Reader {
    fn check(&mut self) -> Result<Outcome, Refused> {
        let phases = self.phases()?;
        let total_us = self.unsigned(F::TotalUs)?;
        let verdict = self.required(F::Verdict, WORD_MAX)?;
        let verdict = Verdict::parse(&verdict).ok_or_else(|| {
            let detail = format!("verdict: up, slow, down or unknown is expected, not {verdict:?}");
            Refused { reason: Reason::Field, detail }
        })?;
        Ok(Outcome {
            target: self.named(F::Target)?,
            node: self.named(F::Node)?,
            run: self.run()?,
            due_ms: self.time(F::DueMs)?,
            lag_us: self.number(F::LagUs, -COUNTS.end()..=*COUNTS.end())?.unwrap_or(0),
            interval_ms: self.whole(F::IntervalMs, INTERVALS)?,
            verdict,
            cause: self
                .text(F::Cause, WORD_MAX)?
                .map(|word| Cause::parse(&word).unwrap_or(Cause::Other)),
            responded: self.truth(F::Responded)?.unwrap_or(false),
            status: self.status()?,
            status_ok: self.truth(F::StatusOk)?,
            match_ok: self.truth(F::MatchOk)?,
            total_us: total_us.unwrap_or_else(|| phases.total_us()),
            phases,
            address: self.text(F::Address, WORD_MAX)?,
            http: self.text(F::Http, WORD_MAX)?.map(Cow::Owned),
            redirects: self.small(F::Redirects)?.unwrap_or(0),
            bytes: self.unsigned(F::Bytes)?.unwrap_or(0),
            attempts: self.small(F::Attempts)?.unwrap_or(1),
            matched: self.text(F::Matched, MATCHED_MAX)?,
            excerpt: self.text(F::Excerpt, EXCERPT_MAX)?,
            error: self.text(F::Error, ERROR_MAX)?,
            cert_expires_s: self.number(F::CertExpiresS, SECONDS)?,
            chain_expires_s: self.number(F::ChainExpiresS, SECONDS)?,
            certificate: None,
            fell_back: false,
            reused: self.truth(F::Reused)?,
            hops: self.hops()?,
        })
    }

    fn cause_word(&mut self) -> Result<String, Refused> {
        Ok(self.text(F::Cause, WORD_MAX)?.unwrap_or_default())
    }

    fn gap(&mut self) -> Result<Gap, Refused> {
        let (from_ms, to_ms, count) = self.stretch()?;
        Ok(Gap {
            target: self.named(F::Target)?,
            node: self.named(F::Node)?,
            run: self.run()?,
            from_ms,
            to_ms,
            count,
            interval_ms: self.whole(F::IntervalMs, INTERVALS)?,
            cause: GapCause::parse(&self.cause_word()?).unwrap_or(GapCause::Other),
        })
    }

    fn loss(&mut self) -> Result<Loss, Refused> {
        let (from_ms, to_ms, count) = self.stretch()?;
        Ok(Loss {
            node: self.named(F::Node)?,
            run: self.run()?,
            from_ms,
            to_ms,
            count,
            cause: LossCause::parse(&self.cause_word()?).unwrap_or(LossCause::Other),
            sequence: self.number(F::Sequence, 0..=i64::from(i32::MAX))?.unwrap_or(0) as u32,
        })
    }

    fn node(&mut self) -> Result<NodeState, Refused> {
        Ok(NodeState {
            node: self.named(F::Node)?,
            run: self.run()?,
            sent_ms: self.time(F::SentMs)?,
            version: self.text(F::Version, WORD_MAX)?.unwrap_or_default(),
            previous_run: self.number(F::PreviousRun, RUNS)?.map(|run| run as u32),
            last_due_ms: self.number(F::LastDueMs, TIMES)?,
            spool_count: self.unsigned(F::SpoolCount)?,
            spool_oldest_ms: self.number(F::SpoolOldestMs, TIMES)?,
            clock_synced: self.truth(F::ClockSynced)?,
        })
    }

    fn target(&mut self) -> Result<TargetState, Refused> {
        Ok(TargetState {
            target: self.named(F::Target)?,
            node: self.named(F::Node)?,
            run: self.run()?,
            sent_ms: self.time(F::SentMs)?,
            url: self.text(F::Url, ABOUT_MAX)?.unwrap_or_default(),
            method: self.text(F::Method, WORD_MAX)?.unwrap_or_default(),
            expected_status: self.text(F::ExpectedStatus, ABOUT_MAX)?.unwrap_or_default(),
            matches: self.text(F::Match, ABOUT_MAX)?.unwrap_or_default(),
            rejects: self.text(F::Reject, ABOUT_MAX)?.unwrap_or_default(),
            interval_ms: self.whole(F::IntervalMs, INTERVALS)?,
            labels: self.labels()?,
        })
    }

    /// From when to when, and how many.
    fn stretch(&mut self) -> Result<(i64, i64, u64), Refused> {
        let (from_ms, to_ms) = (self.time(F::FromMs)?, self.time(F::ToMs)?);
        if to_ms < from_ms {
            let detail = format!("to_ms: {to_ms} is before from_ms {from_ms}");
            return Err(Refused { reason: Reason::Field, detail });
        }
        Ok((from_ms, to_ms, self.whole(F::Count, 1..=*COUNTS.end())? as u64))
    }

    fn phases(&mut self) -> Result<Phases, Refused> {
        Ok(Phases {
            dns_us: self.unsigned(F::DnsUs)?,
            connect_us: self.unsigned(F::ConnectUs)?,
            tls_us: self.unsigned(F::TlsUs)?,
            first_byte_us: self.unsigned(F::FirstByteUs)?,
            transfer_us: self.unsigned(F::TransferUs)?,
        })
    }

    fn hops(&mut self) -> Result<Vec<Hop>, Refused> {
        let value = self.fields.take(F::Hops as usize);
        let hops = match value {
            Value::Absent => return Ok(Vec::new()),
            Value::Array(hops) => hops,
            other => return Err(misfit(F::Hops.name(), "an array of objects", &other)),
        };
        hops.into_iter().map(hop).collect()
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>, Refused> {
        let mut labels = BTreeMap::new();
        match self.fields.take(F::Labels as usize) {
            Value::Absent => {}
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::Absent => {}
                        Value::Text(text) => {
                            labels.insert(tidy(&key, ABOUT_MAX), tidy(&text, ABOUT_MAX));
                        }
                        other => {
                            return Err(misfit(F::Labels.name(), "an object of texts", &other));
                        }
                    }
                }
            }
            other => return Err(misfit(F::Labels.name(), "an object of texts", &other)),
        }
        Ok(labels)
    }

    fn status(&mut self) -> Result<Option<u16>, Refused> {
        Ok(self.number(F::Status, STATUSES)?.map(|status| status as u16))
    }

    fn run(&mut self) -> Result<u32, Refused> {
        Ok(self.whole(F::Run, RUNS)? as u32)
    }

    fn small(&mut self, field: F) -> Result<Option<u32>, Refused> {
        Ok(self.number(field, RUNS)?.map(|number| number as u32))
    }

    fn unsigned(&mut self, field: F) -> Result<Option<u64>, Refused> {
        Ok(self.number(field, COUNTS)?.map(|number| number as u64))
    }

    /// A moment that must be there, and can be.
    fn time(&mut self, field: F) -> Result<i64, Refused> {
        let ms = self.whole(field, TIMES)?;
        let why = match ms {
            _ if ms < EPOCH_MS => "before 2024",
            _ if ms > self.now_ms.saturating_add(AHEAD_MS) => "more than an hour ahead",
            _ => return Ok(ms),
        };
        let detail = format!("{}: {ms} is {why}", field.name());
        Err(Refused { reason: Reason::Time, detail })
    }

    fn whole(&mut self, field: F, range: RangeInclusive<i64>) -> Result<i64, Refused> {
        let expected = "a whole number";
        self.number(field, range)?.ok_or_else(|| misfit(field.name(), expected, &Value::Absent))
    }

    fn number(&mut self, field: F, range: RangeInclusive<i64>) -> Result<Option<i64>, Refused> {
        whole(field.name(), &self.fields.take(field as usize), range)
    }

    fn truth(&mut self, field: F) -> Result<Option<bool>, Refused> {
        truth(field.name(), &self.fields.take(field as usize))
    }

    fn text(&mut self, field: F, limit_bytes: usize) -> Result<Option<String>, Refused> {
        text(field.name(), self.fields.take(field as usize), limit_bytes)
    }

    fn required(&mut self, field: F, limit_bytes: usize) -> Result<String, Refused> {
        self.text(field, limit_bytes)?.ok_or_else(|| misfit(field.name(), "text", &Value::Absent))
    }

    /// The name of a target or node.
    fn named(&mut self, field: F) -> Result<Arc<str>, Refused> {
        let name = self.required(field, RECORD_MAX)?;
        let count = name.chars().count();
        if count > NAME_MAX {
            let detail =
                format!("{}: {count} characters, and at most {NAME_MAX} are a name", field.name());
            return Err(Refused { reason: Reason::Field, detail });
        }
        Ok(Arc::from(name))
    }
}

fn hop(value: Value) -> Result<Hop, Refused> {
    let Value::Object(fields) = value else {
        return Err(misfit(F::Hops.name(), "an array of objects", &value));
    };
    let mut hop = Hop::default();
    for (name, value) in fields {
        let us = |value: &Value| whole(&name, value, COUNTS).map(|us| us.map(|us| us as u64));
        match name.as_str() {
            "url" => hop.url = text(&name, value, HOP_URL_MAX)?.unwrap_or_default(),
            "address" => hop.address = text(&name, value, WORD_MAX)?,
            "status" => {
                hop.status = whole(&name, &value, STATUSES)?.map(|status| status as u16);
            }
            "dns_us" => hop.phases.dns_us = us(&value)?,
            "connect_us" => hop.phases.connect_us = us(&value)?,
            "tls_us" => hop.phases.tls_us = us(&value)?,
            "first_byte_us" => hop.phases.first_byte_us = us(&value)?,
            "transfer_us" => hop.phases.transfer_us = us(&value)?,
            _ => {}
        }
    }
    Ok(hop)
}

#[cfg(test)]
mod tests;
