//! What every store must keep, whatever its engine: one suite over the trait, called for each
//! way to open one. A clause gets a store that is empty.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use sitewatch::config::RetentionConfig;
use sitewatch::model::outcome::{Gap, GapCause, Loss, LossCause, Verdict};
use sitewatch::model::record::Record;
use sitewatch::model::report::Series;
use sitewatch::model::standing::NodeStanding;
use sitewatch::model::tally::CheckFacts;
use sitewatch::store::WriteCounts;

use super::engine::{Engine, OnSqlite, checks, every_check, gaps, series, state, stored};
use crate::fixtures::records::{check, gap, loss, now, outcome, put, target};
use crate::store::postgres::scratch::Fresh;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Every clause, each over a fresh store.
fn keeps_the_contract<E: Engine>(fresh: impl Fn() -> E) {
    let clauses: [fn(&dyn Engine); 17] = [
        an_empty_store_has_nothing,
        checks_read_back_as_they_were,
        a_repeat_changes_nothing,
        another_run_of_the_same_slot_is_another_check,
        a_batch_is_stored_whole_or_not_at_all,
        nobody_sees_a_batch_before_it_is_whole,
        a_window_is_half_open_and_in_order,
        the_newest_due_is_of_each_node_alone,
        a_state_lasts_while_it_is_the_same,
        late_checks_do_not_turn_a_state_back,
        a_time_that_is_still_to_come_proves_nothing,
        gaps_read_back_once,
        losses_grow_and_never_shrink,
        the_newest_announcement_wins,
        any_text_is_kept,
        readers_and_the_writer_do_not_wait,
        retention_deletes_the_old_and_nothing_else,
    ];
    for clause in clauses {
        clause(&fresh());
    }
}

#[test]
fn postgres_keeps_the_contract() {
    keeps_the_contract(Fresh::new);
}

#[test]
fn sqlite_keeps_the_contract() {
    keeps_the_contract(OnSqlite::new);
}

#[test]
fn sqlite_without_a_write_ahead_log_keeps_the_contract() {
    keeps_the_contract(OnSqlite::without_log);
}

fn an_empty_store_has_nothing(engine: &dyn Engine) {
    let mut store = engine.reader();
    assert!(every_check(&mut *store).is_empty());
    assert!(gaps(&mut *store, i64::MIN, i64::MAX).is_empty());
    assert!(store.states().unwrap().is_empty());
    assert!(store.targets().unwrap().is_empty());
    assert!(store.newest("a").unwrap().is_empty());
    assert!(store.losses(i64::MIN, i64::MAX).unwrap().is_empty());
    drop(store);
    let mut writer = engine.writer();
    assert_eq!(put(&mut *writer, &[]).unwrap(), WriteCounts::default());
}

fn checks_read_back_as_they_were(engine: &dyn Engine) {
    let outcomes = [Verdict::Up, Verdict::Slow, Verdict::Down, Verdict::Unknown].map(|verdict| {
        let mut outcome = outcome("site", "a", now() + verdict as i64, verdict);
        outcome.responded = verdict != Verdict::Down;
        outcome.match_ok = (verdict != Verdict::Slow).then_some(verdict == Verdict::Up);
        outcome.status_ok = (verdict != Verdict::Down).then_some(verdict == Verdict::Up);
        outcome.interval_ms = 1000 * (1 + verdict as i64);
        outcome.total_us = 1 << (20 * verdict as u32);
        outcome
    });
    let records: Vec<Record> =
        outcomes.iter().map(|outcome| Record::Check(Box::new(outcome.clone()))).collect();
    assert_eq!(put(&mut *engine.writer(), &records).unwrap(), stored(4, 0));
    let want = outcomes.map(|o| {
        let check = CheckFacts {
            due_ms: o.due_ms,
            interval_ms: o.interval_ms,
            verdict: o.verdict,
            responded: o.responded,
            status_ok: o.status_ok,
            match_ok: o.match_ok,
            total_us: o.total_us,
        };
        (series("site", "a"), check)
    });
    assert_eq!(every_check(&mut *engine.reader()), want);
}

fn a_repeat_changes_nothing(engine: &dyn Engine) {
    let records = [check("site", "a", now(), Verdict::Up), check("site", "a", now(), Verdict::Up)];
    assert_eq!(put(&mut *engine.writer(), &records).unwrap(), stored(1, 1));
    let before = (every_check(&mut *engine.reader()), engine.reader().states().unwrap());
    // Also one that says something else, and by a writer that knows nothing of the first.
    let records =
        [check("site", "a", now(), Verdict::Down), check("site", "a", now(), Verdict::Up)];
    assert_eq!(put(&mut *engine.writer(), &records).unwrap(), stored(0, 2));
    assert_eq!((every_check(&mut *engine.reader()), engine.reader().states().unwrap()), before);
}

