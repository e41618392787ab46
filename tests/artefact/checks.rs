//! `check` by each artefact: versions of TLS and HTTP, keys of either kind, certificates that are
//! wrong, redirects, what is packed, expressions. The laws of a record are those of `crate::check::table`.

use openssl::ssl::SslVersion as Version;

use super::targets::{DEADLINE, each};
use crate::check::table::{Want, broken, down, unanswered, up};
use crate::harness::{Artefact, Fields, Http2, Listener, Script, Tls, certs, json};

/// What is asked, and what must come out.
struct Row {
    name: &'static str,
    url: String,
    flags: &'static [&'static str],
    want: Want,
}

/// What is wrong with a row; empty if nothing is.
fn faults(artefact: &Artefact, row: &Row) -> String {
    let program = artefact.sitewatch().env("SSL_CERT_FILE", certs::ca_file()).deadline(DEADLINE);
    let done = program.args(["check", "--format", "json", &row.url]).args(row.flags).run();
    let mut faults = Vec::new();
    row.want.judge(&row.url, &done, &mut faults);
    faults.iter().map(|fault| format!("{}: {fault}\n", row.name)).collect()
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn each_finds_what_the_host_finds() {
    let set = certs::set();
    let of = |leaf, least, most| {
        let tls = Tls::new(leaf).versions(least, most);
        let listener = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
        listener.always(Script::ok("all is well").serial());
        listener
    };
    let new = of(&set.good, Version::TLS1_3, Version::TLS1_3);
    let rsa = of(&set.good_rsa, Version::TLS1_3, Version::TLS1_3);
    let old = of(&set.good, Version::TLS1_2, Version::TLS1_2);
    let old_rsa = of(&set.good_rsa, Version::TLS1_2, Version::TLS1_2);
    let both = |leaf| of(leaf, Version::TLS1_2, Version::TLS1_3);
    let (expired, untrusted) = (both(&set.expired), both(&set.untrusted));
    let (other, chained) = (both(&set.wrong_name), both(&set.chained));
    let two = Http2::start(&set.good, "spoken in frames");
    let http = Listener::http();
    http.on("/moved", Script::redirect(302, new.url("/to")));
    http.on("/loop", Script::redirect(302, "/loop"));
    http.on("/gzip", Script::ok("packed").gzip()).on("/broken", Script::status(503));
    let ends = |want: Want, leaf: &certs::Leaf| want.int("cert_expires_s", leaf.ends_s());
    let refused = |cause| broken(cause, "tls_us");
    let row = |name, url, flags, want| Row { name, url, flags, want };
    let rows = [
        row(
            "TLS 1.3",
            new.url("/"),
            &["--match", "w[e]ll"],
            ends(up(200).found("well"), &set.good),
        ),
        row("TLS 1.3, RSA", rsa.url("/"), &[], ends(up(200), &set.good_rsa)),
        row("TLS 1.2", old.url("/"), &[], ends(up(200), &set.good)),
        row("TLS 1.2, RSA", old_rsa.url("/"), &[], ends(up(200), &set.good_rsa)),
        row("chained", chained.url("/"), &[], ends(up(200), &set.chained)),
        row("expired", expired.url("/"), &[], refused("certificate_expired").error("ended on")),
        row("untrusted", untrusted.url("/"), &[], refused("certificate_untrusted")),
        row("other name", other.url("/"), &[], refused("certificate_name").error("other.example")),
        row("not looked at", expired.url("/"), &["--insecure"], ends(up(200), &set.expired)),
        row("HTTP/2", two.url("/"), &["--match", "frames"], up(200).found("frames")),
        row("moved", http.url("/moved"), &[], up(200).then_tls().int("redirects", 1)),
        row("loop", http.url("/loop"), &["--max-redirects", "1"], down("too_many_redirects", 302)),
        row("gzip", http.url("/gzip"), &["--match", "packed"], up(200).found("packed")),
        row("status", http.url("/broken"), &[], down("status", 503)),
        row("no name", "http://no-such.invalid/".to_owned(), &[], unanswered("dns_us")),
        row("refused", "http://127.0.0.1:1/".to_owned(), &[], broken("connect", "connect_us")),
    ];
    each(|artefact| {
        let faults: String = rows.iter().map(|row| faults(artefact, row)).collect();
        assert!(faults.is_empty(), "{faults}");
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn each_counts_and_says_what_it_is_told_to() {
    each(|artefact| {
        let listener = Listener::https(&certs::set().good);
        listener.always(Script::ok("fine").serial());
        let url = listener.url_at("localhost", "/form?q=1").replace("//", "//amy:hush@");
        let ca = certs::ca_file().to_str().unwrap();
        let program =
            artefact.sitewatch().deadline(DEADLINE).args(["check", &url, "--ca-file", ca]);
        let flags = ["--count", "3", "--every", "100ms", "--format", "json", "--method", "POST"];
        let more = ["--body", "hello", "--header", "X-Key: word", "--match", "serial=[0-9]+"];
        let done = program.args(flags).args(more).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        let records = json::lines(&done.stdout);
        let found: Vec<&str> = records.iter().map(|record| record.text("matched")).collect();
        assert_eq!(found, ["serial=1", "serial=2", "serial=3"], "{done:?}");
        for seen in listener.settled(DEADLINE) {
            assert!(seen.answered && !seen.resumed, "{seen:?}");
            assert_eq!((&*seen.method, &*seen.body), ("POST", &b"hello"[..]));
            assert_eq!(seen.header("x-key"), Some("word"));
            assert!(seen.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
        }
    });
}
