//! The way to a site: a given address, a family, an interface; who we are to it; and the versions of
//! TLS and HTTP. What goes wrong at a proxy is in `proxies`.

use openssl::ssl::SslVersion;

use super::table::{Want, at, broken, down, http, https, table, unanswered, unknown, up};
use crate::harness::proxy::{Asked, Manner, Proxy};
use crate::harness::{Fields, Http2, Listener, Script, Sitewatch, Temp, Tls, certs, dead, json};

/// The port of a URL such as `http://127.0.0.1:80/`.
fn port(site: &Listener) -> u16 {
    site.address().port()
}

/// A target of these lines, checked; the record.
#[track_caller]
fn record(url: &str, lines: &str) -> miniserde::json::Value {
    let text = format!("[[target]]\nname = 'case'\nurl = '{url}'\n{lines}\n");
    let program = Sitewatch::new().env("SSL_CERT_FILE", certs::ca_file()).file("c.toml", text);
    let done = program.args(["check", "-c", "c.toml", "case", "--format", "json"]).run();
    assert!(done.stdout.lines().count() == 1 && done.stderr.is_empty(), "{done:?}");
    json::parse(&done.stdout)
}

#[test]
fn a_given_address_needs_no_name_server() {
    let leaf = certs::set().authority.leaf(&["shop.example"], -1, 30);
    let (plain, tls, refused) = (Listener::http(), Listener::https(&leaf), dead::refused());
    let wrong = Listener::https(&certs::set().wrong_name);
    [&plain, &tls, &wrong].into_iter().for_each(|site| {
        site.always(Script::ok("x"));
    });
    let here = "resolve = '127.0.0.1'";
    let url = |scheme: &str, port: u16| format!("{scheme}://shop.example:{port}/");
    let (http_url, https_url) = (url("http", port(&plain)), url("https", port(&tls)));
    let (dead_url, wrong_url) = (url("http", refused.address().port()), url("https", port(&wrong)));
    table(vec![
        at("http", http_url, (), up(200).int("dns_us", 0)).key(here),
        at("https", https_url, (), up(200).int("dns_us", 0)).key(here),
        at("nobody there", dead_url, refused, broken("connect", "connect_us")).key(here),
        at("for another name", wrong_url, (), broken("certificate_name", "tls_us")).key(here),
    ]);
    for (site, sni) in [(&plain, None), (&tls, Some("shop.example"))] {
        let seen = &site.log()[0];
        assert_eq!(seen.header("host"), Some(&*format!("shop.example:{}", port(site))));
        assert_eq!(seen.sni.as_deref(), sni);
    }
}

#[test]
fn a_given_address_is_for_the_target_s_own_host() {
    // A redirect to another host is looked up; to another port of the same host it is not.
    let (site, other) = (Listener::http(), Listener::http());
    other.always(Script::ok("x"));
    let port_of = port(&other);
    site.on("/same", Script::redirect(302, format!("http://shop.example:{port_of}/")));
    site.on("/else", Script::redirect(302, format!("http://else.example:{port_of}/")));
    let url = |path: &str| format!("http://shop.example:{}{path}", port(&site));
    let here = "resolve = '127.0.0.1'";
    table(vec![
        at("same host", url("/same"), (), up(200).int("redirects", 1)).key(here),
        at("another", url("/else"), (), unanswered("transfer_us").int("redirects", 1)).key(here),
    ]);
}

#[test]
fn a_family_is_kept_to() {
    let (four, six) = (Listener::http(), Listener::http6());
    [&four, &six].into_iter().for_each(|site| {
        site.always(Script::ok("x"));
    });
    let local = |site: &Listener| format!("http://localhost:{}/", port(site));
    table(vec![
        at("4", local(&four), (), up(200)).key("family = 4"),
        at("6", local(&six), (), up(200)).key("family = '6'"),
        at("any, where 6 is refused", local(&four), (), up(200)).key("family = 'any'"),
        at("4 alone", local(&six), (), broken("connect", "connect_us")).key("family = '4'"),
        at("6 alone", local(&four), (), broken("connect", "connect_us")).key("family = 6"),
    ]);
}

