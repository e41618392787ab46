//! The harness's own word, checked without TLS: what a script says is what arrives, and what the
//! log says is what happened. The judge is libcurl, or a bare socket where curl would hide it.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::harness::client::get;
use crate::harness::{Client, Listener, Script};

const SHORT: Duration = Duration::from_millis(150);
const DEADLINE: Duration = Duration::from_secs(10);

/// Sends these bytes and reads all that comes; also the error that ended it, if one did.
fn talk(listener: &Listener, bytes: &[u8]) -> (String, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(listener.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got).err().map(|error| error.kind());
    (String::from_utf8_lossy(&got).into_owned(), end)
}

fn talk_get(listener: &Listener) -> (String, Option<ErrorKind>) {
    talk(listener, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A listener that replies to everything like this.
fn always(script: Script) -> Listener {
    let listener = Listener::http();
    listener.always(script);
    listener
}

/// Scripts, and the bytes that a client must get.
fn replies() -> Vec<(Script, String)> {
    let close = "Connection: close\r\n";
    vec![
        (Script::ok("hello"), format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 5\r\n\r\nhello")),
        (
            Script::status(503).reason("gone fishing").header("Retry-After", "9"),
            format!(
                "HTTP/1.1 503 gone fishing\r\n{close}Retry-After: 9\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
        (Script::status(204), format!("HTTP/1.1 204 No Content\r\n{close}\r\n")),
        (Script::status(304), format!("HTTP/1.1 304 Not Modified\r\n{close}\r\n")),
        (
            Script::redirect(302, "file:///etc/passwd"),
            format!(
                "HTTP/1.1 302 Found\r\n{close}Location: file:///etc/passwd\r\n\
                 Content-Length: 0\r\n\r\n"
            ),
        ),
        (
            Script::ok("hello").header("Content-Length", "7"),
            format!(
                "HTTP/1.1 200 OK\r\n{close}Content-Length: 7\r\nContent-Length: 5\r\n\r\nhello"
            ),
        ),
        (
            Script::ok("hello").announce(9),
            format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 9\r\n\r\nhello"),
        ),
        (
            Script::ok("hello world").chunked().body_in_pieces(8, Duration::ZERO),
            format!(
                "HTTP/1.1 200 OK\r\n{close}Transfer-Encoding: chunked\r\n\r\n\
                 8\r\nhello wo\r\n3\r\nrld\r\n0\r\n\r\n"
            ),
        ),
        (
            Script::ok("hello world").chunked().cut_body_at(9).body_in_pieces(8, Duration::ZERO),
            format!(
                "HTTP/1.1 200 OK\r\n{close}Transfer-Encoding: chunked\r\n\r\n\
                 8\r\nhello wo\r\n3\r\nr"
            ),
        ),
        (
            Script::ok("hello").until_close().interim(103, 2),
            format!(
                "HTTP/1.1 103 Interim\r\nX-Interim: yes\r\n\r\n\
                 HTTP/1.1 103 Interim\r\nX-Interim: yes\r\n\r\n\
                 HTTP/1.1 200 OK\r\n{close}\r\nhello"
            ),
        ),
        (
            Script::ok("abc").serial(),
            format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 13\r\n\r\nserial=12\nabc"),
        ),
        (Script::raw("old and short"), "old and short".into()),
        (Script::ok("hello").cut_head_at(14), "HTTP/1.1 200 O".into()),
        (
            Script::ok("hello").cut_body_at(3),
            format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 5\r\n\r\nhel"),
        ),
        (Script::ok("hello").cut_at_request(), String::new()),
        (Script::ok("hello").close_at_once(), String::new()),
    ]
}

#[test]
fn replies_arrive_byte_for_byte() {
    let listener = Listener::http();
    let mut talks: u64 = 1;
    for (script, expected) in replies() {
        // The serial of the case that shows it.
        let expected = expected.replace("serial=12", &format!("serial={talks}"));
        let expected = expected.replace("Length: 13", &format!("Length: {}", 12 + talks / 10));
        let what = format!("{script:?}");
        let counted = !what.contains("act: Close");
        listener.always(script);
        assert_eq!(talk_get(&listener), (expected, None), "{what}");
        talks += u64::from(counted);
    }
    assert_eq!(listener.log().len() as u64, talks - 1);
}

#[test]
fn headers_may_hold_any_bytes() {
    let listener = always(Script::ok("").header("X-Bytes", [0xFF, 0x00, 0x01]));
    let mut stream = TcpStream::connect(listener.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got.windows(12).any(|w| w == b"X-Bytes: \xFF\x00\x01"), "{got:?}");
}

#[test]
fn the_log_holds_what_was_asked_and_whether_it_was_answered() {
    let listener = Listener::http();
    listener.on("/whole", Script::ok("all of it").serial());
    listener.on("/cut", Script::ok("half of it").serial().cut_body_at(12));
    let before = SystemTime::now();
    assert_eq!(get(&listener.url("/whole?a=b")).text(), "serial=1\nall of it");
    assert_eq!(Client::new().post(b"some bytes").get(&listener.url("/cut")).code, 18);
    assert_eq!(get(&listener.url("/nowhere")).status, 404);

    let log = listener.settled(DEADLINE);
    let told: Vec<_> = log
        .iter()
        .map(|seen| (seen.serial, seen.connection, &*seen.method, &*seen.path, seen.answered))
        .collect();
    assert_eq!(
        told,
        [
            (1, 1, "GET", "/whole?a=b", true),
            (2, 2, "POST", "/cut", false),
            (3, 3, "GET", "/nowhere", true)
        ]
    );
    assert_eq!(log[1].body, b"some bytes");
    assert_eq!(log[1].header("HOST"), Some(&*listener.address().to_string()));
    assert_eq!(log[1].header("Absent"), None);
    assert!(log[0].at >= before && log[0].at <= log[2].at, "{log:?}");
    assert_eq!((log[0].sni.as_deref(), log[0].resumed), (None, false));
}

#[test]
fn scripts_are_played_in_turn_and_the_last_one_stays() {
    let listener = Listener::http();
    listener.on_in_turn("/", [Script::status(503), Script::status(500), Script::ok("well")]);
    let statuses = [0; 4].map(|_| get(&listener.url("/")).status);
    assert_eq!(statuses, [503, 500, 200, 200]);
}

#[test]
fn delays_last_at_least_as_long_as_told() {
    let cases = [
        (Script::ok("abcde").delay_opening(SHORT), 1),
        (Script::ok("abcde").delay_first_byte(SHORT), 1),
        (Script::ok("abcde").delay_body(SHORT), 1),
        (Script::ok("abcde").body_in_pieces(2, SHORT), 2),
        (Script::ok("abcde").body_in_pieces(2, SHORT).chunked(), 2),
        (Script::ok("abcde").head_in_pieces(20, SHORT), 2),
        (Script::ok("abcde").delay_first_byte(SHORT).delay_body(SHORT), 2),
    ];
    for (script, times) in cases {
        let what = format!("{script:?}");
        let got = get(&always(script).url("/"));
        assert_eq!((got.code, got.text().as_str()), (0, "abcde"), "{what}");
        assert!(got.total >= times * SHORT, "{got:?} {what}");
    }
}

#[test]
fn delays_lie_where_told() {
    let ever = Duration::MAX;
    // How many requests were read, the last line of the head that came, the body that came.
    let cases = [
        (Script::ok("abcde").delay_opening(ever), 0, "", ""),
        (Script::ok("abcde").delay_first_byte(ever), 1, "", ""),
        (Script::ok("abcde").delay_first_byte(ever).interim(103, 1), 1, "", ""),
        (Script::ok("abcde").head_in_pieces(20, ever), 1, "HTTP/1.1 200 OK\r\n", ""),
        (Script::ok("abcde").delay_body(ever), 1, "\r\n", ""),
        (Script::ok("abcde").body_in_pieces(2, ever), 1, "\r\n", "ab"),
        (Script::ok("abcde").cut_head_at(20).hang(), 1, "HTTP/1.1 200 OK\r\n", ""),
        (Script::ok("abcde").cut_body_at(2).hang(), 1, "\r\n", "ab"),
        (Script::silence(), 1, "", ""),
    ];
    thread::scope(|scope| {
        for (script, requests, head, body) in cases {
            scope.spawn(move || stalls(script, requests, head, body));
        }
    });
}

/// Checks that this script comes as far as this and no further.
fn stalls(script: Script, requests: usize, head: &str, body: &str) {
    let what = format!("{script:?}");
    let listener = always(script);
    let got = Client::new().timeout(4 * SHORT).get(&listener.url("/"));
    let last = got.head.split_inclusive(|&byte| byte == b'\n').next_back();
    assert_eq!((got.code, got.text().as_str()), (28, body), "{got:?} {what}");
    assert_eq!(last.unwrap_or_default(), head.as_bytes(), "{got:?} {what}");
    assert!(got.total >= 4 * SHORT, "{got:?} {what}");
    let log = listener.log();
    assert_eq!((listener.connections(), log.len()), (1, requests), "{what}");
    assert!(log.iter().all(|seen| !seen.answered), "{what}");
}

#[test]
fn ends_are_the_end_that_was_told() {
    let reset = talk_get(&always(Script::ok("hello").cut_body_at(2).reset()));
    assert_eq!(reset.1, Some(ErrorKind::ConnectionReset), "{reset:?}");
    let reset = talk_get(&always(Script::ok("hello").reset_at_once()));
    assert_eq!(reset, (String::new(), Some(ErrorKind::ConnectionReset)));
}

#[test]
fn big_bodies_stream() {
    let listener = Listener::http();
    let size = 100_000_000;
    listener.on("/length", Script::ok("").body_of(size));
    listener.on("/chunks", Script::ok("").body_of(size).chunked());
    listener.on("/endless", Script::ok("").endless_body());
    for path in ["/length", "/chunks"] {
        let got = get(&listener.url(path));
        assert_eq!((got.code, got.bytes), (0, size), "{path}: {}", got.error);
        assert!(got.text().starts_with("abcdefghijklmnopqrstuvwxyzabc"), "{path}");
    }
    let endless = Client::new().timeout(2 * SHORT).get(&listener.url("/endless"));
    assert_eq!(endless.code, 28);
    assert!(endless.bytes > 100_000, "{endless:?}");
    let answered = listener.settled(DEADLINE).iter().map(|s| s.answered).collect::<Vec<_>>();
    assert_eq!(answered, [true, true, false]);
}

#[test]
fn heads_can_be_huge() {
    let line = talk_get(&always(Script::ok("hello").huge_header(3_000_000))).0;
    assert!(line.ends_with("x\r\n\r\nhello") && line.len() > 3_000_000);
    assert!(line.lines().any(|line| line.len() == 3_000_008));
    let lines = talk_get(&always(Script::ok("hello").many_headers(20_000))).0;
    assert!(lines.ends_with("x\r\n\r\nhello"));
    assert_eq!(lines.lines().filter(|line| line.len() == 98).count(), 20_000);
    // curl takes 100 KB a line and 300 KB in all.
    for script in [Script::ok("").huge_header(u64::MAX), Script::ok("").many_headers(u64::MAX)] {
        let got = get(&always(script).url("/"));
        assert!(matches!(got.code, 27 | 56 | 100), "{} {}", got.code, got.error);
    }
}

#[test]
fn gzip_bodies_are_what_was_packed() {
    let text = "site ".repeat(40_000);
    let got = Client::new().gzip().get(&always(Script::ok(text.clone()).gzip()).url("/"));
    assert_eq!((got.code, got.bytes), (0, 200_000), "{}", got.error);
    assert_eq!(got.body, text.as_bytes()[..got.body.len()]);
    let got = Client::new().gzip().get(&always(Script::ok("").gzip()).url("/"));
    assert_eq!((got.code, got.bytes), (0, 0), "{}", got.error);

    let bomb = always(Script::gzip_bomb(10_000_000));
    let got = Client::new().gzip().get(&bomb.url("/"));
    assert_eq!(got.code, 0, "{}", got.error);
    assert_eq!(got.bytes, 10_000_000, "{got:?}");
    assert!(got.body.iter().all(|&byte| byte == b'A'));
    let packed = get(&bomb.url("/"));
    assert!(packed.bytes < 70_000, "{packed:?}");

    let bad = always(Script::ok("not packed").header("Content-Encoding", "gzip"));
    assert_eq!(Client::new().gzip().get(&bad.url("/")).code, 61);
}

#[test]
fn redirects_lead_where_told() {
    let listener = Listener::http();
    for status in [301, 302, 303, 307, 308] {
        listener.on("/from", Script::redirect(status, "/to"));
        listener.on("/to", Script::ok("there"));
        let got = Client::new().follow(3).get(&listener.url("/from"));
        assert_eq!((got.text().as_str(), got.redirects), ("there", 1), "{status}");
    }
    listener.always(Script::redirect_onward(302));
    let lost = Client::new().follow(5).get(&listener.url("/start"));
    assert_eq!(lost.code, 47);
    let paths: BTreeSet<_> = listener.log().into_iter().rev().take(6).map(|s| s.path).collect();
    assert_eq!(paths.len(), 6, "a new place each time: {paths:?}");
}

#[test]
fn connections_are_kept_only_when_told() {
    let listener = Listener::http();
    listener.on("/kept", Script::ok("x").keep_alive());
    listener.on("/closed", Script::ok("x"));
    let mut client = Client::new();
    for path in ["/kept", "/kept", "/closed", "/kept"] {
        assert_eq!(client.get(&listener.url(path)).status, 200);
    }
    let used: Vec<_> = listener.log().iter().map(|seen| seen.connection).collect();
    assert_eq!((used, listener.connections()), (vec![1, 1, 1, 2], 2));
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let got = Client::new().head().get(&always(Script::ok("hello")).url("/"));
    let head = String::from_utf8(got.head).unwrap();
    assert!(got.code == 0 && got.bytes == 0 && head.contains("Content-Length: 5\r\n"), "{head}");
}

#[test]
fn other_addresses_of_this_machine_answer() {
    let six = Listener::http6();
    six.always(Script::ok("six"));
    assert!(six.url("/").starts_with("http://[::1]:"));
    assert_eq!(get(&six.url("/")).text(), "six");

    let everywhere = Listener::everywhere();
    everywhere.always(Script::ok("here"));
    for host in ["127.0.0.1", "127.1.2.3", "127.255.255.254", "localhost"] {
        assert_eq!(get(&everywhere.url_at(host, "/")).text(), "here", "{host}");
    }
    let local: Vec<IpAddr> = everywhere.log().iter().map(|seen| seen.local.ip()).collect();
    assert_eq!(local[1], "127.1.2.3".parse::<IpAddr>().unwrap());
}

#[test]
fn a_thousand_requests_at_once_are_each_counted_once() {
    let listener = always(Script::ok("").serial());
    let answers = thread::scope(|scope| {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| (0..50).map(|_| get(&listener.url("/")).text()).collect::<Vec<_>>())
            })
            .collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect::<BTreeSet<_>>()
    });
    let log = listener.settled(DEADLINE);
    let logged: BTreeSet<_> = log.iter().map(|s| format!("serial={}\n", s.serial)).collect();
    assert_eq!(answers.len(), 1000);
    assert_eq!(answers, logged);
    assert!(log.iter().all(|seen| seen.answered));
}

#[test]
fn dropping_it_ends_everything_and_frees_the_port() {
    let listener = always(Script::ok("x").delay_first_byte(10 * DEADLINE));
    let address = listener.address();
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut idle = TcpStream::connect(address).unwrap();
    crate::harness::eventually(DEADLINE, "both connected", || {
        listener.connections() == 2 && listener.log().len() == 1
    });
    let start = std::time::Instant::now();
    drop(listener);
    assert!(start.elapsed() < DEADLINE);
    for stream in [&mut waiting, &mut idle] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0)));
        let _ = stream.shutdown(Shutdown::Both);
    }
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let again = Listener::bind(address, None);
    again.always(Script::ok("again"));
    assert_eq!(get(&again.url("/")).text(), "again");
}
