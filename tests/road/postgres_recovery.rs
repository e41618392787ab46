//! PostgreSQL restored to an older state: the offsets stand beside the rows, so that what is
//! missing is read again.

use super::centre::{Centre, Road, await_all, await_shared, marks};
use super::flow::Flow;
use crate::harness::{Kafka, Postgres};

#[test]
fn a_database_that_is_restored_is_filled_up_again() {
    let (topic, database) = (Kafka::topic(4), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let flow = Flow::new(topic.brokers(), topic.name()).start(8);
    let (one, two) = (centre.writer("one"), centre.writer("two"));
    await_shared(&[&one, &two], 4);
    one.await_stored();
    two.await_stored();

    // While writers write; targets that are new since the dump have other ids afterwards.
    let (dump, before) = (database.dump("sitewatch"), marks(&database));
    let later = |by| marks(&database).iter().all(|(id, next)| *next > before[id] + by);
    one.until("far ahead", super::centre::DEADLINE, || later(200));
    database.restore("sitewatch", &dump);
    one.until("ahead again", super::centre::DEADLINE, || later(300));
    for writer in [&one, &two] {
        assert_eq!(writer.said("lacks records that were read before"), 1, "{}", writer.log());
    }
    let flow = flow.end();
    await_all(&centre, &database, &one);
    flow.judge(&database);
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");

    // While nobody does.
    one.stop();
    two.stop();
    database.restore("sitewatch", &dump);
    let three = centre.writer("three");
    await_all(&centre, &database, &three);
    three.stop();
    flow.judge(&database);
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");
}

#[test]
fn marks_that_are_set_back_are_gone_back_to() {
    let mut road = Road::new(2);
    let one = road.store_first(300);
    // Nothing comes after it but a few.
    road.database.psql(
        "BEGIN; DELETE FROM sitewatch.outcome WHERE total_us >= 50; \
         UPDATE sitewatch.kafka_offset SET next = 5; COMMIT",
    );
    road.flow.send(20);
    road.await_all(&one);
    road.flow.judge(&road.database);
    // As if it had never been read.
    road.database.psql(
        "TRUNCATE sitewatch.outcome, sitewatch.kafka_offset, sitewatch.target, sitewatch.node, \
         sitewatch.state, sitewatch.gap, sitewatch.loss",
    );
    road.flow.send(1);
    road.await_all(&one);
    road.flow.judge(&road.database);
    // Somebody has taken targets out by hand, whose ids the writer knows.
    road.database.psql("BEGIN; DELETE FROM sitewatch.state; DELETE FROM sitewatch.target; COMMIT");
    road.flow.send(40);
    road.await_all(&one);
    let done = one.stop();
    assert!(!done.stderr.contains("refuses"), "{done:?}");
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.target"), "40");
}

/// As after a restore, where another writer has made the targets again in another order.
#[test]
fn ids_that_went_to_other_names_are_asked_for_anew() {
    let mut road = Road::new(2);
    let one = road.store_first(300);
    road.flow.judge(&road.database);
    road.database.psql(
        "TRUNCATE sitewatch.outcome, sitewatch.target, sitewatch.node, sitewatch.state, \
         sitewatch.gap, sitewatch.loss RESTART IDENTITY; \
         INSERT INTO sitewatch.node (name) VALUES ('near'), ('far'); \
         INSERT INTO sitewatch.target (name) SELECT 't0-' || n FROM generate_series(39, 0, -1) n",
    );
    road.flow.send(40);
    road.await_all(&one);
    one.stop();
    road.flow.judge_without(&road.database, 0..300);
    let nodes = "SELECT DISTINCT name FROM sitewatch.outcome JOIN sitewatch.node ON id = node_id";
    assert_eq!(road.database.psql(nodes), "far");
}

/// As after a failover to a server that lacks the last commits.
#[test]
fn a_partition_that_is_quiet_is_filled_up_again_too() {
    let (topic, mut server) = (Kafka::topic(3), Postgres::start());
    let centre = Centre::new(topic.brokers(), topic.name(), &server);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(300);
    await_all(&centre, &server, &one);
    let whole = marks(&server);
    assert_eq!(whole.len(), 3);
    // Once one partition is older than it was, then all of them, then none is stored; each time nothing
    // more is sent.
    for lost in ["total_us >= 250", "total_us >= 200", "true"] {
        let set = match lost {
            "total_us >= 250" => "UPDATE sitewatch.kafka_offset SET next = 1 WHERE partition = 2",
            "true" => "DELETE FROM sitewatch.kafka_offset",
            _ => "UPDATE sitewatch.kafka_offset SET next = 2",
        };
        let sql = format!("BEGIN; DELETE FROM sitewatch.outcome WHERE {lost}; {set}; COMMIT");
        match lost {
            // Told that it ends, or found out.
            "true" => {
                server.psql(&sql);
                server.stop_hard();
            }
            _ => drop(server.psql(&sql)),
        }
        server.restart();
        one.until("filled up", super::centre::DEADLINE, || marks(&server) == whole);
    }
    one.await_health("ok");
    one.stop();
    let numbers = "SELECT count(*), count(DISTINCT total_us) FROM sitewatch.outcome";
    assert_eq!(server.psql(numbers), "300|300");
}