#[test]
fn from_an_address_or_an_interface() {
    let (site, six) = (Listener::http(), Listener::http6());
    [&site, &six].into_iter().for_each(|site| {
        site.always(Script::ok("x"));
    });
    let (proxy, refused) = (Proxy::start(Manner::Kind), dead::refused());
    table(vec![
        at("lo", site.url("/"), (), up(200)).key("interface = 'lo'"),
        at("an address", site.url("/"), (), up(200)).key("interface = '127.0.0.9'"),
        at(
            "none such",
            site.url("/"),
            (),
            unknown_at_connect().error("cannot send from the interface nosuch0"),
        )
        .key("interface = 'nosuch0'"),
        at(
            "not ours",
            site.url("/"),
            (),
            unknown_at_connect().error("cannot send from the interface 192.0.2.1"),
        )
        .key("interface = '192.0.2.1'"),
        at(
            "IPv6 to IPv4",
            site.url("/"),
            (),
            unknown_at_connect().error("cannot send from ::1 to an IPv4 address"),
        )
        .key("interface = '::1'"),
        at(
            "IPv4 to IPv6",
            six.url("/"),
            (),
            unknown_at_connect().error("cannot send from 127.0.0.1 to an IPv6 address"),
        )
        .key("interface = '127.0.0.1'"),
        at("IPv6", six.url("/"), (), up(200)).key("interface = '::1'"),
        at("a name of both", site.url_at("localhost", "/"), (), up(200))
            .key("interface = '127.0.0.1'"),
        at(
            "a given address",
            "http://shop.example/".into(),
            (),
            unknown_at_connect().error("cannot send from ::1 to an IPv4 address"),
        )
        .key("interface = '::1'\nresolve = '127.0.0.1'"),
        at(
            "to a proxy",
            "http://shop.example/".into(),
            (),
            unknown_at_connect().error("cannot send from ::1 to an IPv4 address"),
        )
        .key(&format!("interface = '::1'\nproxy = '{}'", proxy.url("http", ""))),
        at("refused", refused.url("/"), (), broken("connect", "connect_us"))
            .key("interface = '127.0.0.1'"),
    ]);
    let from: Vec<String> = site.log().iter().map(|seen| seen.peer.ip().to_string()).collect();
    assert!(from.contains(&"127.0.0.9".to_owned()), "{from:?}");
}

fn unknown_at_connect() -> Want {
    Want { last: Some("connect_us"), ..unknown("internal") }
}

#[test]
fn through_a_proxy() {
    let leaf = certs::set().authority.leaf(&["shop.example"], -1, 30);
    let (plain, tls) = (Listener::http(), Listener::https(&leaf));
    plain.always(Script::ok("x"));
    tls.always(Script::ok("x"));
    let (http_url, https_url) = (
        format!("http://shop.example:{}/", port(&plain)),
        format!("https://shop.example:{}/", port(&tls)),
    );
    let proxy = Proxy::start(Manner::Kind);
    let key = |scheme: &str, login: &str| format!("proxy = '{}'", proxy.url(scheme, login));
    let socks_ip = format!("http://127.0.0.1:{}/", port(&plain));
    table(vec![
        at("http", http_url.clone(), (), up(200)).key(&key("http", "")),
        at("CONNECT", https_url.clone(), (), up(200)).key(&key("http", "me:p%40ss@")),
        at("SOCKS, its names", http_url.clone(), (), up(200)).key(&key("socks5h", "me:p%40ss@")),
        at("SOCKS, TLS", https_url.clone(), (), up(200)).key(&key("socks5h", "")),
        at("SOCKS, an address", socks_ip, (), up(200)).key(&key("socks5", "")),
    ]);
    let log = proxy.log();
    let asked = |how: &str, site: &Listener, login: Option<&str>| Asked {
        how: how.to_owned(),
        place: format!("shop.example:{}", port(site)),
        login: login.map(str::to_owned),
    };
    for want in [
        asked("GET", &plain, None),
        asked("CONNECT", &tls, Some("Basic bWU6cEBzcw==")),
        asked("SOCKS", &plain, Some("me:p@ss")),
        asked("SOCKS", &tls, None),
    ] {
        assert!(log.contains(&want), "no {want:?} in {log:?}");
    }
    // The site is not told of the proxy's login.
    for seen in plain.log().iter().chain(&tls.log()) {
        assert_eq!(seen.header("proxy-authorization"), None);
    }
}

#[test]
fn the_environment_s_proxy_is_not_used() {
    let site = Listener::http();
    site.always(Script::ok("x"));
    let proxy = Proxy::start(Manner::Kind);
    let program = Sitewatch::new().env("http_proxy", proxy.url("http", ""));
    let done = program.args(["check", &site.url("/")]).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(proxy.log(), []);
}

#[test]
fn who_we_are_is_told_to_the_target_s_own_origin_alone() {
    let (site, other) = (Listener::http(), Listener::http());
    other.always(Script::ok("x"));
    site.on("/", Script::ok("x"));
    site.on("/away", Script::redirect(302, other.url("/")));
    for (key, value) in
        [("basic = 'me:pa:ss'", "Basic bWU6cGE6c3M="), ("bearer = 'abc.def'", "Bearer abc.def")]
    {
        for path in ["/", "/away"] {
            let before = (site.log().len(), other.log().len());
            assert_eq!(record(&site.url(path), key).text("verdict"), "up");
            let (seen, away) = (site.log(), other.log());
            assert_eq!(seen[before.0].header("authorization"), Some(value));
            assert!(away[before.1..].iter().all(|seen| seen.header("authorization").is_none()));
            assert_eq!(away.len() - before.1, usize::from(path == "/away"));
        }
    }
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let set = certs::set();
    let folder = Temp::new();
    let (cert, key) = set.authority.leaf(&["edge"], -1, 30).write(&folder, "edge");
    let keys = format!("cert_file = '{}'\nkey_file = '{}'", cert.display(), key.display());
    let wanting = || {
        let tls = Tls::new(&set.good).clients_of(&set.authority);
        let site = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
        site.always(Script::ok("x"));
        site
    };
    let (with, without) = (wanting(), wanting());
    // Another origin does not get it.
    let (elsewhere, home) = (wanting(), Listener::http());
    home.always(Script::redirect(302, elsewhere.url("/")));
    let refused = || broken("tls", "first_byte_us");
    let sums = broken("tls", "transfer_us");
    table(vec![
        at("with", with.url("/"), with, up(200)).key(&keys),
        at("without", without.url("/"), without, refused().error("client certificate")),
        at("elsewhere", home.url("/"), (home, elsewhere), sums.then_tls().int("redirects", 1))
            .key(&keys),
    ]);
}

