//! Sites of every kind on real listeners, and what each must be found to be: shared by the tests
//! that judge a whole road by what was answered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::dead::Dead;
use crate::harness::{Listener, Script, certs, dead};
use crate::sqlite_rows::{Row, Stored};

/// How the listener's word is held against the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// Each check kept the serial of its answer.
    Serial,
    /// Checks are told by their number alone; so many requests make one.
    Count(usize),
    /// No request reaches it.
    Unseen,
}
use Truth::{Count, Serial, Unseen};

/// Which listener it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Http,
    Good,
    Expired,
}

/// A site.
pub struct Site {
    pub name: String,
    pub url: String,
    /// More keys of its target.
    pub keys: &'static str,
    /// Verdict and cause of each of its checks.
    pub want: (&'static str, &'static str),
    pub truth: Truth,
    on: On,
    /// Where its answers come from.
    path: String,
}

/// All of them, and where they stand.
pub struct Sites {
    pub http: Listener,
    good: Listener,
    expired: Listener,
    /// They are there, and nothing more is asked of them.
    _listeners: [Listener; 3],
    pub refused: Dead,
    _dead: [Dead; 2],
    pub sites: Vec<Site>,
}

/// A check keeps its answer's serial.
pub const SERIAL: &str = "match = 'serial=[0-9]+'";
const DOWN: fn(&'static str) -> (&'static str, &'static str) = |cause| ("down", cause);
const UP: (&str, &str) = ("up", "");
/// Of `flap`: the numbers of the answers that are down, from 0.
const FLAPS: std::ops::Range<usize> = 3..6;

impl Sites {
    /// One of each kind, and so many plain ones.
    pub fn new(plain: usize) -> Sites {
        let set = certs::set();
        let (http, good) = (Listener::http(), Listener::https(&set.good));
        let (expired, untrusted) = (Listener::https(&set.expired), Listener::https(&set.untrusted));
        let (other, alert) = (Listener::https(&set.wrong_name), Listener::https(&set.good));
        alert.always(Script::ok("").alert(40));
        expired.always(Script::ok("old but well").serial());
        let (refused, silent, full) = (dead::refused(), dead::silent(), dead::full());
        let mut sites = plain_sites(&http, &good, plain);
        sites.extend(http_sites(&http));
        sites.extend([
            unseen("refused", refused.url("/"), "connect"),
            // No name server answers: that is no answer about the site.
            Site {
                want: ("unknown", "uplink"),
                ..unseen("no name", "http://no-such.invalid/".into(), "dns")
            },
            unseen("expired", expired.url_at("localhost", "/"), "certificate_expired"),
            unseen("untrusted", untrusted.url_at("localhost", "/"), "certificate_untrusted"),
            unseen("other name", other.url_at("localhost", "/"), "certificate_name"),
            unseen("alert", alert.url_at("localhost", "/"), "tls"),
            unseen("no tls", silent.https_url("/"), "timeout"),
            unseen("no word", silent.url("/"), "timeout"),
            unseen("no connect", full.url("/"), "timeout"),
        ]);
        let (name, path) = ("not verified".to_owned(), sent("not verified"));
        let keys = "verify = false\nmatch = 'serial=[0-9]+'";
        let url = expired.url_at("localhost", &path);
        sites.push(Site { name, url, keys, want: UP, truth: Serial, on: On::Expired, path });
        // One that follows, and one that comes and goes.
        http.on("/to", Script::ok("there").serial());
        http.on("/moved%20on", Script::redirect(302, "/to"));
        let (name, url, path) = ("moved on".to_owned(), http.url("/moved%20on"), "/to".to_owned());
        sites.push(Site { name, url, keys: SERIAL, want: UP, truth: Serial, on: On::Http, path });
        let (yes, no) = (Script::ok("fine").serial(), Script::status(503).body("no").serial());
        let turns = [vec![yes.clone(); 3], vec![no; 3], vec![yes]].concat();
        http.on_in_turn("/flap", turns);
        let _listeners = [untrusted, other, alert];
        Sites { http, good, expired, _listeners, refused, _dead: [silent, full], sites }
    }

    /// How many targets `toml` has.
    pub fn count(&self) -> usize {
        self.sites.len() + 1
    }

    /// All of them as targets; they want `ca_file` from the defaults.
    pub fn toml(&self) -> String {
        let flap = self.http.url("/flap");
        let mut toml = format!("[[target]]\nname = 'flap'\nurl = '{flap}'\n{SERIAL}\n");
        for Site { name, url, keys, .. } in &self.sites {
            write!(toml, "[[target]]\nname = '{name}'\nurl = '{url}'\n{keys}\n").unwrap();
        }
        toml
    }

    /// Holds the rows of each target against what was answered: each answer once and nothing
    /// else, and judged right. Nobody must be asking any more.
    #[track_caller]
    pub fn judge(&self, stored: &Stored, deadline: Duration) {
        for Site { name, want, truth, on, path, .. } in &self.sites {
            let rows = stored.of(name);
            for row in &rows {
                assert_eq!((row.verdict.as_str(), row.cause.as_str()), *want, "{row:?}");
            }
            let listener = match on {
                On::Http => &self.http,
                On::Good => &self.good,
                On::Expired => &self.expired,
            };
            match truth {
                Serial => assert_eq!(serials(&rows), answered(listener, path, deadline), "{name}"),
                Count(requests) => {
                    let log = listener.settled(deadline);
                    let seen = log.iter().filter(|seen| seen.path == *path).count();
                    assert_eq!(rows.len() * requests, seen, "{name}");
                }
                Unseen => {}
            }
        }
        let flap = stored.of("flap");
        assert_eq!(serials(&flap), answered(&self.http, "/flap", deadline));
        for (row, i) in flap.iter().zip(0..) {
            assert_eq!(row.verdict == "down", FLAPS.contains(&i), "{row:?}");
        }
    }
}

/// A site of `http` whose path is its name.
fn page(http: &Listener, name: &str, script: Script, keys: &'static str) -> Site {
    let path = sent(name);
    http.on(&path, script);
    let (name, url) = (name.to_owned(), http.url(&path));
    Site { name, url, keys, want: UP, truth: Serial, on: On::Http, path }
}

impl Site {
    fn down(self, cause: &'static str) -> Site {
        Site { want: DOWN(cause), ..self }
    }

    fn counted(self, requests: usize) -> Site {
        Site { truth: Count(requests), ..self }
    }
}

fn text() -> Script {
    Script::ok("all is well here").serial()
}

fn plain_sites(http: &Listener, good: &Listener, count: usize) -> Vec<Site> {
    let plain = |i| page(http, &format!("up {i}"), text(), SERIAL);
    let mut sites: Vec<Site> = (0..count).map(plain).collect();
    for i in 0..6 {
        let name = format!("tls {i}");
        let path = sent(&name);
        good.on(&path, text());
        let url = good.url_at("localhost", &path);
        sites.push(Site { name, url, keys: SERIAL, want: UP, truth: Serial, on: On::Good, path });
    }
    sites
}

fn http_sites(http: &Listener) -> Vec<Site> {
    let page = |name: &str, script: Script, keys| page(http, name, script, keys);
    let error = Script::status(500).body("all is well here").serial();
    let maintenance = Script::ok("Down for maintenance").serial();
    let teapot = Script::status(418).body("x").serial();
    let late = text().delay_first_byte(Duration::from_millis(150));
    let pieces = text().chunked().body_in_pieces(5, Duration::from_millis(5));
    let half = || Script::ok("half a body").cut_body_at(4);
    vec![
        page("status", error.clone(), SERIAL).down("status"),
        page("status and body", error, "match = ['serial=[0-9]+', 'x1']").down("status"),
        page("missing", text(), "match = ['serial=[0-9]+', 'nowhere']").down("body"),
        page("not found", text(), "match = 'nowhere'\nexcerpt = '64B'").down("body"),
        page("reject", maintenance, "match = 'serial=[0-9]+'\nreject = '(?i)MAINT'").down("body"),
        page("teapot", teapot, "match = 'serial=[0-9]+'\nstatus = [200, '400-420']"),
        Site {
            want: ("slow", ""),
            ..page("late", late, "match = 'serial=[0-9]+'\nslow_after = '100ms'")
        },
        page("chunked", pieces, SERIAL),
        page("head", Script::ok("x"), "method = 'HEAD'").counted(1),
        page("post", text(), "method = 'POST'\nbody = 'hello'\nmatch = 'serial=[0-9]+'"),
        page("gzip", Script::ok("packed").gzip(), "match = 'packed'").counted(1),
        page("empty", Script::status(204), "").counted(1),
        page("moved", Script::redirect(301, "/to"), "max_redirects = 0\nstatus = 301").counted(1),
        page("loop", Script::redirect(302, "/loop"), "max_redirects = 2")
            .down("too_many_redirects")
            .counted(3),
        page("silence", Script::silence(), "").down("timeout").counted(1),
        page("half", half().hang(), "").down("timeout").counted(1),
        page("cut", half(), "").down("protocol").counted(1),
        page("garbage", Script::raw("\0\u{1}garbage\r\n\r\n"), "").down("protocol").counted(1),
    ]
}

/// A site that no request reaches.
fn unseen(name: &str, url: String, cause: &'static str) -> Site {
    let (name, path) = (name.to_owned(), String::new());
    Site { name, url, keys: "", want: DOWN(cause), truth: Unseen, on: On::Http, path }
}

fn sent(name: &str) -> String {
    format!("/{}", name.replace(' ', "%20"))
}

/// The serials of rows, each once.
#[track_caller]
fn serials(rows: &[&Row]) -> BTreeSet<u64> {
    let all: Vec<u64> = rows.iter().map(|row| row.serial().unwrap()).collect();
    let once: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "one answer is stored twice");
    once
}

/// The serials of a path that were answered whole.
fn answered(listener: &Listener, path: &str, deadline: Duration) -> BTreeSet<u64> {
    let log = listener.settled(deadline);
    let of = log.iter().filter(|seen| seen.path.split('?').next() == Some(path) && seen.answered);
    of.map(|seen| seen.serial).collect()
}
