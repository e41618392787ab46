//! Each artefact beyond 2038, where 32 bits of seconds end.

use rustix::process::Signal;
use sitewatch::model::outcome::Verdict;
use sitewatch::model::record::Record;
use sitewatch::store::Sqlite;

use super::targets::{DEADLINE, each};
use crate::fixtures::records::{outcome, put};
use crate::fixtures::sqlite_rows::Stored;
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, certs, eventually, json};

/// 2040-01-01, in seconds since 1970.
const IN_2040_S: i64 = 2_208_988_800;
const IN_2040: &str = "2040-01-01 00:00:00";

#[test]
#[ignore = "make test runs it over the artefacts"]
fn rows_of_2040_are_reported() {
    let folder = Temp::new();
    let mut store = Sqlite::create(&folder.join("s.db"), u64::MAX).unwrap();
    let due = |number: i64| (IN_2040_S + number * 60) * 1000;
    let checks = (0..100).map(|number| outcome("site", "here", due(number), Verdict::Up));
    let records: Vec<Record> = checks.map(|check| Record::Check(Box::new(check))).collect();
    put(&mut store, &records).unwrap();
    drop(store);
    let config = folder.write("c.toml", "node = 'here'\n[sqlite]\npath = 's.db'\n");
    each(|artefact| {
        let report = |program: Sitewatch| {
            let window = ["--since", "2039-12-31T23:00:00Z", "--until", "2040-01-02T00:00:00Z"];
            let words = ["status", "-c", config.to_str().unwrap(), "--format", "json"];
            let done =
                program.deadline(DEADLINE).args(words).args(["--by", "hour"]).args(window).run();
            assert!(done.stderr.is_empty(), "{done:?}");
            done.stdout
        };
        let (ours, hosts) = (report(artefact.sitewatch()), report(Sitewatch::new()));
        assert!(ours.contains("2040-01-01T01:00:00Z") && ours.contains("\"checks\":40"), "{ours}");
        assert_eq!(ours, hosts);
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_certificate_may_end_in_2120() {
    let ends_in_days = (2120 - 2026) * 365;
    let leaf = certs::set().authority.leaf(&["127.0.0.1"], -1, ends_in_days);
    assert!(leaf.ends_s() > 1 << 32);
    let listener = Listener::https(&leaf);
    listener.always(Script::ok("fine"));
    each(|artefact| {
        let ca = certs::ca_file().to_str().unwrap();
        let program = artefact.sitewatch().deadline(DEADLINE);
        let words = ["check", "--format", "json", &listener.url("/"), "--ca-file", ca];
        let done = program.args(words).run();
        let record = json::parse(&done.stdout);
        assert_eq!(record.text("verdict"), "up", "{done:?}");
        let ends = (record.int("cert_expires_s"), record.int("chain_expires_s"));
        // The path that was verified has the root in it.
        assert_eq!(ends, (leaf.ends_s(), certs::set().authority.ends_s()), "{done:?}");
    });
}

/// A call with 32 bits would tell 1903, and rows of it would be none of 2040.
#[test]
#[ignore = "make test runs it over the artefacts"]
fn in_2040_it_is_2040() {
    let leaf = certs::set().authority.leaf(&["127.0.0.1"], -1, (2120 - 2026) * 365);
    let (http, tls) = (Listener::http(), Listener::https(&leaf));
    let ca = certs::ca_file().display();
    each(|artefact| {
        let folder = Temp::new();
        for listener in [&http, &tls] {
            listener.always(Script::ok("fine").serial());
        }
        let config = format!(
            "node = 'here'\nstate_dir = '{}'\n[probe]\nclock_wait = '0s'\n[defaults]\ninterval = '3s'\nca_file = '{ca}'\n\
             [[target]]\nname = 'http'\nurl = '{}'\n[[target]]\nname = 'tls'\nurl = '{}'\n",
            folder.path().display(),
            http.url("/"),
            tls.url("/"),
        );
        let config = folder.write("c.toml", config);
        let words = ["-c", config.to_str().unwrap()];
        let mut running = artefact.at(IN_2040).args(["run"]).args(words).spawn();
        running.await_stderr("watching", DEADLINE);
        let file = folder.join("sitewatch.db");
        let count = |name: &str, rows: &Stored| rows.of(name).len();
        eventually(DEADLINE, "some rows of each", || {
            assert!(!running.ended(), "{}", running.stderr());
            let rows = file.exists().then(|| Stored::read(&file));
            rows.is_some_and(|rows| count("http", &rows) >= 3 && count("tls", &rows) >= 3)
        });
        running.signal(Signal::TERM);
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stderr.lines().all(|line| line.starts_with("2040-01-01T00:0")), "{done:?}");
        let rows = Stored::read(&file);
        let first = IN_2040_S * 1000 - 3000;
        let times = first..first + DEADLINE.as_millis() as i64;
        for row in &rows.checks {
            assert!(times.contains(&row.due_ms) && row.lag_us < 3_000_000, "{row:?}");
            // The authority's own certificate ended before.
            let want = if row.target == "http" { "" } else { "certificate_expired" };
            assert_eq!(row.cause, want, "{row:?}");
        }
        let report =
            artefact.at("2040-01-01 00:02:00").deadline(DEADLINE).args(["status"]).args(words);
        let report = report.args(["http", "--format", "json"]).run();
        let counted = format!("\"checks\":{}", count("http", &rows));
        assert!(report.code == Some(0) && report.stdout.contains(&counted), "{report:?}");
    });
}
