//! Tables that refuse what they took before: a fault of the deployment is waited out, and only single
//! records become dead letters.

use std::time::{Duration, Instant};

use super::centre::{Centre, DEADLINE, Road, await_all};
use super::expired_messages::letters;
use super::flow::Flow;
use crate::harness::postgres::{Database, psql};
use crate::harness::{Client, Kafka, Postgres, eventually};

/// A trigger that objects to some records.
const TRIGGER: &str = "CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'we do not like it'; END $$;
    CREATE TRIGGER objects BEFORE INSERT ON sitewatch.outcome
    FOR EACH ROW WHEN (NEW.total_us CONDITION) EXECUTE FUNCTION object()";

/// Alters tables that a writer is at: it takes their locks in another order, and of two that wait for
/// one another the server picks either.
#[track_caller]
fn alter(database: &Database, sql: &str) {
    eventually(DEADLINE, "tables altered", || match psql(&database.url(), sql) {
        Ok(_) => true,
        Err(why) => {
            assert!(why.contains("deadlock detected"), "{why}");
            false
        }
    });
}

#[test]
fn a_fault_of_the_deployment_holds_everything_until_it_is_mended() {
    let (topic, database) = (Kafka::topic(2), Postgres::database());
    let mut centre = Centre::new(topic.brokers(), topic.name(), &database);
    centre.more = String::new();
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let mut one = centre.writer("one");
    flow.send(10);
    await_all(&centre, &database, &one);
    let trigger = TRIGGER.replace("CONDITION", ">= 10");
    let stored = || database.psql("SELECT count(*) FROM sitewatch.outcome");
    let mut truncated = 0;
    for (fault, mend) in [
        (
            "ALTER TABLE sitewatch.outcome ADD CONSTRAINT small CHECK (total_us < 10) NOT VALID",
            "ALTER TABLE sitewatch.outcome DROP CONSTRAINT small",
        ),
        (&trigger, "DROP FUNCTION object CASCADE"),
        (
            "CREATE UNIQUE INDEX alone ON sitewatch.outcome (due_ms, (0)) WHERE total_us < 0;
             ALTER TABLE sitewatch.outcome ADD FOREIGN KEY (redirects) REFERENCES sitewatch.node",
            "ALTER TABLE sitewatch.outcome DROP CONSTRAINT outcome_redirects_fkey;
             DROP INDEX sitewatch.alone",
        ),
        (
            "ALTER TABLE sitewatch.state ADD CONSTRAINT late CHECK (since_ms < 0) NOT VALID",
            "ALTER TABLE sitewatch.state DROP CONSTRAINT late",
        ),
    ] {
        if fault.contains("FOREIGN KEY") {
            // The rows that are there point nowhere.
            database.psql("TRUNCATE sitewatch.outcome");
            truncated = flow.sent;
        }
        let held = "nothing is stored or dropped: more than 5 % of";
        let (before, said) = (stored(), one.said(held));
        alter(&database, fault);
        flow.send(2000);
        one.await_health("store_refuses");
        assert_eq!(stored(), before);
        assert_eq!(one.said(held), said + 1, "{}", one.log());
        // A stop loses nothing, and need not wait.
        let began = Instant::now();
        let done = one.stop();
        assert!(began.elapsed() < Duration::from_secs(4), "{done:?}");
        one = centre.writer("one");
        one.await_health("store_refuses");
        alter(&database, mend);
        await_all(&centre, &database, &one);
        one.await_health("ok");
    }
    assert_eq!(letters(&database), "");
    flow.judge_from(&database, truncated);
    one.stop();
}

#[test]
fn small_batches_that_are_refused_add_up() {
    let mut road = Road::new(1);
    let one = road.store_first(10);
    road.database.psql(&TRIGGER.replace("CONDITION", ">= 10"));
    road.flow.send(300);
    one.await_health("store_refuses");
    road.database.psql("DROP FUNCTION object CASCADE");
    road.await_all(&one);
    one.await_health("ok");
    road.flow.judge(&road.database);
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");
    one.stop();
}

#[test]
fn a_few_that_are_refused_wait_until_others_tell_whose_fault_that_is() {
    let mut road = Road::new(1);
    let mut one = road.store_first(100);
    // A constraint of the deployment meets records that come one by one.
    road.database.psql(&TRIGGER.replace("CONDITION", ">= 100"));
    for _ in 0..5 {
        road.flow.send(1);
        let line = format!("\"waiting\":{}", road.flow.sent - 100);
        let health = || Client::new().get(&format!("http://127.0.0.1:{}/health", one.port)).text();
        one.until(&line, DEADLINE, || health().contains(&line));
    }
    one.await_health("store_refuses");
    assert_eq!(one.said(" records refused: "), 1, "{}", one.log());
    // A stop loses nothing, and the next writer finds the same.
    let done = one.stop();
    assert!(done.stderr.contains("5 records not stored: held back"), "{done:?}");
    one = road.centre.writer("one");
    one.await_health("store_refuses");
    road.database.psql("DROP FUNCTION object CASCADE");
    road.await_all(&one);
    one.await_health("ok");
    road.flow.judge(&road.database);
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "0");

    // Two of three, and then enough good ones: the two are at fault themselves.
    road.database.psql(&TRIGGER.replace("CONDITION", "IN (105, 107)"));
    road.flow.send(3);
    one.await_health("store_refuses");
    road.flow.send(60);
    road.await_all(&one);
    one.await_health("ok");
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "2");
    assert_eq!(
        road.database.psql("SELECT count(*) FROM sitewatch.outcome"),
        (road.flow.sent - 2).to_string()
    );
    one.stop();
}

#[test]
fn a_single_record_that_is_refused_beside_a_few_others_holds_them_up_for_seconds() {
    let mut road = Road::new(1);
    let one = road.store_first(10);
    road.database.psql(&TRIGGER.replace("CONDITION", "IN (11)"));
    road.flow.send(3);
    road.await_all(&one);
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.dead_letter"), "1");
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.outcome"), "12");
    one.await_health("ok");
    one.stop();
}

#[test]
fn single_records_that_are_refused_hold_up_nobody() {
    let mut road = Road::new(2);
    let one = road.store_first(500);
    road.database.psql(&TRIGGER.replace("CONDITION", "IN (700, 701, 950)"));
    // Only seen at the end of a transaction; and an index that is not the key.
    road.database.psql(
        "CREATE UNIQUE INDEX alone ON sitewatch.outcome (due_ms, bytes) WHERE total_us IN (0);
         CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN RAISE EXCEPTION 'too late'; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON sitewatch.outcome
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.total_us = 800)
         EXECUTE FUNCTION late()",
    );
    road.flow.send(500);
    road.await_all(&one);
    one.await_health("ok");
    let letters = "SELECT string_agg(convert_from(payload, 'UTF8')::jsonb->>'total_us' || ' ' ||
        reason || ' ' || detail, '; ' ORDER BY detail, payload) FROM sitewatch.dead_letter";
    let letters = road.database.psql(letters);
    assert_eq!(letters.matches(" store cannot store").count(), 0, "{letters}");
    for number in [700, 701, 800, 950] {
        assert!(letters.contains(&format!("{number} store ")), "{letters}");
    }
    assert_eq!(road.database.psql("SELECT count(*) FROM sitewatch.outcome"), "996");
    assert_eq!(one.said("goes to dead_letter: store: "), 1, "{}", one.log());
    one.stop();
}
