//! The name's lookup, with a name server of our own that is late, silent, fails or knows no such
//! name. The program gets it by a mount of its own over `/etc/resolv.conf`. C libraries differ in
//! nearly all of this, so the table is for `crate::artefact` too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use miniserde::json::Value;

use super::table::{DELAY, TIMEOUT, TOGETHER};
use crate::harness::dns::{A, AAAA, Says};
use crate::harness::{Dns, Fields, Listener, Script, Sitewatch, json};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const NOTHING: Says = Says::Nothing;
const SERVFAIL: Says = Says::Code(2);
const NXDOMAIN: Says = Says::Code(3);
const REFUSED: Says = Says::Code(5);
const SILENCE: Says = Says::Silence;

/// Runs what follows with its own name server and file of hosts.
const WITH_NAMES: &str = "mount --bind resolv.conf /etc/resolv.conf && \
                          mount --bind hosts /etc/hosts && exec \"$@\"";

/// A call of the program behind these words.
pub type Within<'a> = &'a (dyn Fn(&[&str]) -> Sitewatch + Sync);

/// The host's build.
fn host(before: &[&str]) -> Sitewatch {
    Sitewatch::program(before[0]).args(&before[1..]).args([env!("CARGO_BIN_EXE_sitewatch")])
}

/// One check of a name, and what must come out.
struct Row {
    name: &'static str,
    host: &'static str,
    /// What the name server says of `shop.example`; none: nobody is there.
    says: Option<(Says, Says)>,
    resolv_conf: &'static str,
    hosts: &'static str,
    keys: &'static str,
    verdict: &'static str,
    cause: &'static str,
    /// A part of the text, or the address that was connected to.
    part: &'static str,
}

/// Of `shop.example`, by a server that says this of A and AAAA.
fn row(name: &'static str, a: Says, aaaa: Says) -> Row {
    let (says, resolv_conf, hosts, keys) = (Some((a, aaaa)), "", "", "timeout = '3s'");
    let (verdict, cause, part) = ("", "", "");
    Row { name, host: "shop.example", says, resolv_conf, hosts, keys, verdict, cause, part }
}

impl Row {
    fn up(self, address: &'static str) -> Row {
        Row { verdict: "up", part: address, ..self }
    }

    fn down(self, part: &'static str) -> Row {
        Row { verdict: "down", cause: "dns", part, ..self }
    }

    /// Nobody else can tell.
    fn unknown(self, part: &'static str) -> Row {
        let keys = "timeout = '1s'";
        Row { verdict: "unknown", cause: "uplink", part, keys, ..self }
    }

    fn fault(&self, within: Within<'_>, port: u16) -> Option<String> {
        let dns = Dns::start();
        let mut resolv_conf = dns.resolv_conf();
        resolv_conf += self.resolv_conf;
        let _dns = self.says.map(|(a, aaaa)| {
            dns.says("shop.example", A, a).says("shop.example", AAAA, aaaa);
            dns
        });
        let url = format!("http://{}:{port}/", self.host);
        let record = check(within, &resolv_conf, self.hosts, &url, self.keys);
        let text = |key: &str| if record.has(key) { record.text(key) } else { "" };
        let is_up = text("verdict") == "up";
        // The system's resolvers wait for 5 s.
        let is_late = is_up && record.int("dns_us") > 1_500_000;
        let has_part = match is_up {
            true => self.part.is_empty() || text("address") == self.part,
            false => text("error").contains(self.part),
        };
        let is_right = (text("verdict"), text("cause")) == (self.verdict, self.cause) && has_part;
        (!is_right || is_late).then(|| format!("{}: {record:?}\n", self.name))
    }
}

/// The record of a check with that name server and file of hosts.
fn check(within: Within<'_>, resolv_conf: &str, hosts: &str, url: &str, keys: &str) -> Value {
    let config = format!("[[target]]\nname = 'case'\nurl = '{url}'\n{keys}\n");
    let done = within(&["unshare", "--mount", "sh", "-c", WITH_NAMES, "sh"])
        .file("resolv.conf", resolv_conf)
        .file("hosts", hosts)
        .file("c.toml", config)
        .args(["check", "-c", "c.toml", "case", "--format", "json"])
        .deadline(Duration::from_secs(60))
        .run();
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    // The system's own patience is 5 s and more.
    assert!(done.took < Duration::from_secs(20), "{done:?}");
    json::parse(&done.stdout)
}

