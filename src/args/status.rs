//! Command line of `status`.

use std::time::Duration;

use lexopt::Arg::{Long, Value};
use lexopt::Parser;

use super::{CommonOptions, SharedOption, text, usage, value};
use crate::config::units::parse_duration;
use crate::date::read_rfc3339;
use crate::error::Error;

/// Options of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusOptions {
    /// Names of targets; none: all.
    pub names: Vec<String>,
    /// `--since`
    pub since: TimePoint,
    /// `--until`
    pub until: TimePoint,
    /// `--by`
    pub by: Option<WindowLength>,
    /// `--per-node`
    pub per_node: bool,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// `--down`
    pub down: bool,
    /// `--format`
    pub format: ReportFormat,
    /// `--store`; none: PostgreSQL if it is configured, else SQLite.
    pub store: Option<StoreKind>,
}

/// Store to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Store of `run`.
    Sqlite,
    /// Store of `write`.
    Postgres,
}

/// Point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimePoint {
    /// Time back from now.
    Ago(Duration),
    /// Milliseconds since 1970.
    At(i64),
}

/// Length of a line's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLength {
    /// Hours of UTC.
    Hour,
    /// Days of UTC.
    Day,
}

/// Format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// Text for people.
    Text,
    /// JSON: an array of objects.
    Json,
    /// CSV: RFC 4180.
    Csv,
}

/// Reads the words of `status`. Returns none if `--help` was among the words.
pub fn parse(
    parser: &mut Parser,
    common: &mut CommonOptions,
) -> Result<Option<StatusOptions>, Error> {
    let mut status = StatusOptions {
        names: Vec::new(),
        since: TimePoint::Ago(Duration::from_secs(24 * 3600)),
        until: TimePoint::Ago(Duration::ZERO),
        by: None,
        per_node: false,
        labels: Vec::new(),
        down: false,
        format: ReportFormat::Text,
        store: None,
    };
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Value(word) => status.names.push(text(word)?),
            Long("since") => status.since = when("--since", &value(parser)?)?,
            Long("until") => status.until = when("--until", &value(parser)?)?,
            Long("by") => {
                status.by = Some(match value(parser)?.as_str() {
                    "hour" => WindowLength::Hour,
                    "day" => WindowLength::Day,
                    other => return Err(Error::new(format!("--by {other:?}: hour or day"))),
                });
            }
            Long("per-node") => status.per_node = true,
            Long("label") => {
                let label = value(parser)?;
                let Some((key, value)) = label.split_once('=') else {
                    return Err(Error::new(format!("--label {label:?}: key=value")));
                };
                status.labels.push((key.to_owned(), value.to_owned()));
            }
            Long("down") => status.down = true,
            Long("format") => {
                status.format = match value(parser)?.as_str() {
                    "text" => ReportFormat::Text,
                    "json" => ReportFormat::Json,
                    "csv" => ReportFormat::Csv,
                    other => {
                        return Err(Error::new(format!("--format {other:?}: text, json or csv")));
                    }
                };
            }
            Long("store") => {
                status.store = Some(match value(parser)?.as_str() {
                    "sqlite" => StoreKind::Sqlite,
                    "postgres" => StoreKind::Postgres,
                    other => {
                        return Err(Error::new(format!("--store {other:?}: sqlite or postgres")));
                    }
                });
            }
            other => help |= SharedOption::of(other)?.take(parser, common)?,
        }
    }
    Ok((!help).then_some(status))
}

/// Reads a duration back from now, a time of RFC 3339, or a date.
pub fn when(flag: &str, word: &str) -> Result<TimePoint, Error> {
    if let Ok(ago) = parse_duration(word) {
        return Ok(TimePoint::Ago(ago));
    }
    let is_date = word.len() == 10 && word.bytes().filter(|b| *b == b'-').count() == 2;
    let whole = if is_date { format!("{word}T00:00:00Z") } else { word.to_owned() };
    read_rfc3339(&whole).filter(|ms| *ms >= 0).map(TimePoint::At).ok_or_else(|| {
        let allowed = "a duration back from now (24h), a date (2026-11-21), or RFC 3339 in UTC \
                       (2026-11-21T03:00:00Z)";
        Error::new(format!("{flag} {word:?}: {allowed}"))
    })
}
