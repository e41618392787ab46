//! Batches from Kafka: marks that stand beside the rows, dead letters, and writers that come for
//! the same.

use std::collections::BTreeMap;
use std::thread;

use sitewatch::date::rfc3339;
use sitewatch::model::outcome::Verdict;
use sitewatch::model::record::Record;
use sitewatch::store::{
    Batch, DeadLetter, Mark, MessageOrigin, Postgres, Store, WriteCounts, WriteResult,
};

use super::scratch::Fresh;
use crate::fixtures::records::{check, gap, loss, now, outcome, target};

fn mark(partition: i32, from: i64, next: i64) -> Mark {
    Mark { partition, from, next, ..Mark::default() }
}

fn batch(marks: &[Mark], records: Vec<Record>) -> Batch {
    let (topic, cluster) = ("topic".to_owned(), "cluster".to_owned());
    Batch { topic, cluster, records, marks: marks.to_vec(), ..Batch::default() }
}

fn checks(due: std::ops::Range<i64>) -> Vec<Record> {
    due.map(|i| check("site", "a", now() + i * 1000, Verdict::Up)).collect()
}

fn whole(checks: u64, repeats: u64) -> WriteResult {
    WriteResult::Stored(WriteCounts { checks, repeats, expired: 0 })
}

fn offsets(store: &mut Postgres) -> BTreeMap<i32, i64> {
    let positions = store.positions("cluster", "topic").unwrap().into_iter();
    positions.map(|(partition, position)| (partition, position.next)).collect()
}

#[test]
fn marks_move_with_their_records() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    assert_eq!(offsets(&mut store), BTreeMap::new());
    let first = batch(&[mark(0, 0, 10), mark(3, 0, 7)], checks(0..10));
    assert_eq!(store.write(&first, now()), Ok(whole(10, 0)));
    assert_eq!(offsets(&mut store), BTreeMap::from([(0, 10), (3, 7)]));
    // One that moves nothing but a mark, and one that goes on.
    assert_eq!(store.write(&batch(&[mark(3, 7, 9)], Vec::new()), now()), Ok(whole(0, 0)));
    assert_eq!(store.write(&batch(&[mark(0, 10, 12)], checks(10..12)), now()), Ok(whole(2, 0)));
    assert_eq!(offsets(&mut fresh.writer()), BTreeMap::from([(0, 12), (3, 9)]));
    // Another topic, and the same one elsewhere.
    for (topic, cluster) in [("topic", "other"), ("other", "cluster")] {
        assert_eq!(store.positions(cluster, topic), Ok(BTreeMap::new()));
        let (topic, cluster) = (topic.to_owned(), cluster.to_owned());
        let marks = vec![mark(0, 0, 1)];
        let other = Batch { topic, cluster, marks, ..Batch::default() };
        assert_eq!(store.write(&other, now()), Ok(whole(0, 0)));
    }
    assert_eq!(offsets(&mut store), BTreeMap::from([(0, 12), (3, 9)]));
}

#[test]
fn a_batch_from_ahead_of_the_store_is_not_stored() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    store.write(&batch(&[mark(0, 0, 10), mark(1, 0, 20)], checks(0..10)), now()).unwrap();
    // The store was restored from before 15 and 5 were stored.
    let marks = [mark(0, 15, 30), mark(1, 20, 25), mark(2, 5, 6)];
    let older = store.write(&batch(&marks, checks(10..20)), now());
    assert_eq!(older, Ok(WriteResult::Older(vec![(0, 10), (2, 0)])));
    assert_eq!(offsets(&mut store), BTreeMap::from([(0, 10), (1, 20)]));
    assert_eq!(fresh.database.psql("SELECT count(*) FROM sitewatch.outcome"), "10");
    // Read again from there it fits.
    let marks = [mark(0, 10, 30), mark(1, 20, 25), mark(2, 0, 6)];
    assert_eq!(store.write(&batch(&marks, checks(10..20)), now()), Ok(whole(10, 0)));
}

