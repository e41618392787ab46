//! A bit that is flipped, on the road or in the broker's own log, is never stored as truth.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::centre::{Centre, DEADLINE, await_all, marks};
use super::expired_messages::letters;
use super::flow::Flow;
use crate::harness::daemon::random;
use crate::harness::{Kafka, Postgres, admin};

/// A road to a broker that flips a bit of what comes from it behind these words, so many times.
fn flip_bits(listener: TcpListener, broker: String, words: &'static [u8], times: Arc<AtomicUsize>) {
    thread::spawn(move || {
        for here in listener.incoming().flatten() {
            let there = TcpStream::connect(&broker).unwrap();
            let (mut from, mut to) = (here.try_clone().unwrap(), there.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let times = Arc::clone(&times);
            thread::spawn(move || pass_flipped(there, here, words, &times));
        }
    });
}

fn pass_flipped(mut from: TcpStream, mut to: TcpStream, words: &[u8], times: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..count];
        let at = bytes.windows(words.len()).position(|window| window == words);
        if let Some(at) = at.filter(|at| at + words.len() < count) {
            let left =
                times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            bytes[at + words.len()] ^= u8::from(left.is_ok());
        }
        if to.write_all(bytes).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Overwrites a byte in place: the broker has the file open.
fn overwrite(file: &Path, at: usize, byte: u8) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_at(&[byte], at as u64).unwrap();
}

#[test]
fn a_bit_that_is_flipped_on_the_road_is_fetched_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let kafka = Kafka::with_settings(&format!("advertised.listeners=PLAIN://{place}"));
    let left = Arc::new(AtomicUsize::new(3));
    flip_bits(listener, kafka.brokers(), b"\"total_us\":1", Arc::clone(&left));
    let (database, topic) = (Postgres::database(), random());
    kafka.create_topic(&topic, 1).unwrap();
    let centre = Centre::new(&place, &topic, &database);
    let mut flow = Flow::new(&place, &topic);
    flow.send(200);
    let one = centre.writer("one");
    await_all(&centre, &database, &one);
    flow.judge(&database);
    assert_eq!(left.load(Ordering::Relaxed), 0, "not all were flipped");
    assert_eq!(one.said("received a damaged batch of records"), 1, "{}", one.log());
    one.stop();
}

#[test]
fn a_bit_that_is_flipped_in_the_log_is_said_and_not_stored() {
    let (kafka, database, topic) = (Kafka::start(), Postgres::database(), random());
    kafka.create_topic(&topic, 1).unwrap();
    let centre = Centre::new(&kafka.brokers(), &topic, &database);
    let mut flow = Flow::new(&kafka.brokers(), &topic);
    flow.send(30);
    let file = kafka.log_file(&topic, 0);
    let flip = || {
        let log = fs::read(&file).unwrap();
        let words = b"\"total_us\":7,";
        let at = log.windows(words.len()).position(|window| window == words).unwrap();
        overwrite(&file, at + words.len() + 1, log[at + words.len() + 1] ^ 1);
    };
    flip();
    let mut one = centre.writer("one");
    one.running.await_stderr("received a damaged batch of records, fetching it again", DEADLINE);
    assert_eq!(database.psql("SELECT count(*) FROM sitewatch.outcome WHERE total_us >= 7"), "0");
    // Its partition stands still, and the others go on.
    one.await_health("log_damaged");
    let words = format!("topic {topic}, partition 0 stands still at offset ");
    assert_eq!(one.said(&words), 1, "{}", one.log());
    flip();
    await_all(&centre, &database, &one);
    flow.judge(&database);
    one.await_health("ok");
    one.stop();
}

/// As the log advises, where no replica has the batch whole.
#[test]
fn a_damaged_batch_that_is_deleted_lets_its_partition_go_on() {
    let (kafka, database, topic) = (Kafka::start(), Postgres::database(), random());
    kafka.create_topic(&topic, 2).unwrap();
    let centre = Centre::new(&kafka.brokers(), &topic, &database);
    let mut flow = Flow::new(&kafka.brokers(), &topic);
    let one = centre.writer("one");
    flow.send(200);
    await_all(&centre, &database, &one);
    one.stop();
    flow.send(200);
    let until = centre.ends();
    let log = fs::read(kafka.log_file(&topic, 0)).unwrap();
    let words = b"\"total_us\":2";
    let at = log.windows(words.len()).rposition(|window| window == words).unwrap();
    overwrite(&kafka.log_file(&topic, 0), at + words.len(), b'x');
    flow.send(100);
    let one = centre.writer("one");
    one.await_health("log_damaged");
    let mark = marks(&database)[&0];
    let place = format!("partition 0 stands still at offset {mark}:");
    assert_eq!(one.said(&place), 1, "{}", one.log());
    assert_eq!(one.said(" stands still "), 1, "{}", one.log());
    assert_eq!(marks(&database)[&1], centre.ends()[&1]);

    admin::delete_records(&kafka.brokers(), &topic, 0, until[&0]).unwrap();
    await_all(&centre, &database, &one);
    one.await_health("ok");
    let letters = letters(&database);
    assert!(letters.starts_with(&format!("missing|{mark}|")), "{letters}");
    assert_eq!(letters.lines().count(), 1, "{letters}");
    let lost = until[&0] - mark;
    let stored = database.psql("SELECT count(*) FROM sitewatch.outcome");
    assert_eq!(stored, (flow.sent as i64 - lost).to_string());
    one.stop();
}