#[test]
fn tls_asks_for_the_name_that_is_given() {
    let leaf = certs::set().authority.leaf(&["inner.example"], -1, 30);
    let site = Listener::https(&leaf);
    site.always(Script::ok("x"));
    table(vec![
        at("its name", site.url("/"), (), up(200)).key("server_name = 'inner.example'"),
        at("not its name", site.url("/"), (), broken("certificate_name", "tls_us"))
            .key("server_name = 'other.example'"),
    ]);
    let seen = &site.log()[0];
    assert_eq!(seen.sni.as_deref(), Some("inner.example"));
    assert_eq!(seen.header("host"), Some(&*site.address().to_string()));
}

#[test]
fn no_older_tls_than_asked_for() {
    let set = certs::set();
    let old = || {
        let tls = Tls::new(&set.good).versions(SslVersion::TLS1_2, SslVersion::TLS1_2);
        let site = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
        site.always(Script::ok("x"));
        site
    };
    let (takes, refuses) = (old(), old());
    table(vec![
        at("1.2", takes.url("/"), takes, up(200)).key("tls_min = '1.2'"),
        at("1.3", refuses.url("/"), refuses, broken("tls", "tls_us").error("no version in common"))
            .key("tls_min = '1.3'"),
        https("1.3, which it has", &set.good, Script::ok("x"), up(200)).key("tls_min = '1.3'"),
    ]);
}

#[test]
fn no_other_http_than_asked_for() {
    let leaf = &certs::set().good;
    let two = Http2::start(leaf, "x");
    assert_eq!(record(&two.url("/"), "http = '2'").text("http"), "2");
    assert_eq!(record(&two.url("/"), "").text("http"), "2");
    assert_eq!(record(&two.url("/"), "http = '1.1'").text("verdict"), "down");
    table(vec![
        https("1.1", leaf, Script::ok("x"), up(200)).key("http = '1.1'"),
        https(
            "2, which it has not",
            leaf,
            Script::ok("x"),
            down("protocol", 200).error("HTTP/1.1"),
        )
        .key("http = '2'"),
        http("2 without TLS", Script::ok("x"), broken("protocol", "first_byte_us"))
            .key("http = '2'"),
    ]);
}

#[test]
fn a_family_that_is_tried_in_vain_is_told() {
    let site = Listener::http();
    site.always(Script::ok("x"));
    let url = site.url_at("localhost", "/");
    let text = |args: &[&str]| Sitewatch::new().args(["check"]).args(args).run();
    let both = text(&[&url]);
    assert!(both.code == Some(0) && both.stdout.contains("IPv6 tried in vain"), "{both:?}");
    for plain in [text(&[&site.url("/")]), record_text(&url, "family = 4")] {
        assert!(plain.code == Some(0) && !plain.stdout.contains("in vain"), "{plain:?}");
    }
}

/// The same as [`record`], for people.
fn record_text(url: &str, lines: &str) -> crate::harness::binary::Output {
    let text = format!("[[target]]\nname = 'case'\nurl = '{url}'\n{lines}\n");
    Sitewatch::new().file("c.toml", text).args(["check", "-c", "c.toml", "case"]).run()
}

#[test]
fn no_route_for_one_of_two_families_is_not_our_trouble_alone() {
    // A network of its own: loopback, and no route to anywhere.
    let checked = |hosts: &str| {
        let script = "ip link set lo up && mount --bind hosts /etc/hosts && exec \"$@\"";
        let program = Sitewatch::program("unshare").file("hosts", hosts);
        let done = program
            .args(["--net", "--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sitewatch")])
            .args(["check", "http://both.example:1/", "--format", "json"])
            .run();
        assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
        let record = json::parse(&done.stdout);
        (record.text("verdict").to_owned(), record.text("cause").to_owned())
    };
    let is = |verdict: &str, cause: &str| (verdict.to_owned(), cause.to_owned());
    // The one that can be reached refuses: that is the site's.
    let both = "2001:db8::1 both.example\n127.0.0.1 both.example\n";
    assert_eq!(checked(both), is("down", "connect"));
    assert_eq!(checked("192.0.2.1 both.example\n::1 both.example\n"), is("down", "connect"));
    // None can be reached: that is ours.
    assert_eq!(checked("2001:db8::1 both.example\n"), is("unknown", "uplink"));
    let none = "2001:db8::1 both.example\n2001:db8::2 both.example\n";
    assert_eq!(checked(none), is("unknown", "uplink"));
}
