//! The keys of a target, in `[[target]]` and `[defaults]`: their bounds, their defaults, and the way from a
//! target's own keys and the defaults to one [`Target`].

mod remarks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::targets::address::{self, Address};
use crate::config::targets::connect::ConnectKeys;
use crate::config::targets::tcp;
use crate::config::targets::values::{
    read_expression, read_expressions, read_header_expressions, read_headers, read_interval,
    read_labels, read_nodes, read_status,
};
use crate::config::toml::context::ReadContext;
use crate::config::toml::fault::quoted;
use crate::config::toml::item::Item;
use crate::config::toml::login;
use crate::config::toml::source::SourceOffset;
use crate::config::toml::table::{Section, Setting};
use crate::config::units::{show_duration, show_size};
use crate::error::Error;
use crate::model::expression::Expression;
use crate::model::secret::Secret;
use crate::model::target::{HeaderExpression, Method, RequestHeader, StatusSet, Target};
use crate::words::Word;

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

/// Makes a target of a URL or bare domain, without a configuration: every key has its default, and the name is
/// the one that a configuration would give.
///
/// # Errors
/// `text` is not a URL that can be watched; the error has none of its secrets.
pub fn parse_target(text: &str) -> Result<Target, Error> {
    match address::parse(text) {
        Ok(address) => {
            let target = Target::new(&address.name, address.url);
            Ok(Target { login: address.login, ..target })
        }
        Err(cause) => Err(Error::new(format!("{} {cause}", quoted(&address::redact(text))))),
    }
}

/// Values that a `[[target]]` or `[defaults]` sets.
#[derive(Default)]
pub(in crate::config) struct TargetKeys<'a> {
    interval: Option<Setting<'a, Duration>>,
    timeout: Option<Setting<'a, Duration>>,
    attempts: Option<Setting<'a, u32>>,
    method: Option<Setting<'a, Method>>,
    headers: Option<Vec<RequestHeader>>,
    body: Option<String>,
    status: Option<Setting<'a, StatusSet>>,
    matches: Option<Setting<'a, Vec<Expression>>>,
    rejects: Option<Setting<'a, Vec<Expression>>>,
    expect: Option<Expression>,
    header_matches: Option<Vec<HeaderExpression>>,
    header_rejects: Option<Vec<HeaderExpression>>,
    slow_after: Option<Setting<'a, Duration>>,
    max_redirects: Option<Setting<'a, u32>>,
    max_body: Option<Setting<'a, usize>>,
    excerpt: Option<Setting<'a, usize>>,
    verify: Option<bool>,
    min_cert_days: Option<Setting<'a, u32>>,
    ca_file: Option<Setting<'a, PathBuf>>,
    connect: ConnectKeys<'a>,
    own_network: Option<bool>,
    labels: Option<BTreeMap<String, String>>,
    nodes: Option<Vec<String>>,
}