#[test]
fn a_log_that_began_anew_moves_its_mark_back() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    store.write(&batch(&[mark(0, 0, 1000)], checks(0..5)), now()).unwrap();
    let reset = Mark { reset: Some(0), ..mark(0, 1000, 3) };
    assert_eq!(store.write(&batch(&[reset], checks(5..8)), now()), Ok(whole(3, 0)));
    assert_eq!(offsets(&mut store), BTreeMap::from([(0, 3)]));
    // Anchors of the other log are gone, and those before it stay.
    let anchors =
        |store: &mut Postgres| store.positions("cluster", "topic").unwrap()[&0].anchors.to_string();
    let hashed = |from, next, hash| Mark { hash: Some(hash), ..mark(0, from, next) };
    for (mark, want) in [
        (hashed(3, 10, 0xa), "9:a"),
        (hashed(10, 50, 0xb), "49:b 9:a"),
        // Late.
        (hashed(3, 20, 0xc), "49:b 9:a"),
        (Mark { reset: Some(30), ..hashed(50, 31, 0xd) }, "30:d 9:a"),
        (Mark { reset: Some(0), ..hashed(31, 3, 0xe) }, "2:e"),
    ] {
        assert_eq!(store.write(&batch(&[mark], Vec::new()), now()), Ok(whole(0, 0)));
        assert_eq!(anchors(&mut store), want);
    }
    // It was stored, but we did not hear of it.
    let again = store.write(&batch(&[reset], checks(5..8)), now());
    assert_eq!(again, Ok(WriteResult::Older(vec![(0, 3)])));
}

/// All that a writer can change, as text.
fn everything(fresh: &Fresh) -> String {
    let tables = ["outcome", "state", "gap", "loss", "kafka_offset", "target", "node"];
    let tables = tables.map(|table| {
        format!("SELECT (t::text) FROM (SELECT * FROM sitewatch.{table}) t ORDER BY 1")
    });
    tables.map(|sql| fresh.database.psql(&sql)).join("\n--\n")
}

#[test]
fn a_late_batch_of_a_writer_that_was_replaced_changes_nothing() {
    let fresh = Fresh::new();
    let (mut zombie, mut heir) = (fresh.writer(), fresh.writer());
    let mut both_runs = outcome("site", "a", now() + 9000, Verdict::Down);
    both_runs.run = 2;
    let mut all = checks(0..10);
    all.extend([Record::Gap(gap("site", "a", now(), 3)), loss("a", 1, now(), now(), 5)]);
    all.push(target("site", "a", now(), &[("team", "web")]));
    let late = all.clone();
    // What came next changes how the target stands, in the same slot and after it.
    all.push(Record::Check(Box::new(both_runs)));
    all.extend([check("site", "a", now() + 10_000, Verdict::Down), loss("a", 1, now(), now(), 9)]);
    all.push(target("site", "a", now() + 1, &[("team", "new")]));
    assert_eq!(heir.write(&batch(&[mark(0, 0, 20)], all), now()), Ok(whole(12, 0)));
    let before = everything(&fresh);
    let batch = batch(&[mark(0, 0, 13)], late);
    for _ in 0..2 {
        assert_eq!(zombie.write(&batch, now()), Ok(whole(0, 10)));
        assert_eq!(everything(&fresh), before);
    }
}

#[test]
fn new_checks_among_repeats_count_alone() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    store.write(&batch(&[], checks(0..10)), now()).unwrap();
    for (range, new, repeats) in [(5..15, 5, 5), (12..20, 5, 3), (20..25, 5, 0), (25..30, 5, 0)] {
        assert_eq!(store.write(&batch(&[], checks(range)), now()), Ok(whole(new, repeats)));
    }
    let twice = [checks(30..32), checks(31..33)].concat();
    assert_eq!(store.write(&batch(&[], twice), now()), Ok(whole(3, 1)));
    let mut seen = 0;
    store.checks(i64::MIN, i64::MAX, &mut |_, _| seen += 1).unwrap();
    assert_eq!(seen, 33);
}

