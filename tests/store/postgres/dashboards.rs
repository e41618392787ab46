//! Nine dashboards that ask for 90 days at once, of a server with its default settings, while a writer
//! goes on: all are answered, and nobody runs out of locks.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use sitewatch::model::outcome::Verdict;
use sitewatch::store::{Postgres, Readiness};

use super::scratch::settings;
use crate::fixtures::records::{check, now, put};
use crate::harness;
use crate::harness::clock::HOUR_MS as HOUR;

const DAYS: i64 = 90;
/// PostgreSQL's defaults, and the locks that it has for them at least.
const DEFAULTS: &str = "max_connections = 100\nmax_locks_per_transaction = 64";
const LOCKS: i64 = 64 * 100;
/// A batch that waits for longer was disturbed.
const SOON: Duration = Duration::from_secs(5);

/// What dashboards ask for: by the functions, by numbers, by moments, by the views.
fn queries() -> [String; 9] {
    let (from, until) = (now() - DAYS * 24 * HOUR, now() + HOUR);
    let since = format!("to_timestamp({from} / 1000.0)");
    [
        format!("report({since}, now(), '1 day') WHERE node IS NULL"),
        format!("report({since}, now(), '1 hour') WHERE target = 'site 3'"),
        format!("report({since}, now())"),
        format!("checks_between({since}, now())"),
        format!("checks_between({since}, now(), 'site 3', 'a')"),
        format!("checks WHERE due_ms BETWEEN {from} AND {until}"),
        format!("checks WHERE due > {since} AND target = 'site 3'"),
        format!("report_day WHERE window_start >= {since}"),
        "checks JOIN sitewatch.report_now USING (target) ORDER BY due".to_owned(),
    ]
}

/// An answer to a query.
struct Answer {
    rows: i64,
    /// How many locks it holds.
    locks: i64,
    took: Duration,
}

/// Asks within a transaction that stays open.
fn ask(client: &mut Client, query: &str) -> Answer {
    client.batch_execute("BEGIN").unwrap();
    let began = Instant::now();
    let sql = format!("SELECT count(*) FROM (SELECT * FROM sitewatch.{query}) AS answer");
    let rows = client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{query}: {error}"));
    let took = began.elapsed();
    let sql = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()";
    let locks: i64 = client.query_one(sql, &[]).unwrap().get(0);
    Answer { rows: rows.get(0), locks, took }
}

#[test]
fn nine_dashboards_over_90_days_disturb_nobody() {
    let server = harness::Postgres::with_settings(DEFAULTS);
    let mut writer = Postgres::connect(&settings(&server.url())).unwrap();
    assert_eq!(writer.prepare(), Ok(Readiness::Ready));
    let mut stored = 0;
    for day in 0..DAYS {
        let first = now() - day * 24 * HOUR;
        let records: Vec<_> = (0..24 * 10)
            .map(|n| check(&format!("site {}", n % 10), "a", first - n / 10 * HOUR, Verdict::Up))
            .collect();
        stored += put(&mut writer, &records).unwrap().checks as i64;
    }
    server.psql("ANALYZE sitewatch.outcome");

    let (all_have_asked, is_over) = (Barrier::new(10), Barrier::new(10));
    thread::scope(|scope| {
        let asking: Vec<_> = queries()
            .into_iter()
            .map(|query| {
                let (mut client, all_have_asked) = (server.client(), &all_have_asked);
                let is_over = &is_over;
                scope.spawn(move || {
                    let answer = ask(&mut client, &query);
                    all_have_asked.wait();
                    is_over.wait();
                    (query, answer)
                })
            })
            .collect();
        // Goes on while they ask, and once more while all of them have what they asked for.
        let mut store = |round: i64| {
            let began = Instant::now();
            let due = now() + 30 * 24 * HOUR + round;
            put(&mut writer, &[check("site 3", "a", due, Verdict::Up)]).unwrap();
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        };
        let is_asking = |asking: &[thread::ScopedJoinHandle<'_, _>]| {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                       AND query LIKE '%AS answer'";
            !asking.iter().any(thread::ScopedJoinHandle::is_finished) && server.psql(sql) != "0"
        };
        let mut rounds = 0;
        while is_asking(&asking) {
            store(rounds);
            rounds += 1;
        }
        all_have_asked.wait();
        store(rounds);
        let locks: i64 = server.psql("SELECT count(*) FROM pg_locks").parse().unwrap();
        println!("{rounds} batches meanwhile, {locks} locks held in all");
        is_over.wait();
        let answers: Vec<_> = asking.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(locks < LOCKS / 2, "{locks}");
        for (query, Answer { rows, locks, took }) in answers {
            println!("{took:>7.1?} and {locks} locks for {query}");
            assert!(locks < 300, "{query}: {locks} locks");
            let stored = match &query[..] {
                _ if !query.starts_with("checks") || query.contains("JOIN") => continue,
                _ if query.contains("site 3") => stored / 10,
                _ => stored,
            };
            assert!((stored..=stored + rounds).contains(&rows), "{query}: {rows} of {stored}");
        }
    });
}
