//! PostgreSQL away, silent or locked while messages flow.

use std::thread;
use std::time::{Duration, Instant};

use super::centre::{Centre, DEADLINE, Writer, await_all, await_shared};
use super::flow::Flow;
use crate::harness::postgres::{Database, psql};
use crate::harness::{Kafka, Postgres};

/// Longer than a group waits for a writer.
const LONG: Duration = Duration::from_secs(10);
/// What is promised, once the database is back.
const BACK: Duration = Duration::from_secs(10);

/// Checks that are stored.
fn count(database: &Database) -> u64 {
    database.psql("SELECT count(*) FROM sitewatch.outcome").parse().unwrap()
}

/// How often each has been given partitions.
fn given(writers: &[&Writer]) -> Vec<usize> {
    writers.iter().map(|writer| writer.said("reading partitions")).collect()
}

#[test]
fn while_the_database_is_away_writers_wait_in_the_group() {
    let (topic, mut postgres) = (Kafka::topic(4), Postgres::start());
    let centre = Centre::new(topic.brokers(), topic.name(), &postgres);
    let flow = Flow::new(topic.brokers(), topic.name()).start(8);
    let (one, two) = (centre.writer("one"), centre.writer("two"));
    let both = [&one, &two];
    await_shared(&both, 4);
    for writer in both {
        writer.await_stored();
        writer.await_health("ok");
    }
    let before = given(&both);

    postgres.stop_hard();
    for writer in both {
        writer.await_health("store_away");
    }
    thread::sleep(LONG);
    postgres.restart();
    let (back, stored) = (Instant::now(), count(&postgres));
    one.until("storing again", BACK, || count(&postgres) > stored);
    println!("stores again {:?} after the database was back", back.elapsed());
    for writer in both {
        writer.await_stored();
        writer.await_health("ok");
        assert_eq!(writer.said("waiting for it, Kafka keeps"), 1, "{}", writer.log());
        assert_eq!(writer.said("PostgreSQL is back"), 1, "{}", writer.log());
    }

    // One that is there and says nothing.
    postgres.pause();
    thread::sleep(LONG);
    postgres.resume();
    let (back, stored) = (Instant::now(), count(&postgres));
    one.until("storing again", BACK, || count(&postgres) > stored);
    println!("stores again {:?} after the database spoke again", back.elapsed());
    assert_eq!(given(&both), before, "{}\n{}", one.log(), two.log());

    // Killed in the middle of a call, which nobody will answer any more.
    let mut other = postgres.client();
    other.batch_execute("BEGIN; LOCK TABLE sitewatch.kafka_offset").unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    one.until("waiting", DEADLINE, || postgres.psql(waiting) == "2");
    postgres.stop_hard();
    one.until("seeing that", BACK, || one.said("PostgreSQL is back") < one.said(", Kafka keeps"));
    postgres.restart();
    let (back, stored) = (Instant::now(), count(&postgres));
    one.until("storing again", BACK, || count(&postgres) > stored);
    println!("stores again {:?} after it was killed in a call", back.elapsed());
    one.await_health("ok");

    // Partitions that change hands while it is away.
    postgres.stop_hard();
    one.await_health("store_away");
    let orphans = two.partitions();
    two.kill();
    one.until("given all", DEADLINE, || one.partitions().is_superset(&orphans));
    postgres.restart();
    let flow = flow.end();
    await_all(&centre, &postgres, &one);
    one.await_health("ok");
    one.stop();
    flow.judge(&postgres);
}

#[test]
fn a_table_that_is_locked_for_long_holds_writers_back_and_no_more() {
    let (topic, database) = (Kafka::topic(4), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let flow = Flow::new(topic.brokers(), topic.name()).start(8);
    let (one, two) = (centre.writer("one"), centre.writer("two"));
    let both = [&one, &two];
    await_shared(&both, 4);
    one.await_stored();
    two.await_stored();
    let before = given(&both);
    let lock = "BEGIN; LOCK TABLE sitewatch.outcome IN ACCESS EXCLUSIVE MODE; \
                SELECT pg_sleep(20); COMMIT";
    psql(&database.url(), lock).unwrap();
    let (free, stored) = (Instant::now(), count(&database));
    one.until("storing again", BACK, || count(&database) > stored);
    println!("stores again {:?} after the lock", free.elapsed());
    let flow = flow.end();
    await_all(&centre, &database, &one);
    assert_eq!(given(&both), before, "{}\n{}", one.log(), two.log());
    one.stop();
    two.stop();
    flow.judge(&database);
}
