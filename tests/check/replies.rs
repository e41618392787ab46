//! Statuses, bodies, expressions; replies that are cut, or none at all.

use std::time::Duration;

use super::table::{at, broken, down, http, https, table, unanswered, up};
use crate::harness::{Listener, Script, certs};

#[test]
fn headers_of_the_last_reply() {
    let page = || Script::ok("x").header("Content-Type", "text/html").header("X-Cache", "MISS");
    let wrong = |words| down("body", 200).match_ok(false).error(words);
    let html = "match_header = { content-type = '^text/html$' }";
    let cache = "reject_header = { X-Cache = ['EXPIRED', 'M.SS'] }";
    let both = "match = 'x'\nmatch_header = { X-Cache = 'MISS' }";
    let onward = Listener::http();
    onward.on("/", Script::redirect(302, "/end").header("X-Cache", "HIT")).on("/end", page());
    let interim = page().interim(103, 2);
    table(vec![
        http("there", page(), up(200).match_ok(true)).key(html),
        http("behind an interim reply", interim, up(200).match_ok(true)).key(html),
        http("not there", Script::ok("x"), wrong("no header content-type")).key(html),
        http("another", Script::ok("x").header("Content-Type", "text/html5"), wrong("no match of"))
            .key(html),
        http("refused", page(), wrong("in header X-Cache")).key(cache),
        http("body and header", page(), up(200).found("x")).key(both),
        http("body, not header", Script::ok("x"), wrong("no header X-Cache")).key(both),
        http("of HEAD", page(), up(200).match_ok(true)).key(html).key("method = 'HEAD'"),
        http("two of a name", page().header("X-Cache", "HIT"), up(200).match_ok(true))
            .key("match_header = { X-CACHE = ['^HIT$', '^MISS$'] }"),
        at("not the redirect's", onward.url("/"), onward, wrong("").int("redirects", 1))
            .key("match_header = { X-Cache = 'HIT' }"),
    ]);
}