/// Names that are answered by halves, wrongly or not at all, each as it must be judged.
#[track_caller]
pub fn half_answers(within: Within<'_>) {
    let four = Listener::http();
    let port = four.address().port();
    let six = Listener::bind((Ipv6Addr::LOCALHOST, port), None);
    [&four, &six].into_iter().for_each(|site| {
        site.always(Script::ok("x"));
    });
    let (a, aaaa) = (Says::Address(V4), Says::Address(V6));
    let late = |address| Says::Late(Duration::from_secs(2), address);
    let (v4, v6) = ("127.0.0.1", "::1");
    let rows = [
        row("both", a, aaaa).up(v6),
        row("A alone", a, NOTHING).up(v4),
        row("AAAA alone", NOTHING, aaaa).up(v6),
        row("AAAA silent", a, SILENCE).up(v4),
        row("AAAA SERVFAIL", a, SERVFAIL).up(v4),
        row("AAAA NXDOMAIN", a, NXDOMAIN).up(v4),
        row("AAAA REFUSED", a, REFUSED).up(v4),
        row("AAAA late", a, late(V6)).up(v4),
        row("A silent", SILENCE, aaaa).up(v6),
        row("A SERVFAIL", SERVFAIL, aaaa).up(v6),
        row("A NXDOMAIN", NXDOMAIN, aaaa).up(v6),
        row("A late", late(V4), aaaa).up(v6),
        Row { keys: "family = 4", ..row("4, AAAA silent", a, SILENCE).up(v4) },
        Row { keys: "family = 6", ..row("6, A silent", SILENCE, aaaa).up(v6) },
        // The system's resolver is asked as ever.
        Row { hosts: "127.0.0.1 shop.example\n", ..row("hosts before DNS", SILENCE, aaaa).up(v4) },
        Row { hosts: "::1 shop.example\n", ..row("hosts, IPv6", a, SILENCE).up(v6) },
        Row { host: "shop", resolv_conf: "search example\n", ..row("search", a, aaaa).up("") },
        Row { host: "shop", resolv_conf: "search example\n", ..row("halves", a, SILENCE).up(v4) },
        row("NXDOMAIN", NXDOMAIN, NXDOMAIN).down("shop.example does not exist"),
        row("NODATA", NOTHING, NOTHING).down("shop.example has no address"),
        row("NODATA, NXDOMAIN", NOTHING, NXDOMAIN).down("shop.example has no address"),
        Row { keys: "family = 4", ..row("no A", NOTHING, aaaa).down("no IPv4 address") },
        Row { keys: "family = 6", ..row("no AAAA", a, NOTHING).down("no IPv6 address") },
        row("SERVFAIL", SERVFAIL, SERVFAIL).unknown("the name server failed"),
        row("REFUSED", REFUSED, REFUSED).unknown("the name server failed"),
        row("SERVFAIL, NODATA", SERVFAIL, NOTHING).unknown("the name server failed"),
        row("silence", SILENCE, SILENCE).unknown("no name server answers"),
        Row { says: None, ..row("nobody", a, aaaa).unknown("no name server answers") },
    ];
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fault = row.fault(within, port).unwrap_or_default();
                    faults.lock().unwrap_or_else(PoisonError::into_inner).push_str(&fault);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "of {} names:\n{faults}", rows.len());
}

#[test]
fn a_family_that_fails_costs_no_verdict_and_what_is_missing_is_told_apart() {
    half_answers(&host);
}

/// The record of a check that asks this name server.
fn checked(dns: &Dns, url: &str) -> Value {
    check(&host, &dns.resolv_conf(), "", url, "timeout = '800ms'")
}

#[test]
fn a_late_answer_is_in_its_own_phase() {
    let site = Listener::http();
    site.always(Script::ok("x"));
    let dns = Dns::start();
    dns.says("shop.example", A, Says::Late(DELAY, V4)).otherwise(NOTHING);
    let record = checked(&dns, &site.url_at("shop.example", "/"));
    assert_eq!(record.text("verdict"), "up", "{record:?}");
    assert!(record.int("dns_us") >= DELAY.as_micros() as i64, "{record:?}");
    assert!(record.int("connect_us") < DELAY.as_micros() as i64 / 2, "{record:?}");
}

#[test]
fn no_such_name() {
    let record = checked(&Dns::start(), "http://shop.example/");
    assert_eq!((record.text("verdict"), record.text("cause")), ("down", "dns"), "{record:?}");
    assert!(record.int("dns_us") > 0 && !record.has("connect_us"), "{record:?}");
}

#[test]
fn a_silent_name_server_is_ours_and_the_check_ends_in_time() {
    let dns = Dns::start();
    dns.otherwise(SILENCE);
    let record = checked(&dns, "http://shop.example/");
    assert_eq!((record.text("verdict"), record.text("cause")), ("unknown", "uplink"), "{record:?}");
    assert!(record.text("error").contains("looking up the name"), "{record:?}");
    assert_eq!(record.int("dns_us"), record.int("total_us"), "{record:?}");
    assert!(record.int("total_us") + 1000 >= TIMEOUT.as_micros() as i64, "{record:?}");
    assert!(!record.has("connect_us"), "{record:?}");
}
