//! Proxies that refuse, fall silent, close or speak something else: whose fault that is, in which
//! words, and in which phase it took its time. All of it again by the static file, where it is built.

use std::any::Any;

use super::table::{
    Case, DELAY, TIMEOUT, Want, at, broken, connected, late, table, table_by, unanswered, unknown,
    up,
};
use crate::harness::greeter::{Greeter, Greeting};
use crate::harness::proxy::{Manner, Proxy};
use crate::harness::{Fields, Listener, Script, Sitewatch, certs, dead, json};

/// A site, and the scheme of the proxy that it is asked for through.
type Way = (&'static str, &'static str);

/// How a site can be asked for through a proxy.
const WAYS: [Way; 6] = [
    ("https://shop.example/", "http"),
    ("tcp://shop.example:25", "http"),
    ("http://shop.example/", "http"),
    ("https://shop.example/", "socks5h"),
    ("http://shop.example/", "socks5h"),
    ("tcp://shop.example:25", "socks5h"),
];

/// Through a proxy of that manner.
fn through(what: &str, (url, scheme): Way, manner: Manner, want: Want) -> Case {
    let proxy = Proxy::start(manner);
    let key = format!("proxy = '{}'", proxy.url(scheme, ""));
    at(&format!("{what}, {url} by {scheme}"), url.to_owned(), proxy, want).key(&key)
}

/// Our fault: nothing was reached but the proxy.
fn ours() -> Want {
    Want { last: Some("connect_us"), ..unknown("uplink") }.int("dns_us", 0)
}

/// The site's, as its proxy says.
fn told() -> Want {
    broken("connect", "connect_us").int("dns_us", 0)
}

fn in_time(case: Case) -> Case {
    case.with(["--timeout", "800ms"])
}

fn refusals() -> Vec<Case> {
    let connect = [WAYS[0], WAYS[1]];
    let mut cases = Vec::new();
    for way in connect {
        for (status, text) in [
            (502, "cannot connect to the site: status 502"),
            (503, "cannot connect to the site: status 503"),
            (504, "cannot connect to the site: status 504"),
        ] {
            cases.push(through(text, way, Manner::Refuses(status), told().error(text)));
        }
        for (status, text) in [(403, "refuses: status 403"), (302, "refuses: status 302")] {
            cases.push(through(text, way, Manner::Refuses(status), ours().error(text)));
        }
    }
    for way in [WAYS[0], WAYS[1], WAYS[2]] {
        let want = ours().error("wants another login").no("status");
        cases.push(through("407", way, Manner::Refuses(407), want));
    }
    for way in [WAYS[3], WAYS[4], WAYS[5]] {
        for (number, want) in [
            (1, ours().error("refuses: no address of the name, or another error (SOCKS 1)")),
            (2, ours().error("refuses: not allowed")),
            (3, ours().error("refuses: network unreachable")),
            (4, told().error("cannot connect to the site: host unreachable")),
            (5, told().error("cannot connect to the site: connection refused")),
            (6, told().error("cannot connect to the site: no answer")),
            (7, ours().error("refuses: command not supported")),
            (8, ours().error("refuses: kind of address not supported")),
            (9, ours().error("refuses: a number that SOCKS does not know")),
        ] {
            cases.push(through("SOCKS", way, Manner::Refuses(number), want));
        }
        // None of our methods will do; the password is wrong.
        for words in [&b"\x05\xff"[..], b"\x05\x02\x01\x01"] {
            let want = ours().error("wants another login");
            cases.push(through("login", way, Manner::SaysAndCloses(words), want));
        }
    }
    cases
}

