//! `run` as a program, over every kind of site at once: what it has stored is what the listener
//! has answered, each once, and judged right. Meanwhile `/health` and `status` are asked, and
//! at the end nothing that is secret is anywhere.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixtures::sites::{SERIAL, Site, Sites};
use crate::fixtures::sqlite_rows::Stored;
use crate::harness::client::get;
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, certs, eventually, json};

const DEADLINE: Duration = Duration::from_secs(20);
/// How long it watches.
const WATCHED: Duration = Duration::from_secs(25);

#[test]
fn what_was_answered_is_stored_once_and_judged_right() {
    let sites = Sites::new(18);
    let (http, refused) = (&sites.http, &sites.refused);
    http.on("/secret", Script::ok("fine").serial());
    let secret = format!("http://amy:hunter2pw@{}/secret?token=querysecret", http.address());
    let hidden = format!("http://amy:hunter2pw@{}/?token=querysecret", refused.address());
    let folder = Temp::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "node = 'here'\nstate_dir = '{}'\n[defaults]\ninterval = '1s'\ntimeout = '700ms'\n\
         ca_file = '{}'\nheaders = {{ X-Key = 'headersecret' }}\n[serve]\nlisten = '{port}'\n\
         [[target]]\nurl = '{secret}'\n{SERIAL}\n\
         [[target]]\nurl = '{hidden}'\nbody = 'bodysecret'\nmethod = 'POST'\n{}",
        folder.path().display(),
        certs::ca_file().display(),
        sites.toml(),
    );
    let mut running =
        Sitewatch::new().file("c.toml", &config).args(["run", "-c", "c.toml"]).spawn();
    running.await_stderr("watching", DEADLINE);
    let path = folder.join("sitewatch.db");
    let began = Instant::now();
    let mut told = String::new();
    // Whoever looks on disturbs nothing.
    eventually(2 * WATCHED, "enough of watching", || {
        let health = get(&format!("http://{port}/health"));
        assert_eq!(health.status, 200, "{health:?}");
        told = health.text();
        let health = json::parse(&told);
        assert_eq!((health.text("status"), health.text("node")), ("ok", "here"));
        assert_eq!(health.int("targets"), sites.count() as i64 + 2);
        assert!(health.int("stored") <= health.int("checks"), "{told}");
        std::thread::sleep(Duration::from_millis(250));
        began.elapsed() > WATCHED
    });
    let status = |format: &str| {
        let words = ["status", "-c", "c.toml", "--format", format];
        Sitewatch::new().file("c.toml", &config).args(words).run()
    };
    let during = status("json");
    assert_eq!((during.code, during.stderr.as_str()), (Some(1), ""), "{during:?}");
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");

    let stored = Stored::read(&path);
    stored.is_whole("here");
    assert!(stored.losses.is_empty() && stored.targets().len() == sites.count() + 2);
    for Site { name, .. } in &sites.sites {
        let count = stored.of(name).len();
        assert!(count as u64 >= WATCHED.as_secs() - 2, "{name}: {count} rows");
    }
    sites.judge(&stored, DEADLINE);
    for (words, times) in [("flap is down: ", 1), ("flap is up again", 1), ("flap", 2)] {
        assert_eq!(done.stderr.matches(words).count(), times, "{words}: {}", done.stderr);
    }
    for Site { name, want, .. } in &sites.sites {
        let down = done.stderr.matches(&format!(" {name} is down: ")).count();
        assert_eq!(down, usize::from(want.0 == "down"), "{name}: {}", done.stderr);
    }

    let mut all = [&done.stderr, &done.stdout, &told, &during.stdout].map(String::clone).concat();
    for format in ["text", "csv"] {
        let after = status(format);
        all += &(after.stdout + &after.stderr);
    }
    all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap());
    assert!(all.contains(&format!("http://{}/secret", http.address())));
    assert_secrets_are_sent_and_not_told(&all, http);
}

/// Asserts that what is secret reached the site, and stands in nothing that was printed or stored.
fn assert_secrets_are_sent_and_not_told(all: &str, http: &Listener) {
    for secret in ["hunter2pw", "querysecret", "headersecret", "bodysecret", "amy"] {
        assert!(!all.contains(secret), "{secret} is told");
    }
    let kept: BTreeMap<_, _> = http.log().iter().map(|s| (s.path.clone(), s.clone())).collect();
    let seen = &kept["/secret?token=querysecret"];
    assert_eq!(seen.header("x-key"), Some("headersecret"));
    assert!(seen.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
}

#[test]
fn too_many_targets_for_what_may_be_in_flight_are_warned_of() {
    let config = |most: usize| {
        let mut config = format!("[probe]\nmax_in_flight = {most}\n[defaults]\ninterval = '2s'\n");
        for i in 0..4 {
            config += &format!(
                "[[target]]\nname = '{i}'\nurl = 'http://127.0.0.1:1/'\nattempts = 2\ntimeout = '900ms'\n"
            );
        }
        config
    };
    let program = |most: usize| Sitewatch::new().file("c.toml", config(most));
    let words =
        "if every target timed out, 4 checks would be under way at once, and max_in_flight is 3";
    let checked = program(3).args(["config", "--check", "-c", "c.toml"]).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains(words), "{checked:?}");
    let mut running = program(3).args(["run", "-c", "c.toml"]).spawn();
    running.await_stderr(words, DEADLINE);
    let fits = program(4).args(["config", "--check", "-c", "c.toml"]).run();
    assert!(!fits.stdout.contains("max_in_flight"), "{fits:?}");
}
