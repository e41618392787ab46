//! Cookies within one check: set along with a redirect, sent at the next hop, by RFC 6265; and the
//! user's own beside them.

use std::time::Duration;

use super::table::{Case, at, down, table, up};
use crate::harness::listener::Seen;
use crate::harness::{Listener, Script, Sitewatch, certs};

const DEADLINE: Duration = Duration::from_secs(10);

/// A site that sets these at `/`, leading to `/end`.
fn setting(lines: &[&str], location: &str) -> Script {
    let redirect = Script::redirect(302, location);
    lines.iter().fold(redirect, |script, line| script.header("Set-Cookie", *line))
}

/// Checks a URL; gives what the sites were asked.
fn asked<const N: usize>(url: &str, args: &[&str], sites: [&Listener; N]) -> [Vec<Seen>; N] {
    let mut program = Sitewatch::new().env("SSL_CERT_FILE", certs::ca_file());
    program = program.args(["check", url]).args(args);
    let done = program.run();
    assert!(done.code.is_some_and(|code| code < 2), "{done:?}");
    sites.map(|site| site.settled(DEADLINE))
}

/// What was sent as `Cookie`, request by request; a request has one such header at most.
fn cookies(log: &[Seen]) -> Vec<&str> {
    for seen in log {
        let count = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
        assert!(count.count() < 2, "{seen:?}");
    }
    log.iter().map(|seen| seen.header("cookie").unwrap_or_default()).collect()
}

/// A site that leads to itself in these steps before it says `in`.
fn steps(name: &str, steps: Vec<Script>, want: super::table::Want) -> Case {
    let site = Listener::http();
    site.on_in_turn("/", steps);
    at(name, site.url("/"), site, want).with(["--match", "in"])
}

#[test]
fn a_site_that_waits_for_its_cookie_gets_it() {
    let site = Listener::http();
    let inside = || Script::ok("in");
    site.on_in_turn("/", [setting(&["seen=1"], "/"), inside()]);
    let [log] = asked(&site.url("/"), &["--match", "in"], [&site]);
    assert_eq!(cookies(&log), ["", "seen=1"]);
    // Each hop may set more, or take some back.
    let site = Listener::http();
    site.on("/", setting(&["a=1", "b=2; Path=/c", "c=3; Path=/d"], "/c"));
    site.on("/c", setting(&["a=4; Path=/", "b=; Path=/c; Max-Age=0", "d=5; HttpOnly"], "/c/e"));
    site.on("/c/e", setting(&["e=6"], "/c/e/f"));
    site.on("/c/e/f", inside());
    let [log] = asked(&site.url("/"), &["--match", "in"], [&site]);
    assert_eq!(cookies(&log), ["", "b=2; a=1", "a=4; d=5", "e=6; a=4; d=5"]);
    table(vec![
        steps("one step", vec![setting(&["a=1"], "/"), inside()], up(200).found("in")),
        steps(
            "two steps",
            vec![setting(&["a=1"], "/"), setting(&["a=2"], "/"), inside()],
            up(200).found("in").int("redirects", 2),
        ),
        steps(
            "never",
            vec![setting(&["a=1"], "/")],
            down("too_many_redirects", 302).match_ok(false),
        ),
    ]);
}

#[test]
fn each_check_begins_without_cookies() {
    let site = Listener::http();
    site.on("/", setting(&["seen=1"], "/end")).on("/end", Script::ok("x"));
    let more = ["--count", "2", "--every", "1s"];
    let [log] = asked(&site.url("/"), &more, [&site]);
    assert_eq!(cookies(&log), ["", "seen=1", "", "seen=1"]);
    // What is no redirect, and what comes before one, sets none.
    let site = Listener::http();
    let early = Script::raw(
        "HTTP/1.1 103 Early\r\nSet-Cookie: early=1\r\n\r\n\
         HTTP/1.1 302 Found\r\nSet-Cookie: late=1\r\nLocation: /end\r\n\r\n",
    );
    site.on("/", early).on("/end", Script::ok("x"));
    let [log] = asked(&site.url("/"), &[], [&site]);
    assert_eq!(cookies(&log), ["", "late=1"]);
}

#[test]
fn cookies_go_to_the_host_that_set_them() {
    let (home, other) = (Listener::http(), Listener::everywhere());
    let secure = Listener::https(&certs::set().good);
    let lines = ["own=1", "safe=2; Secure", "wide=3; Domain=localhost", "all=4; Domain=0.0.1"];
    home.on("/", setting(&lines, &other.url_at("127.0.0.2", "/")));
    other.on("/", setting(&["theirs=5"], &secure.url("/")));
    // Ports and schemes are of no account to cookies: a login may lead from http to https.
    secure.always(setting(&["more=6; Secure"], &home.url("/end")));
    home.on("/end", Script::ok("x"));
    let [home, other, secure] = asked(&home.url("/"), &[], [&home, &other, &secure]);
    assert_eq!(cookies(&home), ["", "own=1"]);
    assert_eq!(cookies(&other), [""]);
    assert_eq!(cookies(&secure), ["own=1; safe=2"]);
}

#[test]
fn domains_are_those_of_the_name_that_the_site_knows() {
    let site = Listener::http();
    let lines = ["wide=1; Domain=example.test", "wrong=2; Domain=other.test", "own=3"];
    site.on("/", setting(&lines, "/end")).on("/end", Script::ok("x"));
    let [log] = asked(&site.url("/"), &["--header", "Host: www.Example.test:81"], [&site]);
    assert_eq!(cookies(&log), ["", "wide=1; own=3"]);
}

#[test]
fn the_users_own_cookies_go_home_beside_them() {
    let (home, other) = (Listener::http(), Listener::everywhere());
    let own = ["--header", "cookie: id=hunter2; theme=dark"];
    home.on("/", setting(&["seen=1"], "/again"));
    home.on("/again", setting(&["theme=light"], &other.url_at("127.0.0.2", "/")));
    other.on("/", setting(&["theirs=1"], &home.url("/end")));
    home.on("/end", Script::ok("x"));
    let [home, other] = asked(&home.url("/"), &own, [&home, &other]);
    let first = "id=hunter2; theme=dark";
    let last = "id=hunter2; seen=1; theme=light";
    assert_eq!(cookies(&home), [first, "id=hunter2; theme=dark; seen=1", last]);
    assert_eq!(cookies(&other), [""]);
    // The same host by another port is another origin: the user's stay at home, the site's go.
    let (home, other) = (Listener::http(), Listener::http());
    home.on("/", setting(&["seen=1"], &other.url("/")));
    other.always(Script::ok("x"));
    let [_, other] = asked(&home.url("/"), &own, [&home, &other]);
    assert_eq!(cookies(&other), ["seen=1"]);
}

#[test]
fn odd_cookies_harm_nobody() {
    let site = Listener::http();
    let long = "v".repeat(5000);
    let many: Vec<String> = (0..200).map(|at| format!("k{at}=v")).collect();
    let mut lines = vec!["", ";", "=", "a", "b=\u{1b}[2J", "c=ä", &long, "d=1;;;Path"];
    lines.extend(many.iter().map(String::as_str));
    site.on("/", setting(&lines, "/end").header("Set-Cookie", b"raw=\xff".to_vec()));
    site.on("/end", Script::ok("x"));
    let [log] = asked(&site.url("/"), &[], [&site]);
    let sent = cookies(&log)[1].to_owned();
    assert!(sent.starts_with("a; c=ä; d=1; k0=v; k1=v"), "{sent}");
    assert_eq!(sent.split("; ").count(), 50, "{sent}");
}
