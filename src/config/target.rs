//! The keys of a target, in `[[target]]` and `[defaults]`: their bounds, their defaults, and how
//! a target's own keys and the defaults make one [`Target`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, Address};
use super::connect;
use super::fault::quoted;
use super::item::Item;
use super::plain;
use super::source::At;
use super::table::{Reader, Section, Set};
use super::units::{show_duration, show_size};
use crate::error::Error;
use crate::model::expression::Expression;
use crate::model::target::{Header, HeaderExpression, Method, NAME_MAX, Secret, StatusSet, Target};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Largest `max_body`, in bytes.
const BODY_MAX: u64 = 1 << 30;
/// Largest `excerpt`, in bytes: a record has 64 KiB.
const EXCERPT_MAX: u64 = 16 << 10;
/// Largest `max_redirects`.
const REDIRECTS_MAX: u32 = 100;
/// Largest `attempts`.
const ATTEMPTS_MAX: u32 = 10;
/// Largest `min_cert_days`.
const CERT_DAYS_MAX: u32 = 3650;
/// Longest label, key or value, in characters.
const LABEL_MAX: usize = 256;

/// A target that no configuration names: the URL or bare domain `text`, every key at its
/// default, named as in a configuration.
///
/// # Errors
/// When `text` is not a URL that can be watched; without its secrets.
pub fn lone_target(text: &str) -> Result<Target, Error> {
    match address::parse(text) {
        Ok(address) => {
            let target = Target::new(&address.name, address.url);
            Ok(Target { login: address.login, ..target })
        }
        Err(cause) => Err(Error::new(format!("{} {cause}", quoted(&address::shown(text))))),
    }
}

/// A header line that may be sent.
///
/// # Errors
/// When the name is not a token of RFC 9110, or the value has a control character; the value is
/// not shown.
pub fn header(name: &str, value: &str) -> Result<Header, Error> {
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
    Ok(Header { name: name.to_string(), value: Secret(value.to_string()) })
}

/// What a `[[target]]` or `[defaults]` sets.
#[derive(Default)]
pub(super) struct Keys<'a> {
    interval: Option<Set<'a, Duration>>,
    timeout: Option<Set<'a, Duration>>,
    attempts: Option<Set<'a, u32>>,
    method: Option<Set<'a, Method>>,
    headers: Option<Vec<Header>>,
    body: Option<String>,
    status: Option<StatusSet>,
    matches: Option<Set<'a, Vec<Expression>>>,
    rejects: Option<Vec<Expression>>,
    expect: Option<Expression>,
    header_matches: Option<Vec<HeaderExpression>>,
    header_rejects: Option<Vec<HeaderExpression>>,
    slow_after: Option<Duration>,
    max_redirects: Option<u32>,
    max_body: Option<Set<'a, usize>>,
    excerpt: Option<Set<'a, usize>>,
    verify: Option<bool>,
    min_cert_days: Option<u32>,
    ca_file: Option<PathBuf>,
    connect: connect::Keys<'a>,
    own_network: Option<bool>,
    labels: Option<BTreeMap<String, String>>,
    nodes: Option<Vec<String>>,
}

