//! What PostgreSQL has of a whole road, read by nobody's code but this, and held against what was
//! answered, what Kafka has, and what the reports say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use miniserde::json::Value;

use crate::harness::kcat::Kcat;
use crate::harness::postgres::Database;
use crate::harness::{Fields, json};
use crate::published::Published;
use crate::recount::{Made, Missed, Truth};
use crate::sites::Sites;
use crate::sqlite_rows::{Gap, Row, Stored};

/// The one node.
const NODE: &str = "edge";
/// A field of a check's record and the column of that name hold the same.
const FIELDS: [&str; 29] = [
    "target",
    "node",
    "run",
    "due_ms",
    "lag_us",
    "interval_ms",
    "verdict",
    "cause",
    "responded",
    "status",
    "status_ok",
    "match_ok",
    "dns_us",
    "connect_us",
    "tls_us",
    "first_byte_us",
    "transfer_us",
    "total_us",
    "address",
    "http",
    "redirects",
    "bytes",
    "attempts",
    "matched",
    "excerpt",
    "error",
    "cert_expires_s",
    "chain_expires_s",
    "reused",
];
const PHASES: [&str; 5] = ["dns_us", "connect_us", "tls_us", "first_byte_us", "transfer_us"];

/// All checks and gaps.
pub struct Kept {
    checks: Vec<Value>,
    gaps: Vec<Value>,
    lost: i64,
    dead: i64,
}

impl Kept {
    /// Reads it.
    pub fn read(database: &Database) -> Kept {
        let of = |table: &str| {
            let sql = format!(
                "SELECT (to_jsonb(it) || jsonb_build_object('target', target.name,
                    'node', node.name, 'url', url))::text
                 FROM sitewatch.{table} AS it JOIN sitewatch.target ON target.id = it.target_id
                 JOIN sitewatch.node ON node.id = it.node_id"
            );
            let rows = database.client().query(&sql, &[]).unwrap();
            rows.iter().map(|row| json::parse(row.get(0))).collect::<Vec<Value>>()
        };
        let count = |table: &str| {
            database.psql(&format!("SELECT count(*) FROM sitewatch.{table}")).parse().unwrap()
        };
        let (lost, dead) = (count("loss"), count("dead_letter"));
        let mut checks = of("outcome");
        checks.sort_by_key(|check| check.int("due_ms"));
        Kept { checks, gaps: of("gap"), lost, dead }
    }

    /// Every site's answers are there once and judged right, every slot of the grid is there once,
    /// and nothing else.
    #[track_caller]
    pub fn judge(&self, sites: &Sites, deadline: Duration) {
        assert_eq!((self.lost, self.dead), (0, 0));
        let stored = self.rows();
        assert_eq!(stored.targets().len(), sites.count());
        stored.is_whole(NODE);
        let keys: BTreeSet<_> = stored.checks.iter().map(|row| (&row.target, row.due_ms)).collect();
        assert_eq!(keys.len(), stored.checks.len(), "a slot is there twice");
        sites.judge(&stored, deadline);
        for check in &self.checks {
            lawful(check);
        }
    }

    /// Every check that Kafka has is there with the same content, and no other.
    #[track_caller]
    pub fn equals_kafka(&self, kcat: &Kcat, topic: &str) {
        let published = Published::read(kcat, topic);
        let key = |c: &Value| (c.text("target").to_owned(), c.int("due_ms"), c.int("run"));
        let kept: BTreeMap<_, _> = self.checks.iter().map(|check| (key(check), check)).collect();
        for sent in &published.checks {
            let found = kept.get(&key(sent)).unwrap();
            for field in FIELDS {
                assert_eq!(word(found, field), word(sent, field), "{field} of {}", text(sent));
            }
            assert_eq!(found.has("hops"), sent.has("hops"), "{}", text(sent));
        }
        assert_eq!(published.checks.len(), self.checks.len());
        assert_eq!(published.gaps.len(), self.gaps.len());
    }

    /// Holds reports of the last day against a recount.
    #[track_caller]
    pub fn recount(&self, reports: &[Value], now: i64, sites: &Sites) {
        let checks = self.checks.iter().map(|check| Made {
            target: check.text("target").to_owned(),
            node: NODE.to_owned(),
            due_ms: check.int("due_ms"),
            verdict: check.text("verdict").to_owned(),
            responded: check.flag("responded"),
            status_ok: check.has("status_ok").then(|| check.flag("status_ok")),
            match_ok: check.has("match_ok").then(|| check.flag("match_ok")),
            total_us: check.int("total_us") as u64,
        });
        let gaps = self.gaps.iter().map(|gap| Missed {
            target: gap.text("target").to_owned(),
            node: NODE.to_owned(),
            from_ms: gap.int("from_ms"),
            to_ms: gap.int("to_ms"),
        });
        let interval_ms = self.checks[0].int("interval_ms");
        let truth = Truth { now, interval_ms, checks: checks.collect(), gaps: gaps.collect() };
        let newest: BTreeMap<&str, &str> =
            self.checks.iter().map(|check| (check.text("target"), check.text("verdict"))).collect();
        assert_eq!(reports.len(), sites.count());
        for report in reports {
            truth.recount(report);
            assert_eq!(report.text("last_verdict"), newest[report.text("target")]);
        }
    }

    fn rows(&self) -> Stored {
        let optional = |check: &Value, name: &str| {
            if check.has(name) { check.text(name).to_owned() } else { String::new() }
        };
        let row = |check: &Value| Row {
            target: check.text("target").to_owned(),
            run: check.int("run"),
            due_ms: check.int("due_ms"),
            lag_us: check.int("lag_us"),
            interval_ms: check.int("interval_ms"),
            verdict: check.text("verdict").to_owned(),
            cause: optional(check, "cause"),
            matched: optional(check, "matched"),
            excerpt: optional(check, "excerpt"),
        };
        let gap = |gap: &Value| Gap {
            target: gap.text("target").to_owned(),
            from_ms: gap.int("from_ms"),
            to_ms: gap.int("to_ms"),
            count: gap.int("count"),
            interval_ms: gap.int("interval_ms"),
            cause: gap.text("cause").to_owned(),
        };
        let (checks, gaps) = (&self.checks, &self.gaps);
        Stored {
            checks: checks.iter().map(row).collect(),
            gaps: gaps.iter().map(gap).collect(),
            losses: BTreeMap::new(),
        }
    }
}

