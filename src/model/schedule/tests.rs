//! Grids, gaps and plans, with a clock of our own.

use super::*;

const NOW: i64 = 1_790_000_000_000;

fn wanted(index: usize, name: &str, interval_ms: i64, stored_ms: Option<i64>) -> PlannedTarget<'_> {
    PlannedTarget { index, name, interval_ms, stored_ms }
}

fn one(interval_ms: i64, stored: Option<i64>) -> Schedule {
    Schedule::new([wanted(0, "site", interval_ms, stored)].into_iter(), "node", NOW)
}

#[test]
fn the_hash_is_fnv_1a() {
    // The published vector of "foobar" begins from the same offset and prime.
    let plain = "foobar".bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    assert_eq!(plain, 0x8594_4171_f739_67e8);
    assert_eq!(hash("a", "b"), hash("a", "b"));
    assert_ne!(hash("a", "b"), hash("ab", ""));
}

#[test]
fn a_short_interval_waits_for_its_grid() {
    let mut schedule = one(5000, None);
    let first = schedule.next_ms().unwrap();
    assert!(first > NOW && first <= NOW + 5000);
    assert_eq!(first.rem_euclid(5000), (hash("site", "node") % 5000) as i64);
    assert_eq!(schedule.next(first - 1), None);
    let slot = schedule.next(first).unwrap();
    assert_eq!(slot, Slot { target: 0, due_ms: first, missed: None });
    assert_eq!(schedule.next(first + 4999), None);
    schedule.done(0);
    assert_eq!(schedule.next_ms(), Some(first + 5000));
}

#[test]
fn a_long_interval_is_checked_soon_for_the_slot_that_passed() {
    let day = 86_400_000;
    let mut schedule = one(day, None);
    let start = schedule.next_ms().unwrap();
    assert!((NOW..NOW + FIRST_WITHIN_MS).contains(&start));
    let slot = schedule.next(start).unwrap();
    assert!(slot.due_ms <= NOW && slot.due_ms > NOW - day);
    assert_eq!(slot.missed, None);
    schedule.done(0);
    assert_eq!(schedule.next_ms(), Some(slot.due_ms + day));
    // Not if the store has a check of that slot.
    assert_eq!(one(day, Some(slot.due_ms)).next_ms(), Some(slot.due_ms + day));
}

#[test]
fn the_grid_goes_on_past_2038_and_2106() {
    for now in [2_147_483_647_999, 4_294_967_295_999, 253_402_300_799_000] {
        let mut schedule = Schedule::new([wanted(0, "site", 5000, None)].into_iter(), "node", now);
        let first = schedule.next_ms().unwrap();
        assert!((now + 1..=now + 5000).contains(&first), "{first} after {now}");
        assert_eq!(first.rem_euclid(5000), (hash("site", "node") % 5000) as i64);
        let slot = schedule.next(first + 11_000).unwrap();
        assert_eq!((slot.due_ms, slot.missed.map(|gap| gap.count)), (first + 10_000, Some(2)));
    }
}

#[test]
fn first_checks_are_spread() {
    let names: Vec<String> = (0..1000).map(|i| format!("site {i}")).collect();
    let targets = names.iter().enumerate().map(|(i, name)| wanted(i, name, 60_000, None));
    let mut schedule = Schedule::new(targets, "node", NOW);
    for second in 0..10 {
        let mut started = 0;
        while let Some(slot) = schedule.next(NOW + second * 1000 + 999) {
            assert!(slot.missed.is_none());
            started += 1;
        }
        assert!((50..=150).contains(&started), "{started} in second {second}");
    }
}

#[test]
fn missed_slots_are_one_gap_and_no_burst() {
    let mut schedule = one(1000, None);
    let first = schedule.next_ms().unwrap();
    let slot = schedule.next(first + 3500).unwrap();
    assert_eq!(slot.due_ms, first + 3000);
    let missed = slot.missed.unwrap();
    assert_eq!((missed.from_ms, missed.to_ms, missed.count), (first, first + 2000, 3));
    assert_eq!(missed.cause, GapCause::Overload);
    schedule.done(0);
    assert_eq!(schedule.next(first + 3500), None);
    assert_eq!(schedule.next(first + 4000).map(|s| s.due_ms), Some(first + 4000));
}

#[test]
fn a_check_that_ends_late_delays_only_its_own_next() {
    let mut schedule = one(1000, None);
    let first = schedule.next_ms().unwrap();
    schedule.next(first).unwrap();
    assert!(!schedule.is_ready(first + 1500));
    schedule.done(0);
    let slot = schedule.next(first + 1500).unwrap();
    assert_eq!((slot.due_ms, slot.missed), (first + 1000, None));
}

