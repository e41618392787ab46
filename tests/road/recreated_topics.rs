//! Logs that are not the ones that were read: a topic made anew under the same name, with fewer or
//! more messages than before, a log that was cut, and one that was cut and refilled. Whatever is
//! there is stored, what was stored stays, and what may be missing is said.

use rustix::process::Signal;

use super::centre::{Centre, DEADLINE, Writer, await_all, marks};
use super::expired_messages::letters;
use super::flow::Flow;
use crate::harness::daemon::random;
use crate::harness::postgres::Database;
use crate::harness::{Kafka, Postgres, eventually};

/// Makes a topic, writers of it into a database, and checks for it.
#[track_caller]
fn begin(kafka: &Kafka, database: &Database, partitions: i32) -> (Centre, Flow, String) {
    let topic = random();
    kafka.create_topic(&topic, partitions).unwrap();
    let centre = Centre::new(&kafka.brokers(), &topic, database);
    (centre, Flow::new(&kafka.brokers(), &topic), topic)
}

/// Deletes a topic and makes it anew.
#[track_caller]
fn make_anew(kafka: &Kafka, topic: &str, partitions: i32) {
    kafka.delete_topic(topic).unwrap();
    eventually(DEADLINE, "a new topic", || kafka.create_topic(topic, partitions).is_ok());
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let (kafka, database) = (Kafka::shared(), Postgres::database());
    let (centre, mut flow, topic) = begin(kafka, &database, 2);
    let anew = || make_anew(kafka, &topic, 2);
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
    let letters = letters(&database);
    assert_eq!(letters.matches("the log was begun anew").count(), 4, "{letters}");
    assert_eq!(letters.lines().count(), 4, "{letters}");
    assert!(marks(&database).values().sum::<i64>() == 80, "{:?}", marks(&database));
    three.stop();
}

#[test]
fn a_topic_made_anew_while_nobody_reads_is_recognised_whatever_it_holds() {
    let (kafka, database) = (Kafka::shared(), Postgres::database());
    let (centre, mut flow, topic) = begin(kafka, &database, 1);
    let one = centre.writer("one");
    flow.send(100);
    await_all(&centre, &database, &one);
    one.stop();
    // More, as many, one less, one more, and far fewer than there were the last time.
    let mut want = Vec::new();
    let mut before = 100;
    for count in [300, 300, 299, 300, 20] {
        make_anew(kafka, &topic, 1);
        flow.send(count);
        let next = centre.writer(&format!("with-{count}"));
        await_all(&centre, &database, &next);
        // Where the mark stands as it did, its log must have been read all the same.
        next.until("all of it", DEADLINE, || {
            database.psql("SELECT count(*) FROM sitewatch.outcome") == flow.sent.to_string()
        });
        flow.judge(&database);
        want.push(format!(
            "missing|{before}|the log was begun anew: offsets {before} and on, as far as there \
             were any, are gone unread; reading on from 0"
        ));
        before = count;
        next.stop();
    }
    want.sort_by_key(|line| line.split('|').nth(1).unwrap().parse::<i64>().unwrap());
    assert_eq!(letters(&database), want.join("\n"));
}

/// With more than there was, so that its offsets go on as if nothing had happened.
#[test]
fn a_topic_made_anew_between_two_looks_of_its_reader_is_recognised() {
    let (kafka, database) = (Kafka::shared(), Postgres::database());
    let (centre, mut flow, topic) = begin(kafka, &database, 1);
    let mut one = centre.writer("one");
    flow.send(100);
    await_all(&centre, &database, &one);
    for count in [300, 301, 900] {
        one.running.signal(Signal::STOP);
        make_anew(kafka, &topic, 1);
        flow.send(count);
        one.running.signal(Signal::CONT);
        one.until("all of it", DEADLINE, || {
            database.psql("SELECT count(*) FROM sitewatch.outcome") == flow.sent.to_string()
        });
        flow.judge(&database);
    }
    let letters = letters(&database);
    assert_eq!(letters.matches("the log was begun anew").count(), 3, "{letters}");
    assert_eq!(letters.lines().count(), 3, "{letters}");
    one.stop();
}

#[test]
fn a_topic_made_anew_while_the_database_is_away_is_read_from_its_beginning() {
    let (kafka, mut postgres) = (Kafka::shared(), Postgres::start());
    let (centre, mut flow, topic) = begin(kafka, &postgres, 1);
    let one = centre.writer("one");
    flow.send(100);
    await_all(&centre, &postgres, &one);
    postgres.stop_hard();
    one.await_health("store_away");
    make_anew(kafka, &topic, 1);
    flow.send(250);
    // Its group must have seen that the topic is another.
    postgres.restart();
    await_all(&centre, &postgres, &one);
    flow.judge(&postgres);
    assert!(letters(&postgres).starts_with("missing|100|"), "{}", letters(&postgres));
    one.stop();
}

/// Holds a batch of numbers 100 to 109 up until its topic is made anew, with 30 more; `meanwhile` is
/// what happens before it is stored.
fn hold_up(meanwhile: &str) -> (Database, Centre, Flow, Writer) {
    let (kafka, database) = (Kafka::shared(), Postgres::database());
    let (centre, mut flow, topic) = begin(kafka, &database, 1);
    let one = centre.writer("one");
    flow.send(100);
    await_all(&centre, &database, &one);
    // It is held up in the middle of a transaction, with what is nowhere else soon.
    let mut other = database.client();
    other.batch_execute("BEGIN; LOCK TABLE sitewatch.kafka_offset").unwrap();
    flow.send(10);
    one.until("storing", DEADLINE, || {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        database.psql(sql) != "0"
    });
    make_anew(kafka, &topic, 1);
    flow.send(30);
    other.batch_execute(&format!("{meanwhile}; COMMIT")).unwrap();
    drop(other);
    (database, centre, flow, one)
}

