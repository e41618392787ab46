//! The road from Kafka into PostgreSQL under every fault: `write` as a program between a real
//! broker and a real server, judged by what was put into the one and what stands in the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use miniserde::json::Value;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataPartition;
use rustix::process::Signal;

use super::flow::Flow;
use crate::harness::binary::{Output, Running};
use crate::harness::daemon::free_port;
use crate::harness::kafka::Topic;
use crate::harness::postgres::{Database, psql};
use crate::harness::{Client, Fields, Kafka, Postgres, Sitewatch, json};

/// For what is not judged by its time.
pub const DEADLINE: Duration = Duration::from_secs(40);
/// How long an answer of `/health` may take.
const SOON: Duration = Duration::from_secs(2);
/// How often a writer is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// What writers have in common.
pub struct Centre {
    pub brokers: String,
    pub topic: String,
    pub url: String,
    /// Further keys of `[kafka]` and `[postgres]`.
    pub kafka: String,
    pub postgres: String,
    /// Further tables of their configuration.
    pub more: String,
    /// The file that tells their clock, if any.
    pub clock: Option<PathBuf>,
}

impl Centre {
    /// Writers that store small batches at once, so that there is always one under way.
    pub fn new(brokers: &str, topic: &str, database: &Database) -> Centre {
        let more = "[write]\nbatch_max = 20\nbatch_age = '100ms'\n".to_owned();
        let (brokers, topic, url) = (brokers.into(), topic.into(), database.url());
        let (kafka, postgres) = (String::new(), String::new());
        Centre { brokers, topic, url, kafka, postgres, more, clock: None }
    }

    /// A writer's configuration; the database knows it by its name.
    pub fn config(&self, name: &str, port: u16) -> String {
        let Centre { brokers, topic, url, kafka, postgres, more, .. } = self;
        format!(
            "[kafka]\nbrokers = ['{brokers}']\ntopic = '{topic}'\ngroup = '{topic}'\n{kafka}\
             [postgres]\nurl = '{url}&application_name={name}'\n{postgres}\
             [serve]\nlisten = '127.0.0.1:{port}'\n{more}"
        )
    }

    /// A writer that has just been started.
    pub fn writer(&self, name: &str) -> Writer {
        let port = free_port();
        let command = Sitewatch::new().file("c.toml", self.config(name, port));
        let command = match &self.clock {
            Some(file) => command.env("SITEWATCH_CLOCK", file),
            None => command,
        };
        let running = command.args(["write", "-c", "c.toml"]).spawn();
        Writer { running, name: name.to_owned(), port }
    }

    /// One past the last offset of each partition that holds something.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        let asking: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let topics = asking.fetch_metadata(Some(&self.topic), DEADLINE).unwrap();
        let partitions = topics.topics()[0].partitions().iter().map(MetadataPartition::id);
        let end = |id| asking.fetch_watermarks(&self.topic, id, DEADLINE).unwrap().1;
        partitions.map(|id| (id, end(id))).filter(|(_, end)| *end > 0).collect()
    }
}

/// An empty topic and an empty database of a test, writers to start between them, and checks to send.
pub struct Road {
    pub database: Database,
    pub centre: Centre,
    pub flow: Flow,
    /// Removed when dropped.
    _topic: Topic,
}

impl Road {
    /// Makes a topic with so many partitions, and a database.
    pub fn new(partitions: i32) -> Road {
        let (topic, database) = (Kafka::topic(partitions), Postgres::database());
        let centre = Centre::new(topic.brokers(), topic.name(), &database);
        let flow = Flow::new(topic.brokers(), topic.name());
        Road { database, centre, flow, _topic: topic }
    }

    /// Starts the writer `one`, sends so many checks, and waits until it has stored them.
    #[track_caller]
    pub fn store_first(&mut self, count: u64) -> Writer {
        let one = self.centre.writer("one");
        self.flow.send(count);
        self.await_all(&one);
        one
    }

    /// Waits until everything that Kafka has is stored; the log shown otherwise is that writer's.
    #[track_caller]
    pub fn await_all(&self, writer: &Writer) {
        await_all(&self.centre, &self.database, writer);
    }
}

