//! What is watched, and what is asked of it: one [`Target`], immutable once it is read.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use super::connect::Connect;
use super::expression::Expression;
use crate::words::words;

/// Longest name of a target, in characters.
pub const NAME_MAX: usize = 128;

/// One site to watch. Shared by reference between the stages.
#[derive(Debug, Clone)]
pub struct Target {
    /// Unique within a configuration; 1 to [`NAME_MAX`] characters.
    pub name: Arc<str>,
    /// `http` or `https`; or `tcp` with host and port alone, where only a connection is made. Never
    /// holds a user or a password.
    pub url: Url,
    /// User and password, of the URL or of `basic`; sent to the URL's own origin alone.
    pub login: Option<Login>,
    /// A token in a header Authorization; sent likewise.
    pub bearer: Option<Secret>,
    /// How it is reached.
    pub connect: Connect,
    /// Time between two due times; 1 s to 24 h.
    pub interval: Duration,
    /// How long an attempt may take, redirects included; all of them at most the interval.
    pub timeout: Duration,
    /// How often it is tried at most before it is down; at least 1.
    pub attempts: u32,
    /// Method of the request.
    pub method: Method,
    /// Header lines as the user wrote them, in their order.
    pub headers: Vec<Header>,
    /// Body to send; empty: none.
    pub body: Secret,
    /// Status codes that are accepted.
    pub status: StatusSet,
    /// Every one of these must be found in the body; of `tcp`, in what is said first (`expect`).
    pub matches: Vec<Expression>,
    /// None of these may be found in the body.
    pub rejects: Vec<Expression>,
    /// Every one of these must be found in a header of the last reply.
    pub header_matches: Vec<HeaderExpression>,
    /// None of these may be found in one.
    pub header_rejects: Vec<HeaderExpression>,
    /// An up check that took longer is `slow`.
    pub slow_after: Option<Duration>,
    /// Redirects followed at most; 0: a redirect is the reply.
    pub max_redirects: u32,
    /// How much of the decoded body is read, in bytes.
    pub max_body: usize,
    /// How much of the body the record keeps, in bytes.
    pub excerpt: usize,
    /// Whether chain and name of the certificate are verified.
    pub verify: bool,
    /// For how many days at least the certificates must be valid; 0: it is not asked.
    pub min_cert_days: u32,
    /// Private roots: if given, only these are trusted.
    pub ca_file: Option<PathBuf>,
    /// On our own network: its silence is its own, whatever else is silent.
    pub own_network: bool,
    /// Free words for filters and reports.
    pub labels: BTreeMap<String, String>,
    /// The nodes that check it: names, or patterns in which `*` stands for any run of characters,
    /// even none; case counts. Empty: every node.
    pub nodes: Vec<String>,
}

impl Target {
    /// A target with every key at its default.
    pub fn new(name: &str, url: Url) -> Target {
        Target {
            name: name.into(),
            url,
            login: None,
            bearer: None,
            connect: Connect::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            attempts: 1,
            method: Method::Get,
            headers: Vec::new(),
            body: Secret::default(),
            status: StatusSet::default(),
            matches: Vec::new(),
            rejects: Vec::new(),
            header_matches: Vec::new(),
            header_rejects: Vec::new(),
            slow_after: None,
            max_redirects: 10,
            max_body: 256 << 10,
            excerpt: 0,
            verify: true,
            min_cert_days: 0,
            ca_file: None,
            own_network: false,
            labels: BTreeMap::new(),
            nodes: Vec::new(),
        }
    }

    /// Whether the body must be kept for the judge: an expression or an excerpt wants it.
    pub fn wants_body(&self) -> bool {
        self.excerpt > 0 || !self.matches.is_empty() || !self.rejects.is_empty()
    }

    /// Whether an expression asks for the header of that name, or the body cannot be read without.
    pub fn asks_for(&self, name: &[u8]) -> bool {
        if self.wants_body() && name.eq_ignore_ascii_case(b"content-type") {
            return true;
        }
        let all = self.header_matches.iter().chain(&self.header_rejects);
        all.into_iter().any(|of| of.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether only a connection is made, and perhaps a greeting awaited.
    pub fn is_tcp(&self) -> bool {
        self.url.scheme() == "tcp"
    }

    /// The interval in milliseconds, as the grid and the record count it.
    pub fn interval_ms(&self) -> i64 {
        self.interval.as_millis() as i64
    }

    /// Whether the node of that name is one of those that check it.
    pub fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|pattern| fits(pattern, node))
    }

    /// The URL fit to be shown: without user, password and query.
    pub fn shown_url(&self) -> String {
        shown(&self.url)
    }
}

/// Whether `pattern` describes `name` whole. The pieces between its stars are looked for one after
/// the other, each at the first place after the one before, which is never worse than a later
/// place: so nothing is tried twice.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inner = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let Some(mut inner) = inner else { return false };
    for piece in middle.split('*') {
        let Some((_, after)) = inner.split_once(piece) else { return false };
        inner = after;
    }
    true
}