#[test]
fn what_is_due_at_a_stop_is_a_gap() {
    let mut schedule = one(1000, None);
    let first = schedule.next_ms().unwrap();
    let gaps = schedule.stop(first + 1200);
    let missed =
        MissedSlots { from_ms: first, to_ms: first + 1000, count: 2, cause: GapCause::Stop };
    assert_eq!(gaps, [(0, missed)]);
    assert_eq!((schedule.next(first + 9000), schedule.next_ms()), (None, None));
    // The gap is reported once, whatever the clock does then.
    assert_eq!(schedule.step(first + 99_000, GapCause::Clock, false), []);
}

#[test]
fn what_came_due_behind_a_check_under_way_is_a_gap_too() {
    let mut schedule = one(1000, None);
    let first = schedule.next_ms().unwrap();
    schedule.next(first).unwrap();
    assert_eq!(schedule.stop(first + 999), []);
    let mut schedule = one(1000, None);
    schedule.next(first).unwrap();
    let gaps = schedule.stop(first + 2500);
    let (from_ms, to_ms) = (first + 1000, first + 2000);
    assert_eq!(gaps, [(0, MissedSlots { from_ms, to_ms, count: 2, cause: GapCause::Stop })]);
}

#[test]
fn a_clock_stepped_ahead_leaves_one_gap_and_one_stepped_back_none() {
    let mut schedule = one(1000, None);
    let first = schedule.next_ms().unwrap();
    let gaps = schedule.step(first + 3_600_000, GapCause::Clock, false);
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].1.from_ms, gaps[0].1.count), (first, 3601));
    assert_eq!(gaps[0].1.cause, GapCause::Clock);
    assert_eq!(schedule.next_ms(), Some(first + 3_601_000));
    assert_eq!(schedule.step(first, GapCause::Clock, true), []);
    assert_eq!(schedule.next_ms(), Some(first + 1000));
    // A check under way while the clock steps ahead: the slots behind its own are missed.
    schedule.next(first + 1000).unwrap();
    let gaps = schedule.step(first + 4500, GapCause::Suspend, false);
    assert_eq!((gaps[0].1.from_ms, gaps[0].1.to_ms), (first + 2000, first + 4000));
    assert_eq!((gaps[0].1.count, gaps[0].1.cause), (3, GapCause::Suspend));
    schedule.done(0);
    assert_eq!(schedule.step(first, GapCause::Clock, true), []);
    // A check under way while the clock steps back: the target goes on from the new time.
    schedule.next(first + 1000).unwrap();
    assert_eq!(schedule.step(first - 10_500, GapCause::Clock, true), []);
    schedule.done(0);
    assert_eq!(schedule.next_ms(), Some(first - 10_000));
}

#[test]
fn a_plan_leaves_alone_what_stays() {
    let names = ["a", "b", "c"];
    let all = |interval_ms| {
        names.iter().enumerate().map(move |(i, name)| wanted(i, name, interval_ms, None))
    };
    let mut schedule = Schedule::new(all(5000), "node", NOW);
    let due: Vec<i64> = schedule.entries.iter().map(|entry| entry.due_ms).collect();
    let waiting = schedule.waiting.len();
    assert_eq!(schedule.plan(all(5000), "node", NOW + 1), []);
    assert_eq!(schedule.entries.iter().map(|entry| entry.due_ms).collect::<Vec<_>>(), due);
    assert_eq!(schedule.waiting.len(), waiting);
    // A check that is under way ends, and the target goes on where it would have.
    let now = due.iter().copied().min().unwrap();
    let slot = schedule.next(now).unwrap();
    assert_eq!(schedule.plan(all(5000), "node", now), []);
    assert_eq!(schedule.peek(), None);
    schedule.done(slot.target);
    assert_eq!(schedule.entries[slot.target].due_ms, now + 5000);
    // A target whose interval changes during a check goes on along the new grid.
    let slot = schedule.next(now + 5000).unwrap();
    schedule.plan(all(7000), "node", now + 5000);
    schedule.done(slot.target);
    let next = schedule.entries[slot.target].due_ms;
    assert!((slot.due_ms + 1..=slot.due_ms + 7000).contains(&next));
    let phase = (hash(names[slot.target], "node") % 7000) as i64;
    assert_eq!(next.rem_euclid(7000), phase);
}

#[test]
fn a_plan_drops_what_is_not_wanted_and_says_what_was_due() {
    let mut schedule = one(1000, None);
    let first = schedule.next_ms().unwrap();
    let gaps = schedule.plan([].into_iter(), "node", first + 1200);
    let (from_ms, to_ms) = (first, first + 1000);
    assert_eq!(gaps, [(0, MissedSlots { from_ms, to_ms, count: 2, cause: GapCause::Stop })]);
    assert_eq!((schedule.next(first + 9000), schedule.next_ms()), (None, None));
    assert_eq!(schedule.stop(first + 9000), []);
    // A target that leaves during a check ends it, and plans no more.
    let mut schedule = one(1000, None);
    schedule.next(first).unwrap();
    assert_eq!(schedule.plan([].into_iter(), "node", first + 10), []);
    assert!(!schedule.is_free(0, first + KEPT_MS + 1));
    schedule.done(0);
    assert_eq!(schedule.next_ms(), None);
    assert!(!schedule.is_free(0, first + KEPT_MS) && schedule.is_free(0, first + KEPT_MS + 1));
    assert!(schedule.is_free(1, first));
}

