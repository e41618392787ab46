//! Counters of a daemon: the one list of their names and help texts, from which pages are written.

/// Kind of a daemon, and so the counters that it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Daemon {
    /// `run`
    #[default]
    Run,
    /// `probe`
    Probe,
    /// `write`
    Write,
}

/// Values of a daemon's counters since its start. Their meanings stand in [`Counters::of`]; those that a daemon
/// does not have stay 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Counters::of` has a help text for each")]
pub struct Counters {
    pub targets: u64,
    pub checks: u64,
    pub missed: u64,
    pub stored: u64,
    pub waiting: u64,
    pub lost: u64,
    pub expired: u64,
    pub repeats: u64,
    pub dead_letters: u64,
    pub skipped: u64,
    pub stored_ms: i64,
}

/// Meaning of a counter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Number that only grows until the daemon ends.
    Total,
    /// Number that grows and shrinks.
    Gauge,
    /// Time in milliseconds since 1970; 0: not yet. The counter's name ends in `_ms`.
    TimeMs,
}

/// One counter, as pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Name, the key in `/health`: lower-case letters and underscores.
    pub name: &'static str,
    /// Meaning of the value.
    pub kind: Kind,
    /// One line for people, without a full stop.
    pub help: &'static str,
    /// Present value.
    pub value: i64,
}

impl Counters {
    /// Returns the counters that `daemon` has, in the order of `/health`.
    pub fn of(self, daemon: Daemon) -> impl Iterator<Item = Counter> {
        use Daemon::{Probe, Run, Write};

        // A field that this list leaves out is an unused variable, which the build denies.
        let Counters {
            targets,
            checks,
            missed,
            stored,
            waiting,
            lost,
            expired,
            repeats,
            dead_letters,
            skipped,
            stored_ms,
        } = self;
        let list: [(&[Daemon], Counter); 17] = [
            (&[Run, Probe], gauge("targets", targets, "Targets that are watched")),
            (&[Run, Probe], total("checks", checks, "Checks made")),
            (&[Write], total("checks", checks, "Checks read from Kafka")),
            (&[Run, Write], total("stored", stored, "Checks stored")),
            (&[Probe], total("sent", stored, "Records that Kafka has taken")),
            (&[Run, Write], gauge("waiting", waiting, "Records that wait to be stored")),
            (&[Probe], gauge("waiting", waiting, "Records that wait to be sent")),
            (&[Write], total("repeats", repeats, "Checks read that were stored already")),
            (
                &[Write],
                total("dead_letters", dead_letters, "Messages kept as they are: unreadable"),
            ),
            (&[Write], total("skipped", skipped, "Records of kinds unknown to this version")),
            (&[Run, Probe], total("missed", missed, "Slots without a check")),
            (&[Run], total("lost", lost, "Records dropped: the store was away for too long")),
            (&[Probe], total("lost", lost, "Records dropped: Kafka took none for too long")),
            (&[Run], total("expired", expired, "Stored checks dropped to stay within max_size")),
            (&[Write], total("expired", expired, "Checks past their retention, and too late ones")),
            (&[Run, Write], time("stored_ms", stored_ms, "Last time that records were stored")),
            (&[Probe], time("sent_ms", stored_ms, "Last time that Kafka took a record")),
        ];
        let own = list.into_iter().filter(move |(daemons, _)| daemons.contains(&daemon));
        own.map(|(_, counter)| counter)
    }
}

fn total(name: &'static str, value: u64, help: &'static str) -> Counter {
    Counter { name, kind: Kind::Total, help, value: i64::try_from(value).unwrap_or(i64::MAX) }
}

fn gauge(name: &'static str, value: u64, help: &'static str) -> Counter {
    Counter { kind: Kind::Gauge, ..total(name, value, help) }
}

fn time(name: &'static str, value: i64, help: &'static str) -> Counter {
    Counter { name, kind: Kind::TimeMs, help, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMONS: [Daemon; 3] = [Daemon::Run, Daemon::Probe, Daemon::Write];

    #[test]
    fn every_name_is_there_once() {
        for daemon in DAEMONS {
            let mut names: Vec<&str> =
                Counters::default().of(daemon).map(|counter| counter.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{daemon:?}: {names:?}");
        }
    }

    #[test]
    fn names_and_help_texts_fit_any_page() {
        for daemon in DAEMONS {
            for Counter { name, kind, help, .. } in Counters::default().of(daemon) {
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
                assert_eq!(name.ends_with("_ms"), kind == Kind::TimeMs, "{name}");
                assert!(help.starts_with(char::is_uppercase) && !help.ends_with('.'), "{help}");
                assert!(!help.contains(['\n', '\\', '"']), "{help}");
            }
        }
    }
}
