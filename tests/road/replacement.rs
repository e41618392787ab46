//! A writer that was killed is replaced.

use std::time::{Duration, Instant};

use super::centre::{Centre, await_all, await_shared, marks};
use super::flow::Flow;
use crate::harness::{Kafka, Postgres};

/// What is promised, from the kill to the first row.
const REPLACED: Duration = Duration::from_secs(15);

#[test]
fn a_writer_that_was_killed_is_replaced_within_15_s() {
    let (topic, database) = (Kafka::topic(4), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let flow = Flow::new(topic.brokers(), topic.name()).start(8);
    let (one, two) = (centre.writer("one"), centre.writer("two"));
    await_shared(&[&one, &two], 4);
    one.await_stored();
    two.await_stored();
    let orphans = one.partitions();
    let killed = Instant::now();
    one.kill();
    let before = marks(&database);
    // A transaction that was under way may still come to its end.
    two.until("replacing", REPLACED, || two.partitions().is_superset(&orphans));
    let taken = marks(&database);
    two.until("storing for the other", REPLACED.saturating_sub(killed.elapsed()), || {
        marks(&database).iter().any(|(id, next)| orphans.contains(id) && *next > taken[id])
    });
    println!("replaced within {:?}; {before:?} {taken:?}", killed.elapsed());
    let flow = flow.end();
    await_all(&centre, &database, &two);
    two.stop();
    flow.judge(&database);
}
