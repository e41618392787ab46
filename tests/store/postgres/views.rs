//! The views against the program's own reports, figure by figure.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use postgres::{Client, Row};
use sitewatch::date::rfc3339;
use sitewatch::model::outcome::{Gap, Verdict};
use sitewatch::model::record::Record;
use sitewatch::model::report::{Report, Reporter};
use sitewatch::show::figure::{Figure, FigureValue};
use sitewatch::store::{Postgres, Store};

use super::scratch::{Fresh, settings};
use crate::fixtures::records::{check, gap, now, outcome, put, put_at};

const HOUR: i64 = 3_600_000;
const SITES: [&str; 4] = ["alpha", "bêta", "gamma", "delta"];
const NODES: [&str; 3] = ["north", "south", "west"];
/// Hours back from now that have checks.
const HOURS: i64 = 30;

/// Numbers without any order, the same each time (a linear congruence).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Checks and gaps of all kinds: every verdict, several runs, slots checked twice, times from 0 to
/// hours, nodes that begin late, fall silent or agree with nobody.
fn records(now: i64) -> Vec<Record> {
    let (mut dice, mut records) = (Dice(11), Vec::new());
    for (site, number) in SITES.iter().zip(0..) {
        for (node, from) in NODES.iter().zip([HOURS, HOURS / 2, 3]) {
            let interval = [60_000, 90_000, 300_000, 1_700_000][number];
            let last = if (*site, *node) == ("gamma", "south") { now - 5 * HOUR } else { now };
            let mut due = now - from * HOUR + dice.roll(60_000) as i64;
            let mut run = 1;
            while due < last {
                match dice.roll(40) {
                    0 => {
                        let count = 1 + dice.roll(70);
                        let end = due + (count as i64 - 1) * interval;
                        if end < last {
                            let gap = gap(site, node, due, count);
                            records.push(Record::Gap(Gap {
                                interval_ms: interval,
                                to_ms: end,
                                ..gap
                            }));
                            due = end;
                        }
                    }
                    1 => run += 1,
                    sides => {
                        let twice = 1 + u32::from(sides == 2);
                        for run in run..run + twice {
                            let mut check = outcome(site, node, due, verdict(&mut dice));
                            (check.run, check.interval_ms) = (run, interval + i64::from(run == 3));
                            check.responded = dice.roll(7) > 0;
                            check.status_ok =
                                [None, Some(true), Some(false)][dice.roll(3) as usize];
                            check.match_ok = [None, Some(true), Some(false)][dice.roll(3) as usize];
                            let scale = 1 << dice.roll(31);
                            check.total_us = dice.roll(scale) * (1 + 7 * dice.roll(2));
                            records.push(Record::Check(Box::new(check)));
                        }
                    }
                }
                due += interval;
            }
        }
    }
    // A target that was never checked there, and one that nobody has checked.
    records.push(Record::Gap(gap("alpha", "east", now - 2 * HOUR, 5)));
    records.push(Record::Gap(gap("never", "east", now - 90_000, 90)));
    records
}

fn verdict(dice: &mut Dice) -> Verdict {
    match dice.roll(9) {
        0 => Verdict::Slow,
        1 | 2 => Verdict::Down,
        3 => Verdict::Unknown,
        _ => Verdict::Up,
    }
}

/// A view's rows by window, target and node.
type Rows = BTreeMap<(i64, String, Option<String>), Row>;

fn rows(client: &mut Client, from: &str) -> Rows {
    let column = |figure: Figure| {
        let name = figure.as_str();
        match figure {
            Figure::WindowStart | Figure::WindowEnd | Figure::LastDue | Figure::Since => {
                format!("(extract(epoch FROM {name}) * 1000)::bigint AS {name}")
            }
            _ => name.to_owned(),
        }
    };
    let columns = Figure::ALL.iter().copied().map(column).collect::<Vec<_>>().join(", ");
    let rows = client.query(&format!("SELECT {columns} FROM sitewatch.{from}"), &[]).unwrap();
    let count = rows.len();
    let keyed: Rows = rows
        .into_iter()
        .map(|row| ((row.get("window_start"), row.get("target"), row.get("node")), row))
        .collect();
    assert_eq!(keyed.len(), count, "a line twice");
    keyed
}

