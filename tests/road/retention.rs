//! Retention beside the storing.

use super::centre::{Centre, DEADLINE, await_all};
use super::flow::Flow;
use crate::harness::{Kafka, Postgres};

#[test]
fn a_batch_does_not_wait_for_retention() {
    let (topic, database) = (Kafka::topic(1), Postgres::database());
    let centre = Centre::new(topic.brokers(), topic.name(), &database);
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(10);
    await_all(&centre, &database, &one);
    one.stop();

    let mut other = database.client();
    let lock = "BEGIN; LOCK TABLE sitewatch.dead_letter IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).unwrap();
    let two = centre.writer("two");
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE datname = current_database() AND application_name = 'two' AND NOT granted";
    two.until("waiting for the lock", DEADLINE, || database.psql(waiting) == "1");
    flow.send(10);
    let both = format!("SELECT ({waiting}), (SELECT count(*) FROM sitewatch.outcome)");
    two.until("storing meanwhile", DEADLINE, || database.psql(&both) == "1|20");
    other.batch_execute("ROLLBACK").unwrap();
    two.stop();
}
