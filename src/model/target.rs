//! Target: a site to watch, and the terms on which its checks are up. Immutable once it is read.

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
use super::secret::{Login, Secret};
use crate::words::words;

/// Longest name of a target, in characters.
pub const NAME_MAX: usize = 128;

/// Site to watch. The stages share it by reference.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name, unique within a configuration; 1 to [`NAME_MAX`] characters.
    pub name: Arc<str>,
    /// URL with the scheme `http` or `https`; or `tcp` with host and port alone, where only a connection is
    /// made. Never holds a user or a password.
    pub url: Url,
    /// User and password, of the URL or of `basic`; sent to the URL's own origin alone.
    pub login: Option<Login>,
    /// Token sent in an Authorization header, to the URL's own origin alone.
    pub bearer: Option<Secret>,
    /// Settings of the connection.
    pub connect: Connect,
    /// Time between two due times; 1 s to 24 h.
    pub interval: Duration,
    /// Longest duration of one attempt, redirects included; times `attempts`, at most the interval.
    pub timeout: Duration,
    /// Attempts until the target is down; at least 1.
    pub attempts: u32,
    /// Method of the request.
    pub method: Method,
    /// Header lines of the request as the user wrote them, in their order.
    pub headers: Vec<RequestHeader>,
    /// Body of the request; empty if none is sent.
    pub body: Secret,
    /// Status codes that are accepted.
    pub status: StatusSet,
    /// Expressions that must all be found in the body; of `tcp`, in the greeting (`expect`).
    pub matches: Vec<Expression>,
    /// Expressions of which none may be found in the body.
    pub rejects: Vec<Expression>,
    /// Expressions that must each be found in a header of the last reply.
    pub header_matches: Vec<HeaderExpression>,
    /// Expressions of which none may be found in a header of the last reply.
    pub header_rejects: Vec<HeaderExpression>,
    /// Duration beyond which a check that is up becomes `slow`; none: no check is slow.
    pub slow_after: Option<Duration>,
    /// Most redirects that are followed; 0: a redirect is itself the reply.
    pub max_redirects: u32,
    /// Bytes of the decoded body that are read, at most.
    pub max_body: usize,
    /// Bytes of the body that the record keeps, at most; 0: none.
    pub excerpt: usize,
    /// Verify the chain and the name of the certificate.
    pub verify: bool,
    /// Days for which the certificates must still be valid, or the check has the remark `certificate_soon`; 0:
    /// no such remark.
    pub min_cert_days: u32,
    /// File of private roots; if given, only these are trusted.
    pub ca_file: Option<PathBuf>,
    /// The target is on our own network: its silence counts against the target, even if our uplink is
    /// silent too.
    pub own_network: bool,
    /// Labels: free words for filters and reports.
    pub labels: BTreeMap<String, String>,
    /// Nodes that check the target: names, or patterns in which `*` stands for any characters, even none;
    /// case counts. Empty: every node.
    pub nodes: Vec<String>,
}

impl Target {
    /// Makes a target with every key at its default.
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

    /// Returns true if the body must be kept for the judge: an expression or an excerpt wants it.
    pub fn wants_body(&self) -> bool {
        self.excerpt > 0 || !self.matches.is_empty() || !self.rejects.is_empty()
    }

    /// Returns true if an expression asks for the header of that name, or if the header is needed to decode
    /// the body.
    pub fn asks_for(&self, name: &[u8]) -> bool {
        if self.wants_body() && name.eq_ignore_ascii_case(b"content-type") {
            return true;
        }
        let all = self.header_matches.iter().chain(&self.header_rejects);
        all.into_iter().any(|of| of.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Returns true if only a connection is made, and perhaps a greeting awaited.
    pub fn is_tcp(&self) -> bool {
        self.url.scheme() == "tcp"
    }

    /// Returns the interval in milliseconds, as the grid and the record count it.
    pub fn interval_ms(&self) -> i64 {
        self.interval.as_millis() as i64
    }

    /// Returns true if the node of that name checks this target.
    pub fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|pattern| fits(pattern, node))
    }

    /// Returns the URL as it may be shown: without user, password, query and fragment.
    pub fn shown_url(&self) -> String {
        shown(&self.url)
    }
}

/// Returns true if `pattern` describes the whole of `name`. The pieces between the stars are searched one
/// after the other, each at the first place after the piece before. A later place would never be better, so
/// no piece is tried twice.
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

/// Returns true if the URL's host is a name. In a URL whose scheme is not the web's, an address may look
/// like a name.
pub fn is_name(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(text)) => text.parse::<IpAddr>().is_err(),
        _ => false,
    }
}

/// Returns `url` without user, password, query and fragment, as a log, a record or a page may show it.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both calls fail only for a URL that cannot have a user at all; such a URL has none to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Header line of the request. The value may be a secret and is shown nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Field name, as written.
    pub name: String,
    /// Field value.
    pub value: Secret,
}

impl RequestHeader {
    /// Returns true if the value may be shown, and may travel to another origin than the target's own:
    /// headers of content negotiation, none that could prove who asks.
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

/// Expression on the value of a header of the reply.
#[derive(Debug, Clone)]
pub struct HeaderExpression {
    /// Field name, as written; its case does not count.
    pub name: String,
    /// Expression that is searched in the value.
    pub expression: Expression,
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

    /// Makes a set of these ranges. Without a range the set accepts nothing.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> StatusSet {
        StatusSet(ranges)
    }

    /// Returns the ranges, in the order written.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// Returns true if `status` is accepted.
    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// Reads a code (`204`) or a range (`200-299`), both ends between 100 and 999, low end first.
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
        // An algorithm that tries every place again would outlast the universe here.
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