impl<'a> Keys<'a> {
    /// Reads the keys of `section` that `[defaults]` may have too.
    pub fn read(section: &mut Section<'a>) -> Keys<'a> {
        Keys {
            interval: section.set("interval", interval),
            timeout: section.set("timeout", |it| it.duration(MILLISECOND, DAY)),
            attempts: section.set("attempts", |it| it.number(1, ATTEMPTS_MAX)),
            method: section.set("method", |it| it.choice(&Method::ALL.map(|m| (m.as_str(), m)))),
            headers: section.read("headers", headers),
            body: section.read("body", Item::text),
            status: section.read("status", status),
            matches: section.set("match", expressions),
            rejects: section.read("reject", expressions),
            expect: section.read("expect", expression),
            header_matches: section.read("match_header", header_expressions),
            header_rejects: section.read("reject_header", header_expressions),
            slow_after: section.read("slow_after", |it| it.duration(MILLISECOND, DAY)),
            max_redirects: section.read("max_redirects", |it| it.number(0, REDIRECTS_MAX)),
            max_body: section.set("max_body", |it| it.memory(1, BODY_MAX)),
            excerpt: section.set("excerpt", |it| it.memory(0, EXCERPT_MAX)),
            verify: section.read("verify", Item::boolean),
            min_cert_days: section.read("min_cert_days", |it| it.number(0, CERT_DAYS_MAX)),
            ca_file: section.read("ca_file", Item::file),
            connect: connect::Keys::read(section),
            own_network: section.read("own_network", Item::boolean),
            labels: section.read("labels", labels),
            nodes: section.read("nodes", nodes),
        }
    }

    /// The target of that address and name, with `defaults` for what is not set here.
    pub fn target(&self, defaults: &Keys<'a>, address: Address, name: &str) -> Target {
        fn value<T: Clone>(own: &Option<Set<'_, T>>, default: &Option<Set<'_, T>>) -> Option<T> {
            own.as_ref().or(default.as_ref()).map(|set| set.value.clone())
        }
        fn plain<T: Clone>(own: &Option<T>, default: &Option<T>, last: T) -> T {
            own.as_ref().or(default.as_ref()).cloned().unwrap_or(last)
        }
        let last = Target::new(name, address.url);
        let interval = value(&self.interval, &defaults.interval).unwrap_or(last.interval);
        let timeout = value(&self.timeout, &defaults.timeout);
        let attempts = value(&self.attempts, &defaults.attempts).unwrap_or(last.attempts);
        let mut target = Target {
            login: address.login,
            interval,
            timeout: timeout.unwrap_or(last.timeout.min(interval / attempts)),
            attempts,
            method: value(&self.method, &defaults.method).unwrap_or(last.method),
            headers: plain(&self.headers, &defaults.headers, last.headers),
            body: Secret(plain(&self.body, &defaults.body, String::new())),
            status: plain(&self.status, &defaults.status, last.status),
            matches: value(&self.matches, &defaults.matches).unwrap_or(last.matches),
            rejects: plain(&self.rejects, &defaults.rejects, last.rejects),
            header_matches: plain(&self.header_matches, &defaults.header_matches, Vec::new()),
            header_rejects: plain(&self.header_rejects, &defaults.header_rejects, Vec::new()),
            slow_after: self.slow_after.or(defaults.slow_after),
            max_redirects: plain(&self.max_redirects, &defaults.max_redirects, last.max_redirects),
            max_body: value(&self.max_body, &defaults.max_body).unwrap_or(last.max_body),
            excerpt: value(&self.excerpt, &defaults.excerpt).unwrap_or(last.excerpt),
            verify: plain(&self.verify, &defaults.verify, last.verify),
            min_cert_days: plain(&self.min_cert_days, &defaults.min_cert_days, 0),
            ca_file: self.ca_file.clone().or_else(|| defaults.ca_file.clone()),
            own_network: plain(&self.own_network, &defaults.own_network, false),
            labels: plain(&self.labels, &defaults.labels, last.labels),
            nodes: plain(&self.nodes, &defaults.nodes, last.nodes),
            ..last
        };
        self.connect.fill(&defaults.connect, &mut target);
        if target.is_tcp() {
            let expect = self.expect.as_ref().or(defaults.expect.as_ref());
            target = plain::connection(target, expect.cloned());
        }
        target
    }

    /// Keys that are each right, but not together.
    /// `has_login`: the URL holds one.
    pub fn judge(
        &self,
        defaults: &Keys<'a>,
        target: &Target,
        has_login: bool,
        reader: &Reader<'a>,
    ) {
        self.connect.judge(&defaults.connect, target, has_login, reader);
        if target.timeout > target.interval {
            let (timeout, interval) =
                (show_duration(target.timeout), show_duration(target.interval));
            let text = format!("timeout {timeout} is longer than the interval of {interval}");
            let place = Clash::of(&self.timeout, &self.interval, &defaults.timeout);
            place.fault(reader, "timeout", &text, "lower timeout, or raise interval");
        } else if target.timeout * target.attempts > target.interval {
            let (timeout, interval) =
                (show_duration(target.timeout), show_duration(target.interval));
            let attempts = target.attempts;
            let text = format!(
                "{attempts} attempts of {timeout} each are longer than the interval of {interval}"
            );
            let place = Clash::of(&self.attempts, &self.timeout, &defaults.attempts);
            place.fault(reader, "attempts", &text, "lower attempts or timeout, or raise interval");
        }
        if target.excerpt > target.max_body {
            let (excerpt, body) =
                (show_size(target.excerpt as u64), show_size(target.max_body as u64));
            let text = format!("excerpt {excerpt} is larger than the max_body of {body}");
            let place = Clash::of(&self.excerpt, &self.max_body, &defaults.excerpt);
            place.fault(reader, "excerpt", &text, "lower excerpt, or raise max_body");
        }
        if target.method == Method::Head && !target.matches.is_empty() {
            let text = "match needs a body, and the answer to HEAD has none";
            let place = Clash::of(&self.matches, &self.method, &defaults.matches);
            place.fault(reader, "match", text, "set match = [], or another method");
        }
    }
}

/// Where two keys of a target do not go together: at its own first key, else at its own second,
/// since there `[defaults]` can be set aside, else where `[defaults]` has the first.
struct Clash<'a> {
    at: Option<At<'a>>,
    /// The first key in `[defaults]`, if that is another place.
    first: Option<At<'a>>,
}

