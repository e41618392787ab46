//! Command line of `check`.

use std::time::Duration;

use lexopt::Arg::{Long, Value};
use lexopt::Parser;

use super::{CommonOptions, SharedOption, duration, text, usage, value};
use crate::error::Error;

/// Most checks of a `check --count`.
const COUNT_MAX: u32 = 1_000_000;

/// Flags of `check` that are keys of a target.
const KEYS: [&str; 10] = [
    "method",
    "header",
    "body",
    "status",
    "match",
    "reject",
    "timeout",
    "slow-after",
    "max-redirects",
    "ca-file",
];

/// Options of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOptions {
    /// URLs, and names of targets.
    pub what: Vec<String>,
    /// `--all`
    pub all: bool,
    /// `--count`; at least 1.
    pub count: u32,
    /// `--every`
    pub every: Duration,
    /// `--format json`
    pub json: bool,
    /// Keys of a target: flag and value, in their order.
    pub keys: Vec<(&'static str, String)>,
}

/// Reads the words of `check`. Returns none if `--help` was among the words.
pub fn parse(
    parser: &mut Parser,
    common: &mut CommonOptions,
) -> Result<Option<CheckOptions>, Error> {
    let mut check = CheckOptions {
        what: Vec::new(),
        all: false,
        count: 1,
        every: Duration::from_secs(1),
        json: false,
        keys: Vec::new(),
    };
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Value(word) => check.what.push(text(word)?),
            Long("all") => check.all = true,
            Long("count") => {
                let count = value(parser)?;
                let parsed = count.parse().ok().filter(|n| (1..=COUNT_MAX).contains(n));
                check.count = parsed.ok_or_else(|| {
                    Error::new(format!("--count {count:?}: a number from 1 to {COUNT_MAX}"))
                })?;
            }
            Long("every") => check.every = duration("--every", &value(parser)?)?,
            Long("format") => {
                check.json = match value(parser)?.as_str() {
                    "text" => false,
                    "json" => true,
                    other => return Err(Error::new(format!("--format {other:?}: text or json"))),
                }
            }
            Long("insecure") => check.keys.push(("insecure", String::new())),
            Long(flag) if KEYS.contains(&flag) => {
                let key = KEYS[KEYS.iter().position(|key| *key == flag).unwrap_or(0)];
                check.keys.push((key, value(parser)?));
            }
            other => help |= SharedOption::of(other)?.take(parser, common)?,
        }
    }
    if !help && check.what.is_empty() && !check.all {
        return Err(Error::new("check what? a URL, the name of a target, or --all"));
    }
    if check.all && !check.what.is_empty() {
        return Err(Error::new("--all is every target: no names beside it"));
    }
    Ok((!help).then_some(check))
}