#[test]
fn statuses() {
    let of = Script::status;
    table(vec![
        http("200", of(200), up(200)),
        http("204 without a body", of(204), up(204)),
        http("299 is of the default range", of(299), up(299)),
        http(
            "300 is not",
            of(300),
            down("status", 300).error("status 300 is not accepted (200-299)"),
        ),
        http("304 without a body", of(304), down("status", 304)),
        http("404", of(404).body("not here"), down("status", 404).int("bytes", 8)),
        http("500", of(500), down("status", 500)),
        http("999", of(999), down("status", 999)),
        http("999 accepted", of(999), up(999)).with(["--status", "999"]),
        http("one of a list", of(404), up(404)).with(["--status", "200,400-404"]),
        http("none of a list", of(200), down("status", 200)).with(["--status", "201,400-404"]),
        http(
            "a status that is no number",
            Script::raw("HTTP/1.1 abc OK\r\n\r\n"),
            broken("protocol", "first_byte_us"),
        ),
        http(
            "a status of four digits",
            Script::raw("HTTP/1.1 2000 OK\r\n\r\n"),
            broken("protocol", "transfer_us"),
        ),
        http(
            "no reason phrase",
            Script::raw("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
            up(200).int("bytes", 2),
        ),
        http("HTTP/1.0", Script::raw("HTTP/1.0 200 OK\r\n\r\nok"), up(200).int("bytes", 2)),
        http(
            "line ends without CR",
            Script::raw("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
            up(200).int("bytes", 2),
        ),
        http("interim replies", Script::ok("x").interim(103, 3), up(200).int("bytes", 1)),
        http("100 unasked", Script::ok("x").interim(100, 1), up(200)),
    ]);
}

#[test]
fn another_protocol_begins() {
    let switch = || Script::status(101).header("Upgrade", "websocket").keep_alive();
    let asked = |name: &str, script: Script, want| {
        http(name, script, want)
            .with(["--header", "Connection: Upgrade", "--header", "Upgrade: websocket"])
            .with(["--status", "101", "--timeout", "9s"])
    };
    let frames = || switch().body(*b"\x81\x02hi");
    let accept = "match_header = { Upgrade = '^websocket$' }";
    let early = switch().interim(103, 2).hang();
    table(vec![
        asked("and waits", switch().hang(), up(101).int("bytes", 0)),
        asked("and closes", switch(), up(101).int("bytes", 0)),
        asked("and speaks", frames().until_close().hang(), up(101).int("bytes", 0)),
        asked("behind interim replies", early, up(101)),
        asked("over a connection to keep", switch().hang(), up(101)).key("reuse = true"),
        asked("with a header that is wanted", switch().hang(), up(101).match_ok(true)).key(accept),
        asked("no body to match", frames().hang(), down("body", 101).match_ok(false))
            .with(["--match", "hi"]),
        asked("not done", Script::ok("x"), down("status", 200)),
        http("unasked", switch().hang(), down("status", 101)),
        http(
            "of HTTP/1.0",
            Script::raw("HTTP/1.0 101 Switching\r\n\r\n").hang(),
            down("status", 101),
        ),
    ]);
}

#[test]
fn expressions() {
    let page = || Script::ok("Hello, world\nall systems go");
    let beyond = || Script::ok([b'x'; 1100]).body([vec![b'x'; 1024], b"needle".to_vec()].concat());
    table(vec![
        http("found", page(), up(200).found("world")).with(["--match", "w.rld"]),
        http("missing", page(), down("body", 200).match_ok(false).error(r#"no match of "moon""#))
            .with(["--match", "moon"]),
        http("the first is shown", page(), up(200).found("Hello"))
            .with(["--match", "H\\w+", "--match", "go$"]),
        http("one of two missing", page(), down("body", 200).match_ok(false))
            .with(["--match", "Hello", "--match", "moon"]),
        http("case matters", page(), down("body", 200).match_ok(false)).with(["--match", "hello"]),
        http("case does not", page(), up(200).found("Hello")).with(["--match", "(?i)hELLO"]),
        http("rejected text is absent", page(), up(200).match_ok(true)).with(["--reject", "panic"]),
        http(
            "rejected text is there",
            page(),
            down("body", 200).match_ok(false).error(r#""w.rld" matched "world""#),
        )
        .with(["--reject", "w.rld"]),
        http("found, and rejected", page(), down("body", 200).match_ok(false))
            .with(["--match", "Hello", "--reject", "world"]),
        http(
            "wrong status, right body",
            Script::status(500).body("Hello"),
            down("status", 500).found("Hello"),
        )
        .with(["--match", "Hello"]),
        http(
            "wrong status, wrong body",
            Script::status(500).body("no"),
            down("status", 500).match_ok(false),
        )
        .with(["--match", "Hello"]),
        http("right status, empty body", Script::ok(""), down("body", 200).match_ok(false))
            .with(["--match", "."]),
        http("empty body, nothing wanted", Script::ok(""), up(200).int("bytes", 0)),
        http("204 has no body to match", Script::status(204), down("body", 204).match_ok(false))
            .with(["--match", "x"]),
        http("no UTF-8 before it", Script::ok(b"\xff\x80 ok".to_vec()), up(200).found("ok"))
            .with(["--match", "ok"]),
        http("no UTF-8 in it", Script::ok(b"a\xffb".to_vec()), up(200).found("a\u{fffd}b"))
            .with(["--match", "a.b"]),
        http("NUL before it", Script::ok(b"\0\0ok".to_vec()), up(200).found("ok"))
            .with(["--match", "ok"]),
        http("NUL in it", Script::ok(b"a\0b".to_vec()), up(200).found("a\u{fffd}b"))
            .with(["--match", "a.b"]),
        http("beyond max_body", beyond(), down("body", 200).match_ok(false).int("bytes", 1024))
            .key("max_body = \"1KiB\"")
            .with(["--match", "needle"]),
        http("beyond max_body, not missed", beyond(), up(200).match_ok(true).int("bytes", 1024))
            .key("max_body = \"1KiB\"")
            .with(["--reject", "needle"]),
        http("gzip", page().gzip(), up(200).found("world").int("bytes", 27))
            .with(["--match", "world"]),
        http("in a HEAD's reply", page(), down("body", 200).match_ok(false))
            .with(["--method", "HEAD", "--match", "Hello"]),
    ]);
}

#[test]
fn framing() {
    let text = || Script::ok("0123456789");
    let ten = || up(200).int("bytes", 10).found("6");
    let cut = || broken("protocol", "transfer_us").status(200);
    let cases = vec![
        http("by length", text(), ten()),
        http("chunked", text().chunked(), ten()),
        http(
            "chunks in pieces",
            text().chunked().body_in_pieces(3, Duration::from_millis(5)),
            ten(),
        ),
        http("by the close", text().until_close(), ten()),
        https("by the close, over TLS", &certs::set().good, text().until_close(), ten()),
        https(
            "by the close, without a notify",
            &certs::set().good,
            text().until_close().without_close_notify(),
            cut(),
        ),
        http("longer than what comes", text().announce(11), cut().error("1 bytes missing")),
        http("shorter than what comes", text().announce(9), up(200).int("bytes", 9).found("6")),
        http(
            "two lengths that differ",
            text().header("Content-Length", "7"),
            broken("protocol", "transfer_us"),
        ),
        http(
            "a length that is none",
            Script::raw("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi"),
            broken("protocol", "transfer_us"),
        ),
        http("chunks without an end", text().chunked().cut_body_at(10), cut()),
        http(
            "a chunk that is none",
            Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            cut(),
        ),
        http(
            "a header line that is none",
            Script::raw("HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 2\r\n\r\nok"),
            broken("protocol", "transfer_us"),
        ),
        http(
            "NUL in the header",
            text().header("X-Nul", b"a\0b".to_vec()),
            broken("protocol", "transfer_us"),
        ),
        http("any bytes in the header", text().header("X-Any", b"\xff\x1b[2J".to_vec()), ten()),
    ];
    table(
        cases
            .into_iter()
            .map(|case| if case.want.responded { case.with(["--match", "6"]) } else { case })
            .collect(),
    );
}

#[test]
fn replies_that_are_cut_or_none() {
    let text = || Script::ok("0123456789");
    let cut = || broken("protocol", "transfer_us").status(200);
    table(vec![
        http("cut in the header", text().cut_head_at(20), broken("protocol", "transfer_us")),
        http("cut in the status line", text().cut_head_at(6), broken("protocol", "first_byte_us")),
        http("cut in the body", text().cut_body_at(4), cut()),
        http("reset in the body", text().cut_body_at(4).reset(), cut().error("reset")),
        http(
            "reset in the header",
            text().cut_head_at(20).reset(),
            broken("protocol", "transfer_us"),
        ),
        http(
            "reset instead of a reply",
            text().cut_at_request().reset(),
            broken("protocol", "first_byte_us").error("reset"),
        ),
        http(
            "reset at the request",
            text().reset_at_once(),
            broken("protocol", "first_byte_us").error("reset"),
        ),
        http(
            "close instead of a reply",
            text().cut_at_request(),
            broken("protocol", "first_byte_us"),
        ),
        http("close at once", text().close_at_once(), broken("protocol", "first_byte_us")),
        http(
            "garbage",
            Script::raw("\x01\x02\x03 what?\r\n\r\n"),
            broken("protocol", "first_byte_us"),
        ),
        http("HTTP/0.9", Script::raw("<html>old</html>"), broken("protocol", "first_byte_us")),
        http("SSH", Script::raw("SSH-2.0-OpenSSH_9.9\r\n"), broken("protocol", "first_byte_us")),
    ]);
}

#[test]
fn addresses() {
    let six = Listener::http6();
    six.always(Script::ok("six"));
    let by_name = Listener::http();
    by_name.always(Script::ok("name"));
    table(vec![
        super::table::at("an IPv6 address", six.url("/"), six, up(200).int("bytes", 3)),
        super::table::at(
            "a name",
            by_name.url_at("localhost", "/"),
            by_name,
            up(200).int("bytes", 4),
        ),
        super::table::at(
            "a name that nobody answers for",
            "http://no-such.invalid/".into(),
            (),
            unanswered("dns_us").error("no-such.invalid"),
        ),
    ]);
}
