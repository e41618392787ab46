//! Reply in, verdict out: the program's `check` against real servers, in tables. A case says how
//! the site replies and what the record must hold; the laws that hold of every record are
//! checked with each.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use miniserde::json::Value;

use crate::harness::binary::Output;
use crate::harness::certs::Leaf;
use crate::harness::{Fields, Listener, Script, Sitewatch, certs, json};

/// A wait of a site's. Everything else on `lo` takes far less.
pub const DELAY: Duration = Duration::from_millis(400);

/// The `timeout` of cases that run into it.
pub const TIMEOUT: Duration = Duration::from_millis(800);

/// How often a case may show a phase that the machine, not the site, held up.
pub const TRIES: usize = 4;

/// Cases in flight. Few: on a small machine many would be in each other's way.
pub const TOGETHER: usize = 4;

/// The phases in their order.
pub const PHASES: [&str; 5] = ["dns_us", "connect_us", "tls_us", "first_byte_us", "transfer_us"];

/// One row: a site, what is asked of it, and what must come out.
pub struct Case {
    pub name: String,
    url: String,
    args: Vec<String>,
    keys: String,
    pub want: Want,
    /// The server, which lives as long as its row.
    _site: Box<dyn Any + Send + Sync>,
}

/// Over plain HTTP, from a server that replies so to everything.
pub fn http(name: &str, script: Script, want: Want) -> Case {
    let site = Listener::http();
    site.always(script);
    at(name, site.url("/"), site, want)
}

/// The same over TLS.
pub fn https(name: &str, leaf: &Leaf, script: Script, want: Want) -> Case {
    let site = Listener::https(leaf);
    site.always(script);
    at(name, site.url("/"), site, want)
}

/// Any URL; `site` lives as long as the case.
pub fn at(name: &str, url: String, site: impl Any + Send + Sync, want: Want) -> Case {
    let (args, keys) = (Vec::new(), String::new());
    Case { name: name.to_owned(), url, args, keys, want, _site: Box::new(site) }
}

impl Case {
    /// With these flags.
    pub fn with<const N: usize>(mut self, args: [&str; N]) -> Case {
        self.args.extend(args.map(str::to_owned));
        self
    }

    /// With this line of a target of a configuration, for what has no flag.
    pub fn key(mut self, line: &str) -> Case {
        self.keys += &format!("{line}\n");
        self
    }

    pub fn run(&self, program: Sitewatch) -> Output {
        let mut args = vec!["check".to_owned(), "--format".to_owned(), "json".to_owned()];
        let mut program = program.env("SSL_CERT_FILE", certs::ca_file());
        if self.keys.is_empty() {
            args.push(self.url.clone());
        } else {
            let text = format!("[[target]]\nname = \"case\"\nurl = {:?}\n{}", self.url, self.keys);
            program = program.file("case.toml", text);
            args.extend(["-c", "case.toml", "case"].map(str::to_owned));
        }
        program.args(args).args(&self.args).run()
    }

    /// What is wrong, one a line; empty if nothing is.
    pub fn faults(&self, program: &dyn Fn() -> Sitewatch) -> String {
        let mut faults = Vec::new();
        for _ in 0..TRIES {
            faults = Vec::new();
            let output = self.run(program());
            let blames_machine = self.want.judge(&self.url, &output, &mut faults);
            if !blames_machine {
                break;
            }
        }
        faults.iter().map(|fault| format!("{}: {fault}\n", self.name)).collect()
    }
}

/// Runs the rows, a few at a time, and tells of all that are wrong.
#[track_caller]
pub fn table(cases: Vec<Case>) {
    table_by(cases, &Sitewatch::new);
}

/// The same by another build of the program.
#[track_caller]
pub fn table_by(cases: Vec<Case>, program: &(dyn Fn() -> Sitewatch + Sync)) {
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = case.faults(&program);
                    faults.lock().unwrap_or_else(PoisonError::into_inner).push_str(&found);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "of {} cases:\n{faults}", cases.len());
}

