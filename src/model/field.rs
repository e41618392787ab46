//! Values of a record's fields, as what they must be; what does not fit says which field it is,
//! what was expected, and what it is.

use std::fmt;
use std::ops::RangeInclusive;

use super::outcome::tidy;
use crate::json::Value;
use crate::words::words;

/// Why a message is no record that can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The word for it in tables.
    pub reason: Reason,
    /// For people: which field, what was expected and what it is.
    pub detail: String,
}

words! {
    /// The word for why a message is no record.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Reason {
        /// Longer than a record may be.
        Size = "size",
        /// No JSON object in UTF-8.
        Json = "json",
        /// `v` is higher than ours.
        Version = "version",
        /// A field is missing or not what it should be.
        Field = "field",
        /// A time before 2024, or more than an hour ahead.
        Time = "time",
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

/// A whole number of that range, if it is there.
///
/// # Errors
/// It is anything else.
pub fn whole(
    name: &str,
    value: &Value,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, Refused> {
    match value {
        Value::Absent => Ok(None),
        Value::Whole(number) if range.contains(number) => Ok(Some(*number)),
        Value::Whole(number) => {
            let (first, last) = (range.start(), range.end());
            let detail = format!("{name}: {number} is not from {first} to {last}");
            Err(Refused { reason: Reason::Field, detail })
        }
        other => Err(misfit(name, "a whole number", other)),
    }
}

/// Text, if it is there, made fit: without NUL, and at most so long.
///
/// # Errors
/// It is anything else.
pub fn text(name: &str, value: Value, limit_bytes: usize) -> Result<Option<String>, Refused> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) if text.len() <= limit_bytes && !text.contains('\0') => Ok(Some(text)),
        Value::Text(text) => Ok(Some(tidy(&text, limit_bytes))),
        other => Err(misfit(name, "text", &other)),
    }
}

/// A truth value, if it is there.
///
/// # Errors
/// It is anything else.
pub fn truth(name: &str, value: &Value) -> Result<Option<bool>, Refused> {
    match value {
        Value::Absent => Ok(None),
        Value::Truth(truth) => Ok(Some(*truth)),
        other => Err(misfit(name, "true or false", other)),
    }
}

/// The fault of a value that is not what was expected.
pub fn misfit(name: &str, expected: &str, value: &Value) -> Refused {
    let detail = format!("{name}: {expected} is expected, and it is {}", value.is());
    Refused { reason: Reason::Field, detail }
}
