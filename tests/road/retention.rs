//! Retention beside the storing.

use super::centre::{DEADLINE, Road};

#[test]
fn a_batch_does_not_wait_for_retention() {
    let mut road = Road::new(1);
    let one = road.store_first(10);
    one.stop();

    let mut other = road.database.client();
    let lock = "BEGIN; LOCK TABLE sitewatch.dead_letter IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).unwrap();
    let two = road.centre.writer("two");
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE datname = current_database() AND application_name = 'two' AND NOT granted";
    two.until("waiting for the lock", DEADLINE, || road.database.psql(waiting) == "1");
    road.flow.send(10);
    let both = format!("SELECT ({waiting}), (SELECT count(*) FROM sitewatch.outcome)");
    two.until("storing meanwhile", DEADLINE, || road.database.psql(&both) == "1|20");
    other.batch_execute("ROLLBACK").unwrap();
    two.stop();
}