/// What a record must hold.
#[derive(Default)]
pub struct Want {
    pub verdict: &'static str,
    pub cause: &'static str,
    pub responded: bool,
    pub status: Option<i64>,
    pub match_ok: Option<bool>,
    /// The last phase that was begun; none: no phase at all.
    pub last: Option<&'static str>,
    pub holds: Option<(&'static str, Duration)>,
    pub fields: Vec<(&'static str, i64)>,
    pub absent: Vec<&'static str>,
    pub matched: Option<&'static str>,
    pub error: Option<&'static str>,
    pub timeout: Option<Duration>,
    pub then_tls: bool,
}

/// It responded with this status, which is accepted.
pub fn up(status: i64) -> Want {
    let last = Some("transfer_us");
    Want { verdict: "up", responded: true, status: Some(status), last, ..Want::default() }
}

/// It responded with this status, and is down all the same.
pub fn down(cause: &'static str, status: i64) -> Want {
    Want { verdict: "down", cause, ..up(status) }
}

/// A connection that was made: its last phase.
pub fn connected(last: &'static str) -> Want {
    Want { verdict: "up", responded: true, last: Some(last), ..Want::default() }
}

/// It did not respond: the phase in which it broke.
pub fn broken(cause: &'static str, last: &'static str) -> Want {
    Want { verdict: "down", cause, last: Some(last), ..Want::default() }
}

/// It did not respond within `timeout`: the phase in which it was.
pub fn late(last: &'static str) -> Want {
    Want { timeout: Some(TIMEOUT), ..broken("timeout", last) }
}

/// Our fault.
pub fn unknown(cause: &'static str) -> Want {
    Want { verdict: "unknown", cause, ..Want::default() }
}

/// A name that no name server answers for, in that phase, and nobody else whose name is known.
pub fn unanswered(last: &'static str) -> Want {
    Want { last: Some(last), ..unknown("uplink") }
}

impl Want {
    /// A status that came, although the reply did not arrive whole.
    pub fn status(mut self, status: i64) -> Want {
        self.status = Some(status);
        self
    }

    /// What the expressions say.
    pub fn match_ok(mut self, ok: bool) -> Want {
        self.match_ok = Some(ok);
        self
    }

    /// What the first expression found.
    pub fn found(mut self, text: &'static str) -> Want {
        self.matched = Some(text);
        self.match_ok(true)
    }

    /// This phase holds that long, and the others have no part in it.
    pub fn holds(mut self, phase: &'static str, delay: Duration) -> Want {
        self.holds = Some((phase, delay));
        self
    }

    /// A number of the record.
    pub fn int(mut self, name: &'static str, value: i64) -> Want {
        self.fields.push((name, value));
        self
    }

    /// A field that must not be there.
    pub fn no(mut self, name: &'static str) -> Want {
        self.absent.push(name);
        self
    }

    /// Words of the error.
    pub fn error(mut self, words: &'static str) -> Want {
        self.error = Some(words);
        self
    }

    /// A redirect leads from http to https.
    pub fn then_tls(mut self) -> Want {
        self.then_tls = true;
        self
    }

    /// Up, but over `slow_after`.
    pub fn slow(mut self) -> Want {
        self.verdict = "slow";
        self
    }

    /// Puts what is wrong into `faults`. True if nothing but the machine may be to blame.
    pub fn judge(&self, url: &str, output: &Output, faults: &mut Vec<String>) -> bool {
        let code = match self.verdict {
            "down" => 1,
            "unknown" => 2,
            _ => 0,
        };
        let (lines, stdout) = (output.stdout.lines().count(), &output.stdout);
        // That our own network is away is said for itself.
        let (said, is_away) = (&output.stderr, self.cause == "uplink");
        let is_quiet = said.is_empty() || is_away && said.contains("the uplink is away");
        if output.code != Some(code) || lines != 1 || !is_quiet {
            faults.push(format!("exit code {code} and one line, got {output:?}"));
        }
        if lines != 1 {
            return false;
        }
        let record = json::parse(stdout);
        let mut same = |what: &str, got: String, want: String| {
            if got != want {
                faults.push(format!("{what} is {got}, wanted {want}, in {stdout}"));
            }
        };
        let text = |name: &str| if record.has(name) { record.text(name) } else { "" };
        let flag = |name: &str| record.has(name).then(|| record.flag(name));
        let int = |name: &str| record.has(name).then(|| record.int(name));
        same("verdict", text("verdict").into(), self.verdict.into());
        same("cause", text("cause").into(), self.cause.into());
        same(
            "responded",
            format!("{:?}", flag("responded")),
            format!("{:?}", Some(self.responded)),
        );
        same("status", format!("{:?}", int("status")), format!("{:?}", self.status));
        same("match_ok", format!("{:?}", flag("match_ok")), format!("{:?}", self.match_ok));
        same(
            "status_ok is there",
            record.has("status_ok").to_string(),
            self.status.is_some().to_string(),
        );
        if self.status.is_some() && matches!(self.verdict, "up" | "slow") {
            same("status_ok", format!("{:?}", flag("status_ok")), "Some(true)".into());
        }
        for (name, value) in &self.fields {
            same(name, format!("{:?}", int(name)), format!("{:?}", Some(value)));
        }
        for name in &self.absent {
            same(name, record.has(name).to_string(), "false".into());
        }
        if let Some(matched) = self.matched {
            same("matched", text("matched").into(), matched.into());
        }
        let error = text("error");
        if let Some(words) = self.error
            && !error.contains(words)
        {
            same("error", error.into(), format!("something with {words:?}"));
        }
        same("a reason", (!error.is_empty()).to_string(), (!self.cause.is_empty()).to_string());
        if let Some(word) = unfit(error) {
            same("error", error.into(), format!("something for people, without {word:?}"));
        }
        self.judge_phases(url, &record, stdout, faults)
    }

    /// The laws of the phases.
    fn judge_phases(
        &self,
        url: &str,
        record: &Value,
        stdout: &str,
        faults: &mut Vec<String>,
    ) -> bool {
        let of = |name: &str| record.has(name).then(|| record.int(name));
        let there: Vec<&str> = PHASES.into_iter().filter(|name| record.has(name)).collect();
        let last = self.last.and_then(|last| PHASES.iter().position(|name| *name == last));
        let reached = PHASES.iter().take(last.map_or(0, |last| last + 1));
        let tls = url.starts_with("https:") || self.then_tls;
        let wanted: Vec<&str> = reached.copied().filter(|name| tls || *name != "tls_us").collect();
        if there != wanted {
            faults.push(format!("phases are {there:?}, wanted {wanted:?}, in {stdout}"));
        }
        let sum: i64 = PHASES.iter().filter_map(|name| of(name)).sum();
        if of("total_us") != Some(sum) {
            faults.push(format!("total_us is not the sum of the phases, {sum}, in {stdout}"));
        }
        let address = url.contains("//127.") || url.contains("//[");
        if address
            && !matches!(self.cause, "dns" | "uplink")
            && of("dns_us").is_some_and(|us| us != 0)
        {
            faults.push(format!("an address was looked up, in {stdout}"));
        }
        // Less our own time between two hops, which is in no phase.
        if let Some(timeout) = self.timeout
            && (sum as u128) < timeout.as_micros() * 49 / 50
        {
            faults.push(format!("{sum} µs are less than the timeout, in {stdout}"));
        }
        let Some((name, delay)) = self.holds else { return false };
        let (us, delay_us) = (of(name).unwrap_or_default(), delay.as_micros() as i64);
        if sum < delay_us {
            faults.push(format!("all is less than {delay_us} µs, in {stdout}"));
        }
        let fits = faults.is_empty();
        // A phase that is noticed late begins late; one that is too long, or too short by more
        // than that, may have been kept waiting for the processor: to be tried again.
        if us < delay_us * 19 / 20 {
            faults.push(format!("{name} is less than {delay_us} µs, in {stdout}"));
        }
        for other in PHASES.iter().filter(|other| **other != name) {
            if of(other).is_some_and(|us| us >= delay_us / 2) {
                faults.push(format!("{other} holds what is {name}'s, in {stdout}"));
            }
        }
        fits && !faults.is_empty()
    }
}

/// A word that an error for people does not have.
fn unfit(error: &str) -> Option<&str> {
    let words = ["curl", "OpenSSL", "SSL_", "errno", "error:", "0A0", "::", "CURLE", "set_cookie"];
    // But for an address.
    let inside = words.into_iter().find(|word| error.replace("::1", "").contains(word));
    let first = error.chars().next().filter(char::is_ascii_uppercase);
    let proper = ["TLS", "SSL", "HTTP"].iter().any(|name| error.starts_with(name));
    inside
        .or(first.filter(|_| !proper).map(|_| "a capital first"))
        .or(error.ends_with(['.', '\n']).then_some("a full stop last"))
}
