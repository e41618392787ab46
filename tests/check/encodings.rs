//! Compressed bodies: whole, cut, followed by more; and what is called compressed and is not.

use std::time::Duration;

use super::table::{broken, down, http, https, table, up};
use crate::harness::{Script, Sitewatch, certs, deflate};

const TEXT: &[u8] = b"0123456789";

fn named(coding: &str, bytes: impl Into<Vec<u8>>) -> Script {
    Script::ok(bytes).header("Content-Encoding", coding)
}

/// A gzip file and something behind it.
fn and(more: &[u8]) -> Vec<u8> {
    [&deflate::gzip(TEXT)[..], more].concat()
}

#[test]
fn whatever_follows_a_compressed_body_it_is_judged_by_what_it_held() {
    let ten = || up(200).int("bytes", 10).found("6");
    let member = deflate::gzip(b"");
    let mut cases = Vec::new();
    for (name, more) in [
        ("nothing", &b""[..]),
        ("a line end", b"\n"),
        ("a comment", b"<!-- cached -->"),
        ("zeros", &[0; 700]),
        ("an empty member", &member),
        ("half of a member's magic", &member[..2]),
        ("another magic", b"\x1f\x8b\x00"),
        ("empty members and garbage", &[&member[..], &member, b"x"].concat()),
    ] {
        for status in [200, 500] {
            let want = if status == 200 { ten() } else { down("status", 500).found("6") };
            let script = Script::status(status).body(and(more)).header("Content-Encoding", "gzip");
            cases.push(http(&format!("{name}, {status}"), script, want));
        }
    }
    let two = || and(&deflate::gzip(b"abc"));
    let slow = |script: Script| script.chunked().body_in_pieces(1, Duration::from_millis(1));
    let zlib = |more: &[u8]| [&deflate::zlib(TEXT)[..], more].concat();
    let raw = |more: &[u8]| [&deflate::deflate(TEXT)[..], more].concat();
    cases.extend([
        http("a member with more text", named("gzip", two()), up(200).int("bytes", 13).found("6")),
        http("a byte at a time", slow(named("gzip", and(b"\n"))), ten()),
        http("members, a byte at a time", slow(named("gzip", two())), up(200).found("6")),
        http("until the close", named("gzip", and(b"\n")).until_close(), ten()),
        https("over TLS", &certs::set().good, named("gzip", and(b"\n")), ten()),
        http("x-gzip", named("X-GZIP", and(b"\n")), ten()),
        http("zlib", named("deflate", zlib(b"")), ten()),
        http("zlib and more", named("deflate", zlib(b"\n\n")), ten()),
        http("raw deflate", named("deflate", raw(b"")), ten()),
        http("raw deflate and more", named("deflate", raw(b"12345678")), ten()),
        http("zlib called gzip", named("gzip", zlib(b"")), ten()),
        http("compressed twice", named("gzip, gzip", deflate::gzip(&and(b"\n"))), ten()),
        http(
            "in two headers",
            named("deflate", deflate::gzip(&zlib(b""))).header("content-encoding", "gzip"),
            ten(),
        ),
        http("unasked", named("gzip", and(b"\n")), ten())
            .with(["--header", "Accept-Encoding: identity"]),
    ]);
    table(cases.into_iter().map(|case| case.with(["--match", "6"])).collect());
    // What never ends is read no further than its content could be worth.
    table(vec![
        http(
            "zeros without end",
            named("gzip", and(&[0; 3_000_000])).announce(1 << 40).hang(),
            ten(),
        )
        .with(["--match", "6"]),
        http(
            "members without end",
            named("gzip", and(&member.repeat(150_000))).announce(1 << 40).hang(),
            ten(),
        )
        .with(["--match", "6"]),
    ]);
}

#[test]
fn a_compressed_body_that_is_cut_is_no_body() {
    let cut = || broken("protocol", "transfer_us").status(200);
    let (gzip, zlib, raw) = (and(b""), deflate::zlib(TEXT), deflate::deflate(TEXT));
    let two = and(&deflate::gzip(b"abc"));
    let mut sum = gzip.clone();
    sum[gzip.len() - 6] ^= 1;
    let cases = vec![
        http("in the header", named("gzip", &gzip[..5]), cut().error("the body was cut")),
        http("after a byte", named("gzip", &gzip[..1]), cut().error("the body was cut")),
        http("in the text", named("gzip", &gzip[..20]), cut().error("the body was cut")),
        http("before the sum", named("gzip", &gzip[..gzip.len() - 8]), cut()),
        http("in the sum", named("gzip", &gzip[..gzip.len() - 1]), cut()),
        http("in chunks", named("gzip", &gzip[..20]).chunked(), cut()),
        http("until the close", named("gzip", &gzip[..20]).until_close(), cut()),
        http("in a second member", named("gzip", &two[..two.len() - 9]), cut()),
        http("zlib in the text", named("deflate", &zlib[..9]), cut().error("the body was cut")),
        http("zlib in the sum", named("deflate", &zlib[..zlib.len() - 1]), cut()),
        http("raw deflate", named("deflate", &raw[..9]), cut().error("the body was cut")),
        http("the inner of two", named("gzip, gzip", deflate::gzip(&gzip[..20])), cut()),
        http("a wrong sum", named("gzip", sum), cut().error("incorrect data check")),
        http("without a beginning", named("gzip", &gzip[2..]), cut().error("cannot decode")),
        http("plain text called gzip", named("gzip", TEXT), cut().error("cannot decode")),
        http("plain text called deflate", named("deflate", TEXT), cut().error("cannot decode")),
        http("nothing at all", named("gzip", ""), up(200).int("bytes", 0)),
        http("a status of its own", Script::status(304).header("Content-Encoding", "gzip"), {
            down("status", 304)
        }),
        http("a reply to HEAD", named("gzip", &gzip[..5]), up(200)).with(["--method", "HEAD"]),
        http(
            "a part that was asked for",
            Script::status(206).body(&gzip[..20]).header("Content-Encoding", "gzip"),
            up(206),
        )
        .with(["--header", "Range: bytes=0-19"]),
    ];
    table(cases);
}