#[test]
fn a_batch_under_way_when_its_topic_is_made_anew_is_kept() {
    let (database, centre, flow, one) = hold_up("");
    one.until("all of it", DEADLINE, || {
        database.psql("SELECT count(*) FROM sitewatch.outcome") == flow.sent.to_string()
    });
    await_all(&centre, &database, &one);
    flow.judge(&database);
    let want = "missing|110|the log was begun anew: offsets 110 and on, as far as there were any, are \
                gone unread; reading on from 0";
    assert_eq!(letters(&database), want);
    one.stop();
}

/// That other writer has said that the log is another: nothing more is missing.
#[test]
fn a_batch_under_way_when_another_writer_has_read_its_new_topic_is_kept() {
    // Its mark lies before the old one.
    let move_mark = "UPDATE sitewatch.kafka_offset SET next = 3, anchors = ''";
    let (database, centre, flow, one) = hold_up(move_mark);
    one.until("all of it", DEADLINE, || {
        database.psql("SELECT count(*) FROM sitewatch.outcome") >= (flow.sent - 3).to_string()
    });
    await_all(&centre, &database, &one);
    // The first three are that other writer's.
    flow.judge_without(&database, 110..113);
    assert_eq!(letters(&database), "");
    one.stop();
}

#[test]
fn a_log_that_was_cut_goes_on_near_its_end() {
    let (mut kafka, database) = (Kafka::start(), Postgres::database());
    let (centre, mut flow, topic) = begin(&kafka, &database, 1);
    let one = centre.writer("one");
    for _ in 0..40 {
        flow.send(25);
    }
    flow.send(1);
    await_all(&centre, &database, &one);

    // While it is read, by one record: nothing comes after it at first.
    kafka.cut_log(&topic, 0);
    flow.send(30);
    await_all(&centre, &database, &one);
    flow.judge(&database);
    one.until("saying so", DEADLINE, || one.said("the log was cut") == 1);
    let read_on = |letters: &str, nth: usize| {
        let line = letters.lines().nth(nth).unwrap();
        line.rsplit_once("reading on from ").unwrap().1.parse::<i64>().unwrap()
    };
    let said = letters(&database);
    assert!(said.starts_with("missing|1001|the log was cut: offsets 1001 and on,"), "{said}");
    assert!((800..=1000).contains(&read_on(&said, 0)), "{said}");

    // While nobody reads, and refilled beyond the mark.
    one.stop();
    kafka.cut_log(&topic, 0);
    flow.send(60);
    let two = centre.writer("two");
    await_all(&centre, &database, &two);
    flow.judge(&database);
    let said = letters(&database);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!((800..=1030).contains(&read_on(&said, 1)), "{said}");

    // While nobody reads, and nothing came: what comes later is read.
    two.stop();
    kafka.cut_log(&topic, 0);
    let three = centre.writer("three");
    three.until("reading", DEADLINE, || !three.partitions().is_empty());
    flow.send(5);
    await_all(&centre, &database, &three);
    flow.judge(&database);
    assert_eq!(letters(&database).lines().count(), 3);
    three.stop();
}

/// A mark of the version before knows nothing of its log: it is gone by as it is.
#[test]
fn a_mark_without_an_anchor_is_gone_by_and_gets_one() {
    let (kafka, database) = (Kafka::shared(), Postgres::database());
    let (centre, mut flow, _) = begin(kafka, &database, 1);
    let one = centre.writer("one");
    flow.send(50);
    await_all(&centre, &database, &one);
    one.stop();
    let anchors = || database.psql("SELECT anchors FROM sitewatch.kafka_offset");
    assert!(anchors().starts_with("49:"), "{}", anchors());
    database.psql("UPDATE sitewatch.kafka_offset SET anchors = ''");
    let two = centre.writer("two");
    flow.send(10);
    await_all(&centre, &database, &two);
    flow.judge(&database);
    assert!(anchors().starts_with("59:"), "{}", anchors());
    // One that nobody can read is none.
    two.stop();
    database.psql("UPDATE sitewatch.kafka_offset SET anchors = 'x'");
    let three = centre.writer("three");
    flow.send(10);
    await_all(&centre, &database, &three);
    flow.judge(&database);
    assert_eq!(letters(&database), "");
    three.stop();
}

/// What cannot be read has the same places in a topic that was made anew.
#[test]
fn letters_of_a_topic_that_was_made_anew_are_kept_beside_the_old_ones() {
    let (kafka, database, topic) = (Kafka::shared(), Postgres::database(), random());
    kafka.create_topic(&topic, 1).unwrap();
    let centre = Centre::new(&kafka.brokers(), &topic, &database);
    let poison = || kafka.kcat().produce(&topic, &[("a", "{"), ("a", "{")]).unwrap();
    let count =
        || database.psql("SELECT count(*) FROM sitewatch.dead_letter WHERE reason = 'json'");
    for round in 1..4 {
        poison();
        let writer = centre.writer("one");
        await_all(&centre, &database, &writer);
        writer.until("two more", DEADLINE, || count() == (2 * round).to_string());
        writer.stop();
        // Read again they are known.
        let sql = "UPDATE sitewatch.kafka_offset SET next = 0, anchors = ''";
        database.psql(sql);
        let writer = centre.writer("two");
        await_all(&centre, &database, &writer);
        writer.stop();
        assert_eq!(count(), (2 * round).to_string());
        make_anew(kafka, &topic, 1);
    }
    let marks = marks(&database);
    assert_eq!(marks.values().sum::<i64>(), 2, "{marks:?}");
}
