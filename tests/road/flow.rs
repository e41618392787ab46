//! Checks made by hand and published by a stranger: each has its number in `total_us`, so that
//! what is stored can be held against what was sent.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::kcat::Kcat;
use crate::harness::postgres::Database;

/// Targets that are checked at any time, and how many checks are made before others are.
const TARGETS: u64 = 40;
const GENERATION: u64 = 400;
/// How often the next few are sent.
const PAUSE: Duration = Duration::from_millis(50);

/// The checks of one topic.
pub struct Flow {
    kcat: Kcat,
    topic: String,
    /// When number 0 was due; each is due a millisecond after the one before.
    first_ms: i64,
    /// How many were sent.
    pub sent: u64,
}

impl Flow {
    /// Nothing is sent yet.
    pub fn new(brokers: &str, topic: &str) -> Flow {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let kcat = Kcat::new(brokers).set("linger.ms", "0");
        Flow { kcat, topic: topic.into(), first_ms: now - 600_000, sent: 0 }
    }

    /// From now on checks are due so much earlier; later if that is negative.
    pub fn shift_back(&mut self, ms: i64) {
        self.first_ms -= ms;
    }

    /// Sends so many more, and returns when the broker has them.
    #[track_caller]
    pub fn send(&mut self, count: u64) {
        let numbers = self.sent..self.sent + count;
        let records: Vec<(String, String)> = numbers.map(|n| self.record(n)).collect();
        self.kcat.produce(&self.topic, &records).unwrap();
        self.sent += count;
    }

    /// Key and payload of a number.
    fn record(&self, number: u64) -> (String, String) {
        let (target, due_ms) = (target(number), self.first_ms + number as i64);
        let json = format!(
            r#"{{"v":1,"kind":"check","node":"far","run":7,"target":"{target}","due_ms":{due_ms},"lag_us":0,"interval_ms":1000,"verdict":"up","responded":true,"status":200,"status_ok":true,"first_byte_us":{number},"total_us":{number},"redirects":0,"bytes":3,"attempts":1}}"#
        );
        (target, json)
    }

    /// Goes on sending a few at a time until it is told to end.
    pub fn start(mut self, at_once: u64) -> Flowing {
        let told = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&told);
        let sending = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                self.send(at_once);
                thread::sleep(PAUSE);
            }
            self
        });
        Flowing { told, sending }
    }

    /// Every number that was sent is stored once, and no other.
    #[track_caller]
    pub fn judge(&self, database: &Database) {
        self.judge_without(database, 0..0);
    }

    /// The same, but that those before a number were deleted.
    #[track_caller]
    pub fn judge_from(&self, database: &Database, number: u64) {
        self.judge_without(database, 0..number);
    }

    /// The same, but that these numbers are not stored.
    #[track_caller]
    pub fn judge_without(&self, database: &Database, lost: Range<u64>) {
        let sql = "SELECT total_us, due_ms, name FROM sitewatch.outcome
                   JOIN sitewatch.target ON id = target_id ORDER BY total_us";
        let rows = database.client().query(sql, &[]).unwrap();
        let mut want = (0..self.sent).filter(|number| !lost.contains(number));
        for row in &rows {
            let (number, due_ms, name): (i64, i64, String) = (row.get(0), row.get(1), row.get(2));
            assert_eq!(Some(number as u64), want.next(), "lost if greater, twice if less");
            assert_eq!((due_ms, name), (self.first_ms + number, target(number as u64)));
        }
        assert_eq!(want.next(), None, "the last ones are lost");
    }
}

/// Whose check a number is.
fn target(number: u64) -> String {
    format!("t{}-{}", number / GENERATION, number % TARGETS)
}

/// A flow that goes on.
pub struct Flowing {
    told: Arc<AtomicBool>,
    sending: JoinHandle<Flow>,
}

impl Flowing {
    /// Ends it.
    #[track_caller]
    pub fn end(self) -> Flow {
        self.told.store(true, Ordering::Relaxed);
        self.sending.join().unwrap()
    }
}
