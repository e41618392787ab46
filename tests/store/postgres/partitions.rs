//! Partitions: made as rows need them, dropped when their time is over, also by several at once.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use sitewatch::config::RetentionConfig;
use sitewatch::date::rfc3339;
use sitewatch::model::outcome::Verdict;
use sitewatch::model::record::Record;
use sitewatch::store::{
    Batch, DeadLetter, Mark, MessageOrigin, Postgres, RetentionCounts, Store, WriteCounts,
    WriteResult,
};

use super::scratch::Fresh;
use crate::fixtures::records::{check, gap, loss, now, put, put_at};
use crate::harness::clock::HOUR_MS as HOUR;
use crate::harness::eventually;

const DAY: i64 = 24 * HOUR;

fn hours(fresh: &Fresh) -> String {
    fresh.database.psql(
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class JOIN pg_inherits \
         ON inhrelid = oid WHERE inhparent = 'sitewatch.outcome'::regclass",
    )
}

/// The partition of a moment.
fn partition(ms: i64) -> String {
    let digits = rfc3339(ms).replace('-', "");
    format!("outcome_{}", &digits[..8])
}

/// The partitions of these moments, as [`hours`] has them.
fn partitions(moments: impl IntoIterator<Item = i64>) -> String {
    let names: BTreeSet<String> = moments.into_iter().map(partition).collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

fn retention(checks: u64, dead_letters: u64) -> RetentionConfig {
    let [checks, dead_letters] =
        [checks, dead_letters].map(|hours| Duration::from_secs(hours * 3600));
    RetentionConfig { checks, dead_letters }
}

#[test]
fn days_are_made_as_rows_need_them() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    assert_eq!(hours(&fresh), "");
    let due = [now(), now() + HOUR - 1, now() - 1, now() + 23 * HOUR];
    put(&mut store, &due.map(|due_ms| check("site", "a", due_ms, Verdict::Up))).unwrap();
    assert_eq!(hours(&fresh), partitions(due));
    // With the times of 1970 and 9999, which nobody asks for but a stranger.
    put(&mut store, &[check("site", "a", 0, Verdict::Up)]).unwrap();
    put(&mut store, &[check("site", "a", 253_402_300_799_999, Verdict::Up)]).unwrap();
    assert!(hours(&fresh).starts_with("outcome_19700101 ") && hours(&fresh).ends_with("_99991231"));
}

#[test]
fn a_day_is_made_once_by_many() {
    let fresh = Fresh::new();
    thread::scope(|scope| {
        for number in 0..6 {
            let mut store = fresh.writer();
            scope.spawn(move || {
                for day in 0..8 {
                    let due_ms = now() + day * DAY + number;
                    put(&mut store, &[check("site", "a", due_ms, Verdict::Up)]).unwrap();
                }
            });
        }
    });
    assert_eq!(hours(&fresh).split(' ').count(), 8);
    assert_eq!(fresh.database.psql("SELECT count(*) FROM sitewatch.outcome"), "48");
}

