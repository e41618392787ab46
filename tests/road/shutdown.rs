//! Writers that are told to stop, whatever is away just then.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::centre::{Centre, DEADLINE, Writer, await_all, await_shared};
use super::flow::Flow;
use crate::harness::binary::Output;
use crate::harness::postgres::Database;
use crate::harness::{Fields, Kafka, Postgres};

/// How long it may take, beside `stop_timeout`.
const MORE: Duration = Duration::from_secs(1);
/// `stop_timeout` in all of these.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it says of 100 checks that were not stored.
const LEFT: &str = "100 records not stored: PostgreSQL is away; Kafka still has them";

/// Writers that gather for long, so that there is something to be stored in the end.
fn centre(brokers: &str, topic: &str, database: &Database) -> Centre {
    let mut centre = Centre::new(brokers, topic, database);
    centre.more = "[write]\nbatch_age = '30s'\n[probe]\nstop_timeout = '2s'\n".to_owned();
    centre
}

/// Waits until it has read so many checks, and stored none of them.
#[track_caller]
fn await_read(writer: &Writer, count: i64) {
    writer.until("reading", DEADLINE, || {
        writer.health().is_some_and(|(_, health)| health.int("checks") >= count)
    });
}

/// Tells it to stop; how long that took.
#[track_caller]
fn stopped(mut writer: Writer) -> (Output, Duration) {
    let told = Instant::now();
    writer.running.signal(Signal::TERM);
    let done = writer.running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    (done, told.elapsed())
}

#[test]
fn what_was_read_is_stored_before_the_end() {
    let (topic, database) = (Kafka::topic(3), Postgres::database());
    let centre = centre(topic.brokers(), topic.name(), &database);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(500);
    await_read(&one, 500);
    assert_eq!(one.stored(), 0);
    let (done, took) = stopped(one);
    assert!(done.stderr.trim_end().ends_with("INFO  stopped"), "{done:?}");
    assert!(took < PATIENCE, "{took:?}");
    flow.judge(&database);
}

#[test]
fn with_the_database_away_it_ends_in_time_and_kafka_has_it_all() {
    let (topic, mut postgres) = (Kafka::topic(4), Postgres::start());
    let centre = centre(topic.brokers(), topic.name(), &postgres);
    let mut flow = Flow::new(topic.brokers(), topic.name());

    // Refused, with something to be stored.
    let one = centre.writer("one");
    flow.send(100);
    await_read(&one, 100);
    postgres.stop_hard();
    one.await_health("store_away");
    let (done, took) = stopped(one);
    assert!(took >= PATIENCE && took < PATIENCE + MORE, "{took:?}");
    assert!(
        done.stderr.contains("100 records not stored: PostgreSQL is away; Kafka still has them")
    );

    // Refused from the start: there is nothing to wait for.
    let one = centre.writer("one");
    one.await_health("store_away");
    let (_, took) = stopped(one);
    assert!(took < MORE, "{took:?}");

    // Silent.
    postgres.restart();
    let one = centre.writer("one");
    await_read(&one, 100);
    postgres.pause();
    let (done, took) = stopped(one);
    assert!(took >= PATIENCE && took < PATIENCE + MORE, "{took:?}");
    assert!(done.stderr.contains(LEFT), "{done:?}");
    assert!(!done.stderr.contains("waiting for it"), "{done:?}");
    postgres.resume();

    // Given partitions that it cannot take over.
    let (one, two) = (centre.writer("one"), centre.writer("two"));
    await_shared(&[&one, &two], 4);
    postgres.stop_hard();
    one.await_health("store_away");
    two.await_health("store_away");
    let orphans = two.partitions();
    two.kill();
    one.until("given all", DEADLINE, || one.partitions().is_superset(&orphans));
    let (_, took) = stopped(one);
    assert!(took < PATIENCE + MORE, "{took:?}");

    postgres.restart();
    let centre = Centre::new(topic.brokers(), topic.name(), &postgres);
    let one = centre.writer("one");
    await_all(&centre, &postgres, &one);
    flow.judge(&postgres);
}

#[test]
fn with_kafka_silent_it_ends_in_time_too() {
    let (mut kafka, database) = (Kafka::start(), Postgres::database());
    kafka.create_topic("t", 3).unwrap();
    let centre = centre(&kafka.brokers(), "t", &database);
    let mut flow = Flow::new(&kafka.brokers(), "t");
    let one = centre.writer("one");
    flow.send(100);
    await_read(&one, 100);
    kafka.pause();
    one.await_health("kafka_away");
    let (_, took) = stopped(one);
    assert!(took < PATIENCE + MORE, "{took:?}");
    flow.judge(&database);
    let one = centre.writer("one");
    one.await_health("kafka_away");
    let (_, took) = stopped(one);
    assert!(took < PATIENCE + MORE, "{took:?}");
    kafka.stop_hard();
    let one = centre.writer("one");
    one.await_health("kafka_away");
    let (_, took) = stopped(one);
    assert!(took < PATIENCE + MORE, "{took:?}");
}

#[test]
fn told_twice_it_leaves_at_once() {
    let (topic, mut postgres) = (Kafka::topic(3), Postgres::start());
    let mut centre = centre(topic.brokers(), topic.name(), &postgres);
    centre.more = centre.more.replace("'2s'", "'60s'");
    let mut flow = Flow::new(topic.brokers(), topic.name());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut one = centre.writer("one");
        flow.send(100);
        await_read(&one, 100);
        postgres.stop_hard();
        one.running.signal(signal);
        one.running.await_stderr("a second signal leaves at once", DEADLINE);
        // One that comes within a tenth of a second is the first one's echo.
        thread::sleep(Duration::from_millis(150));
        let told = Instant::now();
        one.running.signal(signal);
        let done = one.running.wait(DEADLINE);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(told.elapsed() < MORE, "{:?}", told.elapsed());
        postgres.restart();
    }
}
