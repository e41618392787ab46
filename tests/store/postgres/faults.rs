//! A server that goes, stands still, or comes back: nobody waits for ever, and nobody has to help.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sitewatch::model::outcome::Verdict;
use sitewatch::stop::Stop;
use sitewatch::store::{
    Batch, Mark, Postgres, Readiness, Store, StoreError, WriteCounts, WriteResult,
};

use super::scratch::settings;
use crate::fixtures::records::{check, now, put};
use crate::harness::{self, eventually};

fn batch(from: i64, next: i64) -> Batch {
    let records = (from..next).map(|i| check("site", "a", now() + i * 1000, Verdict::Up)).collect();
    let marks = vec![Mark { partition: 0, from, next, ..Mark::default() }];
    Batch { records, marks, ..Batch::default() }
}

#[test]
fn a_server_that_was_restarted_needs_nobodys_help() {
    let mut server = harness::Postgres::start();
    let mut store = Postgres::connect(&settings(&server.url())).unwrap();
    let mut reader = Postgres::connect(&settings(&server.url())).unwrap();
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    let mut next = 0;
    for round in 0..4 {
        let stored = store.write(&batch(next, next + 10), now());
        let want = WriteCounts { checks: 10, repeats: 0, expired: 0 };
        assert_eq!(stored, Ok(WriteResult::Stored(want)), "round {round}");
        next += 10;
        if round % 2 == 0 {
            server.restart();
        } else {
            server.stop_hard();
            let away = store.write(&batch(next, next + 10), now()).unwrap_err();
            let StoreError::Away { text } = &away else { panic!("{away:?}") };
            let want = "cannot connect to the database postgres at 127.0.0.1:";
            assert!(text.starts_with(want), "{text}");
            server.restart();
        }
        assert_eq!(store.positions("", "").unwrap()[&0].next, next);
        assert_eq!(reader.states().unwrap().len(), 1);
    }
    assert_eq!(server.psql("SELECT count(*) FROM sitewatch.outcome"), "40");
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_call_is_noticed() {
    let mut server = harness::Postgres::start();
    let mut store = Postgres::connect(&settings(&server.url())).unwrap();
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    store.write(&batch(0, 10), now()).unwrap();
    let mut other = server.client();
    other.batch_execute("BEGIN; LOCK TABLE sitewatch.kafka_offset").unwrap();
    let (done_in, done) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done_in.send(store.write(&batch(10, 20), now())).unwrap());
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        eventually(Duration::from_secs(5), "somebody who waits", || server.psql(waiting) == "1");
        // Without a word: the connection ends, and nothing else.
        server.stop_hard();
        let stored = done.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(matches!(stored, Err(StoreError::Away { .. })), "{stored:?}");
    });
    server.restart();
    store.write(&batch(10, 20), now()).unwrap();
    assert_eq!(server.psql("SELECT count(*) FROM sitewatch.outcome"), "20");
}

/// A door to a server that shuts with the answer to each COMMIT; gives its port.
fn shutting_door(url: &str) -> u16 {
    let url = url::Url::parse(url).unwrap();
    let (host, port) = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = door.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in door.incoming() {
            let (mut client, mut server) =
                (client.unwrap(), TcpStream::connect((&*host, port)).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = server.read(&mut piece) {
                let answer = &piece[..length];
                if client.write_all(answer).is_err()
                    || answer.windows(7).any(|bytes| bytes == b"COMMIT\0")
                {
                    break;
                }
            }
            let _ = client.shutdown(Shutdown::Both);
        }
    });
    at
}

#[test]
fn a_connection_may_end_with_its_last_answer() {
    let database = harness::Postgres::database();
    let mut url = url::Url::parse(&database.url()).unwrap();
    url.set_port(Some(shutting_door(&database.url()))).unwrap();
    let mut store = Postgres::connect(&settings(url.as_str())).unwrap();
    while store.prepare() != Ok(Readiness::Ready) {}
    for i in 0..100 {
        // The end comes with the answer, or right behind it.
        let stored = store.write(&batch(i, i + 1), now());
        assert!(matches!(stored, Ok(WriteResult::Stored(_))), "{stored:?}");
    }
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.outcome"), "100");
}