#[test]
fn hours_are_made_ahead_and_nobody_who_holds_the_table_holds_up_the_rows() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    // The day turns in between.
    let evening = now() / DAY * DAY + 20 * HOUR;
    let before = evening - 3 * DAY;
    for thousand in 0..8 {
        let old = (0..1000).map(|n| check("site", "a", before + thousand * 1000 + n, Verdict::Up));
        put(&mut store, &old.collect::<Vec<_>>()).unwrap();
    }
    while_at_work(&fresh, "ANALYZE sitewatch.outcome", || {
        let began = Instant::now();
        store.make_hours(evening).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(hours(&fresh), partitions([before]));
    });
    for moment in [0, HOUR - 1, HOUR + 1] {
        store.make_hours(evening + moment).unwrap();
        assert_eq!(hours(&fresh), partitions([before, evening, evening + 7 * HOUR]));
    }
    while_at_work(&fresh, "ANALYZE sitewatch.outcome", || {
        // Two connections: one that has made them, and one that has not.
        for (store, run) in [(&mut store, 0), (&mut fresh.writer(), 1)] {
            let began = Instant::now();
            for hour in 0..=7 {
                let due_ms = evening + hour * HOUR + run;
                put(store, &[check("site", "a", due_ms, Verdict::Up)]).unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
    });
    // VACUUM holds one partition at a time, and nobody up.
    let vacuum = format!("VACUUM sitewatch.{}", partition(before));
    while_at_work(&fresh, &vacuum, || {
        store.make_hours(evening + 2 * DAY).unwrap();
        let days = [before, evening, evening + 7 * HOUR, evening + 2 * DAY, evening + 3 * DAY];
        assert_eq!(hours(&fresh), partitions(days));
        let began = Instant::now();
        put(&mut store, &[check("site", "a", evening + 9 * DAY, Verdict::Up)]).unwrap();
        put(&mut store, &[check("site", "a", before, Verdict::Up)]).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

/// Acts while PostgreSQL looks through a table: a page in a tenth of a second, so that it lasts for
/// longer than what is done meanwhile.
#[track_caller]
fn while_at_work(fresh: &Fresh, sql: &str, act: impl FnOnce()) {
    let mut client = fresh.database.client();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    client.batch_execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1").unwrap();
    let sql = sql.to_owned();
    let working = thread::spawn(move || client.batch_execute(&sql));
    let is_at_work = format!(
        "SELECT (SELECT count(*) FROM pg_stat_progress_analyze WHERE pid = {pid}
            AND sample_blks_scanned > 0)
         + (SELECT count(*) FROM pg_stat_progress_vacuum WHERE pid = {pid}
            AND heap_blks_scanned > 0)"
    );
    eventually(Duration::from_secs(20), "at work", || fresh.database.psql(&is_at_work) == "1");
    act();
    assert!(!working.is_finished(), "it took too short a time");
    fresh.database.psql(&format!("SELECT pg_cancel_backend({pid})"));
    assert!(working.join().unwrap().is_err());
}

#[test]
fn a_batch_of_more_hours_than_can_be_locked_goes_in_parts() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let records: Vec<Record> =
        (0..250).rev().map(|hour| check("site", "a", now() - hour * HOUR, Verdict::Up)).collect();
    let marks = vec![Mark { partition: 0, from: 0, next: 250, ..Mark::default() }];
    let batch = Batch { records, marks, ..Batch::default() };
    for (checks, repeats) in [(250, 0), (0, 250)] {
        let written = WriteCounts { checks, repeats, expired: 0 };
        assert_eq!(store.write(&batch, now()), Ok(WriteResult::Stored(written)));
    }
    assert_eq!(hours(&fresh), partitions((0..250).map(|hour| now() - hour * HOUR)));
    assert_eq!(store.positions("", "").unwrap()[&0].next, 250);
    let state = store.states().unwrap().into_values().next().unwrap();
    assert_eq!((state.first_due_ms, state.last_due_ms), (now() - 249 * HOUR, now()));
}

#[test]
fn a_day_that_is_gone_is_made_again() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let at = |i| check("site", "a", now() + i, Verdict::Up);
    put(&mut store, &[at(0)]).unwrap();
    fresh.database.psql(&format!("DROP TABLE sitewatch.{}", partition(now())));
    let stored = put(&mut store, &[at(0), at(1)]).unwrap();
    assert_eq!(stored, WriteCounts { checks: 2, repeats: 0, expired: 0 });
}

#[test]
fn a_partition_that_somebody_else_has_attached_is_left_alone() {
    let fresh = Fresh::new();
    for name in ["outcome_archive", "outcome_2020", "outcome_20200101_old"] {
        let mut store = fresh.writer();
        put(&mut store, &[check("site", "a", now(), Verdict::Up)]).unwrap();
        let attach = format!("CREATE TABLE sitewatch.{name} PARTITION OF sitewatch.outcome");
        fresh.database.psql(&format!("{attach} DEFAULT"));
        let dropped = "SELECT dropped, remaining FROM sitewatch.drop_hours(4102444800000, 0)";
        assert_eq!(fresh.database.psql(dropped).trim(), "0|24", "{name}");
        fresh.database.psql("SELECT * FROM sitewatch.report_hour");
        fresh.database.psql(&format!("DROP TABLE sitewatch.{name}"));
    }
}

#[test]
fn what_is_past_its_time_goes_and_does_not_come_back() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let later = now() + 30 * 60_000;
    let mut records: Vec<Record> =
        (0..10).map(|day| check("site", "a", now() - day * DAY, Verdict::Up)).collect();
    records.push(Record::Gap(gap("site", "a", now() - 9 * DAY, 3)));
    records.push(Record::Gap(gap("site", "a", now() - 5000, 3)));
    records
        .extend([loss("a", 1, now() - 9 * DAY, now() - 9 * DAY, 1), loss("a", 1, now(), now(), 1)]);
    put_at(&mut store, &records, later).unwrap();
    // The day of three days ago is not past its time yet.
    let gone = store.retain(&retention(3 * 24, 24), u64::MAX, later).unwrap();
    assert_eq!(gone, RetentionCounts { hours: 6 * 24, ..RetentionCounts::default() });
    let left = partitions((0..4).map(|day| now() - day * DAY));
    assert_eq!(hours(&fresh), left);
    let rest = "SELECT (SELECT count(*) FROM sitewatch.gap), (SELECT count(*) FROM sitewatch.loss)";
    assert_eq!(fresh.database.psql(rest), "1|1");

    // What comes too late is counted, and nothing is made for it.
    records.push(check("long gone", "b", now() - 8 * DAY, Verdict::Up));
    let late = put_at(&mut store, &records, later).unwrap();
    assert_eq!(late, WriteCounts { checks: 0, repeats: 3, expired: 8 });
    assert_eq!((hours(&fresh), fresh.database.psql(rest)), (left, "1|1".to_owned()));
    let names =
        "SELECT (SELECT count(*) FROM sitewatch.target), (SELECT count(*) FROM sitewatch.node)";
    assert_eq!(fresh.database.psql(names), "1|1");
    assert_eq!(
        store.retain(&retention(3 * 24, 24), u64::MAX, later),
        Ok(RetentionCounts::default())
    );
}

