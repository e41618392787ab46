//! What travels, and its one shape on the wire: a JSON object a record, flat but for `labels`.
//!
//! Absent, null and empty text mean the same, and are left out; 0 and false are values and
//! stay. All times are UTC; `_ms` since 1970, `_us` and `_s` as their ends say. Every record has
//! `v` (1), `kind`, `node` and `run`. Fields come in the order in which they are written below.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use super::outcome::{Gap, Loss, Outcome};
use super::target::{Expression, Target};

/// Version of the record.
pub const VERSION: u32 = 1;

/// Anything that goes down the road.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// One check.
    Check(Box<Outcome>),
    /// Slots that were not checked.
    Gap(Gap),
    /// Records that had to be dropped.
    Loss(Loss),
    /// The node's own state.
    Node(NodeState),
    /// What a target is.
    Target(Box<TargetState>),
}

/// State of a node; the newest `sent_ms` wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The node.
    pub node: Arc<str>,
    /// Its present run.
    pub run: u32,
    /// When it said so.
    pub sent_ms: i64,
    /// Version of the program.
    pub version: String,
}

/// What a target is, without secrets; the newest `sent_ms` wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The target's name.
    pub target: Arc<str>,
    /// The node that says so.
    pub node: Arc<str>,
    /// Its present run.
    pub run: u32,
    /// When it said so.
    pub sent_ms: i64,
    /// URL without user, password and query.
    pub url: String,
    /// Method.
    pub method: &'static str,
    /// Accepted status codes, as text.
    pub expected_status: String,
    /// The expressions that must be found, one a line.
    pub matches: String,
    /// The expressions that must not be found, one a line.
    pub rejects: String,
    /// Interval in milliseconds.
    pub interval_ms: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl TargetState {
    /// What `target` is, as `node` says it at `sent_ms`.
    pub fn new(target: &Target, node: &Arc<str>, run: u32, sent_ms: i64) -> TargetState {
        let lines = |list: &[Expression]| {
            list.iter().map(Expression::as_str).collect::<Vec<_>>().join("\n")
        };
        TargetState {
            target: Arc::clone(&target.name),
            node: Arc::clone(node),
            run,
            sent_ms,
            url: target.shown_url(),
            method: target.method.as_str(),
            expected_status: target.status.to_string(),
            matches: lines(&target.matches),
            rejects: lines(&target.rejects),
            interval_ms: target.interval_ms(),
            labels: target.labels.clone(),
        }
    }
}

impl Record {
    /// About how much memory it holds, in bytes.
    pub fn weight(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Record::Check(outcome) => {
                let texts = [&outcome.address, &outcome.matched, &outcome.excerpt, &outcome.error];
                size_of::<Outcome>() + texts.into_iter().map(length).sum::<usize>()
            }
            Record::Target(state) => size_of::<TargetState>() + state.url.len(),
            _ => size_of::<Record>(),
        }
    }
}

/// The check as a record of kind `check`, in one line without its end.
pub fn encode_check(outcome: &Outcome) -> String {
    let mut object = Object::new("check", &outcome.node, outcome.run);
    object.text("target", &outcome.target);
    object.number("due_ms", outcome.due_ms);
    object.number("lag_us", outcome.lag_us);
    object.number("interval_ms", outcome.interval_ms);
    object.text("verdict", outcome.verdict.as_str());
    object.text("cause", outcome.cause.map_or("", |cause| cause.as_str()));
    object.number("responded", outcome.responded);
    object.some("status", outcome.status);
    object.some("status_ok", outcome.status_ok);
    object.some("match_ok", outcome.match_ok);
    object.some("dns_us", outcome.phases.dns_us);
    object.some("connect_us", outcome.phases.connect_us);
    object.some("tls_us", outcome.phases.tls_us);
    object.some("first_byte_us", outcome.phases.first_byte_us);
    object.some("transfer_us", outcome.phases.transfer_us);
    object.number("total_us", outcome.total_us);
    object.text("address", outcome.address.as_deref().unwrap_or(""));
    object.text("http", outcome.http.unwrap_or(""));
    object.number("redirects", outcome.redirects);
    object.number("bytes", outcome.bytes);
    object.number("attempts", outcome.attempts);
    object.text("matched", outcome.matched.as_deref().unwrap_or(""));
    object.text("excerpt", outcome.excerpt.as_deref().unwrap_or(""));
    object.text("error", outcome.error.as_deref().unwrap_or(""));
    object.some("cert_expires_s", outcome.cert_expires_s);
    object.some("chain_expires_s", outcome.chain_expires_s);
    object.end()
}

/// A JSON object under construction.
struct Object(String);

impl Object {
    fn new(kind: &str, node: &str, run: u32) -> Object {
        let mut object = Object(format!("{{\"v\":{VERSION}"));
        object.text("kind", kind);
        object.text("node", node);
        object.number("run", run);
        object
    }

    /// Text, left out when empty. DEL and the controls of 8 bits are escaped as well: JSON does
    /// not ask for it, but a terminal that shows the record may obey them.
    fn text(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut json = miniserde::json::to_string(text);
        if json.contains(char::is_control) {
            let escaped = |c: char| match c.is_control() {
                true => format!("\\u{:04x}", u32::from(c)),
                false => c.to_string(),
            };
            json = json.chars().map(escaped).collect();
        }
        self.number(name, json);
    }

    /// A number or a truth value.
    fn number(&mut self, name: &str, value: impl Display) {
        self.0 += &format!(",\"{name}\":{value}");
    }

    fn some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Order, Reply, judge, tests::target};
    use super::super::outcome::Phases;
    use super::*;

    #[test]
    fn text_holds_no_control_character_as_it_is() {
        let mut object = Object(String::new());
        object.text("a", "\x1b[\u{9b}1m\x7f\n\u{e4}");
        assert_eq!(object.0, r#","a":"\u001b[\u009b1m\u007f\n\u00e4""#.replace(r"\u00e4", "ä"));
    }

    #[test]
    fn a_check_is_one_line_with_what_it_has() {
        let order = Order { node: Arc::from("shop \"7\""), run: 5, due_ms: 60_000, lag_us: 12 };
        let reply = Reply {
            status: Some(200),
            phases: Phases { dns_us: Some(0), connect_us: Some(7), ..Phases::default() },
            ..Reply::default()
        };
        let outcome = judge(&target("site"), &order, reply);
        assert_eq!(
            encode_check(&outcome),
            concat!(
                r#"{"v":1,"kind":"check","node":"shop \"7\"","run":5,"target":"site","#,
                r#""due_ms":60000,"lag_us":12,"interval_ms":60000,"verdict":"up","#,
                r#""responded":true,"status":200,"status_ok":true,"dns_us":0,"connect_us":7,"#,
                r#""total_us":7,"redirects":0,"bytes":0,"attempts":1}"#
            )
        );
    }
}
