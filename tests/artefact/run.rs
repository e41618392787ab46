//! `run` by each artefact, and `status` over what it has stored: rows are what was answered, and
//! the figures are those of the host's build over the same file, whatever processor wrote it.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use rusqlite::Connection;
use rustix::process::Signal;

use super::targets::{DEADLINE, each};
use crate::fixtures::sqlite_rows::Stored;
use crate::harness::{Artefact, Listener, Script, Sitewatch, Temp, certs, dead, eventually};
use crate::road::probe::answered;

/// Checks of each target that are waited for.
const CHECKS: usize = 4;

#[test]
#[ignore = "make test runs it over the artefacts"]
fn what_each_stores_is_what_was_answered() {
    each(|artefact| {
        let set = certs::set();
        let (http, tls) = (Listener::http(), Listener::https(&set.good));
        let (expired, refused) = (Listener::https(&set.expired), dead::refused());
        http.on("/up", Script::ok("fine").serial());
        http.on("/broken", Script::status(500).body("no").serial());
        tls.on("/tls", Script::ok("fine").serial());
        let sites = [
            ("up", http.url("/up"), ("up", ""), Some((&http, "/up"))),
            ("broken", http.url("/broken"), ("down", "status"), Some((&http, "/broken"))),
            ("tls", tls.url("/tls"), ("up", ""), Some((&tls, "/tls"))),
            ("expired", expired.url("/"), ("down", "certificate_expired"), None),
            ("refused", refused.url("/"), ("down", "connect"), None),
        ];
        let folder = Temp::new();
        let mut config = format!(
            "node = 'here'\nstate_dir = '{}'\n[probe]\nclock_wait = '0s'\n[defaults]\ninterval = '3s'\nca_file = '{}'\n\
             match = 'serial=[0-9]+'\n",
            folder.path().display(),
            certs::ca_file().display()
        );
        for (name, url, ..) in &sites {
            config += &format!("[[target]]\nname = '{name}'\nurl = '{url}'\n");
        }
        let config = folder.write("c.toml", config);
        let words = ["-c", config.to_str().unwrap()];
        let before = SystemTime::now() - Duration::from_secs(60);
        let mut running = artefact.sitewatch().args(["run"]).args(words).spawn();
        running.await_stderr("watching", DEADLINE);
        eventually(DEADLINE, "some checks of each", || {
            assert!(!running.ended(), "{}", running.stderr());
            let log = http.log();
            let count = |path| log.iter().filter(|seen| seen.path == path).count();
            [count("/up"), count("/broken"), tls.log().len()].iter().all(|count| *count >= CHECKS)
        });
        running.signal(Signal::TERM);
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");

        let file = folder.join("sitewatch.db");
        let stored = Stored::read(&file);
        // The kernel has told what it thinks of the clock, by the C library of this target.
        let synced: Option<bool> = Connection::open(&file)
            .and_then(|db| db.query_row("SELECT clock_synced FROM node", [], |row| row.get(0)))
            .unwrap();
        assert!(synced.is_some(), "{}", done.stderr);
        stored.is_whole("here");
        assert!(stored.losses.is_empty(), "{:?}", stored.losses);
        for (name, _, want, truth) in &sites {
            let rows = stored.of(name);
            // Those of the last moment may be told by the stop's gap.
            assert!(rows.len() >= CHECKS - 1, "{name}: {rows:?}");
            for row in &rows {
                assert_eq!((&*row.verdict, &*row.cause), *want, "{row:?}");
            }
            if let Some((listener, path)) = truth {
                let mut serials: Vec<u64> = rows.iter().map(|row| row.serial().unwrap()).collect();
                serials.sort_unstable();
                let want: Vec<u64> = answered(listener, path).into_iter().collect();
                assert_eq!(serials, want, "{name}");
            }
        }

        assert_figures_are_the_hosts(artefact, words, before);
    });
}

/// Asserts that both builds report the same, of a window that is over, so that both see the same one.
fn assert_figures_are_the_hosts(artefact: &Artefact, words: [&str; 2], since: SystemTime) {
    let (since, until) = (format_rfc3339_seconds(since), SystemTime::now());
    let (since, until) = (since.to_string(), format_rfc3339_seconds(until).to_string());
    for format in ["json", "csv", "text"] {
        let figures = |program: Sitewatch| {
            let window = ["--since", &since, "--until", &until, "--format", format];
            let done = program.deadline(DEADLINE).args(["status"]).args(words).args(window).run();
            assert_eq!((done.code, &*done.stderr), (Some(1), ""), "{done:?}");
            done.stdout
        };
        let (ours, hosts) = (figures(artefact.sitewatch()), figures(Sitewatch::new()));
        assert!(ours.contains("refused"), "{format}: {ours}");
        assert_eq!(timeless(&ours), timeless(&hosts), "{format}");
    }
}

/// Without what is told of now: `now`, `12s ago`.
fn timeless(text: &str) -> Vec<&str> {
    let is_span =
        |word: &str| word.strip_suffix('s').is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit()));
    text.split_whitespace()
        .filter(|word| !matches!(*word, "now" | "ago") && !is_span(word))
        .collect()
}
