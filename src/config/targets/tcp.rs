//! Plain connections, `tcp://host:port`: the keys of a target that apply to them.

use url::Url;

use crate::config::toml::table::Section;
use crate::model::connect::{Connect, HttpVersion};
use crate::model::expression::Expression;
use crate::model::target::Target;

/// Most bytes to read of the greeting of a plain connection.
const GREETING_MAX: usize = 16 << 10;

/// Keys that apply to HTTP alone.
const HTTP_ALONE: [&str; 15] = [
    "method",
    "headers",
    "body",
    "status",
    "match",
    "reject",
    "match_header",
    "reject_header",
    "max_redirects",
    "max_body",
    "excerpt",
    "http",
    "basic",
    "bearer",
    "reuse",
];
/// Keys that apply to plain connections alone.
const TCP_ALONE: [&str; 2] = ["expect", "tls"];

/// Refuses the keys of a target that do not apply to its URL; in `[defaults]` they do no harm.
pub(in crate::config) fn refuse_foreign_keys(section: &Section<'_>, url: &Url) {
    let is_tcp = url.scheme() == "tcp";
    let (others, ours, has) = match is_tcp {
        true => (&HTTP_ALONE[..], "http and https", "tcp has tls and expect"),
        false => (&TCP_ALONE[..], "tcp", "there are https:// and match"),
    };
    for name in others {
        if let Some(at) = section.place(name) {
            section.fault_at(at, format!("{name} is for {ours} alone: {has}"));
        }
    }
}

/// Returns `target` without the settings that do not apply to a connection on which no HTTP is spoken.
pub(in crate::config) fn strip_http(target: Target, expect: Option<Expression>) -> Target {
    let plain = Target::new(&target.name, target.url);
    Target {
        connect: Connect { http: HttpVersion::default(), reuse: false, ..target.connect },
        interval: target.interval,
        timeout: target.timeout,
        attempts: target.attempts,
        matches: expect.into_iter().collect(),
        slow_after: target.slow_after,
        max_body: GREETING_MAX,
        verify: target.verify,
        min_cert_days: target.min_cert_days,
        ca_file: target.ca_file,
        own_network: target.own_network,
        labels: target.labels,
        nodes: target.nodes,
        ..plain
    }
}