/// A writer under way; killed on drop.
pub struct Writer {
    pub running: Running,
    pub name: String,
    pub port: u16,
}

impl Writer {
    /// Status and body of `/health`; none: it does not listen yet.
    pub fn health(&self) -> Option<(u32, Value)> {
        let got =
            Client::new().timeout(SOON).get(&format!("http://127.0.0.1:{}/health", self.port));
        (got.code == 0).then(|| (got.status, json::parse(&got.text())))
    }

    /// How many checks it has stored; 0 while it does not answer.
    pub fn stored(&self) -> i64 {
        self.health().map_or(0, |(_, health)| health.int("stored"))
    }

    /// Waits for something, and panics with its log if that does not come.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Duration {
        let start = Instant::now();
        while !is_so() {
            let log = self.log();
            assert!(start.elapsed() < deadline, "{}: not {what} in {deadline:?}: {log}", self.name);
            thread::sleep(PAUSE);
        }
        start.elapsed()
    }

    /// Waits until `/health` says so: `ok` with 200, anything else with 503.
    #[track_caller]
    pub fn await_health(&self, word: &str) {
        self.until(&format!("{word} in /health"), DEADLINE, || {
            let Some((status, health)) = self.health() else { return false };
            assert_eq!(status, if health.text("status") == "ok" { 200 } else { 503 });
            health.text("status") == word
        });
    }

    /// Waits until it has stored something more.
    #[track_caller]
    pub fn await_stored(&self) {
        let before = self.stored();
        self.until("storing", DEADLINE, || self.stored() > before);
    }

    /// The partitions that it reads, as it says.
    pub fn partitions(&self) -> BTreeSet<i32> {
        let mut partitions = BTreeSet::new();
        for line in self.log().lines() {
            let Some((before, list)) = line.split_once("reading partitions [") else { continue };
            for number in list.trim_end_matches(']').split(", ") {
                let number = number.parse().unwrap();
                if before.ends_with("no longer ") {
                    partitions.remove(&number);
                } else {
                    partitions.insert(number);
                }
            }
        }
        partitions
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.running.stderr()
    }

    /// How often it has logged these words.
    pub fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Kills it where it stands.
    #[track_caller]
    pub fn kill(mut self) -> Output {
        self.running.signal(Signal::KILL);
        self.running.wait(DEADLINE)
    }

    /// Tells it to stop, which it must do cleanly.
    #[track_caller]
    pub fn stop(mut self) -> Output {
        self.running.signal(Signal::TERM);
        let done = self.running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stderr.contains("stopped"), "{done:?}");
        done
    }
}

/// The next offset to read of each partition, as PostgreSQL has it; none while there is no table.
pub fn marks(database: &Database) -> BTreeMap<i32, i64> {
    let rows = psql(&database.url(), "SELECT partition, next FROM sitewatch.kafka_offset");
    let rows = rows.unwrap_or_default();
    let mark = |line: &str| {
        let (partition, next) = line.split_once('|').unwrap();
        (partition.parse().unwrap(), next.parse().unwrap())
    };
    rows.lines().map(mark).collect()
}

/// Waits until everything that Kafka has is stored; the log shown otherwise is that writer's.
#[track_caller]
pub fn await_all(centre: &Centre, database: &Database, writer: &Writer) {
    let ends = centre.ends();
    writer.until(&format!("up to {ends:?}"), DEADLINE, || marks(database) == ends);
}

/// Waits until these writers share all partitions of the topic, which has so many.
#[track_caller]
pub fn await_shared(writers: &[&Writer], count: usize) {
    writers[0].until("sharing", DEADLINE, || {
        let each: Vec<BTreeSet<i32>> = writers.iter().map(|writer| writer.partitions()).collect();
        let all: BTreeSet<i32> = each.iter().flatten().copied().collect();
        let sum: usize = each.iter().map(BTreeSet::len).sum();
        !each.iter().any(BTreeSet::is_empty) && (sum, all.len()) == (count, count)
    });
}
