//! Requests that are not taken, though the connection stands: one attempt is one request over one
//! connection, and what it took is in its own phases.

use std::time::Duration;

use super::table::{DELAY, Want, at, broken, down, http, table};
use crate::harness::http2::{Answer, HTTP_1_1_REQUIRED, Http2, REFUSED_STREAM};
use crate::harness::{Fields, Listener, Script, Sitewatch, Tls, certs, json};

/// HTTP/2 alone, answering so.
fn framed(answers: impl IntoIterator<Item = Answer>) -> Http2 {
    Http2::answering(&Tls::new(&certs::set().good).speaking(b"\x02h2"), "hello", answers)
}

/// The record of one check of a URL by a target with these lines, its exit code aside.
fn record(url: &str, lines: &str) -> miniserde::json::Value {
    let text = format!("[[target]]\nname = 'case'\nurl = '{url}'\n{lines}\n");
    let program = Sitewatch::new().env("SSL_CERT_FILE", certs::ca_file()).file("c.toml", text);
    let done = program.args(["check", "-c", "c.toml", "case", "--format", "json"]).run();
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    json::parse(&done.stdout)
}

#[test]
fn a_refused_stream_is_down() {
    let refused = || {
        broken("protocol", "first_byte_us")
            .holds("first_byte_us", DELAY)
            .error("the site refused the request (HTTP/2: REFUSED_STREAM or GOAWAY)")
    };
    let row = |name: &str, answer: Answer, want: Want| {
        let site = framed([answer]);
        at(name, site.url("/"), site, want)
    };
    let reset = |error| Answer::Reset(error, DELAY);
    table(vec![
        row("refused", reset(REFUSED_STREAM), refused()),
        row("refused, posted", reset(REFUSED_STREAM), refused())
            .key("method = 'POST'\nbody = 'words'"),
        row("told to go", Answer::GoAway(DELAY), refused()),
        row(
            "closed",
            Answer::Close(DELAY),
            broken("protocol", "first_byte_us").holds("first_byte_us", DELAY),
        ),
        row(
            "reset for its own fault",
            reset(2),
            broken("protocol", "first_byte_us")
                .holds("first_byte_us", DELAY)
                .error("/2 stream 1 reset by server (error 0x2 INTERNAL_ERROR)"),
        ),
        row(
            "wants HTTP/1.1, which is not to be",
            reset(HTTP_1_1_REQUIRED),
            broken("protocol", "first_byte_us")
                .error("the site accepts the request only over HTTP/1.1"),
        )
        .key("http = '2'"),
        http("an expectation that is refused", Script::status(417), down("status", 417))
            .key("method = 'POST'\nbody = 'words'\nheaders = { Expect = '100-continue' }"),
    ]);
}

#[test]
fn one_attempt_is_one_connection() {
    let refuses = Answer::Reset(REFUSED_STREAM, DELAY);
    for (attempts, verdict) in [(1, "down"), (3, "down"), (4, "up")] {
        let site = framed([refuses, refuses, Answer::GoAway(DELAY), Answer::Reply]);
        let record = record(&site.url("/"), &format!("attempts = {attempts}"));
        assert_eq!(record.text("verdict"), verdict, "{record:?}");
        assert_eq!(record.int("attempts"), attempts, "{record:?}");
        let made = (site.connections(), site.requests());
        assert_eq!(made, (attempts as usize, attempts as usize), "{record:?}");
        if verdict == "up" {
            let total = Duration::from_micros(record.int("total_us") as u64);
            assert!(total < DELAY, "what was refused is in the time of what answered: {record:?}");
        }
    }
    // What is refused for its header is not asked again without it.
    let site = Listener::http();
    site.always(Script::status(417).keep_alive());
    let keys = "method = 'POST'\nbody = 'words'\nheaders = { Expect = '100-continue' }";
    assert_eq!(record(&site.url("/"), keys).text("cause"), "status");
    assert_eq!((site.connections(), site.log().len()), (1, 1));
}

#[test]
fn a_site_that_wants_http_1_1_gets_it() {
    let tls = Tls::new(&certs::set().good).speaking(b"\x02h2\x08http/1.1");
    for keys in ["", "reuse = true", "method = 'POST'\nbody = 'words'"] {
        let site = Http2::answering(&tls, "hello", [Answer::Reset(HTTP_1_1_REQUIRED, DELAY)]);
        let record = record(&site.url("/"), &format!("match = 'hello'\n{keys}"));
        assert_eq!((record.text("verdict"), record.text("http")), ("up", "1.1"), "{record:?}");
        let made = (site.connections(), site.requests());
        assert_eq!((made, record.int("attempts")), ((2, 2), 1), "{record:?}");
        assert!(record.int("total_us") < DELAY.as_micros() as i64, "{record:?}");
        assert!(record.int("tls_us") > 0, "{record:?}");
    }
}
