//! `run` as a program, over every kind of site at once: what it has stored is what the listener
//! has answered, each once, and judged right. Meanwhile `/health` and `status` are asked, and
//! at the end nothing that is secret is anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::get;
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, certs, dead, eventually, json};
use crate::rows::Stored;

const DEADLINE: Duration = Duration::from_secs(20);
/// How long it watches.
const WATCHED: Duration = Duration::from_secs(25);

/// How the listener's word is held against the rows.
enum Truth<'a> {
    /// Each check kept the serial of its answer.
    Serial(&'a Listener),
    /// Checks are told by their number alone; so many requests make one.
    Count(&'a Listener, usize),
    /// Nothing reaches it.
    Unseen,
}
use Truth::{Count, Serial, Unseen};

struct Site<'a> {
    name: String,
    url: String,
    keys: &'static str,
    want: (&'static str, &'static str),
    truth: Truth<'a>,
}

const SERIAL: &str = "match = 'serial=[0-9]+'";
const DOWN: fn(&'static str) -> (&'static str, &'static str) = |cause| ("down", cause);
const UP: (&str, &str) = ("up", "");

/// Sites whose path is their name.
fn sites_of<'a>(http: &'a Listener, good: &'a Listener) -> Vec<Site<'a>> {
    let text = || Script::ok("all is well here").serial();
    let late = Duration::from_millis(150);
    let page = |name: &str, script: Script, keys, want, by: fn(&'a Listener) -> Truth<'a>| {
        let path = sent(name);
        http.on(&path, script);
        Site { name: name.into(), url: http.url(&path), keys, want, truth: by(http) }
    };
    let mut sites: Vec<Site<'_>> =
        (0..18).map(|i| page(&format!("up {i}"), text(), SERIAL, UP, Serial)).collect();
    for i in 0..6 {
        let name = format!("tls {i}");
        good.on(&sent(&name), text());
        let url = good.url_at("localhost", &sent(&name));
        sites.push(Site { name, url, keys: SERIAL, want: UP, truth: Serial(good) });
    }
    let counted: fn(&'a Listener) -> Truth<'a> = |listener| Count(listener, 1);
    let error = Script::status(500).body("all is well here").serial();
    let maintenance = Script::ok("Down for maintenance").serial();
    sites.extend([
        page("status", error.clone(), SERIAL, DOWN("status"), Serial),
        page("status and body", error, "match = ['serial=[0-9]+', 'x1']", DOWN("status"), Serial),
        page("missing", text(), "match = ['serial=[0-9]+', 'nowhere']", DOWN("body"), Serial),
        page("not found", text(), "match = 'nowhere'\nexcerpt = '64B'", DOWN("body"), Serial),
        page(
            "reject",
            maintenance,
            "match = 'serial=[0-9]+'\nreject = '(?i)MAINT'",
            DOWN("body"),
            Serial,
        ),
        page(
            "teapot",
            Script::status(418).body("x").serial(),
            "match = 'serial=[0-9]+'\nstatus = [200, '400-420']",
            UP,
            Serial,
        ),
        page(
            "late",
            text().delay_first_byte(late),
            "match = 'serial=[0-9]+'\nslow_after = '100ms'",
            ("slow", ""),
            Serial,
        ),
        page(
            "chunked",
            text().chunked().body_in_pieces(5, Duration::from_millis(5)),
            SERIAL,
            UP,
            Serial,
        ),
        page("head", Script::ok("x"), "method = 'HEAD'", UP, counted),
        page(
            "post",
            text(),
            "method = 'POST'\nbody = 'hello'\nmatch = 'serial=[0-9]+'",
            UP,
            Serial,
        ),
        page("gzip", Script::ok("packed").gzip(), "match = 'packed'", UP, counted),
        page("empty", Script::status(204), "", UP, counted),
        page("moved", Script::redirect(301, "/to"), "max_redirects = 0\nstatus = 301", UP, counted),
        page(
            "loop",
            Script::redirect(302, "/loop"),
            "max_redirects = 2",
            DOWN("too_many_redirects"),
            |l| Count(l, 3),
        ),
        page("silence", Script::silence(), "", DOWN("timeout"), counted),
        page("half", Script::ok("half a body").cut_body_at(4).hang(), "", DOWN("timeout"), counted),
        page("cut", Script::ok("half a body").cut_body_at(4), "", DOWN("protocol"), counted),
        page("garbage", Script::raw("\0\u{1}garbage\r\n\r\n"), "", DOWN("protocol"), counted),
    ]);
    sites
}

/// Sites that no request reaches.
fn unseen(name: &str, url: String, keys: &'static str, cause: &'static str) -> Site<'static> {
    Site { name: name.into(), url, keys, want: DOWN(cause), truth: Unseen }
}

#[test]
fn what_was_answered_is_stored_once_and_judged_right() {
    let set = certs::set();
    let (http, good) = (Listener::http(), Listener::https(&set.good));
    let (expired, untrusted) = (Listener::https(&set.expired), Listener::https(&set.untrusted));
    let (other, alert) = (Listener::https(&set.wrong_name), Listener::https(&set.good));
    alert.always(Script::ok("").alert(40));
    expired.always(Script::ok("old but well").serial());
    let (refused, silent, full) = (dead::refused(), dead::silent(), dead::full());
    let mut sites = sites_of(&http, &good);
    sites.extend([
        unseen("refused", refused.url("/"), "", "connect"),
        unseen("no name", "http://no-such.invalid/".into(), "", "dns"),
        unseen("expired", expired.url_at("localhost", "/"), "", "certificate_expired"),
        unseen("untrusted", untrusted.url_at("localhost", "/"), "", "certificate_untrusted"),
        unseen("other name", other.url_at("localhost", "/"), "", "certificate_name"),
        unseen("alert", alert.url_at("localhost", "/"), "", "tls"),
        unseen("no tls", silent.https_url("/"), "", "timeout"),
        unseen("no word", silent.url("/"), "", "timeout"),
        unseen("no connect", full.url("/"), "", "timeout"),
    ]);
    sites.push(Site {
        name: "not verified".into(),
        url: expired.url_at("localhost", "/not%20verified"),
        keys: "verify = false\nmatch = 'serial=[0-9]+'",
        want: UP,
        truth: Serial(&expired),
    });
    // One that follows, one that comes and goes, and one with all the secrets there are.
    http.on("/to", Script::ok("there").serial()).on("/moved%20on", Script::redirect(302, "/to"));
    let (yes, no) = (Script::ok("fine").serial(), Script::status(503).body("no").serial());
    let turns = [vec![yes.clone(); 3], vec![no; 3], vec![yes.clone()]].concat();
    http.on_in_turn("/flap", turns).on("/secret", yes);
    let secret = format!("http://amy:hunter2pw@{}/secret?token=querysecret", http.address());
    let hidden = format!("http://amy:hunter2pw@{}/?token=querysecret", refused.address());
    let folder = Temp::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = format!(
        "node = 'here'\nstate_dir = '{}'\n[defaults]\ninterval = '1s'\ntimeout = '700ms'\n\
         ca_file = '{}'\nheaders = {{ X-Key = 'headersecret' }}\n[serve]\nlisten = '{port}'\n\
         [[target]]\nname = 'moved on'\nurl = '{}'\n{SERIAL}\n\
         [[target]]\nname = 'flap'\nurl = '{}'\n{SERIAL}\n\
         [[target]]\nurl = '{secret}'\n{SERIAL}\n\
         [[target]]\nurl = '{hidden}'\nbody = 'bodysecret'\nmethod = 'POST'\n",
        folder.path().display(),
        certs::ca_file().display(),
        http.url("/moved%20on"),
        http.url("/flap"),
    );
    for Site { name, url, keys, .. } in &sites {
        write!(config, "[[target]]\nname = '{name}'\nurl = '{url}'\n{keys}\n").unwrap();
    }
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
        assert_eq!(health.int("targets"), sites.len() as i64 + 4);
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
    assert!(stored.losses.is_empty() && stored.targets().len() == sites.len() + 4);
    let seconds = WATCHED.as_secs() as usize;
    for Site { name, want, truth, .. } in &sites {
        let rows = stored.of(name);
        assert!(rows.len() >= seconds - 2, "{name}: {} rows", rows.len());
        for row in &rows {
            assert_eq!((row.verdict.as_str(), row.cause.as_str()), *want, "{row:?}");
        }
        match truth {
            Serial(listener) => assert_eq!(serials(&rows), answered(listener, name), "{name}"),
            Count(listener, requests) => {
                let path = sent(name);
                let seen = listener.settled(DEADLINE).iter().filter(|s| s.path == path).count();
                assert_eq!(rows.len() * requests, seen, "{name}");
            }
            Unseen => {}
        }
    }
    assert_eq!(serials(&stored.of("moved on")), answered(&http, "to"));
    let flap = stored.of("flap");
    assert_eq!(serials(&flap), answered(&http, "flap"));
    for (row, i) in flap.iter().zip(0..) {
        assert_eq!(row.verdict == "down", (3..6).contains(&i), "{row:?}");
    }
    for (words, times) in [("flap is down: ", 1), ("flap is up again", 1), ("flap", 2)] {
        assert_eq!(done.stderr.matches(words).count(), times, "{words}: {}", done.stderr);
    }
    for Site { name, want, .. } in &sites {
        let down = done.stderr.matches(&format!(" {name} is down: ")).count();
        assert_eq!(down, usize::from(want.0 == "down"), "{name}: {}", done.stderr);
    }

    let mut all = [&done.stderr, &done.stdout, &told, &during.stdout].map(String::clone).concat();
    for format in ["text", "csv"] {
        let after = status(format);
        all += &(after.stdout + &after.stderr);
    }
    all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap());
    for secret in ["hunter2pw", "querysecret", "headersecret", "bodysecret", "amy"] {
        assert!(!all.contains(secret), "{secret} is told");
    }
    assert!(all.contains(&format!("http://{}/secret", http.address())));
    let kept: BTreeMap<_, _> = http.log().iter().map(|s| (s.path.clone(), s.clone())).collect();
    let seen = &kept["/secret?token=querysecret"];
    assert_eq!(seen.header("x-key"), Some("headersecret"));
    assert!(seen.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
}

fn sent(name: &str) -> String {
    format!("/{}", name.replace(' ', "%20"))
}

/// The serials of rows, each once.
#[track_caller]
fn serials(rows: &[&crate::rows::Row]) -> BTreeSet<u64> {
    let all: Vec<u64> = rows.iter().map(|row| row.serial().unwrap()).collect();
    let once: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "one answer is stored twice");
    once
}

/// The serials of a path that were answered whole.
fn answered(listener: &Listener, name: &str) -> BTreeSet<u64> {
    let (path, log) = (sent(name), listener.settled(DEADLINE));
    let of = log.iter().filter(|seen| seen.path.split('?').next() == Some(&path) && seen.answered);
    of.map(|seen| seen.serial).collect()
}
