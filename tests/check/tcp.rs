//! Plain connections, `tcp://host:port`: with and without TLS, with and without a greeting.

use openssl::ssl::SslVersion;

use super::table::{Case, DELAY, TIMEOUT, Want, at, broken, connected, late, table};
use crate::harness::greeter::{Greeter, Greeting};
use crate::harness::{Fields, Listener, Script, Sitewatch, Tls, certs, dead, json};

/// From a server that says this first.
fn greeted(name: &str, greeting: Greeting, want: Want) -> Case {
    let server = Greeter::start(greeting, None);
    at(name, server.url(), server, want)
}

/// Connected and greeted, and not as it was expected.
fn mistaken() -> Want {
    Want { verdict: "down", cause: "body", ..connected("transfer_us") }.match_ok(false)
}

const EXPECT: &str = "expect = '^220 .*ready'";

#[test]
fn to_be_connected_is_enough_unless_a_greeting_is_expected() {
    let (refused, full) = (dead::refused(), dead::full());
    let (refused_url, full_url) =
        [&refused, &full].map(|site| site.url("").replace("http:", "tcp:")).into();
    let good = || Greeting::of("220 mail.example ready\r\n");
    let pieces = Greeting::of("220 mail").then(DELAY, ".example ready\r\n");
    let later = Greeting::silence().then(DELAY, "220 mail.example ready\r\n");
    let flood = Greeting::of(vec![b'x'; 64 << 10]);
    let name = "tls_us";
    table(vec![
        greeted("silent", Greeting::silence(), connected("connect_us").no(name).no("match_ok")),
        greeted("talks", good(), connected("connect_us").no("matched").int("bytes", 0)),
        greeted("closes", Greeting::silence().closes(), connected("connect_us")),
        at("refused", refused_url, refused, broken("connect", "connect_us")),
        at("no answer", full_url, full, late("connect_us")).with(["--timeout", "800ms"]),
        greeted("expected", good(), connected("transfer_us").found("220 mail.example ready"))
            .key(EXPECT),
        greeted(
            "in pieces",
            pieces,
            connected("transfer_us").match_ok(true).holds("transfer_us", DELAY),
        )
        .key(EXPECT),
        greeted(
            "later",
            later,
            connected("transfer_us").match_ok(true).holds("first_byte_us", DELAY),
        )
        .key(EXPECT),
        greeted("another", Greeting::of("554 no\r\n").closes(), mistaken().error("no match of"))
            .key(EXPECT),
        greeted("another, and holds", Greeting::of("421 busy\r\n"), mistaken().int("bytes", 10))
            .key(EXPECT)
            .key("timeout = '800ms'"),
        greeted("a flood", flood, mistaken().int("bytes", 16 << 10)).key(EXPECT),
        greeted("nothing", Greeting::silence(), late("first_byte_us"))
            .key(EXPECT)
            .key("timeout = '800ms'"),
        greeted(
            "closes before",
            Greeting::silence().closes(),
            broken("protocol", "first_byte_us").error("before the site sent a byte"),
        )
        .key(EXPECT),
        greeted("by a flag", good(), connected("transfer_us").found("220"))
            .with(["--match", "220"]),
    ]);
    assert_eq!(TIMEOUT.as_millis(), 800);
}

