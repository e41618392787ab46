//! What `run` has stored, read by nobody's code but this; and the grid, made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

/// A check's row.
#[derive(Debug, Clone)]
pub struct Row {
    pub target: String,
    pub run: i64,
    pub due_ms: i64,
    pub lag_us: i64,
    pub interval_ms: i64,
    pub verdict: String,
    pub cause: String,
    pub matched: String,
    pub excerpt: String,
}

impl Row {
    /// The serial that the listener put into the body, from what was matched or kept of it.
    pub fn serial(&self) -> Option<u64> {
        let text = if self.matched.is_empty() { &self.excerpt } else { &self.matched };
        let digits = text.strip_prefix("serial=")?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

/// A gap's row.
#[derive(Debug, Clone)]
pub struct Gap {
    pub target: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub count: i64,
    pub interval_ms: i64,
    pub cause: String,
}

/// The whole file, which must be sound.
#[derive(Debug)]
pub struct Stored {
    pub checks: Vec<Row>,
    pub gaps: Vec<Gap>,
    /// Lost records by cause.
    pub losses: BTreeMap<String, i64>,
}

impl Stored {
    /// Reads the file, also while it is written.
    pub fn read(path: &Path) -> Stored {
        let db = Connection::open(path).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        db.execute_batch("BEGIN").unwrap();
        let sound: String = db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let mut checks = db
            .prepare(
                "SELECT name, run, due_ms, lag_us, outcome.interval_ms, verdict, ifnull(cause, ''),
                   ifnull(matched, ''), ifnull(excerpt, '')
                 FROM outcome JOIN target ON target.id = target_id ORDER BY due_ms",
            )
            .unwrap();
        let checks = checks.query_map([], |row| {
            Ok(Row {
                target: row.get(0)?,
                run: row.get(1)?,
                due_ms: row.get(2)?,
                lag_us: row.get(3)?,
                interval_ms: row.get(4)?,
                verdict: row.get(5)?,
                cause: row.get(6)?,
                matched: row.get(7)?,
                excerpt: row.get(8)?,
            })
        });
        let mut gaps = db
            .prepare(
                "SELECT name, from_ms, to_ms, count, gap.interval_ms, cause
                 FROM gap JOIN target ON target.id = target_id ORDER BY from_ms",
            )
            .unwrap();
        let gaps = gaps.query_map([], |row| {
            Ok(Gap {
                target: row.get(0)?,
                from_ms: row.get(1)?,
                to_ms: row.get(2)?,
                count: row.get(3)?,
                interval_ms: row.get(4)?,
                cause: row.get(5)?,
            })
        });
        let mut losses = db.prepare("SELECT cause, sum(count) FROM loss GROUP BY cause").unwrap();
        let losses = losses.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        Stored {
            checks: checks.unwrap().collect::<Result<_, _>>().unwrap(),
            gaps: gaps.unwrap().collect::<Result<_, _>>().unwrap(),
            losses: losses.unwrap().collect::<Result<_, _>>().unwrap(),
        }
    }

    /// The checks of one target, by due time.
    pub fn of(&self, target: &str) -> Vec<&Row> {
        self.checks.iter().filter(|row| row.target == target).collect()
    }

    /// Every target that has a check or a gap.
    pub fn targets(&self) -> BTreeSet<&str> {
        let checks = self.checks.iter().map(|row| &*row.target);
        checks.chain(self.gaps.iter().map(|gap| &*gap.target)).collect()
    }

    /// Every due time from the first to the last of each target is there once, as a check or in
    /// a gap, and on the grid that target and node make.
    #[track_caller]
    pub fn is_whole(&self, node: &str) {
        for target in self.targets() {
            let mut due: Vec<i64> = self.of(target).iter().map(|row| row.due_ms).collect();
            let gaps = self.gaps.iter().filter(|gap| gap.target == target);
            for gap in gaps.clone() {
                let slots: Vec<i64> =
                    (gap.from_ms..=gap.to_ms).step_by(gap.interval_ms as usize).collect();
                assert_eq!(slots.len() as i64, gap.count, "{gap:?}");
                assert_eq!(slots.last(), Some(&gap.to_ms), "{gap:?}");
                due.extend(slots);
            }
            due.sort_unstable();
            let mut intervals =
                self.of(target).iter().map(|row| row.interval_ms).collect::<Vec<_>>();
            intervals.extend(gaps.map(|gap| gap.interval_ms));
            let interval = intervals[0];
            assert!(intervals.iter().all(|other| *other == interval), "{target}");
            let want: Vec<i64> = (due[0]..=due[due.len() - 1]).step_by(interval as usize).collect();
            assert_eq!(due, want, "{target}: {:?}", self.gaps);
            assert_eq!(due[0].rem_euclid(interval), phase(target, node, interval), "{target}");
        }
    }
}

/// Where the grid of a target begins: FNV-1a of target, NUL, node, modulo the interval.
pub fn phase(target: &str, node: &str, interval_ms: i64) -> i64 {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in format!("{target}\0{node}").bytes() {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    (hash % interval_ms as u64) as i64
}
