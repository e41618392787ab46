//! Behind pgbouncer (1.18 is Debian 12's): all of it works where a session has a connection of its own,
//! and where it has not, that is said, and nothing is stored by halves.

use std::thread;
use std::time::Duration;

use sitewatch::config::RetentionConfig;
use sitewatch::model::outcome::Verdict;
use sitewatch::store::{Batch, Mark, Postgres, Readiness, Store, WriteResult};

use super::scratch::settings;
use crate::fixtures::records::{check, now};
use crate::harness::{self, Pgbouncer};

fn batch(partition: i32, from: i64) -> Batch {
    let due = |i| now() + i64::from(partition) * 60_000 + i;
    let records = (from..from + 10).map(|i| check("site", "a", due(i), Verdict::Up)).collect();
    let marks = vec![Mark { partition, from, next: from + 10, ..Mark::default() }];
    Batch { records, marks, ..Batch::default() }
}

#[test]
#[ignore = "needs pgbouncer, whose package starts a server"]
fn session_pooling_is_all_that_writers_and_readers_need() {
    let database = harness::Postgres::database();
    let pooler = Pgbouncer::start(&database, "session");
    let settings = settings(&pooler.url());
    assert_eq!(Postgres::connect(&settings).unwrap().prepare(), Ok(Readiness::Ready));
    thread::scope(|scope| {
        for partition in 0..4 {
            let mut store = Postgres::connect(&settings).unwrap();
            scope.spawn(move || {
                for round in 0..10 {
                    let stored = store.write(&batch(partition, round * 10), now());
                    assert!(matches!(stored, Ok(WriteResult::Stored(_))), "{stored:?}");
                    store.make_hours(now()).unwrap();
                }
            });
        }
    });
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.outcome"), "400");
    // Connections are handed on: what was another's is not ours.
    let mut store = Postgres::connect(&settings).unwrap();
    assert_eq!(store.positions("", "").unwrap().values().map(|at| at.next).sum::<i64>(), 400);
    let day = Duration::from_secs(86_400);
    store.retain(&RetentionConfig { checks: day, dead_letters: day }, 1000, now()).unwrap();
    assert_eq!(Postgres::open(&settings).unwrap().states().unwrap().len(), 1);
}

#[test]
#[ignore = "needs pgbouncer, whose package starts a server"]
fn transaction_pooling_is_named_and_stores_nothing_by_halves() {
    let database = harness::Postgres::database();
    let direct = settings(&database.url());
    assert_eq!(Postgres::connect(&direct).unwrap().prepare(), Ok(Readiness::Ready));
    let pooler = Pgbouncer::start(&database, "transaction");
    let settings = settings(&pooler.url());
    let told: Vec<String> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|partition| {
                let settings = &settings;
                scope.spawn(move || {
                    let mut told = Vec::new();
                    let Ok(mut store) = Postgres::new(settings) else { return told };
                    let mut from = 0;
                    for _ in 0..40 {
                        match store.write(&batch(partition, from), now()) {
                            Ok(_) => from += 10,
                            Err(error) => told.push(error.to_string()),
                        }
                    }
                    told
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    println!("{told:#?}");
    let named = told.iter().filter(|text| text.contains("its pool_mode must be session")).count();
    assert!(named > 0, "{told:?}");
    // Rows and marks are one, whatever came through.
    let sums = "SELECT (SELECT count(*) FROM sitewatch.outcome) =
        (SELECT coalesce(sum(next), 0) FROM sitewatch.kafka_offset)";
    assert_eq!(database.psql(sums), "t");
}