#[test]
fn no_slot_is_checked_twice_by_a_plan() {
    let hour = 3_600_000;
    let mut schedule = one(hour, None);
    let start = schedule.next_ms().unwrap();
    let slot = schedule.next(start).unwrap();
    schedule.done(0);
    // The target goes, and comes back within the same slot.
    schedule.plan([].into_iter(), "node", start + 1);
    assert_eq!(schedule.next_ms(), None);
    schedule.plan([wanted(0, "site", hour, None)].into_iter(), "node", start + 2);
    assert_eq!(schedule.next_ms(), Some(slot.due_ms + hour));
    // A grid of half the interval has the same slots, and others between.
    let later = slot.due_ms + hour / 4;
    schedule.plan([wanted(0, "site", hour / 2, None)].into_iter(), "node", later.max(start + 3));
    let next = schedule.next_ms().unwrap();
    assert!(next > start + 2 && schedule.entries[0].due_ms > slot.due_ms, "{next}");
}

#[test]
fn what_came_due_while_nothing_could_start_is_spread() {
    let names: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
    let targets = |interval_ms: i64| {
        let all = names.iter().enumerate();
        all.map(move |(index, name)| wanted(index, name, interval_ms, Some(NOW)))
    };
    for (interval_ms, stalled_ms) in [(10_000, 15_000), (30_000, 35_000), (3_600_000, 9_000_000)] {
        let mut schedule = Schedule::new(targets(interval_ms), "node", NOW);
        let now = NOW + stalled_ms;
        assert_eq!(schedule.delay(now, stalled_ms), []);
        let mut starts = Vec::new();
        while let Some(start_ms) = schedule.next_ms().filter(|start| *start < now + interval_ms) {
            let slot = schedule.next(start_ms).unwrap();
            starts.push(start_ms);
            // The newest slot that is due is checked, and each slot before it is reported as missed.
            assert!((0..interval_ms).contains(&(start_ms - slot.due_ms)), "{slot:?}");
            let missed = slot.missed.map_or(0, |missed| missed.count as i64);
            assert!(missed <= stalled_ms / interval_ms + 1, "{slot:?}");
            schedule.done(slot.target);
        }
        assert!(starts.len() >= names.len(), "{starts:?}");
        // No target waits for longer than at the start, and no second has half of them.
        let late = starts.iter().filter(|start| **start < now + FIRST_WITHIN_MS).count();
        assert!(late >= names.len() / 2, "{starts:?}");
        for from in (now..now + FIRST_WITHIN_MS).step_by(500) {
            let burst = starts.iter().filter(|at| (from..from + 1000).contains(*at)).count();
            assert!(burst <= 12, "{burst} of {starts:?}");
        }
    }
}

#[test]
fn a_target_under_way_goes_on_with_its_next_slot_after_a_stall() {
    let mut schedule = one(5000, None);
    let first = schedule.next_ms().unwrap();
    let slot = schedule.next(first).unwrap();
    let cause = GapCause::Overload;
    let missed = MissedSlots { from_ms: first + 5000, to_ms: first + 10_000, count: 2, cause };
    assert_eq!(schedule.delay(first + 12_000, 12_000), [(0, missed)]);
    assert_eq!(slot.due_ms, first);
    schedule.done(0);
    assert_eq!(schedule.next_ms(), Some(first + 15_000));
}

#[test]
fn a_late_slot_is_owed_by_a_stop_a_step_and_a_plan() {
    let late = || {
        let mut schedule = one(60_000, None);
        let due = schedule.next_ms().map(|first| schedule.next(first).unwrap().due_ms).unwrap();
        schedule.done(0);
        let due = due + 60_000;
        assert_eq!(schedule.delay(due + 9000, 9000), []);
        assert!(!schedule.is_ready(due + 9000) || schedule.entries[0].spread_ms == 0);
        (schedule, due)
    };
    let one_missed =
        |due: i64, cause| vec![(0, MissedSlots { from_ms: due, to_ms: due, count: 1, cause })];
    let (mut schedule, due) = late();
    assert_eq!(schedule.stop(due + 9000), one_missed(due, GapCause::Stop));
    let (mut schedule, due) = late();
    let gaps = schedule.step(due + 9000, GapCause::Clock, false);
    assert_eq!(gaps, one_missed(due, GapCause::Clock));
    let (mut schedule, due) = late();
    assert_eq!(schedule.plan([].into_iter(), "node", due + 9000), one_missed(due, GapCause::Stop));
    // A target that stays keeps its place.
    let (mut schedule, due) = late();
    let start = schedule.next_ms();
    let same = [wanted(0, "site", 60_000, None)];
    assert_eq!(schedule.plan(same.into_iter(), "node", due + 9000), []);
    assert_eq!(schedule.next_ms(), start);
}
