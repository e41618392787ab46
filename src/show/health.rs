//! Contents of `/health`: the state of the program's work, and its counters.

use crate::json::Object;

/// Kind of a daemon, and so the counters that it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// `run`
    #[default]
    Run,
    /// `probe`
    Probe,
    /// `write`
    Write,
}

/// Counters of a daemon since its start. Names are those of the JSON.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Kind of the daemon: decides which counters are shown.
    pub role: Role,
    /// Word for the trouble: `store_away`, `kafka_away`; of `write` also `clock` (this host's and the
    /// database's differ, or the checks contradict them), `store_refuses` (more than single records) and
    /// `log_damaged` (a batch in the broker's log is damaged); none: `ok`.
    pub trouble: Option<&'static str>,
    /// Name of this node; not of `write`.
    pub node: String,
    /// Targets that are watched; not of `write`.
    pub targets: u64,
    /// Checks made; of `write`: checks read.
    pub checks: u64,
    /// Slots without a check; not of `write`.
    pub missed: u64,
    /// Checks stored; of `probe`: records that Kafka has taken, shown as `sent`.
    pub stored: u64,
    /// Records that wait to be stored or sent.
    pub waiting: u64,
    /// Records that were dropped because the store or Kafka was away for too long; not of `write`.
    pub lost: u64,
    /// Of `run`: stored checks that were dropped to stay within the largest size. Of `write`: checks that
    /// came too late to be kept, and checks past their retention.
    pub expired: u64,
    /// Of `write`: checks that were stored already.
    pub repeats: u64,
    /// Of `write`: messages that could not be read, and are kept as they are.
    pub dead_letters: u64,
    /// Of `write`: records of kinds that this version does not know.
    pub skipped: u64,
    /// Last time that something was stored or sent, in milliseconds since 1970; 0: not yet.
    pub stored_ms: i64,
}

impl Health {
    /// Returns true if nothing keeps the daemon from its work.
    pub fn is_well(&self) -> bool {
        self.trouble.is_none()
    }

    /// Returns the body of `/health`: a JSON object and a line feed.
    pub fn json(&self) -> String {
        let mut object = Object::new();
        object.text("status", self.trouble.unwrap_or("ok"));
        object.text("version", env!("CARGO_PKG_VERSION"));
        if self.role != Role::Write {
            object.text("node", &self.node);
            object.value("targets", self.targets);
        }
        object.value("checks", self.checks);
        let (stored, stored_ms) = match self.role {
            Role::Probe => ("sent", "sent_ms"),
            Role::Run | Role::Write => ("stored", "stored_ms"),
        };
        object.value(stored, self.stored);
        object.value("waiting", self.waiting);
        if self.role == Role::Write {
            object.value("repeats", self.repeats);
            object.value("dead_letters", self.dead_letters);
            object.value("skipped", self.skipped);
        } else {
            object.value("missed", self.missed);
            object.value("lost", self.lost);
        }
        if self.role != Role::Probe {
            object.value("expired", self.expired);
        }
        object.value(stored_ms, self.stored_ms);
        object.end() + "\n"
    }
}