impl<'a> Clash<'a> {
    fn of<T, U>(
        first: &Option<Set<'a, T>>,
        second: &Option<Set<'a, U>>,
        default: &Option<Set<'a, T>>,
    ) -> Clash<'a> {
        let default = default.as_ref().map(|set| set.at);
        match (first, second) {
            (Some(first), _) => Clash { at: Some(first.at), first: None },
            (None, Some(second)) => Clash { at: Some(second.at), first: default },
            (None, None) => Clash { at: default, first: None },
        }
    }

    /// The fault of the `first` key, in words.
    fn fault(&self, reader: &Reader<'_>, first: &str, text: &str, advice: &str) {
        let elsewhere = self.first.map(|at| format!(" ({first} stands at {})", at.place()));
        if let Some(at) = self.at {
            reader.fault(at, format!("{text}{}: {advice}", elsewhere.unwrap_or_default()));
        }
    }
}

/// The address that `item` holds; `wanted` says what else it must be.
pub(super) fn url(item: Item<'_>, wanted: &str) -> Option<Address> {
    let text = item.string(wanted)?;
    match address::parse(&text) {
        Ok(address) => Some(address),
        Err(cause) => {
            item.fault(url_fault(item.written(), &cause));
            None
        }
    }
}

/// What is said of a URL that is none, without its secrets.
pub(super) fn url_fault(written: &str, cause: &str) -> String {
    format!("url {} {cause}", quoted(&address::shown(written)))
}

fn interval(item: Item<'_>) -> Option<Duration> {
    let interval = item.duration(SECOND, DAY)?;
    if interval.subsec_nanos() % 1_000_000 != 0 {
        item.refuse("is finer than a millisecond: give whole milliseconds");
        return None;
    }
    Some(interval)
}

fn headers(item: Item<'_>) -> Option<Vec<Header>> {
    let mut headers: Vec<(Header, At<'_>)> = Vec::new();
    let entries = item.entries("a table of strings, such as { Accept = \"text/html\" }")?;
    let count = entries.len();
    for entry in entries {
        let Some(value) = entry.string("a string, as every header's value") else { continue };
        let twice = headers.iter().find(|(first, _)| first.name.eq_ignore_ascii_case(entry.name));
        match (header(entry.name, &value), twice) {
            (Ok(_), Some((_, first))) => {
                let (name, first) = (quoted(entry.name), first.place());
                let text = format!("header {name} is set twice: first at {first}");
                entry.fault_at_key(text);
            }
            (Ok(header), None) => headers.push((header, entry.key)),
            (Err(error), _) => entry.fault_at_key(error.to_string()),
        }
    }
    let headers: Vec<Header> = headers.into_iter().map(|(header, _)| header).collect();
    (headers.len() == count).then_some(headers)
}

fn status(item: Item<'_>) -> Option<StatusSet> {
    let items = item.one_or_more();
    if items.is_empty() {
        item.fault("status accepts nothing: give at least one code, such as 200 or \"200-299\"");
        return None;
    }
    let ranges: Vec<_> = items.iter().copied().filter_map(status_range).collect();
    (ranges.len() == items.len()).then(|| StatusSet::new(ranges))
}

fn status_range(item: Item<'_>) -> Option<RangeInclusive<u16>> {
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

fn expressions(item: Item<'_>) -> Option<Vec<Expression>> {
    let items = item.one_or_more();
    let expressions: Vec<Expression> = items.iter().copied().filter_map(expression).collect();
    (expressions.len() == items.len()).then_some(expressions)
}

fn expression(item: Item<'_>) -> Option<Expression> {
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

/// A table of names, each with an expression or a list of them.
fn header_expressions(item: Item<'_>) -> Option<Vec<HeaderExpression>> {
    let entries = item.entries("a table, such as { Content-Type = \"^text/html\" }")?;
    let count = entries.len();
    let mut all: Vec<HeaderExpression> = Vec::new();
    let mut names: Vec<&str> = Vec::with_capacity(count);
    for entry in entries {
        if let Err(error) = header(entry.name, "") {
            entry.fault_at_key(error.to_string());
        } else if names.iter().any(|name| name.eq_ignore_ascii_case(entry.name)) {
            entry.fault_at_key(format!("header {} is set twice", quoted(entry.name)));
        } else if let Some(expressions) = expressions(entry) {
            names.push(entry.name);
            let named = |expression| HeaderExpression { name: entry.name.to_owned(), expression };
            all.extend(expressions.into_iter().map(named));
        }
    }
    (names.len() == count).then_some(all)
}

fn labels(item: Item<'_>) -> Option<BTreeMap<String, String>> {
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

fn nodes(item: Item<'_>) -> Option<Vec<String>> {
    let items = item.list("a list of nodes, such as [\"office-pi\", \"shop-*\"]")?;
    let nodes: Vec<String> = items.iter().filter_map(|it| it.words(1, NAME_MAX)).collect();
    (nodes.len() == items.len()).then_some(nodes)
}