#[test]
fn tls_is_that_of_sites() {
    let set = certs::set();
    let served = |name: &str, tls: &Tls<'_>, greeting: Greeting, want: Want| {
        let server = Greeter::start(greeting, Some(tls));
        at(name, server.url(), server, want.then_tls()).key("tls = true")
    };
    let good = || Greeting::of("* OK ready\r\n");
    let up = |last| connected(last).int("cert_expires_s", set.good.ends_s());
    let (ok, plain) = (Tls::new(&set.good), Greeter::start(good(), None));
    let old = Tls::new(&set.good).versions(SslVersion::TLS1_2, SslVersion::TLS1_2);
    let ends = set.expired.ends_s();
    let named = set.authority.leaf(&["mail.example"], -1, 30);
    let mail = Greeter::start(good(), Some(&Tls::new(&named)));
    let mail_url = format!("tcp://mail.example:{}", mail.port());
    table(vec![
        served("connected", &ok, Greeting::silence(), up("tls_us").no("match_ok").no("http")),
        served("greeted", &ok, good(), up("transfer_us").found("* OK")).key("expect = '^.{1,3}OK'"),
        served("TLS 1.2", &old, good(), up("transfer_us").match_ok(true)).key("expect = 'OK'"),
        served("TLS 1.2 is too old", &old, good(), broken("tls", "tls_us")).key("tls_min = '1.3'"),
        served(
            "expired",
            &Tls::new(&set.expired),
            good(),
            broken("certificate_expired", "tls_us").int("cert_expires_s", ends),
        ),
        served("expired, and not asked", &Tls::new(&set.expired), good(), connected("tls_us"))
            .key("verify = false"),
        served(
            "self-signed",
            &Tls::new(&set.self_signed),
            good(),
            broken("certificate_untrusted", "tls_us"),
        ),
        served(
            "another name",
            &Tls::new(&set.wrong_name),
            good(),
            broken("certificate_name", "tls_us"),
        ),
        at("no TLS there", plain.url(), plain, broken("tls", "tls_us").then_tls())
            .key("tls = true"),
        at("a fixed address", mail_url, mail, connected("tls_us").then_tls())
            .key("tls = true")
            .key("resolve = '127.0.0.1'"),
        served(
            "soon over",
            &ok,
            Greeting::silence(),
            Want { cause: "certificate_soon", ..up("tls_us") },
        )
        .key("min_cert_days = 3000"),
    ]);
}

#[test]
fn nothing_is_said_to_it_and_no_protocol_is_offered() {
    let server = Greeter::start(Greeting::of("220 ready\r\n"), None);
    let config = format!("[[target]]\nname = 'mail'\nurl = '{}'\nexpect = 'ready'\n", server.url());
    let program = || Sitewatch::new().file("c.toml", &config);
    let done =
        program().args(["check", "-c", "c.toml", "mail", "--count", "3", "--every", "50ms"]).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(server.heard(), 0);
    // For people there is neither a method nor a status.
    assert!(done.stdout.contains("  found ready") && !done.stdout.contains("GET"), "{done:?}");
    let json = program().args(["check", "-c", "c.toml", "mail", "--format", "json"]).run();
    let record = json::parse(&json.stdout);
    assert!(!record.has("status") && !record.has("http") && !record.has("status_ok"), "{json:?}");
    // A site's TLS is offered HTTP, a connection's nothing: else this server would choose it.
    let site = Listener::https(&certs::set().good);
    site.always(Script::ok("x"));
    let url = site.url("").replace("https:", "tcp:");
    let config = format!("[[target]]\nname = 'c'\nurl = '{url}'\ntls = true\n");
    let program = Sitewatch::new().file("c.toml", config).env("SSL_CERT_FILE", certs::ca_file());
    let done = program.args(["check", "-c", "c.toml", "c"]).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(site.log().is_empty(), "{:?}", site.log());
    // What means nothing to it is refused.
    for flag in ["--method", "--status", "--body", "--reject", "--header", "--max-redirects"] {
        let done = Sitewatch::new().args(["check", "tcp://127.0.0.1:1", flag, "x: 1"]).run();
        assert_eq!(done.code, Some(2), "{flag}: {done:?}");
    }
}

#[test]
fn many_greetings_are_awaited_at_once() {
    let server = Greeter::start(Greeting::silence().then(DELAY, "220 ready\r\n"), None);
    let mut config = String::new();
    for i in 0..40 {
        config += &format!(
            "[[target]]\nname = '{i}'\nurl = '{}'\nexpect = '^220 ready\\r\\n$'\n",
            server.url()
        );
    }
    let done = Sitewatch::new()
        .file("c.toml", config)
        .args(["check", "-c", "c.toml", "--all", "--format", "json"])
        .run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.stdout.lines().count(), 40);
    for record in json::lines(&done.stdout) {
        let (us, wanted) = (record.int("first_byte_us"), DELAY.as_micros() as i64);
        assert!((wanted * 19 / 20..wanted * 3).contains(&us), "{us}");
        assert_eq!(record.text("matched"), "220 ready\r\n");
    }
    assert!(done.took < DELAY * 20, "one after the other: {:?}", done.took);
}
