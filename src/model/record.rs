//! What travels: checks, and what is not a check. Its shape on the wire is in [`super::wire`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expression::Expression;
use super::outcome::{Gap, Hop, Loss, Outcome};
use super::target::Target;

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
    /// The run before this one, if it is known.
    pub previous_run: Option<u32>,
    /// The last due time of that run, in milliseconds since 1970: declares the hole after it.
    pub last_due_ms: Option<i64>,
    /// Records that wait to be sent.
    pub spool_count: Option<u64>,
    /// The due time of the oldest of them, in milliseconds since 1970.
    pub spool_oldest_ms: Option<i64>,
    /// Whether the kernel calls the clock synchronised.
    pub clock_synced: Option<bool>,
}

impl NodeState {
    /// This program, as `node` says it at `sent_ms`.
    pub fn new(node: &Arc<str>, run: u32, sent_ms: i64) -> NodeState {
        NodeState {
            node: Arc::clone(node),
            run,
            sent_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            previous_run: None,
            last_due_ms: None,
            spool_count: None,
            spool_oldest_ms: None,
            clock_synced: None,
        }
    }
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
    /// Method; none of `tcp`.
    pub method: String,
    /// Accepted status codes, as text; none of `tcp`.
    pub expected_status: String,
    /// The expressions that must be found, one a line; of `tcp` in what is said first.
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
        let is_tcp = target.is_tcp();
        TargetState {
            target: Arc::clone(&target.name),
            node: Arc::clone(node),
            run,
            sent_ms,
            url: target.shown_url(),
            method: if is_tcp { String::new() } else { target.method.as_str().to_owned() },
            expected_status: if is_tcp { String::new() } else { target.status.to_string() },
            matches: lines(&target.matches),
            rejects: lines(&target.rejects),
            interval_ms: target.interval_ms(),
            labels: target.labels.clone(),
        }
    }
}

impl Record {
    /// The node that made it.
    pub fn node(&self) -> &Arc<str> {
        match self {
            Record::Check(outcome) => &outcome.node,
            Record::Gap(gap) => &gap.node,
            Record::Loss(loss) => &loss.node,
            Record::Node(state) => &state.node,
            Record::Target(state) => &state.node,
        }
    }

    /// The target it is about; none where it is about the node.
    pub fn target(&self) -> Option<&Arc<str>> {
        match self {
            Record::Check(outcome) => Some(&outcome.target),
            Record::Gap(gap) => Some(&gap.target),
            Record::Target(state) => Some(&state.target),
            Record::Loss(_) | Record::Node(_) => None,
        }
    }

    /// The latest moment that it tells of, in milliseconds since 1970: its end, or when it was sent.
    pub fn latest_ms(&self) -> i64 {
        match self {
            Record::Check(outcome) => outcome.due_ms,
            Record::Gap(gap) => gap.from_ms.max(gap.to_ms),
            Record::Loss(loss) => loss.from_ms.max(loss.to_ms),
            Record::Node(state) => state.sent_ms,
            Record::Target(state) => state.sent_ms,
        }
    }

    /// What is lost with it, if it is dropped: its run and its first and last due time. States
    /// are told anew, and what a loss counts has been lost before.
    pub fn span(&self) -> Option<(u32, i64, i64)> {
        match self {
            Record::Check(outcome) => Some((outcome.run, outcome.due_ms, outcome.due_ms)),
            Record::Gap(gap) => Some((gap.run, gap.from_ms, gap.to_ms)),
            Record::Loss(_) | Record::Node(_) | Record::Target(_) => None,
        }
    }

    /// About how much memory it holds, in bytes.
    pub fn weight(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Record::Check(outcome) => {
                let texts = [&outcome.address, &outcome.matched, &outcome.excerpt, &outcome.error];
                let hops = outcome.hops.iter().map(|hop| size_of::<Hop>() + hop.url.len());
                let texts = texts.into_iter().map(length);
                size_of::<Outcome>() + texts.sum::<usize>() + hops.sum::<usize>()
            }
            Record::Target(state) => {
                let texts = [&state.url, &state.expected_status, &state.matches, &state.rejects];
                let labels = state.labels.iter().map(|(key, value)| key.len() + value.len() + 64);
                let texts = texts.into_iter().map(String::len).sum::<usize>();
                size_of::<TargetState>() + texts + labels.sum::<usize>()
            }
            _ => size_of::<Record>(),
        }
    }
}
