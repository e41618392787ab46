//! What the site is asked: method, body, headers, and nothing that nobody asked for.

use std::time::Duration;

use crate::harness::listener::Seen;
use crate::harness::{Listener, Script, Sitewatch, certs};

const DEADLINE: Duration = Duration::from_secs(10);

/// Checks `/` of a server of these paths; gives what it was asked.
fn asked<const N: usize>(args: &[&str], paths: [(&str, Script); N]) -> Vec<Seen> {
    let site = Listener::http();
    site.always(Script::ok("x"));
    for (path, script) in paths {
        site.on(path, script);
    }
    let done = Sitewatch::new().args(["check", &site.url("/")]).args(args).run();
    assert!(done.code.is_some_and(|code| code < 2), "{done:?}");
    site.settled(DEADLINE)
}

/// The names of the headers, in lower case and in order.
fn names(seen: &Seen) -> Vec<String> {
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names
}

#[test]
fn methods_arrive_as_such() {
    let none = ["accept", "accept-encoding", "host", "user-agent"];
    let some = ["accept", "accept-encoding", "content-length", "host", "user-agent"];
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let bare = &asked(&["--method", method], [])[0];
        assert_eq!((&*bare.method, &*bare.body), (method, &b""[..]), "{bare:?}");
        // A POST without a body says so.
        let wanted = if method == "POST" { &some[..] } else { &none[..] };
        assert_eq!(names(bare), wanted, "{bare:?}");
        if method == "HEAD" {
            continue;
        }
        let long = "b".repeat(100_000);
        for body in ["{\"a\": 1}", &long] {
            let seen = &asked(&["--method", method, "--body", body], [])[0];
            assert_eq!((&*seen.method, seen.body.len()), (method, body.len()), "{method}");
            assert_eq!(names(seen), some, "{method}");
        }
    }
}

#[test]
fn headers_are_ours_unless_set() {
    let seen = &asked(&[], [])[0];
    let agent = format!("sitewatch/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.header("User-Agent"), Some(&*agent));
    assert_eq!(seen.header("Accept"), Some("*/*"));
    let set = [
        "User-Agent: me",
        "Accept: text/html",
        "Content-Type: a/b",
        "Host: other.example",
        "X-Empty:",
        "X-Any: ä b",
    ];
    let flags: Vec<_> = set.iter().flat_map(|header| ["--header", header]).collect();
    let seen = &asked(&flags, [])[0];
    for header in set {
        let (name, value) = header.split_once(':').unwrap();
        assert_eq!(seen.header(name), Some(value.trim()), "{seen:?}");
        assert_eq!(
            names(seen).iter().filter(|n| **n == name.to_lowercase()).count(),
            1,
            "{seen:?}"
        );
    }
}

#[test]
fn a_redirect_changes_the_method_as_all_clients_do() {
    let cases = [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (301, "PUT", "PUT"),
        (303, "PUT", "GET"),
        (302, "DELETE", "DELETE"),
        (303, "HEAD", "HEAD"),
        (302, "HEAD", "HEAD"),
        (303, "GET", "GET"),
    ];
    for (status, method, then) in cases {
        let body = if method == "HEAD" || method == "GET" { "" } else { "text" };
        let redirect = ("/", Script::redirect(status, "/b"));
        let log = asked(&["--method", method, "--body", body], [redirect]);
        let what = format!("{status} {method}: {log:?}");
        assert_eq!((&*log[0].method, &*log[1].method), (method, then), "{what}");
        let kept = if method == then { body } else { "" };
        assert_eq!((&*log[0].body, &*log[1].body), (body.as_bytes(), kept.as_bytes()), "{what}");
        assert_eq!(log[1].header("content-length").is_some(), !kept.is_empty(), "{what}");
    }
}

#[test]
fn the_proxies_of_the_environment_are_never_used() {
    let (proxy, site) = (Listener::http(), Listener::http());
    let secure = Listener::https(&certs::set().good);
    for listener in [&proxy, &site, &secure] {
        listener.always(Script::ok("x"));
    }
    for url in [site.url("/"), secure.url("/"), site.url_at("localhost", "/")] {
        let mut program = Sitewatch::new().env("SSL_CERT_FILE", certs::ca_file());
        for name in
            ["http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        {
            program = program.env(name, proxy.url(""));
        }
        let done = program.args(["check", &url]).run();
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    assert_eq!((proxy.connections(), site.connections(), secure.connections()), (0, 2, 1));
}
