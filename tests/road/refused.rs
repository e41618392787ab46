//! Tables that refuse what they took before: a fault of the deployment is waited out, and only single
//! records become dead letters.

use std::time::{Duration, Instant};

use super::flow::Flow;
use super::{Centre, await_all};
use crate::harness::{Kafka, Postgres};

/// A trigger that objects to some records.
const TRIGGER: &str = "CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'we do not like it'; END $$;
    CREATE TRIGGER objects BEFORE INSERT ON sitewatch.outcome
    FOR EACH ROW WHEN (NEW.total_us CONDITION) EXECUTE FUNCTION object()";

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
        }
        let held = "nothing is stored or dropped: more than 5 % of";
        let (before, said) = (stored(), one.said(held));
        database.psql(fault);
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
        database.psql(mend);
        await_all(&centre, &database, &one);
        one.await_health("ok");
    }
    // Of what came first, in parcels so small that nobody can tell, each time 20 at most become letters.
    let letters: u32 = database.psql("SELECT count(*) FROM sitewatch.dead_letter").parse().unwrap();
    assert!(letters <= 4 * 20, "{letters} letters");
    one.stop();
}

#[test]
fn small_parcels_that_are_refused_add_up() {
    let (topic, database) = (Kafka::topic(1), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(10);
    await_all(&centre, &database, &one);
    database.psql(&TRIGGER.replace("CONDITION", ">= 10"));
    flow.send(300);
    one.await_health("store_refuses");
    let letters = || database.psql("SELECT count(*) FROM sitewatch.dead_letter").parse::<i64>();
    assert!(letters().unwrap() <= 20, "{}", one.log());
    database.psql("DROP FUNCTION object CASCADE");
    await_all(&centre, &database, &one);
    one.await_health("ok");
    let stored = database.psql("SELECT count(*) FROM sitewatch.outcome").parse::<i64>();
    assert_eq!(stored.unwrap() + letters().unwrap(), 310);
    one.stop();
}

#[test]
fn single_records_that_are_refused_hold_up_nobody() {
    let (topic, database) = (Kafka::topic(2), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(500);
    await_all(&centre, &database, &one);
    database.psql(&TRIGGER.replace("CONDITION", "IN (700, 701, 950)"));
    // Only seen at the end of a transaction; and an index that is not the key.
    database.psql(
        "CREATE UNIQUE INDEX alone ON sitewatch.outcome (due_ms, bytes) WHERE total_us IN (0);
         CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN RAISE EXCEPTION 'too late'; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON sitewatch.outcome
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.total_us = 800)
         EXECUTE FUNCTION late()",
    );
    flow.send(500);
    await_all(&centre, &database, &one);
    one.await_health("ok");
    let letters = "SELECT string_agg(convert_from(payload, 'UTF8')::jsonb->>'total_us' || ' ' ||
        reason || ' ' || detail, '; ' ORDER BY detail, payload) FROM sitewatch.dead_letter";
    let letters = database.psql(letters);
    assert_eq!(letters.matches(" store cannot store").count(), 0, "{letters}");
    for number in [700, 701, 800, 950] {
        assert!(letters.contains(&format!("{number} store ")), "{letters}");
    }
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.outcome"), "996");
    assert_eq!(one.said("goes to dead_letter: store: "), 1, "{}", one.log());
    one.stop();
}
