//! Messages that are gone before they were read.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::centre::{Centre, DEADLINE, await_all};
use super::flow::Flow;
use crate::harness::postgres::Database;
use crate::harness::{Kafka, Postgres, admin};

/// Reason, offset and detail of each dead letter.
pub fn letters(database: &Database) -> String {
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

/// Several within a second: what is not stored is told, and what is told is not stored.
#[test]
fn each_hole_is_said_however_soon_it_follows_another() {
    let (topic, database) = (Kafka::topic(1), Postgres::database());
    let mut centre = Centre::new(topic.brokers(), topic.name(), &database);
    // Most of it in one batch.
    centre.more = "[write]\nbatch_age = '1s'\n".to_owned();
    let mut flow = Flow::new(topic.brokers(), topic.name());
    flow.send(10);
    let mut one = centre.writer("one");
    await_all(&centre, &database, &one);
    for _ in 0..3 {
        // It has asked for what comes next, and gets the first of it.
        one.running.signal(Signal::STOP);
        flow.send(1);
        flow.send(30);
        admin::delete_records(topic.brokers(), topic.name(), 0, flow.sent as i64).unwrap();
        flow.send(10);
        one.running.signal(Signal::CONT);
        one.until("the last", DEADLINE, || {
            let last = format!(
                "SELECT count(*) FROM sitewatch.outcome WHERE total_us = {}",
                flow.sent - 1
            );
            database.psql(&last) == "1"
        });
    }
    await_all(&centre, &database, &one);
    let said = letters(&database);
    let range = |line: &str| {
        let detail = line.strip_prefix("missing|").unwrap().split_once("|offsets ").unwrap().1;
        let (from, to) =
            detail.strip_suffix(" were deleted unread").unwrap().split_once(" to ").unwrap();
        from.parse::<u64>().unwrap()..=to.parse::<u64>().unwrap()
    };
    let lost: BTreeSet<u64> = said.lines().flat_map(range).collect();
    let sql = "SELECT string_agg(total_us::text, ' ') FROM sitewatch.outcome";
    let stored: BTreeSet<u64> =
        database.psql(sql).split(' ').map(|word| word.parse().unwrap()).collect();
    assert!(lost.is_disjoint(&stored), "{said}");
    assert_eq!(lost.union(&stored).count() as u64, flow.sent, "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    one.stop();
}
