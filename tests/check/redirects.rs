//! Redirects: which are followed and how far, what becomes of the method, and what the record
//! says of the way.

use std::time::Duration;

use super::table::{Case, DELAY, Want, at, broken, down, http, late, table, unanswered, up};
use crate::harness::{Listener, Script, Sitewatch, certs};

/// A server of these paths; the check begins at `/`.
fn paths<const N: usize>(name: &str, paths: [(&str, Script); N], want: Want) -> Case {
    let site = Listener::http();
    for (path, script) in paths {
        site.on(path, script);
    }
    at(name, site.url("/"), site, want)
}

/// `/` leads to `/1` and so on, and the last one says `end`.
fn chain(name: &str, redirects: i64, want: Want) -> Case {
    let site = Listener::http();
    for hop in 0..=redirects {
        let path = if hop == 0 { "/".to_owned() } else { format!("/{hop}") };
        let next = format!("/{}", hop + 1);
        let script = if hop == redirects { Script::ok("end") } else { Script::redirect(302, next) };
        site.on(&path, script);
    }
    at(name, site.url("/"), site, want)
}

#[test]
fn what_is_followed() {
    let to = |status, location: &str| Script::redirect(status, location);
    let end = || ("/b/c", Script::ok("end"));
    let two = || up(200).int("redirects", 1).int("bytes", 3);
    let absolute = Listener::http();
    absolute.on("/", to(302, &absolute.url("/b/c#part"))).on("/b/c", Script::ok("end"));
    let secure = Listener::https(&certs::set().good);
    secure.always(Script::ok("end"));
    let expired = Listener::https(&certs::set().expired);
    let (plain, plain2) = (Listener::http(), Listener::http());
    plain.always(to(301, &secure.url("/")));
    plain2.always(to(301, &expired.url("/")));
    let no_port = Listener::http();
    no_port.always(to(302, "http://127.0.0.1:1/"));
    let mut cases = vec![
        at("absolute, with a fragment", absolute.url("/"), absolute, two()),
        paths("relative", [("/", to(302, "b/c")), end()], two()),
        paths("with a query", [("/", to(302, "/b/c?d=e")), end()], two()),
        paths("without a scheme's name", [("/", to(302, "?x")), ("/?x", Script::ok("end"))], two()),
        paths("300 is not followed", [("/", to(300, "/b/c")), end()], down("status", 300)),
        paths("304 is not followed", [("/", to(304, "/b/c")), end()], down("status", 304)),
        paths("201 is not followed", [("/", to(201, "/b/c")), end()], up(201).int("redirects", 0)),
        paths(
            "to what is not found",
            [("/", to(302, "/gone"))],
            down("status", 404).int("redirects", 1),
        ),
        at("to https", plain.url("/"), (plain, secure), two().then_tls()),
        // Of the hop that failed the handshake is the last phase, of the one before the transfer.
        at(
            "to a bad certificate",
            plain2.url("/"),
            (plain2, expired),
            broken("certificate_expired", "transfer_us").then_tls().int("redirects", 1),
        ),
        at(
            "to where nobody is",
            no_port.url("/"),
            no_port,
            broken("connect", "transfer_us").int("redirects", 1),
        ),
        paths(
            "to a name that nobody answers for",
            [("/", to(302, "http://no-such.invalid/"))],
            unanswered("transfer_us").int("redirects", 1),
        ),
    ];
    for status in [301, 302, 303, 307, 308] {
        cases.push(paths(&format!("{status}"), [("/", to(status, "/b/c")), end()], two()));
    }
    table(cases);
}

#[test]
fn how_far() {
    let onward = || Script::redirect_onward(302);
    let over = || down("too_many_redirects", 302);
    table(vec![
        chain("ten", 10, up(200).int("redirects", 10)),
        chain("eleven", 11, over().int("redirects", 10).error("more than 10 redirects")),
        chain("two of two", 2, up(200).int("redirects", 2)).with(["--max-redirects", "2"]),
        chain("three of two", 3, over().int("redirects", 2)).with(["--max-redirects", "2"]),
        chain("none is the reply", 1, down("status", 302).int("redirects", 0))
            .with(["--max-redirects", "0"]),
        chain("none, accepted", 1, up(302)).with(["--max-redirects", "0", "--status", "302"]),
        http("without end", onward(), over().int("redirects", 10)),
        http("a loop", Script::redirect(302, "/"), over().int("redirects", 10)),
        // The last reply came whole: its status and its body are judged like any other's.
        http(
            "accepted, but too many",
            onward().body("moved"),
            over().found("moved").int("bytes", 5),
        )
        .with(["--match", "m.*", "--status", "302"]),
        http(
            "too many, and the last one cut",
            onward().body("moved").cut_body_at(2),
            broken("protocol", "transfer_us").status(302),
        )
        .with(["--max-redirects", "0"]),
    ]);
}