fn another_run_of_the_same_slot_is_another_check(engine: &dyn Engine) {
    let mut again = outcome("site", "a", now(), Verdict::Up);
    again.run = 2;
    let records = [
        check("site", "a", now(), Verdict::Up),
        Record::Check(Box::new(again)),
        check("site", "b", now(), Verdict::Up),
        check("other", "a", now(), Verdict::Up),
    ];
    assert_eq!(put(&mut *engine.writer(), &records).unwrap(), stored(4, 0));
    assert_eq!(every_check(&mut *engine.reader()).len(), 4);
}

fn a_batch_is_stored_whole_or_not_at_all(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let batch: Vec<Record> = (0..100)
        .map(|i| check(&format!("site {i}"), "a", now() + i, Verdict::Up))
        .chain([Record::Gap(gap("gap", "a", now(), 3)), loss("a", 1, now(), now(), 5)])
        .chain([target("announced", "a", now(), &[])])
        .collect();
    engine.refuse_announcements(true);
    assert!(put(&mut *writer, &batch).is_err());
    engine.refuse_announcements(false);
    let mut reader = engine.reader();
    assert!(every_check(&mut *reader).is_empty() && reader.states().unwrap().is_empty());
    assert!(gaps(&mut *reader, i64::MIN, i64::MAX).is_empty());
    drop(reader);
    // The same writer goes on, and what it made of names in the cut batch does not count.
    assert_eq!(put(&mut *writer, &batch).unwrap(), stored(100, 0));
    let mut reader = engine.reader();
    let checks = every_check(&mut *reader).into_iter();
    let names: Vec<String> = checks.map(|(series, _)| series.target.to_string()).collect();
    assert_eq!(names, (0..100).map(|i| format!("site {i}")).collect::<Vec<_>>());
    assert_eq!(reader.targets().unwrap().len(), 102);
}

fn nobody_sees_a_batch_before_it_is_whole(engine: &dyn Engine) {
    let batch: Vec<Record> =
        (0..5000).map(|i| check("site", "a", now() + i * 100, Verdict::Up)).collect();
    let mut writer = engine.writer();
    let writing = thread::spawn(move || put(&mut *writer, &batch).unwrap());
    loop {
        let is_written = writing.is_finished();
        let mut reader = engine.reader();
        let seen = (every_check(&mut *reader).len(), reader.states().unwrap().len());
        assert!(matches!(seen, (0, 0) | (5000, 1)), "{seen:?}");
        if is_written {
            break assert_eq!(seen.0, 5000);
        }
    }
    writing.join().unwrap();
}

fn a_window_is_half_open_and_in_order(engine: &dyn Engine) {
    // Given in no order at all.
    let records: Vec<Record> = (0..40)
        .map(|i| (i * 17) % 40)
        .map(|i| check(if i % 2 == 0 { "even" } else { "odd" }, "a", now() + i * 500, Verdict::Up))
        .collect();
    put(&mut *engine.writer(), &records).unwrap();
    let mut reader = engine.reader();
    let due =
        |found: &[(Series, CheckFacts)]| found.iter().map(|(_, c)| c.due_ms).collect::<Vec<_>>();
    let want: Vec<i64> = (10..20).map(|i| now() + i * 500).collect();
    assert_eq!(due(&checks(&mut *reader, now() + 5000, now() + 10_000)), want);
    assert_eq!(due(&checks(&mut *reader, now() + 4501, now() + 9501)), want);
    assert_eq!(checks(&mut *reader, now() + 20_000, i64::MAX), []);
    assert_eq!(checks(&mut *reader, now(), now()), []);
    let all = every_check(&mut *reader);
    assert_eq!(due(&all), (0..40).map(|i| now() + i * 500).collect::<Vec<_>>());
    assert!(
        all.iter()
            .all(|(series, c)| (&*series.target == "even") == ((c.due_ms - now()) % 1000 == 0))
    );
}

fn the_newest_due_is_of_each_node_alone(engine: &dyn Engine) {
    let records = [
        check("site", "a", now() + 2000, Verdict::Up),
        check("site", "a", now() + 1000, Verdict::Down),
        check("site", "b", now() + 9000, Verdict::Unknown),
        check("other", "a", now(), Verdict::Up),
        target("never", "a", now(), &[]),
    ];
    put(&mut *engine.writer(), &records).unwrap();
    let mut reader = engine.reader();
    let want = BTreeMap::from([("site".to_owned(), now() + 2000), ("other".to_owned(), now())]);
    assert_eq!(reader.newest("a").unwrap(), want);
    assert_eq!(reader.newest("b").unwrap()["site"], now() + 9000);
    assert!(reader.newest("c").unwrap().is_empty());
}

