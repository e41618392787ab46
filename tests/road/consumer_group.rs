//! Writers of one group while the database is away: none of them may hold up the others.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::centre::{Centre, DEADLINE, Writer, await_all, await_shared};
use super::flow::Flow;
use crate::harness::{Kafka, Postgres};

/// How many others join.
const OTHERS: usize = 3;

/// Joins the writers' group as a member of its own, which stores nothing.
fn join(centre: &Centre) -> BaseConsumer {
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &centre.brokers)
        .set("group.id", &centre.topic)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        // As long as that it may take until one that is dropped is missed.
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    member.subscribe(&[&centre.topic]).unwrap();
    member
}

/// Waits until the writer has so many partitions, while the other members go on.
#[track_caller]
fn await_count(writer: &Writer, others: &[BaseConsumer], count: usize) {
    writer.until(&format!("reading {count} partitions"), DEADLINE, || {
        for member in others {
            drop(member.poll(Duration::from_millis(10)));
        }
        writer.partitions().len() == count
    });
}

#[test]
fn a_writer_without_a_database_holds_up_nobody() {
    let (topic, mut postgres) = (Kafka::topic(4), Postgres::start());
    let centre = Centre::new(topic.brokers(), topic.name(), &postgres);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let (one, two) = (centre.writer("one"), centre.writer("two"));
    await_shared(&[&one, &two], 4);
    flow.send(200);
    await_all(&centre, &postgres, &one);

    // It is given what the other had, and cannot be told from where to read that.
    postgres.stop_hard();
    one.await_health("store_away");
    two.await_health("store_away");
    flow.send(200);
    two.kill();
    await_count(&one, &[], 4);

    // Others come all the same, and some of it is theirs; they go, and it is given again.
    let others: Vec<BaseConsumer> = (0..OTHERS).map(|_| join(&centre)).collect();
    await_count(&one, &others, 1);
    drop(others);
    await_count(&one, &[], 4);
    let others = [join(&centre)];
    await_count(&one, &others, 2);

    // What is its own by now is read from where it was stored, and the rest once that is, too.
    flow.send(200);
    let stored = one.stored();
    postgres.restart();
    one.until("storing again", DEADLINE, || one.stored() > stored);
    assert_eq!(one.partitions().len(), 2);
    drop(others);
    await_all(&centre, &postgres, &one);
    flow.judge(&postgres);
    one.stop();
}
