//! Body of `/health`.

use crate::json::Object;
use crate::model::counters::Daemon;
use crate::model::health::Health;

/// Returns the health of a daemon as a JSON object and a line feed. Every counter is there, also those that are
/// 0: whoever reads them need not know a default.
pub fn json(health: &Health) -> String {
    let mut object = Object::new();
    object.text("status", health.trouble.unwrap_or("ok"));
    object.text("version", env!("CARGO_PKG_VERSION"));
    if health.daemon != Daemon::Write {
        object.text("node", &health.node);
    }
    for counter in health.counters.of(health.daemon) {
        object.value(counter.name, counter.value);
    }
    object.end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counters::Counters;

    #[test]
    fn each_daemon_shows_its_own_counters_in_this_order() {
        let counters = Counters {
            targets: 1,
            checks: 2,
            missed: 3,
            stored: 4,
            waiting: 5,
            lost: 6,
            expired: 7,
            repeats: 8,
            dead_letters: 9,
            skipped: 10,
            stored_ms: 11,
        };
        for (daemon, want) in [
            (
                Daemon::Run,
                r#""node":"a","targets":1,"checks":2,"stored":4,"waiting":5,"missed":3,"lost":6,"expired":7,"stored_ms":11"#,
            ),
            (
                Daemon::Probe,
                r#""node":"a","targets":1,"checks":2,"sent":4,"waiting":5,"missed":3,"lost":6,"sent_ms":11"#,
            ),
            (
                Daemon::Write,
                r#""checks":2,"stored":4,"waiting":5,"repeats":8,"dead_letters":9,"skipped":10,"expired":7,"stored_ms":11"#,
            ),
        ] {
            let node = "a".to_owned();
            let mut health = Health { daemon, node, trouble: None, counters };
            let version = env!("CARGO_PKG_VERSION");
            let rest = format!(r#""version":"{version}",{want}}}"#) + "\n";
            assert_eq!(json(&health), format!(r#"{{"status":"ok",{rest}"#));
            health.trouble = Some("kafka_away");
            assert_eq!(json(&health), format!(r#"{{"status":"kafka_away",{rest}"#));
        }
    }
}
