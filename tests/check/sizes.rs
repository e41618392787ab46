//! What is large or never ends: read up to its bound, soon done with, and held in little memory.

use std::time::Duration;

use super::table::{Case, Want, broken, down, http, https, late, table, up};
use crate::harness::{Listener, Script, Sitewatch, certs};

const MAX: i64 = 256 * 1024;

/// A body that is read no further than `max_body`, whether anybody wants it or not.
fn full(name: &str, script: Script) -> [Case; 2] {
    let want = || up(200).int("bytes", MAX);
    let wanted = format!("{name}, wanted");
    [
        http(name, script.clone(), want()),
        http(&wanted, script, want().match_ok(true)).with(["--match", "^[aA]"]),
    ]
}

#[test]
fn bodies() {
    let made = |bytes: u64| Script::ok("").body_of(bytes);
    let mut cases = vec![
        http("exactly max_body", made(MAX as u64), up(200).int("bytes", MAX)),
        http("one less", made(MAX as u64 - 1), up(200).int("bytes", MAX - 1)),
        // All that is read has come: what never comes is not waited for.
        http(
            "max_body, then nothing",
            made(MAX as u64 + 1).cut_body_at(MAX as u64).hang(),
            up(200).int("bytes", MAX),
        ),
        http(
            "max_body, then cut",
            made(MAX as u64 + 1).cut_body_at(MAX as u64),
            up(200).int("bytes", MAX),
        ),
        http(
            "cut before max_body",
            made(MAX as u64 + 1).cut_body_at(MAX as u64 - 1),
            broken("protocol", "transfer_us").status(200),
        ),
        http("a small max_body", made(5000), up(200).int("bytes", 10)).key("max_body = \"10B\""),
        http(
            "a bomb's text",
            Script::gzip_bomb(1 << 24),
            down("body", 200).match_ok(false).int("bytes", MAX),
        )
        .with(["--match", "B"]),
        https(
            "endless, TLS",
            &certs::set().good,
            Script::ok("").endless_body(),
            up(200).int("bytes", MAX),
        ),
        http(
            "endless redirect",
            Script::redirect(302, "/").endless_body(),
            down("too_many_redirects", 302).int("bytes", MAX),
        ),
        http(
            "drops without end",
            Script::ok("").endless_body().body_in_pieces(9, Duration::from_millis(20)),
            late("transfer_us").status(200),
        )
        .with(["--timeout", "800ms"]),
    ];
    cases.extend(full("100 MB", made(100_000_000)));
    cases.extend(full("endless", Script::ok("").endless_body()));
    cases.extend(full("endless, in chunks", Script::ok("").endless_body().chunked()));
    cases.extend(full("a bomb of gzip", Script::gzip_bomb(100_000_000)));
    table(cases);
}

#[test]
fn headers() {
    let text = || Script::ok("x");
    let refused = |want: Want| want.error("header");
    let last = "transfer_us";
    table(vec![
        http("a line of 60 kB", text().huge_header(60_000), up(200)),
        http("a line of 3 MB", text().huge_header(3_000_000), refused(broken("protocol", last))),
        http("a line without end", text().huge_header(u64::MAX), refused(broken("protocol", last))),
        http("3 MB of lines", text().many_headers(30_000), refused(broken("protocol", last))),
        http(
            "6000 short lines",
            Script::raw(["HTTP/1.1 200 OK\r\n", &"a: b\r\n".repeat(6000), "\r\n"].concat()),
            broken("protocol", last).error("too large: more than 5000 lines"),
        ),
        http(
            "4000 lines of 100 bytes",
            text().many_headers(4000),
            broken("protocol", last).error("too large: more than 300 kB"),
        ),
        http(
            "a line of 200 kB",
            text().huge_header(200_000),
            broken("protocol", last).error("more than 100 kB in a line"),
        ),
        http("lines without end", text().many_headers(u64::MAX), refused(broken("protocol", last))),
        http(
            "interim replies without end",
            text().interim(103, u64::MAX),
            refused(broken("protocol", last)),
        ),
        http("a long reason", Script::status(200).reason(&"x".repeat(50_000)), up(200)),
        http(
            "a status line without end",
            Script::raw([b"HTTP/1.1 200 ".to_vec(), vec![b'x'; 3_000_000]].concat()),
            broken("protocol", "first_byte_us"),
        ),
    ]);
}

#[test]
fn none_of_it_takes_memory() {
    let scripts = [
        Script::ok(""),
        Script::ok("").body_of(100_000_000),
        Script::gzip_bomb(100_000_000),
        Script::ok("").huge_header(100_000_000),
        Script::ok("").many_headers(u64::MAX),
        Script::redirect_onward(302).body_of(100_000_000),
    ];
    let mut peaks = Vec::new();
    for script in scripts {
        let what = format!("{:.300}", format!("{script:?}"));
        let site = Listener::http();
        site.always(script);
        let mut program = Sitewatch::new()
            .args([
                "check",
                &site.url("/"),
                "--match",
                "^[aA]",
                "--timeout",
                "9s",
                "--count",
                "2",
                "--every",
                "1s",
            ])
            .spawn();
        // The first of two checks is done, and the program waits for the second.
        crate::harness::eventually(
            Duration::from_secs(9),
            &format!("the first outcome of {what}"),
            || program.stdout().contains("total"),
        );
        peaks.push(peak_kb(program.pid()));
        assert!(!program.ended());
    }
    let most = peaks.iter().max().unwrap() - peaks[0];
    assert!(most < 4 * 1024, "{peaks:?} kB");
}

/// The most memory that a process has held until now.
fn peak_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