#[test]
fn a_server_that_stands_still_is_given_up() {
    let server = harness::Postgres::start();
    let url = format!("{}&connect_timeout=1", server.url());
    let mut store = Postgres::connect(&settings(&url)).unwrap();
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    server.pause();
    let began = Instant::now();
    let error = Postgres::connect(&settings(&url)).err().unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(error.to_string().ends_with("no answer within 2 s"), "{error}");
    server.resume();
    put(&mut store, &[check("site", "a", now(), Verdict::Up)]).unwrap();
}

#[test]
fn a_call_is_given_up_when_we_are_to_stop() {
    let server = harness::Postgres::start();
    let mut store = Postgres::new(&settings(&server.url())).unwrap();
    let stop = Stop::default();
    store.set_stop(&stop, Duration::from_millis(700));
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    server.pause();
    let began = Instant::now();
    let (connected, fresh) = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            stop.tell();
        });
        let connected = store.write(&batch(0, 10), now()).unwrap_err();
        let mut fresh = Postgres::new(&settings(&server.url())).unwrap();
        fresh.set_stop(&stop, Duration::ZERO);
        (connected, fresh.positions("", "").unwrap_err())
    });
    let took = began.elapsed();
    assert!(Duration::from_secs(1) <= took && took < Duration::from_secs(5), "{took:?}");
    for error in [connected, fresh] {
        assert!(error.to_string().ends_with("before we had to stop"), "{error}");
    }
    server.resume();
}

#[test]
fn a_report_is_of_one_moment_or_of_none() {
    let mut server = harness::Postgres::start();
    let mut store = Postgres::connect(&settings(&server.url())).unwrap();
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    store.write(&batch(0, 10), now()).unwrap();
    let mut reader = Postgres::open(&settings(&server.url())).unwrap();
    assert_eq!(reader.states().unwrap().len(), 1);
    server.restart();
    assert!(reader.targets().unwrap_err().to_string().ends_with("it has ended"));
}

#[test]
fn a_host_that_is_silent_does_not_hide_the_next() {
    let (silent, server) = (harness::Postgres::start(), harness::Postgres::shared());
    silent.pause();
    let port = |url: &str| url::Url::parse(url).unwrap().port().unwrap();
    let (first, second) = (port(&silent.url()), port(&server.url()));
    let both = server
        .url()
        .replace(&format!("127.0.0.1:{second}"), &format!("127.0.0.1:{first},127.0.0.1:{second}"));
    let began = Instant::now();
    Postgres::connect(&settings(&format!("{both}&connect_timeout=1"))).unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    silent.resume();
}

#[test]
fn where_nobody_listens_it_says_so() {
    let port = harness::daemon::free_port();
    let url = format!("postgresql://sitewatch:hush@127.0.0.1:{port}/db?sslmode=disable");
    let error = Postgres::connect(&settings(&url)).err().unwrap();
    let want = format!("cannot connect to the database db at 127.0.0.1:{port}: Connection refused");
    assert!(error.to_string().starts_with(&want), "{error}");
    let url = format!("postgresql://sitewatch:hush@127.0.0.1:{port},localhost:{port}/db");
    let text = Postgres::connect(&settings(&url)).err().unwrap().to_string();
    for host in [format!("; localhost:{port}: "), format!(": 127.0.0.1:{port}: ")] {
        assert!(text.contains(&host), "{text}");
    }
}

#[test]
fn a_row_that_somebody_locked_is_waited_for_but_not_for_ever() {
    let fresh = super::scratch::Fresh::new();
    let mut store = fresh.writer();
    store.write(&batch(0, 5), now()).unwrap();
    // As a writer that was stopped in mid-transaction holds it; the server throws it out.
    let mut stopped = fresh.database.client();
    stopped
        .batch_execute(
            "SET idle_in_transaction_session_timeout = '1s'; BEGIN; \
             SELECT * FROM sitewatch.kafka_offset FOR UPDATE",
        )
        .unwrap();
    let began = Instant::now();
    assert!(matches!(store.write(&batch(5, 10), now()), Ok(WriteResult::Stored(_))));
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
    let limits = fresh.database.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sitewatch' \
         AND datname = current_database()",
    );
    assert_eq!(limits, "1");
}
