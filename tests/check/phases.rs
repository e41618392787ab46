//! Where the time went, and where the deadline struck.

use super::table::{Case, DELAY, TIMEOUT, Want, at, broken, http, https, late, table, unknown, up};
use crate::harness::{Listener, Script, certs, dead};

#[test]
fn a_delay_is_in_its_own_phase() {
    let good = &certs::set().good;
    let text = || Script::ok("0123456789");
    table(vec![
        http(
            "before the first byte",
            text().delay_first_byte(DELAY),
            up(200).holds("first_byte_us", DELAY),
        ),
        http(
            "before a byte is read",
            text().delay_opening(DELAY),
            up(200).holds("first_byte_us", DELAY),
        ),
        http(
            "before an interim reply",
            text().delay_first_byte(DELAY).interim(103, 1),
            up(200).holds("first_byte_us", DELAY),
        ),
        http(
            "in the header",
            text().head_in_pieces(50, DELAY),
            up(200).holds("transfer_us", DELAY),
        ),
        http(
            "behind the status line",
            text().head_in_pieces(17, DELAY / 2),
            up(200).holds("transfer_us", DELAY),
        ),
        http(
            "between header and body",
            text().delay_body(DELAY),
            up(200).holds("transfer_us", DELAY),
        ),
        http("in the body", text().body_in_pieces(5, DELAY), up(200).holds("transfer_us", DELAY)),
        http(
            "in a body in chunks",
            text().chunked().body_in_pieces(4, DELAY / 2),
            up(200).holds("transfer_us", DELAY),
        ),
        https(
            "in the handshake",
            good,
            text().delay_opening(DELAY),
            up(200).holds("tls_us", DELAY),
        ),
        https(
            "before the first byte, TLS",
            good,
            text().delay_first_byte(DELAY),
            up(200).holds("first_byte_us", DELAY),
        ),
        https(
            "between header and body, TLS",
            good,
            text().delay_body(DELAY),
            up(200).holds("transfer_us", DELAY),
        ),
        http("slow", text().delay_body(DELAY), up(200).slow().holds("transfer_us", DELAY))
            .with(["--slow-after", "400ms"]),
        http("not slow", text(), up(200)).with(["--slow-after", "9s"]),
    ]);
}

#[test]
fn a_delay_before_a_fault_is_in_its_own_phase() {
    let good = &certs::set().good;
    let text = || Script::ok("0123456789");
    let cut = |last| broken("protocol", last).holds(last, DELAY);
    let failed = broken("tls", "tls_us");
    table(vec![
        http("before no reply", text().delay_opening(DELAY).close_at_once(), cut("first_byte_us")),
        http(
            "before a cut body",
            text().delay_body(DELAY).cut_body_at(4),
            cut("transfer_us").status(200),
        ),
        https(
            "before an alert",
            good,
            text().delay_opening(DELAY).alert(40),
            failed.holds("tls_us", DELAY),
        ),
        https(
            "before a bad certificate",
            &certs::set().expired,
            text().delay_opening(DELAY),
            broken("certificate_expired", "tls_us").holds("tls_us", DELAY),
        ),
    ]);
}

#[test]
fn the_deadline_strikes_in_every_phase() {
    let text = || Script::ok("0123456789");
    let good = &certs::set().good;
    let (full, quiet, silent) = (dead::full(), dead::silent(), dead::silent());
    let onward = Listener::http();
    onward.always(Script::redirect_onward(302).delay_first_byte(DELAY / 4));
    let second = Listener::http();
    second.on("/", Script::redirect(302, "/slow").delay_first_byte(TIMEOUT / 2));
    second.on("/slow", text().delay_first_byte(TIMEOUT * 5 / 8));
    let cases = vec![
        at("connecting", full.url("/"), full, late("connect_us").error("connecting")),
        at("handshake", silent.https_url("/"), silent, late("tls_us").error("TLS handshake")),
        https(
            "handshake, begun",
            good,
            text().cut_handshake_at(200).delay_opening(TIMEOUT * 2),
            late("tls_us"),
        ),
        at("nobody accepts", quiet.url("/"), quiet, late("first_byte_us").error("first byte")),
        http(
            "first byte",
            Script::silence(),
            late("first_byte_us").holds("first_byte_us", TIMEOUT / 2),
        ),
        https(
            "first byte, TLS",
            good,
            Script::silence(),
            late("first_byte_us").holds("first_byte_us", TIMEOUT / 2),
        ),
        http("status line", text().cut_head_at(6).hang(), late("first_byte_us")),
        http("header", text().cut_head_at(20).hang(), late("transfer_us")),
        http("header in drops", text().head_in_pieces(20, DELAY), late("transfer_us")),
        http("before the body", text().delay_body(TIMEOUT * 2), late("transfer_us").status(200)),
        http(
            "in the body",
            text().cut_body_at(4).hang(),
            late("transfer_us").status(200).error("reading the reply"),
        ),
        http("body in drops", text().body_in_pieces(1, DELAY / 2), late("transfer_us").status(200)),
        at("redirects without end", onward.url("/"), onward, late("transfer_us")),
        at("over two hops", second.url("/"), second, late("transfer_us").int("redirects", 1)),
    ];
    table(
        cases
            .into_iter()
            .map(|case: Case| case.with(["--timeout", "800ms", "--max-redirects", "100"]))
            .collect(),
    );
}

#[test]
fn nobody_there() {
    let (refused, secure) = (dead::refused(), dead::refused());
    table(vec![
        at("refused", refused.url("/"), refused, broken("connect", "connect_us").error("refused")),
        at("refused, https", secure.https_url("/"), secure, broken("connect", "connect_us")),
        at(
            "refused, by name",
            "http://localhost:1/".into(),
            (),
            broken("connect", "connect_us").error("localhost:1"),
        ),
        at(
            "no way there",
            "http://192.0.2.1/".into(),
            (),
            Want { last: Some("connect_us"), ..unknown("uplink") }.error("unreachable"),
        ),
    ]);
}
