//! Reads the values of a record's fields as the types they must have; an error names the field, what was
//! expected and what the value is.

use std::fmt;
use std::ops::RangeInclusive;

use super::outcome::tidy;
use crate::json::Value;
use crate::words::words;

/// Error of a message that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Reason as one word, for tables.
    pub reason: Reason,
    /// Details for people: the field, what was expected and what the value is.
    pub detail: String,
}

words! {
    /// Reasons for which a message is no record, each by one word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Reason {
        /// The message is longer than a record may be.
        Size = "size",
        /// The message is no JSON object in UTF-8.
        Json = "json",
        /// `v` is higher than ours.
        Version = "version",
        /// A field is missing or not what it should be.
        Field = "field",
        /// A time is before 2024, or more than an hour ahead.
        Time = "time",
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

/// Returns a whole number of that range, or none if the field is absent.
///
/// # Errors
/// The value is anything else.
pub fn whole(
    name: &str,
    value: &Value,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, DecodeError> {
    match value {
        Value::Absent => Ok(None),
        Value::Whole(number) if range.contains(number) => Ok(Some(*number)),
        Value::Whole(number) => {
            let (first, last) = (range.start(), range.end());
            let detail = format!("{name}: {number} is not from {first} to {last}");
            Err(DecodeError { reason: Reason::Field, detail })
        }
        other => Err(mismatch(name, "a whole number", other)),
    }
}

/// Returns text, or none if the field is absent. NUL is replaced, and text beyond `limit_bytes` cut off.
///
/// # Errors
/// The value is anything else.
pub fn text(name: &str, value: Value, limit_bytes: usize) -> Result<Option<String>, DecodeError> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) if text.len() <= limit_bytes && !text.contains('\0') => Ok(Some(text)),
        Value::Text(text) => Ok(Some(tidy(&text, limit_bytes))),
        other => Err(mismatch(name, "text", &other)),
    }
}

/// Returns a truth value, or none if the field is absent.
///
/// # Errors
/// The value is anything else.
pub fn truth(name: &str, value: &Value) -> Result<Option<bool>, DecodeError> {
    match value {
        Value::Absent => Ok(None),
        Value::Truth(truth) => Ok(Some(*truth)),
        other => Err(mismatch(name, "true or false", other)),
    }
}

/// Makes the error for a value that is not what was expected.
pub fn mismatch(name: &str, expected: &str, value: &Value) -> DecodeError {
    let detail = format!("{name}: {expected} is expected, and it is {}", value.describe());
    DecodeError { reason: Reason::Field, detail }
}