#[test]
fn a_long_reader_holds_up_nobody() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    put(&mut store, &[check("site", "a", now(), Verdict::Up)]).unwrap();
    let mut reader = fresh.database.client();
    let mut reading = reader.transaction().unwrap();
    reading.query("SELECT FROM sitewatch.outcome", &[]).unwrap();
    let later = now() + 2 * DAY;
    thread::scope(|scope| {
        let mut other = fresh.writer();
        let dropping = scope.spawn(move || {
            let gone = other.retain(&retention(1, 24), u64::MAX, later);
            assert_eq!(gone, Ok(RetentionCounts { hours_left: 24, ..RetentionCounts::default() }));
        });
        let mut round = 0;
        while !dropping.is_finished() {
            let began = Instant::now();
            put(&mut store, &[check("site", "a", later + round, Verdict::Up)]).unwrap();
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            round += 1;
        }
    });
    reading.commit().unwrap();
    let gone = store.retain(&retention(1, 24), u64::MAX, later);
    assert_eq!(gone, Ok(RetentionCounts { hours: 24, ..RetentionCounts::default() }));
}

#[test]
fn many_days_go_bit_by_bit() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let records: Vec<Record> =
        (0..60).map(|day| check("site", "a", now() - day * DAY, Verdict::Up)).collect();
    put(&mut store, &records).unwrap();
    let mut gone = 0;
    eventually(Duration::from_secs(20), "all of them gone", || {
        let retained = store.retain(&retention(1, 24), u64::MAX, now() + 2 * DAY).unwrap();
        gone += retained.hours;
        assert_eq!(gone + retained.hours_left, 60 * 24);
        retained.hours_left == 0
    });
    assert_eq!(hours(&fresh), "");
}