fn silences() -> Vec<Case> {
    let mut cases = Vec::new();
    let text = |(url, scheme): Way| match (scheme, url.starts_with("http:")) {
        ("http", false) => "did not answer CONNECT within 800 ms",
        _ => "did not answer the SOCKS greeting within 800 ms",
    };
    for way in WAYS.into_iter().filter(|way| *way != WAYS[2]) {
        let want = Want { timeout: Some(TIMEOUT), ..ours() }.error(text(way));
        cases.push(in_time(through("silent", way, Manner::Silent, want)));
        let full = dead::full();
        let key = format!("proxy = '{}://{}'", way.1, full.address());
        let want = Want { timeout: Some(TIMEOUT), ..ours() }
            .error("cannot connect to the proxy 127.0.0.1:");
        cases.push(in_time(at("nobody accepts", way.0.to_owned(), full, want).key(&key)));
    }
    // Of what it passes on, it is asked whether it is there: else its site is what hangs.
    let want = Want { last: Some("first_byte_us"), timeout: Some(TIMEOUT), ..unknown("uplink") };
    let want =
        want.error("did not answer the request; the proxy does not answer another request either");
    cases.push(in_time(through("silent", WAYS[2], Manner::Silent, want)));
    let site = Listener::http();
    site.always(Script::silence());
    let (url, proxy) = (site.url("/"), Proxy::start(Manner::Kind));
    let key = format!("proxy = '{}'", proxy.url("http", ""));
    let want = late("first_byte_us").error("did not answer the request");
    cases.push(in_time(at("its site hangs", url, (site, proxy), want).key(&key)));
    for way in [WAYS[3], WAYS[4], WAYS[5]] {
        // It is there, so the site may not be.
        let want = late("connect_us").error("did not answer the SOCKS request");
        cases.push(in_time(through("greets", way, Manner::Greets, want)));
    }
    cases
}

fn closes() -> Vec<Case> {
    let mut cases = Vec::new();
    let text = "closed the connection without an answer";
    for way in WAYS {
        for manner in [Manner::Closes, Manner::ClosesAtOnce, Manner::ClosesUnread, Manner::Resets] {
            cases.push(through(&format!("{manner:?}"), way, manner, ours().error(text)));
        }
        let refused = dead::refused();
        let key = format!("proxy = '{}://{}'", way.1, refused.address());
        let want = ours().error(": connection refused");
        cases.push(at("refused", way.0.to_owned(), refused, want).key(&key));
    }
    for way in [WAYS[3], WAYS[4], WAYS[5]] {
        cases.push(through("greets", way, Manner::GreetsAndCloses, ours().error(text)));
    }
    let cut = Manner::SaysAndCloses(b"HTTP/1.1 200 fi");
    for way in [WAYS[0], WAYS[1]] {
        cases.push(through("cut", way, cut, ours().error("in the middle of its answer")));
    }
    cases
}

fn strangers() -> Vec<Case> {
    let mut cases = Vec::new();
    let (mail, web) = (&b"220 mail.example ESMTP\r\n"[..], &b"HTTP/1.1 400 what?\r\n\r\n"[..]);
    let (socks, lines) = (&b"\x05\x00"[..], &b"hello\r\nthis: is\r\n\r\n"[..]);
    for way in [WAYS[0], WAYS[1]] {
        let want = ours().error("did not answer CONNECT with HTTP within 800 ms");
        cases.push(in_time(through("mail", way, Manner::Says(mail), want)));
        let want = ours().error("is not HTTP");
        cases.push(through("lines", way, Manner::SaysAndCloses(lines), want));
        let want = ours().error("in the middle of its answer");
        cases.push(through("SOCKS", way, Manner::SaysAndCloses(socks), want));
    }
    for words in [mail, lines] {
        let want = ours().error("is not HTTP");
        cases.push(through("not HTTP", WAYS[2], Manner::SaysAndCloses(words), want));
    }
    for way in [WAYS[3], WAYS[4], WAYS[5]] {
        for words in [mail, web, b"\x05\x77"] {
            let want = ours().error("is not SOCKS 5");
            cases.push(through("not SOCKS", way, Manner::SaysAndCloses(words), want));
        }
    }
    cases
}

