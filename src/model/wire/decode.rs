//! Reads records from JSON: each field as the type it must have, or the reason for which the message is no
//! record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{
    ABOUT_MAX, AHEAD_MS, COUNTS, DecodeError, EPOCH_MS, F, INTERVALS, NAME_MAX, RECORD_MAX, RUNS,
    Reason, RecordShape, SECONDS, STATUSES, TIMES, VERSION, WORD_MAX,
};
use crate::json::{Fields, Value};
use crate::model::field::{mismatch, text, truth, whole};
use crate::model::outcome::{
    Cause, ERROR_MAX, EXCERPT_MAX, Gap, GapCause, HOP_URL_MAX, Hop, Loss, LossCause, MATCHED_MAX,
    Outcome, Phases, Verdict, tidy,
};
use crate::model::record::{NodeState, Record, TargetState};

/// Content of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum DecodedMessage {
    /// A record.
    Record(Record),
    /// Name of a kind that we do not know; its record is skipped.
    UnknownKind(String),
}

/// Reads a record at the time `now_ms`.
///
/// # Errors
/// The message cannot be stored; the error says why.
pub fn decode(payload: &[u8], now_ms: i64) -> Result<DecodedMessage, DecodeError> {
    let refuse = |reason, detail: String| Err(DecodeError { reason, detail });
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
    let Some(fields) = Fields::<RecordShape>::read(text) else {
        return refuse(Reason::Json, "no JSON object".to_owned());
    };
    let mut reader = FieldReader { fields, now_ms };
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
        _ => return Ok(DecodedMessage::UnknownKind(kind)),
    };
    Ok(DecodedMessage::Record(record))
}

/// Fields of one object, taken one by one.
struct FieldReader {
    fields: Fields<RecordShape>,
    now_ms: i64,
}

impl FieldReader {
    fn check(&mut self) -> Result<Outcome, DecodeError> {
        let phases = self.phases()?;
        let total_us = self.unsigned(F::TotalUs)?;
        let verdict = self.required(F::Verdict, WORD_MAX)?;
        let verdict = Verdict::parse(&verdict).ok_or_else(|| {
            let detail = format!("verdict: up, slow, down or unknown is expected, not {verdict:?}");
            DecodeError { reason: Reason::Field, detail }
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

    fn cause_word(&mut self) -> Result<String, DecodeError> {
        Ok(self.text(F::Cause, WORD_MAX)?.unwrap_or_default())
    }

    fn gap(&mut self) -> Result<Gap, DecodeError> {
        let (from_ms, to_ms, count) = self.time_range()?;
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

    fn loss(&mut self) -> Result<Loss, DecodeError> {
        let (from_ms, to_ms, count) = self.time_range()?;
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

    fn node(&mut self) -> Result<NodeState, DecodeError> {
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

    fn target(&mut self) -> Result<TargetState, DecodeError> {
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

    /// Reads the first and the last due time, and the count.
    fn time_range(&mut self) -> Result<(i64, i64, u64), DecodeError> {
        let (from_ms, to_ms) = (self.time(F::FromMs)?, self.time(F::ToMs)?);
        if to_ms < from_ms {
            let detail = format!("to_ms: {to_ms} is before from_ms {from_ms}");
            return Err(DecodeError { reason: Reason::Field, detail });
        }
        Ok((from_ms, to_ms, self.whole(F::Count, 1..=*COUNTS.end())? as u64))
    }

    fn phases(&mut self) -> Result<Phases, DecodeError> {
        Ok(Phases {
            dns_us: self.unsigned(F::DnsUs)?,
            connect_us: self.unsigned(F::ConnectUs)?,
            tls_us: self.unsigned(F::TlsUs)?,
            first_byte_us: self.unsigned(F::FirstByteUs)?,
            transfer_us: self.unsigned(F::TransferUs)?,
        })
    }

    fn hops(&mut self) -> Result<Vec<Hop>, DecodeError> {
        let value = self.fields.take(F::Hops as usize);
        let hops = match value {
            Value::Absent => return Ok(Vec::new()),
            Value::Array(hops) => hops,
            other => return Err(mismatch(F::Hops.name(), "an array of objects", &other)),
        };
        hops.into_iter().map(hop).collect()
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>, DecodeError> {
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
                            return Err(mismatch(F::Labels.name(), "an object of texts", &other));
                        }
                    }
                }
            }
            other => return Err(mismatch(F::Labels.name(), "an object of texts", &other)),
        }
        Ok(labels)
    }

    fn status(&mut self) -> Result<Option<u16>, DecodeError> {
        Ok(self.number(F::Status, STATUSES)?.map(|status| status as u16))
    }

    fn run(&mut self) -> Result<u32, DecodeError> {
        Ok(self.whole(F::Run, RUNS)? as u32)
    }

    fn small(&mut self, field: F) -> Result<Option<u32>, DecodeError> {
        Ok(self.number(field, RUNS)?.map(|number| number as u32))
    }

    fn unsigned(&mut self, field: F) -> Result<Option<u64>, DecodeError> {
        Ok(self.number(field, COUNTS)?.map(|number| number as u64))
    }

    /// Reads a time that must be there: not before 2024, nor more than an hour ahead.
    fn time(&mut self, field: F) -> Result<i64, DecodeError> {
        let ms = self.whole(field, TIMES)?;
        let why = match ms {
            _ if ms < EPOCH_MS => "before 2024",
            _ if ms > self.now_ms.saturating_add(AHEAD_MS) => "more than an hour ahead",
            _ => return Ok(ms),
        };
        let detail = format!("{}: {ms} is {why}", field.name());
        Err(DecodeError { reason: Reason::Time, detail })
    }

    fn whole(&mut self, field: F, range: RangeInclusive<i64>) -> Result<i64, DecodeError> {
        let expected = "a whole number";
        self.number(field, range)?.ok_or_else(|| mismatch(field.name(), expected, &Value::Absent))
    }

    fn number(&mut self, field: F, range: RangeInclusive<i64>) -> Result<Option<i64>, DecodeError> {
        whole(field.name(), &self.fields.take(field as usize), range)
    }

    fn truth(&mut self, field: F) -> Result<Option<bool>, DecodeError> {
        truth(field.name(), &self.fields.take(field as usize))
    }

    fn text(&mut self, field: F, limit_bytes: usize) -> Result<Option<String>, DecodeError> {
        text(field.name(), self.fields.take(field as usize), limit_bytes)
    }

    fn required(&mut self, field: F, limit_bytes: usize) -> Result<String, DecodeError> {
        self.text(field, limit_bytes)?.ok_or_else(|| mismatch(field.name(), "text", &Value::Absent))
    }

    /// Reads the name of a target or node.
    fn named(&mut self, field: F) -> Result<Arc<str>, DecodeError> {
        let name = self.required(field, RECORD_MAX)?;
        let count = name.chars().count();
        if count > NAME_MAX {
            let detail =
                format!("{}: {count} characters, and at most {NAME_MAX} are a name", field.name());
            return Err(DecodeError { reason: Reason::Field, detail });
        }
        Ok(Arc::from(name))
    }
}

fn hop(value: Value) -> Result<Hop, DecodeError> {
    let Value::Object(fields) = value else {
        return Err(mismatch(F::Hops.name(), "an array of objects", &value));
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
