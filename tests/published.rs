//! What `probe` has published, as a stranger reads it: kcat, and JSON by nobody's code of ours.

use std::collections::{BTreeMap, BTreeSet};

use miniserde::json::Value;

use crate::harness::kcat::Kcat;
use crate::harness::{Fields, json};
use crate::sqlite_rows::{Gap, Row, Stored};

/// Longest record, in bytes.
pub const RECORD_MAX: usize = 64 * 1024;

/// A topic's records by kind, each parsed; those with a key of their own once.
#[derive(Default)]
pub struct Published {
    pub checks: Vec<Value>,
    pub gaps: Vec<Value>,
    pub losses: Vec<Value>,
    pub nodes: Vec<Value>,
    pub targets: Vec<Value>,
    /// Records that came again, each like the first.
    pub repeats: usize,
    /// The kind of each key's first record.
    pub first: BTreeMap<String, String>,
    /// The longest one, in bytes.
    pub longest: usize,
    /// Everything, one a line.
    pub text: String,
}

impl Published {
    /// Reads the whole topic. Every record must be what all records are.
    #[track_caller]
    pub fn read(kcat: &Kcat, topic: &str) -> Published {
        let mut published = Published::default();
        let (mut known, mut partitions) = (BTreeMap::new(), BTreeMap::new());
        for record in kcat.consume(topic).unwrap() {
            let text = String::from_utf8(record.payload).unwrap();
            assert!(text.len() <= RECORD_MAX, "{} bytes: {text}", text.len());
            published.longest = published.longest.max(text.len());
            published.text += &format!("{text}\n");
            assert!(!text.contains(['\n', '\0']), "{text}");
            let value = json::parse(&text);
            assert_eq!((value.int("v"), value.text("node")), (1, "edge"), "{text}");
            let (run, kind) = (value.int("run"), value.text("kind").to_owned());
            assert!((0..1 << 31).contains(&run), "{text}");
            let owner = if value.has("target") { "target" } else { "node" };
            let owner = value.text(owner).to_owned();
            assert_eq!(record.key, owner.as_bytes(), "{text}");
            let partition = *partitions.entry(record.key).or_insert(record.partition);
            assert_eq!(partition, record.partition, "two partitions for {owner}");
            published.first.entry(owner.clone()).or_insert(kind.clone());
            let (list, when) = match kind.as_str() {
                "check" => (&mut published.checks, "due_ms"),
                "gap" => (&mut published.gaps, "from_ms"),
                "loss" => (&mut published.losses, "from_ms"),
                "node" => (&mut published.nodes, "sent_ms"),
                "target" => (&mut published.targets, "sent_ms"),
                _ => panic!("{text}"),
            };
            assert_eq!(value.has("target"), !["loss", "node"].contains(&&*kind), "{text}");
            let key = (kind, owner, value.int(when), run);
            match known.get(&key) {
                Some(before) => {
                    assert_eq!(*before, text, "two records of one key");
                    published.repeats += 1;
                }
                None => {
                    known.insert(key, text);
                    list.push(value);
                }
            }
        }
        published
    }

    /// The checks of one target, by due time.
    pub fn of(&self, target: &str) -> Vec<&Value> {
        let mut of: Vec<_> = self.checks.iter().filter(|c| c.text("target") == target).collect();
        of.sort_by_key(|check| check.int("due_ms"));
        of
    }

    /// The same as rows, to be judged like those of a store.
    pub fn rows(&self) -> Stored {
        let text = |value: &Value, name| {
            if value.has(name) { value.text(name).to_owned() } else { String::new() }
        };
        let mut checks: Vec<Row> = Vec::new();
        for check in &self.checks {
            checks.push(Row {
                target: text(check, "target"),
                run: check.int("run"),
                due_ms: check.int("due_ms"),
                lag_us: check.int("lag_us"),
                interval_ms: check.int("interval_ms"),
                verdict: text(check, "verdict"),
                cause: text(check, "cause"),
                matched: text(check, "matched"),
                excerpt: text(check, "excerpt"),
            });
        }
        checks.sort_by_key(|row| row.due_ms);
        let gap = |gap: &Value| Gap {
            target: text(gap, "target"),
            from_ms: gap.int("from_ms"),
            to_ms: gap.int("to_ms"),
            count: gap.int("count"),
            interval_ms: gap.int("interval_ms"),
            cause: text(gap, "cause"),
        };
        let mut losses = BTreeMap::new();
        for loss in &self.losses {
            *losses.entry(text(loss, "cause")).or_default() += loss.int("count");
        }
        Stored { checks, gaps: self.gaps.iter().map(gap).collect(), losses }
    }

    /// The serials that the checks of one target hold, each once.
    #[track_caller]
    pub fn serials(&self, target: &str) -> BTreeSet<u64> {
        once(self.rows().of(target))
    }

    /// Those of all targets.
    #[track_caller]
    pub fn all_serials(&self) -> BTreeSet<u64> {
        once(self.rows().checks.iter().collect())
    }
}

#[track_caller]
fn once(rows: Vec<&Row>) -> BTreeSet<u64> {
    let all: Vec<u64> = rows.iter().map(|row| row.serial().unwrap()).collect();
    let once: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "one answer is in two checks");
    once
}
