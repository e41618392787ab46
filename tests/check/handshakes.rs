//! TLS that breaks, versions, and that each check makes a handshake of its own.

use std::time::Duration;

use openssl::ssl::SslVersion;

use super::table::{Want, at, broken, http, https, table, up};
use crate::harness::certs::Kind;
use crate::harness::greeter::{Greeter, Greeting};
use crate::harness::http2::Answer;
use crate::harness::legacy::Legacy;
use crate::harness::{Fields, Http2, Listener, Script, Sitewatch, Tls, certs, json};

#[test]
fn handshakes_that_break() {
    let good = &certs::set().good;
    let text = || Script::ok("x");
    let broken = || broken("tls", "tls_us");
    let tls_on_http = Listener::https(good);
    let url = tls_on_http.url("/").replace("https:", "http:");
    let cases = vec![
        https("alert: handshake failure", good, text().alert(40), broken()),
        https("alert: internal error", good, text().alert(80), broken()),
        https("alert: unrecognized name", good, text().alert(112), broken()),
        https("closed at once", good, text().close_at_once(), broken()),
        https("reset at once", good, text().reset_at_once(), broken()),
        https("closed after the hello", good, text().cut_handshake_at(0), broken()),
        https("cut in the middle", good, text().cut_handshake_at(300), broken()),
        https(
            "plain text on the port of TLS",
            good,
            text().plain_on_tls(),
            broken().error("not TLS"),
        ),
        at(
            "https on the port of http",
            url,
            tls_on_http,
            super::table::broken("protocol", "first_byte_us"),
        ),
        http("http, to compare", text(), up(200).no("cert_expires_s")),
    ];
    table(cases);
}

#[test]
fn versions() {
    let good = &certs::set().good;
    let row = |name: &str, least, most, want: Want| {
        let site = Listener::bind(([127, 0, 0, 1], 0), Some(&Tls::new(good).versions(least, most)));
        site.always(Script::ok("x"));
        at(name, site.url("/"), site, want)
    };
    let client = Tls::new(good).clients_of(&certs::set().authority);
    let new = Listener::bind(([127, 0, 0, 1], 0), Some(&client));
    let old = Tls::new(good)
        .clients_of(&certs::set().authority)
        .versions(SslVersion::TLS1_2, SslVersion::TLS1_2);
    let old = Listener::bind(([127, 0, 0, 1], 0), Some(&old));
    table(vec![
        row("TLS 1.2", SslVersion::TLS1_2, SslVersion::TLS1_2, up(200)),
        row("TLS 1.3", SslVersion::TLS1_3, SslVersion::TLS1_3, up(200)),
        row(
            "TLS 1.1",
            SslVersion::TLS1_1,
            SslVersion::TLS1_1,
            broken("tls", "tls_us").error("version"),
        ),
        row(
            "TLS 1.0",
            SslVersion::TLS1,
            SslVersion::TLS1,
            broken("tls", "tls_us").error("version"),
        ),
        // In TLS 1.3 the server says so only after the client's last word.
        at(
            "wants a client's certificate, 1.3",
            new.url("/"),
            new,
            broken("tls", "first_byte_us").error("certificate"),
        ),
        at("wants a client's certificate, 1.2", old.url("/"), old, broken("tls", "tls_us")),
    ]);
}

#[test]
fn a_client_certificate_that_is_missing_is_said_whatever_is_spoken() {
    let set = certs::set();
    let wants = |versions: (SslVersion, SslVersion)| {
        Tls::new(&set.good).clients_of(&set.authority).versions(versions.0, versions.1)
    };
    let new = || wants((SslVersion::TLS1_3, SslVersion::TLS1_3));
    let old = || wants((SslVersion::TLS1_2, SslVersion::TLS1_2));
    let refused = |last| broken("tls", last).error("the site asks for a client certificate");
    let site = |tls: Tls<'_>, keys: &str| {
        let site = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
        site.always(Script::ok("x").keep_alive());
        at(keys, site.url("/"), site, refused("first_byte_us")).key(keys)
    };
    let framed = |name: &str, tls: Tls<'_>, last| {
        let site = Http2::answering(&tls.speaking(b"\x02h2"), "x", [Answer::Reply]);
        at(name, site.url("/"), site, refused(last))
    };
    let greeter = Greeter::start(Greeting::of("220 ready"), Some(&new()));
    let post = "method = 'POST'\nbody = 'some words'";
    let alerted = |number| Script::ok("x").alert(number);
    table(vec![
        site(new(), "http = '1.1'"),
        site(new(), post),
        site(new(), "reuse = true"),
        framed("HTTP/2, TLS 1.3", new(), "first_byte_us"),
        framed("HTTP/2, TLS 1.2", old(), "tls_us"),
        at("a connection", greeter.url(), greeter, refused("first_byte_us").then_tls())
            .key("tls = true\nexpect = '220'"),
        https("in place of a hello", &set.good, alerted(116), refused("tls_us")),
        // Others say what they mean as well.
        https(
            "certificate revoked",
            &set.good,
            alerted(44),
            broken("tls", "tls_us").error("the site refused: certificate revoked"),
        ),
        https(
            "access denied",
            &set.good,
            alerted(49),
            broken("tls", "tls_us").error("the site refused: access denied"),
        ),
    ]);
}