/// A version before has begun this day by hours.
#[test]
fn hours_of_a_version_before_stay_until_their_time_is_over() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let midnight = now() / DAY * DAY;
    for hour in [9, 10] {
        let from = midnight + hour * HOUR;
        fresh.database.psql(&format!(
            "CREATE TABLE sitewatch.{0}{hour:02} (LIKE sitewatch.outcome);
             ALTER TABLE sitewatch.outcome ATTACH PARTITION sitewatch.{0}{hour:02}
             FOR VALUES FROM ({from}) TO ({1})",
            partition(midnight),
            from + HOUR
        ));
    }
    let due = [9 * HOUR, 11 * HOUR, DAY - 1, DAY, DAY + 5 * HOUR].map(|ms| midnight + ms);
    put(&mut store, &due.map(|due_ms| check("site", "a", due_ms, Verdict::Up))).unwrap();
    let (today, tomorrow) = (partition(midnight), partition(midnight + DAY));
    let want = ["09", "10", "11", "23"].map(|hour| format!("{today}{hour}")).join(" ");
    assert_eq!(hours(&fresh), format!("{want} {tomorrow}"));
    let first = "SELECT (extract(epoch FROM sitewatch.first_hour()) * 1000)::bigint";
    assert_eq!(fresh.database.psql(first), (midnight + 9 * HOUR).to_string());
    for (at, gone, left) in [
        (11 * HOUR, 2, format!("{today}11 {today}23 {tomorrow}")),
        (DAY, 2, tomorrow),
        (2 * DAY - 1, 0, partition(midnight + DAY)),
        (2 * DAY, 24, String::new()),
    ] {
        let retained = store.retain(&retention(1, 24), u64::MAX, midnight + at + HOUR).unwrap();
        assert_eq!((retained.hours, hours(&fresh)), (gone, left));
    }
}

/// Dead letters of one partition, a kilobyte each.
fn letters(store: &mut Postgres, offsets: std::ops::Range<i64>, now_ms: i64) {
    let letter = |offset| DeadLetter {
        origin: MessageOrigin { offset, ..MessageOrigin::default() },
        payload: vec![0; 1024],
        reason: "json",
        detail: String::new(),
    };
    let dead = offsets.map(letter).collect();
    let stored = store.write(&Batch { dead, ..Batch::default() }, now_ms).unwrap();
    assert_eq!(stored, WriteResult::Stored(WriteCounts::default()));
}

#[test]
fn dead_letters_go_by_age_and_then_by_size() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    letters(&mut store, 0..10, now() - 30 * HOUR);
    letters(&mut store, 10..400, now() - HOUR);
    letters(&mut store, 400..500, now());
    let gone = store.retain(&retention(1, 24), 1 << 30, now()).unwrap();
    assert_eq!(gone, RetentionCounts { letters_old: 10, ..RetentionCounts::default() });
    // Room for 200 of them; a row takes some 200 bytes beside its payload.
    let room = 200 * (1024 + 200);
    let gone = store.retain(&retention(1, 24), room, now()).unwrap();
    assert_eq!(gone, RetentionCounts { letters_over: 290, ..RetentionCounts::default() });
    let left = "SELECT min(record_offset), count(*) FROM sitewatch.dead_letter";
    assert_eq!(fresh.database.psql(left), "300|200");
    assert_eq!(store.retain(&retention(1, 24), room, now()), Ok(RetentionCounts::default()));
}

#[test]
fn empty_dead_letters_take_room_too_and_a_flood_is_let_go_of() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let letter = |offset| DeadLetter {
        origin: MessageOrigin { offset, ..MessageOrigin::default() },
        payload: Vec::new(),
        reason: "json",
        detail: String::new(),
    };
    let dead = (0..30_000).map(letter).collect();
    store.write(&Batch { dead, ..Batch::default() }, now()).unwrap();
    let mut gone = 0;
    eventually(Duration::from_secs(20), "no more than there is room for", || {
        let retained = store.retain(&retention(1, 24), 1000 * 200, now()).unwrap();
        gone += retained.letters_over;
        !retained.has_more
    });
    assert_eq!(gone, 29_000);
}