/// Whether its host is a name; of a scheme that is not the web's an address may look like one.
pub fn is_name(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(text)) => text.parse::<IpAddr>().is_err(),
        _ => false,
    }
}

/// `url` without user, password, query and fragment: what a log, a record or a page may show.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot have a user at all; those have none to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// A header line of the request. The value may be a secret and is shown nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Field name, as written.
    pub name: String,
    /// Field value.
    pub value: Secret,
}

impl Header {
    /// Whether the value may be shown, and may travel to another origin than the target's own:
    /// content negotiation, nothing that could prove who asks.
    pub fn is_harmless(&self) -> bool {
        const HARMLESS: [&str; 9] = [
            "accept",
            "accept-charset",
            "accept-encoding",
            "accept-language",
            "cache-control",
            "content-type",
            "pragma",
            "referer",
            "user-agent",
        ];
        HARMLESS.iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

/// An expression on the value of a header of the reply.
#[derive(Debug, Clone)]
pub struct HeaderExpression {
    /// Field name, as written; its case does not count.
    pub name: String,
    /// What is looked for.
    pub expression: Expression,
}

/// User and password of a URL, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: Secret,
    /// Password; may be empty.
    pub password: Secret,
}

/// Text that must never be shown: `Debug` prints stars.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

words! {
    /// Methods that a check may use.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[expect(missing_docs, reason = "the methods of RFC 9110 and 5789 by their names")]
    pub enum Method {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
        Options = "OPTIONS",
    }
}

/// Accepted status codes: a union of ranges, in the order written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Codes that HTTP has room for.
    pub const CODES: RangeInclusive<u16> = 100..=999;

    /// A set of at least one range; none means an empty set, which accepts nothing.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> StatusSet {
        StatusSet(ranges)
    }

    /// The ranges, in the order written.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// Whether `status` is accepted.
    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// A code (`204`) or a range (`200-299`), both ends between 100 and 999, low end first.
    pub fn parse_range(word: &str) -> Option<RangeInclusive<u16>> {
        let code = |word: &str| {
            let code = word.trim().parse::<u16>().ok()?;
            StatusSet::CODES.contains(&code).then_some(code)
        };
        match word.split_once('-') {
            Some((low, high)) => {
                let range = code(low)?..=code(high)?;
                (!range.is_empty()).then_some(range)
            }
            None => code(word).map(|code| code..=code),
        }
    }
}

impl Default for StatusSet {
    fn default() -> StatusSet {
        StatusSet(std::iter::once(200..=299).collect())
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let (low, high) = (range.start(), range.end());
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_ranges_are_read_and_shown_as_written() {
        for (word, want) in [
            ("200", Some(200..=200)),
            ("200-299", Some(200..=299)),
            (" 200 - 204 ", Some(200..=204)),
            ("299-200", None),
            ("99", None),
            ("1000", None),
            ("2xx", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(StatusSet::parse_range(word), want, "{word:?}");
        }
        let set = StatusSet::new(vec![200..=200, 300..=399]);
        assert_eq!(set.to_string(), "200, 300-399");
        assert!(set.accepts(200) && set.accepts(399) && !set.accepts(201));
    }

    #[test]
    fn patterns_describe_names_whole() {
        for (pattern, fitting, others) in [
            ("shop-1", &["shop-1"][..], &["shop-10", "a-shop-1", "Shop-1", ""][..]),
            ("shop-*", &["shop-1", "shop-", "shop-*"], &["shop", "a-shop-1"]),
            ("*-1", &["shop-1", "-1"], &["shop-1b", "1"]),
            ("s*p", &["sp", "shop", "s*p"], &["s", "p", "shopp1"]),
            ("ab*ba", &["abba", "ab ba"], &["aba", "ab", "ba"]),
            ("*", &["", "any"], &[]),
            ("**", &["", "any"], &[]),
            ("a*b*c", &["abc", "a-b-b-c"], &["acb", "ab", "ac"]),
            ("a*bc*bc", &["abcbc", "a bc bc bc"], &["abc", "abcb"]),
            ("*ö*", &["ö", "Köln-ö"], &["o", ""]),
            ("a?[b-c].+\\", &["a?[b-c].+\\"], &["ab", "a?b.+\\"]),
            ("", &[""], &["a"]),
        ] {
            fitting.iter().for_each(|name| assert!(fits(pattern, name), "{pattern} {name}"));
            others.iter().for_each(|name| assert!(!fits(pattern, name), "{pattern} {name}"));
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        // Tried at every place anew, this would outlast the universe.
        let pattern = "*a".repeat(63) + "b*";
        assert!(!fits(&pattern, &"a".repeat(1_000_000)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = Url::parse("https://user:pass@example.org/a?token=1#part").unwrap();
        assert_eq!(shown(&url), "https://example.org/a");
        assert_eq!(format!("{:?}", Secret("pass".into())), "\"***\"");
    }
}
