//! The whole road, from the checks to the figures, while everything on it falls again and again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use miniserde::json::{Array, Value};
use postgres::Client;
use rustix::process::Signal;

use super::centre::{Centre, DEADLINE, Writer, await_all, await_shared};
use crate::fixtures::postgres_rows::Kept;
use crate::fixtures::sites::Sites;
use crate::harness::binary::Running;
use crate::harness::postgres::Database;
use crate::harness::{Kafka, Postgres, Sitewatch, certs, json};

const TOPIC: &str = "checks";
const PARTITIONS: usize = 6;
/// Targets of the plainest kind, beside one of each kind.
const PLAIN: usize = 40;
/// A check that was made after the last fault is stored within this.
const FRESH: Duration = Duration::from_secs(30);

/// How many writers are killed; the other faults come along in proportion.
fn rounds() -> usize {
    std::env::var("FAULT_ROUNDS").map_or(20, |count| count.parse().unwrap())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The two writers, and those to come.
struct Pair<'a> {
    centre: &'a Centre,
    looking: Client,
    writers: [Writer; 2],
}

const NAMES: [&str; 2] = ["one", "two"];
/// Where writers are killed: before they can touch one of these, or at any moment.
const STEPS: [Option<&str>; 5] =
    [None, Some("kafka_offset"), Some("outcome"), Some("state"), Some("node")];

impl Pair<'_> {
    /// Waits until that one is in the middle of a transaction.
    #[track_caller]
    fn await_batch(&mut self, which: usize) {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1
                   AND xact_start IS NOT NULL AND state <> 'idle'";
        self.await_activity(which, sql);
    }

    #[track_caller]
    fn await_activity(&mut self, which: usize, sql: &str) {
        let (looking, writer) = (&mut self.looking, &self.writers[which]);
        writer.until("in mid-batch", DEADLINE, || {
            !looking.query(sql, &[&NAMES[which]]).unwrap().is_empty()
        });
    }

    /// Kills that one in mid-batch, at a step that is held up or at any, and starts another.
    #[track_caller]
    fn kill(&mut self, database: &Database, which: usize, number: usize) {
        let Some(table) = STEPS[number % STEPS.len()] else {
            self.await_batch(which);
            return self.replace(which);
        };
        // By another connection: in a transaction it would see the same activity for ever.
        let mut other = database.client();
        let lock = format!("BEGIN; LOCK TABLE sitewatch.{table} IN ACCESS EXCLUSIVE MODE");
        other.batch_execute(&lock).unwrap();
        let sql = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE application_name = $1 AND NOT granted AND xact_start IS NOT NULL";
        self.await_activity(which, sql);
        self.replace(which);
    }

    #[track_caller]
    fn replace(&mut self, which: usize) {
        self.writers[which].running.signal(Signal::KILL);
        self.writers[which] = self.centre.writer(NAMES[which]);
    }

    /// Waits until both store.
    #[track_caller]
    fn at_work(&self) {
        for writer in &self.writers {
            writer.await_stored();
        }
    }

    /// Stops that one where it stands, in mid-batch, for longer than the group waits for it.
    #[track_caller]
    fn freeze(&mut self, which: usize) {
        await_shared(&[&self.writers[0], &self.writers[1]], PARTITIONS);
        self.await_batch(which);
        self.writers[which].running.signal(Signal::STOP);
        let orphans = self.writers[which].partitions();
        let other = &self.writers[1 - which];
        other.until("taking over", DEADLINE, || other.partitions().is_superset(&orphans));
        other.await_stored();
        self.writers[which].running.signal(Signal::CONT);
        self.at_work();
    }
}

fn probe(sites: &Sites, kafka: &Kafka) -> Running {
    let config = format!(
        "node = 'edge'\n[defaults]\ninterval = '2s'\ntimeout = '1900ms'\nca_file = '{}'\n\
         [kafka]\nbrokers = ['{}']\ntopic = '{TOPIC}'\n{}",
        certs::ca_file().display(),
        kafka.brokers(),
        sites.toml()
    );
    let mut probe = Sitewatch::new().file("c.toml", config).args(["probe", "-c", "c.toml"]).spawn();
    probe.await_stderr("watching", DEADLINE);
    probe
}