fn a_state_lasts_while_it_is_the_same(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let mut due_ms = now();
    // Up and slow are one state; each other change begins a new one.
    for (verdict, since) in [
        (Verdict::Up, 0),
        (Verdict::Slow, 0),
        (Verdict::Up, 0),
        (Verdict::Down, 3),
        (Verdict::Down, 3),
        (Verdict::Unknown, 5),
        (Verdict::Down, 6),
        (Verdict::Slow, 7),
        (Verdict::Up, 7),
    ] {
        put(&mut *writer, &[check("site", "a", due_ms, verdict)]).unwrap();
        let want = NodeStanding {
            verdict,
            since_ms: now() + since * 1000,
            last_due_ms: due_ms,
            interval_ms: 1000,
            first_due_ms: now(),
        };
        assert_eq!(state(&mut *engine.reader(), "site", "a"), want);
        due_ms += 1000;
    }
}

fn late_checks_do_not_turn_a_state_back(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let batch =
        [check("site", "a", now(), Verdict::Up), check("site", "a", now() + 5000, Verdict::Down)];
    put(&mut *writer, &batch).unwrap();
    let before = state(&mut *engine.reader(), "site", "a");
    let mut late = outcome("site", "a", now() - 3000, Verdict::Up);
    late.interval_ms = 60_000;
    put(&mut *writer, &[Record::Check(Box::new(late))]).unwrap();
    let after = state(&mut *engine.reader(), "site", "a");
    assert_eq!(after, NodeStanding { first_due_ms: now() - 3000, ..before });
    assert_eq!(before.since_ms, now() + 5000);
}

fn a_time_that_is_still_to_come_proves_nothing(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let day = 86_400_000;
    put(&mut *writer, &[check("site", "a", now() + day, Verdict::Up)]).unwrap();
    put(&mut *writer, &[check("site", "a", now(), Verdict::Down)]).unwrap();
    let state = state(&mut *engine.reader(), "site", "a");
    assert_eq!((state.verdict, state.last_due_ms, state.since_ms), (Verdict::Down, now(), now()));
}

fn gaps_read_back_once(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let causes = [GapCause::Overload, GapCause::Clock, GapCause::Stop];
    let given: Vec<Gap> = causes
        .into_iter()
        .zip(0..)
        .map(|(cause, i)| Gap { cause, ..gap("site", "a", now() + i * 10_000, 3) })
        .collect();
    let records: Vec<Record> = given.iter().cloned().map(Record::Gap).collect();
    for _ in 0..2 {
        assert_eq!(put(&mut *writer, &records).unwrap(), WriteCounts::default());
    }
    let mut reader = engine.reader();
    assert_eq!(gaps(&mut *reader, i64::MIN, i64::MAX), given);
    // The first has slots at 0, 1 and 2 s.
    assert_eq!(gaps(&mut *reader, now() + 2000, now() + 10_000), given[..1]);
    assert_eq!(gaps(&mut *reader, now() + 2001, now() + 10_000), []);
    assert_eq!(gaps(&mut *reader, now() - 5000, now()), []);
    assert_eq!(gaps(&mut *reader, now() - 5000, now() + 1), given[..1]);
    assert!(reader.states().unwrap().is_empty(), "a gap is no check");
}

fn losses_grow_and_never_shrink(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let count = |from_ms, until_ms| {
        engine.reader().losses(from_ms, until_ms).unwrap().get("memory_full").copied()
    };
    put(&mut *writer, &[loss("a", 1, now(), now() + 1000, 10)]).unwrap();
    assert_eq!(count(now(), now() + 1), Some(10));
    put(&mut *writer, &[loss("a", 1, now(), now() + 9000, 25)]).unwrap();
    put(&mut *writer, &[loss("a", 1, now(), now() + 1000, 10)]).unwrap();
    assert_eq!(count(now(), now() + 1), Some(25));
    assert_eq!((count(now() + 9000, i64::MAX), count(now() + 9001, i64::MAX)), (Some(25), None));
    assert_eq!(count(i64::MIN, now()), None);
    // Another start, run or node is another loss.
    let others = [
        loss("a", 1, now() + 1, now() + 1, 1),
        loss("a", 2, now(), now(), 2),
        loss("b", 1, now(), now(), 4),
    ];
    put(&mut *writer, &others).unwrap();
    assert_eq!(count(i64::MIN, i64::MAX), Some(32));
    // And so is another of the same start, which its number tells; that too is stored once.
    let Record::Loss(first) = loss("a", 1, now(), now(), 100) else { unreachable!() };
    for _ in 0..2 {
        put(&mut *writer, &[Record::Loss(Loss { sequence: 1, ..first.clone() })]).unwrap();
    }
    put(&mut *writer, &[Record::Loss(Loss { cause: LossCause::SpoolFull, ..first })]).unwrap();
    assert_eq!(count(i64::MIN, i64::MAX), Some(132));
}