/// What the program itself reports of these windows.
fn reports(store: &mut Postgres, windows: &[(i64, i64)], now: i64) -> Vec<Report> {
    let (from, until) = (windows[0].0, windows[windows.len() - 1].1);
    let mut all = Vec::new();
    for per_node in [true, false] {
        let mut reporter = Reporter::new(windows.to_vec());
        store.checks(from, until, &mut |series, check| reporter.check(series, check)).unwrap();
        store.gaps(from, until, &mut |gap| reporter.gap(gap)).unwrap();
        all.extend(reporter.finish(&store.states().unwrap(), &[], per_node, now));
    }
    // A view has a line only where there is something in the window.
    all.retain(|report| report.tally.checks > 0 || report.tally.missed > 0);
    all
}

#[track_caller]
fn agree(rows: &Rows, reports: &[Report]) {
    assert_eq!(rows.len(), reports.len());
    for report in reports {
        let node = report.node.as_ref().map(ToString::to_string);
        let row = &rows[&(report.start_ms, report.target.to_string(), node)];
        for &figure in Figure::ALL {
            let name = figure.as_str();
            let told = format!(
                "{name} of {} on {:?} from {}",
                report.target, report.node, report.start_ms
            );
            match figure.value(report) {
                FigureValue::Absent => {
                    let is_null = match figure {
                        Figure::LastDue | Figure::Since => {
                            row.get::<_, Option<i64>>(name).is_none()
                        }
                        Figure::Node | Figure::LastVerdict => {
                            row.get::<_, Option<String>>(name).is_none()
                        }
                        _ => row.get::<_, Option<f64>>(name).is_none(),
                    };
                    assert!(is_null, "{told}");
                }
                FigureValue::Text(text) => assert_eq!(row.get::<_, String>(name), *text, "{told}"),
                FigureValue::Time(ms) => assert_eq!(row.get::<_, i64>(name), ms, "{told}"),
                FigureValue::Count(n) => assert_eq!(row.get::<_, i64>(name), n as i64, "{told}"),
                FigureValue::Ms(want) | FigureValue::Share(want) => {
                    let found: f64 = row.get(name);
                    let near = (found - want).abs() <= 1e-9 * want.abs();
                    assert!(near, "{told}: {found} for {want}");
                }
            }
        }
    }
}

#[test]
fn views_say_what_the_reports_say() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let fresh = Fresh::new();
    let records = records(now);
    assert!(records.len() > 2500, "{}", records.len());
    let mut writer = fresh.writer();
    for batch in records.chunks(500) {
        put_at(&mut writer, batch, now).unwrap();
    }
    let mut client = fresh.database.client();
    // One moment for everything.
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").unwrap();
    let sql = "SELECT (extract(epoch FROM now()) * 1000)::bigint";
    let moment: i64 = client.query_one(sql, &[]).unwrap().get(0);
    let mut reader = Postgres::open(&settings(&fresh.database.url())).unwrap();

    for (view, width) in [("report_hour", HOUR), ("report_day", 24 * HOUR)] {
        let first = (now - HOURS * HOUR) / width;
        let windows: Vec<_> = (first..=now / width).map(|w| (w * width, (w + 1) * width)).collect();
        let (rows, reports) = (rows(&mut client, view), reports(&mut reader, &windows, moment));
        assert!(reports.len() > 20, "{}", reports.len());
        agree(&rows, &reports);
    }
    let last_day = [(moment - 24 * HOUR, moment)];
    agree(&rows(&mut client, "report_now"), &reports(&mut reader, &last_day, moment));

    // Any windows, the first and the last cut.
    let (from, until, width) = (now - 7 * HOUR + 123_456, now - HOUR, 10 * 60_000);
    let windows: Vec<_> = (from / width..=until / width)
        .map(|w| ((w * width).max(from), ((w + 1) * width).min(until)))
        .filter(|(start, end)| start < end)
        .collect();
    let call = format!(
        "report(to_timestamp({from} / 1000.0), to_timestamp({until} / 1000.0), '10 minutes')"
    );
    agree(&rows(&mut client, &call), &reports(&mut reader, &windows, moment));
    let nothing = rows(&mut client, "report('2020-01-01Z', '2020-01-02Z')");
    assert!(nothing.is_empty());
}

#[test]
fn an_hour_asked_for_is_counted_alone() {
    let fresh = Fresh::new();
    let plan = fresh.database.psql(
        "EXPLAIN SELECT * FROM sitewatch.report_hour WHERE window_start >= now() - interval '3h'",
    );
    // The hours are chosen before anything is counted of them.
    let filter = plan.find("Filter: (hour >=").unwrap();
    assert!(filter < plan.find("Function Scan on report").unwrap(), "{plan}");
}