/// Delays at the proxy: a site behind it, and all the rest of what must live as long.
fn delays() -> Vec<Case> {
    let leaf = certs::set().authority.leaf(&["shop.example"], -1, 30);
    let (plain, tls) = (Listener::http(), Listener::https(&leaf));
    let greeter = Greeter::start(Greeting::of("220 here"), None);
    [&plain, &tls].into_iter().for_each(|site| {
        site.always(Script::ok("x"));
    });
    let slow = |url: String, scheme: &str, site: Box<dyn Any + Send + Sync>, want: Want| {
        let proxy = Proxy::start(Manner::Slow(DELAY));
        let key = format!("proxy = '{}'", proxy.url(scheme, ""));
        let want = want.holds("connect_us", DELAY).int("dns_us", 0);
        at(&format!("{url} by {scheme}"), url, (proxy, site), want).key(&key)
    };
    let https = format!("https://shop.example:{}/", tls.address().port());
    let http = format!("http://shop.example:{}/", plain.address().port());
    let tcp = format!("tcp://shop.example:{}", greeter.port());
    let tcp_of = |scheme: &str| {
        let want = Want { match_ok: Some(true), ..connected("transfer_us") };
        slow(tcp.clone(), scheme, Box::new(()), want).key("expect = '220'")
    };
    vec![
        slow(https.clone(), "http", Box::new(()), up(200)),
        slow(https, "socks5h", Box::new(tls), up(200)),
        slow(http, "socks5h", Box::new(plain), up(200)),
        tcp_of("http"),
        tcp_of("socks5h"),
        slow(tcp.clone(), "http", Box::new(()), connected("connect_us")),
        slow(tcp.clone(), "socks5h", Box::new(greeter), connected("connect_us")),
    ]
}

/// Names: ours of proxies, and of sites where the proxy leaves them to us.
fn names() -> Vec<Case> {
    let row = |name: &str, scheme: &str, want: Want| {
        let url = "http://nosuch.example/".to_owned();
        let proxy = Proxy::start(Manner::Kind);
        let key = format!("proxy = '{}'", proxy.url(scheme, ""));
        at(name, url, proxy, want).key(&key)
    };
    let lost = Want { last: Some("dns_us"), ..unknown("uplink") };
    let lost = lost.error("cannot find an address of the proxy nosuch.example:3128");
    vec![
        row("we look it up", "socks5", unanswered("dns_us").error("nosuch.example")),
        at("the proxy's", WAYS[0].0.to_owned(), (), lost)
            .key("proxy = 'http://nosuch.example:3128'"),
    ]
}

fn all() -> Vec<Case> {
    [refusals(), silences(), closes(), strangers(), delays(), names()]
        .into_iter()
        .flatten()
        .collect()
}

/// Those that rest neither on a deadline nor on what a kernel tells of a connection's bytes, for a build that
/// is emulated: an emulator is slow, and passes no such question on.
#[track_caller]
pub fn slowly_by(program: &(dyn Fn() -> Sitewatch + Sync)) {
    let mut cases: Vec<Case> = [refusals(), closes(), names()].into_iter().flatten().collect();
    cases.retain(|case| !["Resets", "cut"].iter().any(|name| case.name.starts_with(name)));
    table_by(cases, program);
}

/// All of it by another build of the program.
#[track_caller]
pub fn by(program: &(dyn Fn() -> Sitewatch + Sync)) {
    table_by(all(), program);
}

#[test]
fn what_a_proxy_tells_of_the_site_is_the_site_s_and_the_rest_is_ours() {
    table(refusals());
}

#[test]
fn who_has_not_answered_once_is_to_blame() {
    table(silences());
}

#[test]
fn a_proxy_that_closes_is_the_same_in_every_way() {
    table(closes());
}

#[test]
fn a_proxy_that_speaks_something_else_is_named() {
    table(strangers());
}

#[test]
fn the_way_to_a_proxy_and_through_it_is_connect() {
    table(delays());
}

#[test]
fn a_name_that_is_left_to_us_is_looked_up_before() {
    table(names());
}

#[test]
fn a_name_that_we_found_goes_to_socks5_as_an_address() {
    let site = Listener::http();
    site.always(Script::ok("x"));
    let proxy = Proxy::start(Manner::Kind);
    let port = site.address().port();
    let (url, through) = (format!("http://site.example:{port}/"), proxy.url("socks5", ""));
    let text = format!("[[target]]\nname = 'case'\nurl = '{url}'\nproxy = '{through}'\n");
    let hosts = "127.0.0.1 site.example\n";
    let script = "mount --bind hosts /etc/hosts && exec \"$@\"";
    let program = Sitewatch::program("unshare").file("hosts", hosts).file("c.toml", text);
    let words = ["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sitewatch")];
    let words = words.into_iter().chain(["check", "-c", "c.toml", "case", "--format", "json"]);
    let done = program.args(words).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let record = json::parse(&done.stdout);
    assert!(record.int("dns_us") > 0 && record.int("connect_us") > 0, "{done:?}");
    let places: Vec<String> = proxy.log().into_iter().map(|asked| asked.place).collect();
    assert_eq!(places, [format!("127.0.0.1:{port}")]);
}