#[test]
fn a_site_without_secure_renegotiation_is_let_in_where_that_is_asked_for() {
    let leaf = &certs::set().good_rsa;
    let row = |keys: &str, want: Want| {
        let site = Legacy::start(leaf);
        at(keys, site.url("/"), site, want.int("cert_expires_s", leaf.ends_s())).key(keys)
    };
    let refused = |keys: &str| {
        let site = Legacy::start(leaf);
        let words = "knows no secure renegotiation (RFC 5746): set tls_legacy to allow it";
        at(keys, site.url("/"), site, broken("tls", "tls_us").error(words)).key(keys)
    };
    let stranger = Legacy::start(&certs::set().stranger.leaf_of(Kind::Rsa2048, &["x"], -1, 9));
    let old = Tls::new(leaf).versions(SslVersion::TLS1_1, SslVersion::TLS1_1);
    let old = Listener::bind(([127, 0, 0, 1], 0), Some(&old));
    old.always(Script::ok("x"));
    table(vec![
        refused(""),
        refused("tls_legacy = false"),
        refused("verify = false"),
        row("tls_legacy = true", up(200)),
        row("tls_legacy = true\nmatch = '^old$'\nverify = false", up(200).found("old")),
        // It lets in nothing else.
        at("untrusted", stranger.url("/"), stranger, broken("certificate_untrusted", "tls_us"))
            .key("tls_legacy = true"),
        at("TLS 1.1", old.url("/"), old, broken("tls", "tls_us").error("no version in common"))
            .key("tls_legacy = true"),
        https("of today", leaf, Script::ok("x"), up(200)).key("tls_legacy = true"),
    ]);
}

#[test]
fn each_check_has_a_connection_and_a_handshake_of_its_own() {
    let site = Listener::https(&certs::set().good);
    site.always(Script::ok("x").keep_alive());
    let done = Sitewatch::new()
        .env("SSL_CERT_FILE", certs::ca_file())
        .args([
            "check",
            &site.url_at("localhost", "/"),
            "--count",
            "5",
            "--every",
            "10ms",
            "--format",
            "json",
        ])
        .run();
    assert_eq!((done.code, done.stdout.lines().count()), (Some(0), 5), "{done:?}");
    let records = json::lines(&done.stdout);
    assert!(
        records.iter().all(|record| record.int("tls_us") > 0
            && record.int("connect_us") > 0
            && record.int("dns_us") > 0),
        "{done:?}"
    );
    let log = site.settled(Duration::from_secs(10));
    let mut connections: Vec<u64> = log.iter().map(|seen| seen.connection).collect();
    connections.dedup();
    assert_eq!((site.connections(), connections.len()), (5, 5));
    assert!(
        log.iter().all(|seen| !seen.resumed && seen.sni.as_deref() == Some("localhost")),
        "{log:?}"
    );
}

#[test]
fn hops_share_no_connection() {
    let site = Listener::https(&certs::set().good);
    site.on("/", Script::redirect(302, "/b").keep_alive());
    site.on("/b", Script::ok("x").keep_alive());
    let done = Sitewatch::new()
        .env("SSL_CERT_FILE", certs::ca_file())
        .args(["check", &site.url_at("localhost", "/"), "--format", "json"])
        .run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let log = site.settled(Duration::from_secs(10));
    assert!(site.connections() == 2 && log.iter().all(|seen| !seen.resumed), "{log:?}");
}