#[test]
fn a_dead_letter_is_kept_once() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let letter = |partition, offset, payload: &[u8], detail: &str| DeadLetter {
        origin: MessageOrigin { partition, offset, sent_ms: 5 },
        payload: payload.to_vec(),
        reason: "json",
        detail: detail.to_owned(),
    };
    let dead = vec![
        letter(1, 5, &[b'x'; 70_000], "too long"),
        letter(0, 7, b"\0\xff{", "no \0 JSON"),
        letter(0, 3, b"", "empty"),
    ];
    let given = Batch { dead, ..batch(&[mark(0, 0, 8), mark(1, 0, 6)], Vec::new()) };
    for _ in 0..2 {
        assert_eq!(store.write(&given, now()), Ok(whole(0, 0)));
    }
    // Another message at the same place, in a log that was begun anew.
    let mut other = letter(1, 5, b"other", "of another time");
    other.origin.sent_ms = 6;
    let given = Batch { dead: vec![other.clone(), other], ..batch(&[], Vec::new()) };
    store.write(&given, now()).unwrap();
    // A thousand of the largest are more than one statement should carry.
    let dead = (0..100).map(|i| letter(2, i, &[b'y'; 65_536], "large")).collect();
    store.write(&Batch { dead, ..batch(&[mark(2, 0, 100)], Vec::new()) }, now()).unwrap();
    let rows = fresh.database.psql(
        "SELECT cluster, topic, partition, record_offset, received_at AT TIME ZONE 'UTC', reason, \
         detail, length(payload), encode(substr(payload, 1, 3), 'hex') FROM sitewatch.dead_letter \
         WHERE partition < 2 ORDER BY partition, record_offset, sent_ms",
    );
    let at = rfc3339(now()).replace('T', " ").replace('Z', "");
    let want = format!(
        "cluster|topic|0|3|{at}|json|empty|0|\n\
         cluster|topic|0|7|{at}|json|no \u{fffd} JSON|3|00ff7b\n\
         cluster|topic|1|5|{at}|json|too long|65536|787878\n\
         cluster|topic|1|5|{at}|json|of another time|5|6f7468"
    );
    assert_eq!(rows, want);
    let large =
        "SELECT count(*), sum(length(payload)) FROM sitewatch.dead_letter WHERE partition = 2";
    assert_eq!(fresh.database.psql(large), "100|6553600");
}

#[test]
fn writers_that_come_for_the_same_do_not_hurt_one_another() {
    let fresh = Fresh::new();
    let batches: Vec<Batch> = (0..6)
        .map(|round| {
            let mut records = Vec::new();
            for i in 0..300 {
                let (site, node) = (format!("site {}", i % 37), format!("node {}", i % 5));
                let due_ms = now() + (round * 300 + i) * 1000;
                records.push(check(&site, &node, due_ms, Verdict::Up));
                records.push(Record::Gap(gap(&site, &node, due_ms, 2)));
                records.push(loss(&node, 1, now(), due_ms, i as u64));
                records.push(target(&site, &node, now() + i, &[]));
            }
            let range = mark(0, round * 300, (round + 1) * 300);
            batch(&[range], records)
        })
        .collect();
    // Each begins with all of it anew, in its own order within a batch.
    let total: u64 = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|number| {
                let (mut store, mut batches) = (fresh.writer(), batches.clone());
                scope.spawn(move || {
                    let mut new = 0;
                    for batch in &mut batches {
                        batch.records.rotate_left(number * 123);
                        match store.write(batch, now()).unwrap() {
                            WriteResult::Stored(written) => {
                                assert_eq!(written.checks + written.repeats, 300);
                                new += written.checks;
                            }
                            older => panic!("{older:?}"),
                        }
                    }
                    new
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(total, 1800);
    let counts = "SELECT (SELECT count(*) FROM sitewatch.outcome), \
        (SELECT count(*) FROM sitewatch.gap), (SELECT count(*) FROM sitewatch.target), \
        (SELECT count(*) FROM sitewatch.state), (SELECT max(count) FROM sitewatch.loss), \
        (SELECT min(first_due_ms) FROM sitewatch.state), (SELECT next FROM sitewatch.kafka_offset)";
    assert_eq!(fresh.database.psql(counts), format!("1800|1800|37|185|299|{}|1800", now()));
    // Ids are not used up by looking.
    let largest = fresh.database.psql("SELECT max(id) FROM sitewatch.target").parse::<i32>();
    assert!(largest.unwrap() <= 4 * 37);
}

#[test]
fn a_record_that_cannot_be_stored_is_named_as_the_reason() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    // Longer than an index takes, and of no pattern that could be packed.
    let mut dice = 7_u64;
    let mut roll = || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (dice >> 33) as u8 % 90)
    };
    let name: String = (0..4000).map(|_| roll()).collect();
    let long = outcome(&name, "a", now(), Verdict::Up);
    let records = vec![check("site", "a", now(), Verdict::Up), Record::Check(Box::new(long))];
    let before_1970 = vec![check("site", "a", -1, Verdict::Up)];
    for records in [records, before_1970] {
        let refused = store.write(&batch(&[mark(0, 0, 2)], records), now()).unwrap_err();
        let is_refused = matches!(refused, sitewatch::store::StoreError::Refused { .. });
        assert!(is_refused, "{refused:?}");
    }
    assert_eq!(offsets(&mut store), BTreeMap::new());
    assert_eq!(store.write(&batch(&[mark(0, 0, 2)], checks(0..1)), now()), Ok(whole(1, 0)));
}
