//! Times past 2038, 2050 and 2106, where 31 bits, two digits of a year and 32 bits end. They are
//! given, by a certificate or by rows of a store, so that what runs under an emulator is tested
//! like what runs here, without a clock that lies.

use std::process::Command;

use sitewatch::clock;
use sitewatch::model::outcome::Verdict;
use sitewatch::store::Sqlite;

use crate::fixtures::records::{check, put};
use crate::harness::clock::now_ms;
use crate::harness::{Fields, Listener, Postgres, Script, Sitewatch, Temp, certs, json};

const DAY_S: i64 = 86_400;

/// Seconds since 1970 of a time, as `date` reckons it.
fn seconds(utc: &str) -> i64 {
    let output = Command::new("date").args(["--utc", "--date", utc, "+%s"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn a_certificate_may_end_long_after_2038() {
    let authority = &certs::set().authority;
    for end in [
        "2038-01-19T03:14:08Z",
        // The last that is an ASN.1 UTCTime, and the first that is a GeneralizedTime.
        "2049-12-31T23:59:59Z",
        "2050-01-01T00:00:00Z",
        "2106-02-07T06:28:16Z",
        "2120-11-21T03:00:00Z",
        "9999-12-31T23:59:59Z",
    ] {
        let ends_s = seconds(end);
        let site = Listener::https(&authority.leaf_until(&["127.0.0.1"], ends_s));
        site.always(Script::ok("fine"));
        let run = |format| {
            let program = Sitewatch::new().env("SSL_CERT_FILE", certs::ca_file());
            program.args(["check", &site.url("/"), "--format", format]).run()
        };
        let done = run("json");
        let record = json::parse(&done.stdout);
        assert_eq!((done.code, record.text("verdict")), (Some(0), "up"), "{end}: {done:?}");
        assert_eq!(record.int("cert_expires_s"), ends_s, "{end}: {done:?}");
        // The path that was verified has the root in it.
        let first_s = ends_s.min(authority.ends_s());
        assert_eq!(record.int("chain_expires_s"), first_s, "{end}: {done:?}");
        let days = |now_s: i64| format!("in {} days", (ends_s - now_s) / DAY_S);
        let before = days(clock::now_ms() / 1000);
        let done = run("text");
        let after = days(clock::now_ms() / 1000);
        let told = [before, after].iter().any(|days| done.stdout.contains(days));
        assert!(told && done.code == Some(0), "{end}: {done:?}");
    }
}

#[test]
fn a_record_says_what_time_it_is() {
    let site = Listener::http();
    site.always(Script::ok("fine"));
    let before = clock::now_ms();
    let done = Sitewatch::new().args(["check", &site.url("/"), "--format", "json"]).run();
    let due = json::parse(&done.stdout).int("due_ms");
    // `check` is due when it is asked for.
    assert!((before..=clock::now_ms()).contains(&due), "{due}: {done:?}");
}

/// Kafka refuses records from more than an hour ahead of its clock: its own tests tell of it.
#[test]
fn all_of_us_have_one_clock() {
    let database = Postgres::database();
    let before = now_ms();
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let [server, client] = [
        database.psql(sql),
        database.client().query_one(sql, &[]).unwrap().get::<_, i64>(0).to_string(),
    ];
    let done = Sitewatch::program("date").args(["+%s%3N"]).run();
    let after = now_ms();
    for told in [server, client, done.stdout] {
        let ms = told.trim().parse().unwrap();
        assert!((before..=after).contains(&ms), "{before} {ms} {after}");
    }
}

#[test]
fn a_report_of_a_day_to_come_counts_its_checks() {
    for (day, next) in [("2040-01-01", "2040-01-02"), ("2106-12-31", "2107-01-01")] {
        let folder = Temp::new();
        let mut store = Sqlite::create(&folder.join("s.db"), u64::MAX).unwrap();
        let (from_s, next_s) = (seconds(day), seconds(next));
        assert_eq!(next_s - from_s, DAY_S);
        let due_ms = |second: i64| (from_s + second) * 1000;
        let rows: Vec<_> = [
            (-1, Verdict::Up),
            (0, Verdict::Up),
            (43_200, Verdict::Down),
            (86_399, Verdict::Up),
            (86_400, Verdict::Up),
        ]
        .into_iter()
        .map(|(second, verdict)| check("site", "north", due_ms(second), verdict))
        .collect();
        assert_eq!(put(&mut store, &rows).unwrap().checks, 5);
        drop(store);
        folder.write("c.toml", "node = 'north'\n[sqlite]\npath = 's.db'\n");
        let status = |more: &[&str]| {
            let file = folder.join("c.toml");
            let file = file.to_str().unwrap();
            let args = ["status", "-c", file, "--since", day, "--until", next];
            Sitewatch::new().args(args).args(more).run()
        };
        let done = status(&["--format", "csv"]);
        assert!(done.stdout.contains("site"), "{done:?}");
        let done = status(&["--format", "json"]);
        let report = json::parse(done.stdout.trim().trim_matches(['[', ']']));
        assert_eq!(report.text("window_start"), format!("{day}T00:00:00Z"), "{done:?}");
        assert_eq!(report.text("window_end"), format!("{next}T00:00:00Z"), "{done:?}");
        assert_eq!((report.int("checks"), report.int("down")), (3, 1), "{done:?}");
        // How it stands is of the newest check, whatever the window.
        assert_eq!(report.text("last_due"), format!("{next}T00:00:00Z"), "{done:?}");
    }
}