fn the_newest_announcement_wins(engine: &dyn Engine) {
    let mut writer = engine.writer();
    let labels = |site: &str| engine.reader().targets().unwrap()[site].clone();
    put(&mut *writer, &[check("site", "a", now(), Verdict::Up)]).unwrap();
    assert!(labels("site").is_empty(), "never announced");
    put(&mut *writer, &[target("site", "a", now(), &[("team", "web"), ("ä\"", "\\ö")])]).unwrap();
    assert_eq!(labels("site").len(), 2);
    assert_eq!(labels("site")["ä\""], "\\ö");
    put(&mut *writer, &[target("site", "b", now() + 5, &[("team", "new")])]).unwrap();
    put(&mut *writer, &[target("site", "a", now() + 4, &[("team", "old")])]).unwrap();
    assert_eq!(labels("site"), BTreeMap::from([("team".to_owned(), "new".to_owned())]));
    put(&mut *writer, &[target("site", "a", now() + 6, &[])]).unwrap();
    assert!(labels("site").is_empty());
    assert_eq!(every_check(&mut *engine.reader()).len(), 1);
}

fn any_text_is_kept(engine: &dyn Engine) {
    let name = "'; DROP TABLE outcome; -- \"監視\" \u{fffd} \u{1b}[2J\n\t%_ ".repeat(4);
    let mut long = outcome(&name, "nœud", now(), Verdict::Down);
    long.excerpt = Some("ü".repeat(8192));
    long.error = Some("x'\"\\".repeat(128));
    long.matched = Some("\u{10ffff}".repeat(64));
    (long.bytes, long.total_us, long.run) = (u64::MAX, i64::MAX as u64, u32::MAX >> 1);
    (long.lag_us, long.cert_expires_s) = (i64::MIN, Some(i64::MAX));
    let long = Record::Check(Box::new(long));
    assert_eq!(put(&mut *engine.writer(), &[long]).unwrap(), stored(1, 0));
    let found = every_check(&mut *engine.reader());
    assert_eq!((found[0].0.clone(), found[0].1.total_us), (series(&name, "nœud"), i64::MAX as u64));
    assert_eq!(engine.reader().newest("nœud").unwrap()[&name], now());
}

fn readers_and_the_writer_do_not_wait(engine: &dyn Engine) {
    let mut writer = engine.writer();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for batch in 0..40 {
                let records: Vec<Record> = (0..25)
                    .map(|i| check("site", "a", now() + (batch * 25 + i) * 1000, Verdict::Up))
                    .collect();
                assert_eq!(put(&mut *writer, &records).unwrap(), stored(25, 0));
            }
        });
        let mut last = 0;
        while !writing.is_finished() {
            let mut reader = engine.reader();
            let (count, states) = (every_check(&mut *reader).len(), reader.states().unwrap());
            assert!(count % 25 == 0 && count >= last, "{count} after {last}");
            let newest = states.get(&series("site", "a")).map_or(0, |state| {
                assert_eq!(state.first_due_ms, now());
                (state.last_due_ms - now()) / 1000 + 1
            });
            assert_eq!(newest, count as i64, "one reader sees one state of things");
            last = count;
        }
    });
    assert_eq!(every_check(&mut *engine.reader()).len(), 1000);
}

fn retention_deletes_the_old_and_nothing_else(engine: &dyn Engine) {
    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    let mut writer = engine.writer();
    let ages = [0, DAY_MS, 10 * DAY_MS, 10 * DAY_MS + HOUR_MS];
    let records: Vec<Record> = ages
        .iter()
        .flat_map(|age| {
            let due_ms = now() - age;
            [check("site", "a", due_ms, Verdict::Up), Record::Gap(gap("site", "a", due_ms, 1))]
        })
        .chain([target("site", "a", now() - 10 * DAY_MS, &[])])
        .collect();
    put(&mut *writer, &records).unwrap();
    let limits = RetentionConfig { checks: 3 * DAY, dead_letters: DAY };
    let retained = writer.retain(&limits, u64::MAX, now()).unwrap();
    assert!(retained.hours >= 2 && retained.hours_left == 0, "{retained:?}");
    let mut reader = engine.reader();
    let due: Vec<i64> = every_check(&mut *reader).iter().map(|(_, check)| check.due_ms).collect();
    assert_eq!(due, [now() - DAY_MS, now()]);
    assert_eq!(gaps(&mut *reader, i64::MIN, i64::MAX).len(), 2);
    assert_eq!((reader.targets().unwrap().len(), reader.states().unwrap().len()), (1, 1));
    drop(reader);
    // The second call finds nothing to do.
    assert_eq!(writer.retain(&limits, u64::MAX, now()).unwrap().hours, 0);
}
