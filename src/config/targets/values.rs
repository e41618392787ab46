//! Values of a target's keys: each is read and checked against its bounds.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::toml::fault::quoted;
use crate::config::toml::item::Item;
use crate::config::toml::source::SourceOffset;
use crate::error::Error;
use crate::model::expression::Expression;
use crate::model::secret::Secret;
use crate::model::target::{HeaderExpression, NAME_MAX, RequestHeader, StatusSet};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Longest label, key or value, in characters.
const LABEL_MAX: usize = 256;

/// Returns a header line that may be sent.
///
/// # Errors
/// The name is not a token of RFC 9110, or the value has a control character; the error does not show the
/// value.
pub fn make_header(name: &str, value: &str) -> Result<RequestHeader, Error> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let name_shown = quoted(name);
    if name.is_empty() || !name.chars().all(is_token) {
        let allowed = "letters, digits and !#$%&'*+-.^_`|~";
        return Err(Error::new(format!("{name_shown} is not a header's name: {allowed}")));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        let text =
            format!("the value of header {name_shown} holds a line end or control character");
        return Err(Error::new(text));
    }
    Ok(RequestHeader { name: name.to_string(), value: Secret(value.to_string()) })
}

pub(in crate::config) fn read_interval(item: Item<'_>) -> Option<Duration> {
    let interval = item.duration(SECOND, DAY)?;
    if interval.subsec_nanos() % 1_000_000 != 0 {
        item.refuse("is finer than a millisecond: give whole milliseconds");
        return None;
    }
    Some(interval)
}

pub(in crate::config) fn read_headers(item: Item<'_>) -> Option<Vec<RequestHeader>> {
    let mut headers: Vec<(RequestHeader, SourceOffset<'_>)> = Vec::new();
    let entries = item.entries("a table of strings, such as { Accept = \"text/html\" }")?;
    let count = entries.len();
    for entry in entries {
        let Some(value) = entry.string("a string, as every header's value") else { continue };
        let twice = headers.iter().find(|(first, _)| first.name.eq_ignore_ascii_case(entry.name));
        match (make_header(entry.name, &value), twice) {
            (Ok(_), Some((_, first))) => {
                let (name, first) = (quoted(entry.name), first.location());
                let text = format!("header {name} is set twice: first at {first}");
                entry.fault_at_key(text);
            }
            (Ok(header), None) => headers.push((header, entry.key)),
            (Err(error), _) => entry.fault_at_key(error.to_string()),
        }
    }
    let headers: Vec<RequestHeader> = headers.into_iter().map(|(header, _)| header).collect();
    (headers.len() == count).then_some(headers)
}

pub(in crate::config) fn read_status(item: Item<'_>) -> Option<StatusSet> {
    let items = item.one_or_more();
    if items.is_empty() {
        item.fault("status accepts nothing: give at least one code, such as 200 or \"200-299\"");
        return None;
    }
    let ranges: Vec<_> = items.iter().copied().filter_map(read_status_range).collect();
    (ranges.len() == items.len()).then(|| StatusSet::new(ranges))
}

fn read_status_range(item: Item<'_>) -> Option<RangeInclusive<u16>> {
    const ALLOWED: &str = "codes from 100 to 999, or ranges such as \"200-299\", low end first";
    if let Some(code) = item.integer() {
        let range = StatusSet::parse_range(&code.to_string());
        if range.is_none() {
            item.fault(format!("status {code} is not allowed: {ALLOWED}"));
        }
        return range;
    }
    let text = item.string("a code, a range such as \"200-299\", or a list of them")?;
    let range = StatusSet::parse_range(&text);
    if range.is_none() {
        item.refuse(format_args!("is not allowed: {ALLOWED}"));
    }
    range
}

pub(in crate::config) fn read_expressions(item: Item<'_>) -> Option<Vec<Expression>> {
    let items = item.one_or_more();
    let expressions: Vec<Expression> = items.iter().copied().filter_map(read_expression).collect();
    (expressions.len() == items.len()).then_some(expressions)
}

pub(in crate::config) fn read_expression(item: Item<'_>) -> Option<Expression> {
    let text = item.string("an expression in quotes, or a list of them")?;
    match Expression::new(&text) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let words: Vec<&str> = error.split_whitespace().collect();
            item.refuse(format_args!("is not a regular expression: {}", words.join(" ")));
            None
        }
    }
}

/// Reads a table of names, each with an expression or a list of them.
pub(in crate::config) fn read_header_expressions(item: Item<'_>) -> Option<Vec<HeaderExpression>> {
    let entries = item.entries("a table, such as { Content-Type = \"^text/html\" }")?;
    let count = entries.len();
    let mut all: Vec<HeaderExpression> = Vec::new();
    let mut names: Vec<&str> = Vec::with_capacity(count);
    for entry in entries {
        if let Err(error) = make_header(entry.name, "") {
            entry.fault_at_key(error.to_string());
        } else if names.iter().any(|name| name.eq_ignore_ascii_case(entry.name)) {
            entry.fault_at_key(format!("header {} is set twice", quoted(entry.name)));
        } else if let Some(expressions) = read_expressions(entry) {
            names.push(entry.name);
            let named = |expression| HeaderExpression { name: entry.name.to_owned(), expression };
            all.extend(expressions.into_iter().map(named));
        }
    }
    (names.len() == count).then_some(all)
}

pub(in crate::config) fn read_labels(item: Item<'_>) -> Option<BTreeMap<String, String>> {
    let entries = item.entries("a table of strings, such as { team = \"web\" }")?;
    let count = entries.len();
    let mut labels = BTreeMap::new();
    for entry in entries {
        let key_fits = (1..=LABEL_MAX).contains(&entry.name.chars().count());
        if !key_fits || entry.name.chars().any(char::is_control) {
            let text = format!("the label's name must have 1 to {LABEL_MAX} plain characters");
            entry.fault_at_key(text);
        } else if let Some(value) = entry.words(0, LABEL_MAX) {
            labels.insert(entry.name.to_string(), value);
        }
    }
    (labels.len() == count).then_some(labels)
}

pub(in crate::config) fn read_nodes(item: Item<'_>) -> Option<Vec<String>> {
    let items = item.list("a list of nodes, such as [\"office-pi\", \"shop-*\"]")?;
    let nodes: Vec<String> = items.iter().filter_map(|it| it.words(1, NAME_MAX)).collect();
    (nodes.len() == items.len()).then_some(nodes)
}
