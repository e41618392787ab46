//! Messages that are gone before they were read, and logs that begin anew.

use super::flow::Flow;
use super::{Centre, DEADLINE, await_all, marks};
use crate::harness::daemon::random;
use crate::harness::postgres::Database;
use crate::harness::{Kafka, Postgres, admin, eventually};

/// Reason, offset and detail of each dead letter.
fn letters(database: &Database) -> String {
    database.psql(
        "SELECT reason, record_offset, detail FROM sitewatch.dead_letter ORDER BY record_offset",
    )
}

#[test]
fn what_was_deleted_unread_is_said_and_the_rest_is_read() {
    let (topic, mut postgres) = (Kafka::topic(1), Postgres::start());
    let centre = Centre::new(topic.brokers(), topic.name(), &postgres);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let delete = |before| admin::delete_records(topic.brokers(), topic.name(), 0, before).unwrap();
    let one = centre.writer("one");
    flow.send(100);
    await_all(&centre, &postgres, &one);

    // While nobody reads.
    one.stop();
    flow.send(50);
    delete(120);
    flow.send(10);
    let two = centre.writer("two");
    await_all(&centre, &postgres, &two);
    let want = "missing|100|offsets 100 to 119 were deleted unread";
    assert_eq!(letters(&postgres), want);
    flow.judge_without(&postgres, 100..120);

    // While it waits for the database.
    postgres.stop_hard();
    two.await_health("store_away");
    flow.send(50);
    delete(200);
    postgres.restart();
    await_all(&centre, &postgres, &two);
    two.await_health("ok");
    let want = format!("{want}\nmissing|160|offsets 160 to 199 were deleted unread");
    assert_eq!(letters(&postgres), want);
    let numbers = postgres.psql(
        "SELECT min(total_us), max(total_us), count(*) \
        FROM sitewatch.outcome WHERE total_us >= 160",
    );
    assert_eq!(numbers, "200|209|10");
    assert_eq!(two.said("were deleted unread"), 2, "{}", two.log());
    two.stop();
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let (kafka, database, topic) = (Kafka::shared(), Postgres::database(), random());
    kafka.create_topic(&topic, 2).unwrap();
    let centre = Centre::new(&kafka.brokers(), &topic, &database);
    let mut flow = Flow::new(&kafka.brokers(), &topic);
    let anew = || {
        kafka.delete_topic(&topic).unwrap();
        eventually(DEADLINE, "a new topic", || kafka.create_topic(&topic, 2).is_ok());
    };
    let one = centre.writer("one");
    flow.send(400);
    await_all(&centre, &database, &one);

    // While it is read; fewer than before.
    anew();
    flow.send(100);
    await_all(&centre, &database, &one);
    flow.judge(&database);
    // Had the old marks stayed, these would be taken for read.
    one.kill();
    flow.send(400);
    let two = centre.writer("two");
    await_all(&centre, &database, &two);
    flow.judge(&database);

    // While nobody reads.
    two.stop();
    anew();
    flow.send(60);
    let three = centre.writer("three");
    await_all(&centre, &database, &three);
    flow.judge(&database);
    flow.send(20);
    await_all(&centre, &database, &three);
    flow.judge(&database);
    assert_eq!(letters(&database), "");
    assert!(marks(&database).values().sum::<i64>() == 80, "{:?}", marks(&database));
    three.stop();
}