/// Phases add up, and none is there without those before it; that of TLS where there was TLS.
#[track_caller]
fn lawful(check: &Value) {
    let said = text(check);
    let is_https = check.text("url").starts_with("https:");
    let mut due: Vec<&str> =
        PHASES.into_iter().filter(|phase| is_https || *phase != "tls_us").collect();
    let reached: Vec<&str> = PHASES.into_iter().filter(|phase| check.has(phase)).collect();
    let sum: i64 = reached.iter().map(|phase| check.int(phase)).sum();
    assert_eq!(sum, check.int("total_us"), "{said}");
    assert!(due.starts_with(&reached), "{said}");
    let cause = if check.has("cause") { check.text("cause") } else { "" };
    let last = match (cause, check.text("target")) {
        ("dns" | "uplink", _) => "dns_us",
        ("connect", _) | ("timeout", "no connect") => "connect_us",
        ("timeout", "no tls") => "tls_us",
        ("timeout", "no word" | "silence") => "first_byte_us",
        ("protocol", "garbage") => *reached.last().unwrap(),
        (cause, _) if cause.starts_with("certificate") || cause == "tls" => "tls_us",
        _ => "transfer_us",
    };
    due.truncate(due.iter().position(|phase| *phase == last).unwrap() + 1);
    assert_eq!(reached, due, "{said}");
}

/// A field as JSON; empty text is none.
fn word(value: &Value, name: &str) -> Option<String> {
    value.field(name).map(text).filter(|text| text != "\"\"")
}

fn text(value: &Value) -> String {
    miniserde::json::to_string(value)
}