#[test]
fn checks_are_plain_rows() {
    let fresh = Fresh::new();
    let mut check = outcome("site", "a", now() + 123, Verdict::Down);
    check.cert_expires_s = Some(253_402_300_799);
    check.excerpt = Some("é\0".to_owned());
    check.hops = vec![sitewatch::model::outcome::Hop {
        url: "http://a/\0\u{1b}".to_owned(),
        ..Default::default()
    }];
    put_at(&mut fresh.writer(), &[Record::Check(Box::new(check))], now()).unwrap();
    let row = fresh.database.psql(
        "SET timezone = 'UTC'; SELECT due, target, node, run, lag_ms, interval_ms, verdict, cause, responded, status, \
         status_ok, match_ok, dns_ms, connect_ms, tls_ms, first_byte_ms, transfer_ms, total_ms, \
         address, http, redirects, bytes, attempts, matched, excerpt, error, cert_expires, \
         chain_expires, reused, hops->0->>'url' FROM sitewatch.checks",
    );
    let due = rfc3339(now() + 123).replace('T', " ").replace('Z', "+00");
    let want = due
        + "|site|a|1|0.25|1000|down|status|t|500|f||0|0.1||2|0.4|2.5\
        |127.0.0.1|1.1|0|12|1||é\u{fffd}|status 500|9999-12-31 23:59:59+00|||http://a/\u{fffd}\u{1b}";
    assert_eq!(row, want);
}

#[test]
fn checks_of_a_time_are_found_without_a_look_at_all_other_hours() {
    let fresh = Fresh::new();
    let mut store = fresh.writer();
    let mut records = records(now());
    records.retain(|record| matches!(record, Record::Check(_)));
    for batch in records.chunks(500) {
        put_at(&mut store, batch, now()).unwrap();
    }
    let (from, until) = (now() - 4 * HOUR + 7, now() - HOUR);
    let [from_text, until_text] = [from, until].map(rfc3339);
    let differ = |function: &str, wanted: &str| {
        let sql = format!(
            "SELECT (SELECT count(*) FROM sitewatch.{function}) || ' ' || count(*) FROM (
                (SELECT * FROM sitewatch.{function} EXCEPT SELECT * FROM {wanted}) UNION ALL
                (SELECT * FROM {wanted} EXCEPT SELECT * FROM sitewatch.{function})) AS differences"
        );
        fresh.database.psql(&sql)
    };
    let within = |more: &str| {
        format!("sitewatch.checks WHERE due >= '{from_text}' AND due < '{until_text}' {more}")
    };
    for (more_arguments, more) in [
        ("", ""),
        (", 'alpha'", "AND target = 'alpha'"),
        (", node => 'north'", "AND node = 'north'"),
        (", 'bêta', 'south'", "AND target = 'bêta' AND node = 'south'"),
    ] {
        let function = format!("checks_between('{from_text}', '{until_text}'{more_arguments})");
        let found = differ(&function, &within(more));
        assert!(!found.starts_with("0 ") && found.ends_with(" 0"), "{function}: {found}");
    }
    for none in [", 'nobody'", ", node => 'nobody'"] {
        let sql = format!("checks_between('{from_text}', '{until_text}'{none})");
        assert_eq!(fresh.database.psql(&format!("SELECT count(*) FROM sitewatch.{sql}")), "0");
    }

    // How many partitions somebody locks who asks, their indexes left out.
    let days = (2..40).map(|day| check("alpha", "north", now() - day * 24 * HOUR, Verdict::Up));
    put(&mut store, &days.collect::<Vec<_>>()).unwrap();
    let locks = |sql: &str| {
        let mut client = fresh.database.client();
        let mut asking = client.transaction().unwrap();
        asking.query(sql, &[]).unwrap();
        let sql = "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation \
            WHERE pid = pg_backend_pid() AND relispartition AND relkind = 'r'";
        asking.query_one(sql, &[]).unwrap().get::<_, i64>(0)
    };
    let by_number = format!("due_ms >= {from} AND due_ms < {until} AND target = 'alpha'");
    assert!(locks(&format!("SELECT * FROM sitewatch.checks WHERE {by_number}")) <= 2);
    let moments = "to_timestamp(1) + interval '1 s' * (extract(epoch FROM now()) - 1)";
    let recent = "SELECT * FROM sitewatch.checks_between(MOMENT - interval '2 h', MOMENT)";
    assert!(locks(&recent.replace("MOMENT", &format!("({moments})"))) <= 2);
    assert!(locks("SELECT * FROM sitewatch.checks WHERE due > now()") >= 40);
}