#[test]
fn where_nothing_leads() {
    let to = |location: &str| Script::redirect(302, location).body("moved");
    // The reply came; it is of no use.
    let astray = || down("protocol", 302).int("redirects", 0).int("bytes", 5);
    table(vec![
        http(
            "file",
            to("file:///etc/passwd"),
            astray().error("redirect to file: only http and https"),
        ),
        http("ftp", to("ftp://127.0.0.1/"), astray().error("ftp")),
        http("gopher", to("gopher://127.0.0.1:11211/_stats"), astray().error("gopher")),
        http("javascript", to("javascript:alert(1)"), astray().error("javascript")),
        http("data", to("data:text/plain,hello"), astray().error("data")),
        http("no URL", to("http://[::1"), astray().error("an invalid URL")),
        http("no host", to("http://"), astray().error("an invalid URL")),
        http("no Location", Script::status(302).body("moved"), down("status", 302).int("bytes", 5)),
        http("no Location, accepted", Script::status(302), up(302)).with(["--status", "300-399"]),
        http("an empty Location", to(""), down("status", 302).int("redirects", 0).int("bytes", 5)),
        http("one of blanks", to(" \t "), down("status", 302).int("redirects", 0)),
        http("an empty Location, accepted", to(""), up(302).int("bytes", 5))
            .with(["--status", "302"]),
        http("none allowed, and empty", to(""), down("status", 302)).with(["--max-redirects", "0"]),
        http(
            "any bytes in it",
            Script::redirect(302, b"/\xff\x1b[31m".to_vec()),
            down("too_many_redirects", 302),
        ),
    ]);
}

#[test]
fn a_location_is_asked_for_as_it_was_sent() {
    for (location, path) in [
        (&b"/caf\xe9"[..], "/caf%E9"),
        ("/café".as_bytes(), "/caf%C3%A9"),
        (b"/caf%E9", "/caf%E9"),
        (b"/a\xff\xc3/?q=\xe9&r=\xc3\xa9", "/a%FF%C3/?q=%E9&r=%C3%A9"),
        (b"?\x80", "/?%80"),
    ] {
        let site = Listener::http();
        site.on("/", Script::redirect(302, location)).on(path, Script::ok("end"));
        let done = Sitewatch::new().args(["check", &site.url("/"), "--match", "end"]).run();
        let log = site.settled(Duration::from_secs(10));
        let paths: Vec<&str> = log.iter().map(|seen| seen.path.as_str()).collect();
        assert_eq!((done.code, paths), (Some(0), vec!["/", path]), "{location:?}");
    }
    // An empty one beside another does not hide it.
    let site = Listener::http();
    site.on("/", Script::redirect(302, "").header("Location", "/end"))
        .on("/end", Script::ok("end"));
    let done = Sitewatch::new().args(["check", &site.url("/"), "--match", "end"]).run();
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[test]
fn phases_are_sums_over_the_hops() {
    let second = || ("/b", Script::ok("end").delay_first_byte(DELAY));
    let first = |delay| ("/", Script::redirect(302, "/b").delay_first_byte(delay));
    let secure = Listener::https(&certs::set().good);
    secure.always(Script::ok("end").delay_opening(DELAY));
    let plain = Listener::http();
    plain.always(Script::redirect(302, secure.url("/")));
    let hang = Script::redirect(302, "/b").body("a body of no interest").cut_body_at(3).hang();
    let announced = Script::redirect(302, "/b").announce(9000);
    table(vec![
        paths(
            "the first bytes of two",
            [first(DELAY), second()],
            up(200).holds("first_byte_us", DELAY * 2),
        ),
        at(
            "a handshake after a redirect",
            plain.url("/"),
            (plain, secure),
            up(200).then_tls().holds("tls_us", DELAY),
        ),
        // A redirect's body is not waited for.
        paths(
            "a redirect whose body hangs",
            [("/", hang), ("/b", Script::ok("end"))],
            up(200).int("bytes", 3),
        ),
        paths(
            "a redirect whose body is cut",
            [("/", announced), ("/b", Script::ok("end"))],
            up(200).int("bytes", 3),
        ),
        paths(
            "a redirect cut in its header",
            [("/", Script::redirect(302, "/b").cut_head_at(50))],
            broken("protocol", "transfer_us"),
        ),
        paths(
            "the second is late",
            [first(DELAY), ("/b", Script::silence())],
            late("transfer_us").int("redirects", 1),
        )
        .with(["--timeout", "800ms"]),
    ]);
}