impl<'a> TargetKeys<'a> {
    /// Reads the keys of `section` that `[defaults]` may have too.
    pub fn read(section: &mut Section<'a>) -> TargetKeys<'a> {
        TargetKeys {
            interval: section.read_setting("interval", read_interval),
            timeout: section.read_setting("timeout", |it| it.duration(MILLISECOND, DAY)),
            attempts: section.read_setting("attempts", |it| it.number(1, ATTEMPTS_MAX)),
            method: section.read_setting("method", |it| it.choice(&Method::choices())),
            headers: section.read("headers", read_headers),
            body: section.read("body", Item::text),
            status: section.read_setting("status", read_status),
            matches: section.read_setting("match", read_expressions),
            rejects: section.read_setting("reject", read_expressions),
            expect: section.read("expect", read_expression),
            header_matches: section.read("match_header", read_header_expressions),
            header_rejects: section.read("reject_header", read_header_expressions),
            slow_after: section.read_setting("slow_after", |it| it.duration(MILLISECOND, DAY)),
            max_redirects: section.read_setting("max_redirects", |it| it.number(0, REDIRECTS_MAX)),
            max_body: section.read_setting("max_body", |it| it.memory(1, BODY_MAX)),
            excerpt: section.read_setting("excerpt", |it| it.memory(0, EXCERPT_MAX)),
            verify: section.read("verify", Item::boolean),
            min_cert_days: section.read_setting("min_cert_days", |it| it.number(0, CERT_DAYS_MAX)),
            ca_file: section.read_setting("ca_file", Item::certificates),
            connect: ConnectKeys::read(section),
            own_network: section.read("own_network", Item::boolean),
            labels: section.read("labels", read_labels),
            nodes: section.read("nodes", read_nodes),
        }
    }

    /// Makes the target of that address and name, with `defaults` for the keys that are not set here.
    pub fn make_target(&self, defaults: &TargetKeys<'a>, address: Address, name: &str) -> Target {
        fn value<T: Clone>(
            own: &Option<Setting<'_, T>>,
            default: &Option<Setting<'_, T>>,
        ) -> Option<T> {
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
            status: value(&self.status, &defaults.status).unwrap_or(last.status),
            matches: value(&self.matches, &defaults.matches).unwrap_or(last.matches),
            rejects: value(&self.rejects, &defaults.rejects).unwrap_or(last.rejects),
            header_matches: plain(&self.header_matches, &defaults.header_matches, Vec::new()),
            header_rejects: plain(&self.header_rejects, &defaults.header_rejects, Vec::new()),
            slow_after: value(&self.slow_after, &defaults.slow_after),
            max_redirects: value(&self.max_redirects, &defaults.max_redirects)
                .unwrap_or(last.max_redirects),
            max_body: value(&self.max_body, &defaults.max_body).unwrap_or(last.max_body),
            excerpt: value(&self.excerpt, &defaults.excerpt).unwrap_or(last.excerpt),
            verify: plain(&self.verify, &defaults.verify, last.verify),
            min_cert_days: value(&self.min_cert_days, &defaults.min_cert_days).unwrap_or(0),
            ca_file: value(&self.ca_file, &defaults.ca_file),
            own_network: plain(&self.own_network, &defaults.own_network, false),
            labels: plain(&self.labels, &defaults.labels, last.labels),
            nodes: plain(&self.nodes, &defaults.nodes, last.nodes),
            ..last
        };
        self.connect.apply_to(&defaults.connect, &mut target);
        if target.is_tcp() {
            let expect = self.expect.as_ref().or(defaults.expect.as_ref());
            target = tcp::strip_http(target, expect.cloned());
        }
        target
    }

    /// Reports keys that are each right, but not together. `has_login`: the URL holds a login.
    pub fn check_combinations(
        &self,
        defaults: &TargetKeys<'a>,
        target: &Target,
        has_login: bool,
        context: &ReadContext<'a>,
    ) {
        self.connect.check_combinations(&defaults.connect, target, has_login, context);
        if target.timeout > target.interval {
            let (timeout, interval) =
                (show_duration(target.timeout), show_duration(target.interval));
            let text = format!("timeout {timeout} is longer than the interval of {interval}");
            let place = Clash::of(&self.timeout, &self.interval, &defaults.timeout);
            place.fault(context, "timeout", &text, "lower timeout, or raise interval");
        } else if target.timeout * target.attempts > target.interval {
            let (timeout, interval) =
                (show_duration(target.timeout), show_duration(target.interval));
            let attempts = target.attempts;
            let text = format!(
                "{attempts} attempts of {timeout} each are longer than the interval of {interval}"
            );
            let place = Clash::of(&self.attempts, &self.timeout, &defaults.attempts);
            place.fault(context, "attempts", &text, "lower attempts or timeout, or raise interval");
        }
        if target.excerpt > target.max_body {
            let (excerpt, body) =
                (show_size(target.excerpt as u64), show_size(target.max_body as u64));
            let text = format!("excerpt {excerpt} is larger than the max_body of {body}");
            let place = Clash::of(&self.excerpt, &self.max_body, &defaults.excerpt);
            place.fault(context, "excerpt", &text, "lower excerpt, or raise max_body");
        }
        if target.method == Method::Head && !target.matches.is_empty() {
            let text = "match needs a body, and the answer to HEAD has none";
            let place = Clash::of(&self.matches, &self.method, &defaults.matches);
            place.fault(context, "match", text, "set match = [], or another method");
        }
    }
}

/// Place to report for two keys of a target that do not go together: the target's own first key, else its own
/// second, else the first key in `[defaults]`.
struct Clash<'a> {
    at: Option<SourceOffset<'a>>,
    /// Place of the first key in `[defaults]`, if that is another place.
    first: Option<SourceOffset<'a>>,
}

impl<'a> Clash<'a> {
    fn of<T, U>(
        first: &Option<Setting<'a, T>>,
        second: &Option<Setting<'a, U>>,
        default: &Option<Setting<'a, T>>,
    ) -> Clash<'a> {
        let default = default.as_ref().map(|set| set.at);
        match (first, second) {
            (Some(first), _) => Clash { at: Some(first.at), first: None },
            (None, Some(second)) => Clash { at: Some(second.at), first: default },
            (None, None) => Clash { at: default, first: None },
        }
    }

    /// Reports a fault at the key that is named `first`.
    fn fault(&self, context: &ReadContext<'_>, first: &str, text: &str, advice: &str) {
        if let Some(at) = self.at {
            context.fault(at, self.words(first, text, advice));
        }
    }

    /// Takes note of a remark on the `first` key.
    fn remark(&self, context: &ReadContext<'_>, first: &str, text: &str, advice: &str) {
        if let Some(at) = self.at {
            context.remark(at, self.words(first, text, advice));
        }
    }

    fn words(&self, first: &str, text: &str, advice: &str) -> String {
        let elsewhere = self.first.map(|at| format!(" ({first} stands at {})", at.location()));
        format!("{text}{}: {advice}", elsewhere.unwrap_or_default())
    }
}

/// Reads the address that `item` holds; `wanted` says what else the value may be.
pub(in crate::config) fn read_url(item: Item<'_>, wanted: &str) -> Option<Address> {
    let text = login::join_url(&item.pieces(wanted)?);
    match address::parse(&text) {
        Ok(address) => Some(address),
        Err(cause) => {
            item.fault(describe_url_fault(item.written(), &cause));
            None
        }
    }
}

/// Returns the fault of a text that is no URL, without its secrets.
pub(in crate::config) fn describe_url_fault(written: &str, cause: &str) -> String {
    format!("url {} {cause}", quoted(&address::redact(written)))
}