#[test]
fn words_that_name_no_coding_leave_a_body_as_it_is() {
    let ten = || up(200).int("bytes", 10).found("6");
    let refused = || broken("protocol", "transfer_us").status(200);
    let mut cases = Vec::new();
    for word in ["UTF-8", "utf-8", "none", "identity", "", "strange", "text/html", "8bit, ,", "a b"]
    {
        cases.push(http(&format!("{word:?}"), named(word, TEXT), ten()).with(["--match", "6"]));
        let both = named(word, and(b"")).header("Content-Encoding", "gzip");
        cases.push(http(&format!("{word:?} and gzip"), both, ten()).with(["--match", "6"]));
    }
    for (word, text) in [
        ("br", "compressed as br, which was not requested"),
        ("BR", "compressed as br, which was not requested"),
        ("zstd", "compressed as zstd, which was not requested"),
        ("gzip, br", "compressed as br"),
        ("compress", "compressed as compress"),
    ] {
        cases.push(http(word, named(word, TEXT), refused().error(text)));
        cases.push(http(&format!("{word} without a body"), named(word, ""), up(200)));
        cases.push(
            http(&format!("{word} of HEAD"), named(word, TEXT), up(200)).with(["--method", "HEAD"]),
        );
    }
    cases.extend([
        // Who asks for it gets it as it is.
        http("br that was asked for", named("br", TEXT), ten()).with([
            "--match",
            "6",
            "--header",
            "Accept-Encoding: gzip, br;q=0.9",
        ]),
        http("all that was asked for", named("zstd", TEXT), ten()).with([
            "--match",
            "6",
            "--header",
            "Accept-Encoding: *",
        ]),
        http("another was asked for", named("zstd", TEXT), refused().error("zstd"))
            .with(["--header", "Accept-Encoding: br"]),
        http("six times", named("gzip,gzip,gzip,gzip,gzip,gzip", TEXT), refused()),
    ]);
    table(cases);
}

#[test]
fn nothing_that_a_site_sends_is_our_fault() {
    let lines = |lines: &str| Script::raw(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nhello"));
    for (name, script) in [
        ("a folded first line", lines(" folded: yes")),
        ("a folded line", lines("X-A: 1\r\n\t2")),
        ("no name", lines(": value")),
        ("blanks alone", lines("   ")),
        ("a colon in the dark", lines("X-A\t:1")),
        ("a status of zero", Script::raw("HTTP/1.1 000 OK\r\n\r\n")),
        ("HTTP/3", Script::raw("HTTP/3 200 OK\r\n\r\n")),
        ("HTTP/1.9", Script::raw("HTTP/1.9 200 OK\r\n\r\n")),
        ("a coding of the transfer", lines("Transfer-Encoding: gzip")),
        ("two codings of the transfer", lines("Transfer-Encoding: gzip, chunked")),
        ("chunked twice", lines("Transfer-Encoding: chunked, chunked")),
        ("a login nobody knows", lines("WWW-Authenticate: \u{1}")),
        ("a retry that is none", lines("Retry-After: -1")),
        ("a length beyond all", lines("Content-Length: 99999999999999999999999")),
        ("a range", lines("Content-Range: bytes a-b/c")),
        ("a policy", lines("Strict-Transport-Security: max-age=x")),
        ("a service elsewhere", lines("Alt-Svc: h3=\":443\"; ma=x")),
        (
            "a trailer",
            Script::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
            ),
        ),
        ("an upgrade", lines("Upgrade: h2c\r\nConnection: Upgrade")),
        ("a switch", Script::raw("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n")),
    ] {
        let site = crate::harness::Listener::http();
        site.always(script);
        let args = ["check", &site.url("/"), "--match", "x", "--timeout", "5s"];
        let done = Sitewatch::new().args(args).run();
        // 0 and 1 are verdicts on the site; 2 says that we do not know.
        assert!(matches!(done.code, Some(0 | 1)), "{name}: {done:?}");
    }
}