/// The due time of the newest check that is stored.
fn newest(database: &Database) -> i64 {
    database.psql("SELECT coalesce(max(due_ms), 0) FROM sitewatch.outcome").parse().unwrap()
}

/// Breaks what is broken in this of ten rounds, and waits until the writers are at work again.
fn break_servers(
    round: usize,
    first: usize,
    pair: &mut Pair<'_>,
    kafka: &mut Kafka,
    postgres: &mut Postgres,
) {
    match round {
        2 => {
            pair.await_batch(first);
            postgres.stop_hard();
            postgres.restart();
            pair.looking = postgres.client();
            pair.at_work();
        }
        5 => {
            kafka.stop_hard();
            kafka.restart();
            pair.at_work();
        }
        7 => {
            // Everything at once.
            postgres.stop_hard();
            kafka.stop_hard();
            pair.replace(1 - first);
            kafka.restart();
            postgres.restart();
            pair.looking = postgres.client();
            pair.at_work();
        }
        8 => pair.freeze(first),
        _ => {}
    }
}

#[test]
fn whatever_falls_every_check_is_stored_once() {
    let (sites, began) = (Sites::new(PLAIN), Instant::now());
    let (mut kafka, mut postgres) = (Kafka::start(), Postgres::start());
    kafka.create_topic(TOPIC, PARTITIONS as i32).unwrap();
    let centre = Centre::new(&kafka.brokers(), TOPIC, &postgres);
    let mut probe = probe(&sites, &kafka);
    let writers = NAMES.map(|name| centre.writer(name));
    let mut pair = Pair { centre: &centre, looking: postgres.client(), writers };
    let mut killed = 0;
    while killed < rounds() {
        pair.at_work();
        let first = killed / 2 % 2;
        break_servers(killed / 2 % 10, first, &mut pair, &mut kafka, &mut postgres);
        println!("{:?}: {killed} killed", began.elapsed());
        pair.kill(&postgres, first, killed);
        pair.kill(&postgres, 1 - first, killed + 1);
        killed += 2;
    }
    let over = now_ms();
    pair.writers[0].until("a fresh check", FRESH, || newest(&postgres) > over);
    println!("{:?}: fresh again after {} ms", began.elapsed(), now_ms() - over);
    pair.at_work();

    probe.signal(Signal::TERM);
    let done = probe.wait(DEADLINE);
    assert!(done.code == Some(0) && done.stderr.contains("everything is delivered"), "{done:?}");
    await_all(&centre, &postgres, &pair.writers[0]);
    for writer in pair.writers {
        writer.stop();
    }
    let torn = postgres.log().matches("with an open transaction").count();
    assert!(4 * torn >= 3 * killed, "only {torn} of {killed} were killed in mid-batch");
    let kept = Kept::read(&postgres);
    kept.judge(&sites, DEADLINE);
    kept.equals_kafka(&kafka.kcat(), TOPIC);

    let asked = now_ms();
    let status = Sitewatch::new().file("c.toml", centre.config("status", 1));
    let words = ["status", "-c", "c.toml", "--format", "json", "--store", "postgres"];
    let done = status.args(words).run();
    let Value::Array(reports) = json::parse(&done.stdout) else { panic!("{done:?}") };
    kept.recount(&reports, asked, &sites);
    for nodes in ["IS NULL", "= 'edge'"] {
        kept.recount(&view(&postgres, nodes), asked, &sites);
    }
    let count = |from: &str| postgres.psql(&format!("SELECT count(*) FROM sitewatch.{from}"));
    assert_eq!(count("checks"), count("outcome"));
    println!("{:?} in all, {torn} of {killed} killed in a transaction", began.elapsed());
}

/// The view of the last day, as `status` would give it.
fn view(database: &Database, nodes: &str) -> Array {
    let time = r#"'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'"#;
    let lines = database.psql(&format!(
        "SELECT to_jsonb(report_now) || jsonb_build_object(
            'window_start', to_char(window_start AT TIME ZONE 'UTC', {time}),
            'window_end', to_char(window_end AT TIME ZONE 'UTC', {time}))
         FROM sitewatch.report_now WHERE node {nodes}"
    ));
    json::lines(&lines).into_iter().collect()
}
