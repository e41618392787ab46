//! Clocks that are wrong, a writer's and the database's: nothing is dropped, expired or buried for
//! them, it is said, and it goes on by itself. Builds for development alone can be told the time.

#![cfg(debug_assertions)]

use super::centre::{Centre, DEADLINE, Writer, await_all};
use super::flow::Flow;
use crate::harness::postgres::Database;
use crate::harness::{Kafka, Postgres, Temp};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The file that tells writers how far their clock is ahead.
struct Clock(Temp);

impl Clock {
    fn new(centre: &mut Centre) -> Clock {
        let clock = Clock(Temp::new());
        clock.tell(0);
        centre.clock = Some(clock.0.join("clock"));
        clock
    }

    /// At once: a writer never sees half of it.
    fn tell(&self, ahead_ms: i64) {
        self.0.write("clock.new", format!("ahead_us={}", ahead_ms * 1000));
        std::fs::rename(self.0.join("clock.new"), self.0.join("clock")).unwrap();
    }
}

/// Makes the database's clock so far ahead.
fn shift(database: &Database, ahead_ms: i64) {
    database.psql(&format!(
        "CREATE OR REPLACE FUNCTION sitewatch.clock_ms() RETURNS bigint LANGUAGE sql VOLATILE
         RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint + {ahead_ms}"
    ));
}

/// Partitions, rows and dead letters.
fn held(database: &Database) -> String {
    database.psql(
        "SELECT (SELECT count(*) FROM pg_inherits WHERE inhparent = 'sitewatch.outcome'::regclass),
            (SELECT count(*) FROM sitewatch.outcome), (SELECT count(*) FROM sitewatch.dead_letter)",
    )
}

fn count(writer: &Writer, name: &str) -> i64 {
    use crate::harness::Fields;
    writer.health().map_or(0, |(_, health)| health.int(name))
}

#[test]
fn a_writer_whose_clock_is_off_waits_and_drops_nothing() {
    let (topic, database) = (Kafka::topic(2), Postgres::database());
    let mut centre = Centre::new(topic.brokers(), topic.name(), &database);
    let clock = Clock::new(&mut centre);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    // Some that retention is about to drop, but not yet.
    let mut old = Flow::new(topic.brokers(), topic.name());
    old.shift_back(89 * DAY_MS);
    old.send(10);
    let one = centre.writer("one");
    await_all(&centre, &database, &one);
    one.await_health("ok");
    database.psql("UPDATE sitewatch.outcome SET total_us = total_us + 1000000");
    let before = held(&database);

    for (round, ahead_ms) in
        [100 * DAY_MS, -2 * HOUR_MS, -100 * DAY_MS, 6 * MINUTE_MS].into_iter().enumerate()
    {
        clock.tell(ahead_ms);
        flow.send(100);
        one.await_health("clock");
        assert_eq!(held(&database), before, "{}", one.log());
        assert_eq!(one.said("nothing is stored or dropped: this host's clock"), round + 1);
        clock.tell(0);
        await_all(&centre, &database, &one);
        one.await_health("ok");
        assert_eq!(one.said("storing again after"), round + 1, "{}", one.log());
        database.psql("DELETE FROM sitewatch.outcome WHERE total_us < 1000000");
        assert_eq!(held(&database), before, "{}", one.log());
        assert_eq!((count(&one, "expired"), count(&one, "dead_letters")), (0, 0));
    }
    // While nothing comes; and one that starts so, told to stop, leaves at once.
    clock.tell(100 * DAY_MS);
    one.await_health("clock");
    one.stop();
    flow.send(100);
    let two = centre.writer("two");
    two.await_health("clock");
    let done = two.stop();
    assert_eq!(held(&database), before, "{done:?}");
    // A few minutes are no fault, and every one is stored at last.
    clock.tell(-4 * MINUTE_MS);
    let three = centre.writer("three");
    await_all(&centre, &database, &three);
    three.await_health("ok");
    three.stop();
    assert!(held(&database).ends_with("|110|0"), "{}", held(&database));
}

#[test]
fn where_both_clocks_are_off_nothing_is_lost_either() {
    let (topic, database) = (Kafka::topic(2), Postgres::database());
    let mut centre = Centre::new(topic.brokers(), topic.name(), &database);
    let clock = Clock::new(&mut centre);
    let both = |ahead_ms| {
        shift(&database, ahead_ms);
        clock.tell(ahead_ms);
    };
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(200);
    await_all(&centre, &database, &one);
    let checks = || database.psql("SELECT count(*) FROM sitewatch.outcome");

    // Ahead: what comes is stored, and what is there stays.
    both(100 * DAY_MS);
    flow.send(200);
    await_all(&centre, &database, &one);
    one.await_health("clock");
    assert_eq!(one.said("is the database's clock right?"), 1, "{}", one.log());
    one.stop();
    let two = centre.writer("two");
    flow.send(200);
    await_all(&centre, &database, &two);
    two.await_health("clock");
    both(0);
    flow.send(200);
    await_all(&centre, &database, &two);
    two.await_health("ok");
    assert_eq!((checks(), count(&two, "expired")), ("800".to_owned(), 0));

    // Behind: what is stored already is ahead of it.
    both(-2 * HOUR_MS);
    flow.send(100);
    two.await_health("clock");
    assert_eq!(two.said("2 hours behind the newest check"), 0, "{}", two.log());
    assert_eq!(two.said("behind the newest check"), 1, "{}", two.log());
    both(0);
    await_all(&centre, &database, &two);
    two.await_health("ok");
    two.stop();
    flow.judge(&database);
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");
}

#[test]
fn a_backlog_of_months_goes_through_by_itself() {
    let (topic, database) = (Kafka::topic(1), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let mut old = Flow::new(topic.brokers(), topic.name());
    old.shift_back(120 * DAY_MS);
    old.send(400);
    let mut fresh = Flow::new(topic.brokers(), topic.name());
    fresh.send(100);
    let one = centre.writer("one");
    await_all(&centre, &database, &one);
    one.await_health("ok");
    let ago = "WHERE due_ms > (extract(epoch FROM now()) - 3600) * 1000";
    let recent = format!("SELECT count(*) FROM sitewatch.outcome {ago}");
    assert_eq!(database.psql(&recent), "100");
    // Beside fresh checks those of 120 days ago have had their time.
    old.send(100);
    await_all(&centre, &database, &one);
    one.until("counted", DEADLINE, || count(&one, "expired") >= 100);
    one.await_health("ok");
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");
    one.stop();
}
