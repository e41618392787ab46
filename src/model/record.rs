//! Records: checks, and the other things that a node reports. Their shape on the wire is in
//! [`super::wire`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expression::Expression;
use super::outcome::{Gap, Hop, Loss, LossCause, Outcome};
use super::target::Target;

/// Anything that travels from a probe to the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Result of one check.
    Check(Box<Outcome>),
    /// Slots that were not checked.
    Gap(Gap),
    /// Records that had to be dropped.
    Loss(Loss),
    /// State of the node itself.
    Node(NodeState),
    /// State of a target: its settings, without secrets.
    Target(Box<TargetState>),
}

/// State of a node; the newest `sent_ms` wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Name of the node.
    pub node: Arc<str>,
    /// Present run of the node.
    pub run: u32,
    /// Time at which the node sent this record, in milliseconds since 1970.
    pub sent_ms: i64,
    /// Version of the program.
    pub version: String,
    /// The run before this one, if it is known.
    pub previous_run: Option<u32>,
    /// Last due time of that run, in milliseconds since 1970: shows the hole between the two runs.
    pub last_due_ms: Option<i64>,
    /// Number of records that wait to be sent.
    pub spool_count: Option<u64>,
    /// Due time of the oldest record that waits, in milliseconds since 1970.
    pub spool_oldest_ms: Option<i64>,
    /// True if the kernel says that the clock is synchronised.
    pub clock_synced: Option<bool>,
}

impl NodeState {
    /// Creates the record of this program's state, which `node` sends at `sent_ms`.
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

/// Settings of a target, without secrets; the newest `sent_ms` wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// Name of the target.
    pub target: Arc<str>,
    /// Node that sent the settings.
    pub node: Arc<str>,
    /// Present run of that node.
    pub run: u32,
    /// Time at which the node sent this record, in milliseconds since 1970.
    pub sent_ms: i64,
    /// URL without user, password, query and fragment.
    pub url: String,
    /// Method; empty for `tcp`.
    pub method: String,
    /// Accepted status codes, as text; empty for `tcp`.
    pub expected_status: String,
    /// Expressions that must be found, one a line; of `tcp`, in the greeting.
    pub matches: String,
    /// Expressions that must not be found, one a line.
    pub rejects: String,
    /// Interval in milliseconds.
    pub interval_ms: i64,
    /// Labels of the target.
    pub labels: BTreeMap<String, String>,
}

impl TargetState {
    /// Makes the settings of `target`, sent by `node` at `sent_ms`.
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
    /// Returns the node that made the record.
    pub fn node(&self) -> &Arc<str> {
        match self {
            Record::Check(outcome) => &outcome.node,
            Record::Gap(gap) => &gap.node,
            Record::Loss(loss) => &loss.node,
            Record::Node(state) => &state.node,
            Record::Target(state) => &state.node,
        }
    }

    /// Returns the target that the record is about; none if the record is about the node.
    pub fn target(&self) -> Option<&Arc<str>> {
        match self {
            Record::Check(outcome) => Some(&outcome.target),
            Record::Gap(gap) => Some(&gap.target),
            Record::Target(state) => Some(&state.target),
            Record::Loss(_) | Record::Node(_) => None,
        }
    }

    /// Returns the latest moment of the record, in milliseconds since 1970: its last due time, or the time
    /// when it was sent.
    pub fn latest_ms(&self) -> i64 {
        match self {
            Record::Check(outcome) => outcome.due_ms,
            Record::Gap(gap) => gap.from_ms.max(gap.to_ms),
            Record::Loss(loss) => loss.from_ms.max(loss.to_ms),
            Record::Node(state) => state.sent_ms,
            Record::Target(state) => state.sent_ms,
        }
    }

    /// Returns the run and the first and last due time that are lost if the record is dropped. None for
    /// states, which are announced again, and for a loss, whose records were lost before.
    pub fn span(&self) -> Option<(u32, i64, i64)> {
        match self {
            Record::Check(outcome) => Some((outcome.run, outcome.due_ms, outcome.due_ms)),
            Record::Gap(gap) => Some((gap.run, gap.from_ms, gap.to_ms)),
            Record::Loss(_) | Record::Node(_) | Record::Target(_) => None,
        }
    }

    /// Returns the loss to count if the record is dropped since memory is full: of a loss, itself. None for
    /// states, which are announced again.
    pub fn loss(&self) -> Option<Loss> {
        if let Record::Loss(loss) = self {
            return Some(loss.clone());
        }
        let (run, from_ms, to_ms) = self.span()?;
        let (node, cause) = (Arc::clone(self.node()), LossCause::MemoryFull);
        Some(Loss { node, run, from_ms, to_ms, count: 1, cause, sequence: 0 })
    }

    /// Returns about how much memory the record holds, in bytes.
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
