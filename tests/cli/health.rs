//! `/health` as strangers ask for it: wrongly, slowly, many at once. It always answers, and the
//! checks go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::binary::{Running, cpu};
use crate::harness::client::get;
use crate::harness::{Client, Fields, Listener, Script, Sitewatch, eventually, json};

const DEADLINE: Duration = Duration::from_secs(20);
/// An answer that takes longer is none.
const SOON: Duration = Duration::from_secs(2);

fn start(listener: &Listener) -> (Running, SocketAddr) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "[serve]\nlisten = '{port}'\n[[target]]\nurl = '{}'\ninterval = '1s'\ntimeout = '900ms'\n",
        listener.url("/")
    );
    let mut running = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]).spawn();
    running.await_stderr("watching", DEADLINE);
    (running, port)
}

/// Says this, and gives the first line of what comes back.
fn say(port: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(port).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // It may have said no before it has heard all.
    let _ = stream.write_all(request);
    let mut reply = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        reply.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&reply).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn bad_requests_are_told_so_and_change_nothing() {
    let listener = Listener::http();
    listener.always(Script::ok("fine"));
    let (mut running, port) = start(&listener);
    let lines = "A: b\r\n".repeat(500);
    for (request, want) in [
        ("GET /health HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 200 OK"),
        ("HEAD /health HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.1 200 OK"),
        ("GET /health?x=%00 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 404 Not Found"),
        ("GET /../health HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 404 Not Found"),
        ("DELETE /health HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 405 Method Not Allowed"),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), "HTTP/1.1 400 Bad Request"),
        ("GET\r\n\r\n".to_owned(), "HTTP/1.1 400 Bad Request"),
        (format!("GET / HTTP/1.1\r\n{lines}\r\n"), "HTTP/1.1 431 Request Header Fields Too Large"),
        (format!("GET /{}", "a".repeat(100_000)), "HTTP/1.1 431 Request Header Fields Too Large"),
    ] {
        let request = request.as_bytes();
        assert_eq!(
            say(port, request),
            want,
            "{}",
            String::from_utf8_lossy(&request[..20.min(request.len())])
        );
    }
    let health = get(&format!("http://{port}/health"));
    assert_eq!(health.status, 200, "{health:?}");
    let head = String::from_utf8(health.head.clone()).unwrap().to_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    let fields = json::parse(&health.text());
    assert_eq!((fields.text("status"), fields.int("targets")), ("ok", 1));
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stderr.contains("ERROR") && !done.stderr.contains("health"), "{done:?}");
}

#[test]
fn dawdlers_hold_nothing_up() {
    let listener = Listener::http();
    listener.always(Script::ok("fine"));
    let (mut running, port) = start(&listener);
    // Some say nothing, some begin and drip, some do not take their answer.
    let mut dawdlers: Vec<TcpStream> = Vec::new();
    for i in 0..150 {
        let mut stream = TcpStream::connect(port).unwrap();
        match i % 3 {
            0 => {}
            1 => drop(stream.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ")),
            _ => drop(stream.write_all(b"GET /health HTTP/1.1\r\n\r\n")),
        }
        dawdlers.push(stream);
    }
    let checks = || {
        let began = Instant::now();
        let got = Client::new().timeout(SOON).get(&format!("http://{port}/health"));
        assert_eq!((got.code, got.status), (0, 200), "{got:?}");
        assert!(began.elapsed() < SOON);
        json::parse(&got.text()).int("checks")
    };
    let before = checks();
    eventually(DEADLINE, "checks that go on", || {
        for stream in &mut dawdlers {
            let _ = stream.write(b"x");
        }
        checks() > before + 2
    });
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.took < DEADLINE);
}

/// Sends `opening`, and then `piece` again and again until the other side holds it up. Returns the first line
/// of the answer, and how many bytes were taken.
fn flood(port: SocketAddr, opening: &[u8], piece: &[u8]) -> (String, u64) {
    let mut stream = TcpStream::connect(port).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(opening).unwrap();
    let mut sent = 0;
    while sent < FLOOD_MAX
        && let Ok(n @ 1..) = stream.write(piece)
    {
        sent += n as u64;
    }
    let mut reply = [0; 512];
    let read = stream.read(&mut reply).unwrap_or(0);
    (String::from_utf8_lossy(&reply[..read]).lines().next().unwrap_or_default().to_owned(), sent)
}

/// Far more than the kernel's buffers for two sockets hold.
const FLOOD_MAX: u64 = 256 << 20;

#[test]
fn who_sends_for_ever_is_answered_and_not_read() {
    let listener = Listener::http();
    listener.always(Script::ok("fine"));
    let (mut running, port) = start(&listener);
    let ok = "HTTP/1.1 200 OK";
    let before = cpu(running.pid());
    for (opening, want) in [
        (b"GET /health HTTP/1.1\r\n\r\n".as_slice(), ok),
        (b"GET /health HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", ok),
        (b"POST /health HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        (b"GET /", "HTTP/1.1 431 Request Header Fields Too Large"),
        (b"\x16\x03\x01", "HTTP/1.1 400 Bad Request"),
    ] {
        let (answer, sent) = flood(port, opening, &[b'a'; 64 << 10]);
        let opening = String::from_utf8_lossy(opening).into_owned();
        assert_eq!(answer, want, "{opening}");
        assert!(sent < FLOOD_MAX, "{opening}: {sent} bytes were taken");
    }
    // To read on until the deadline of each of the five would take up to 50 s of CPU.
    let used = cpu(running.pid()) - before;
    assert!(used < SOON, "{used:?} of CPU");
    running.signal(Signal::TERM);
    assert_eq!(running.wait(DEADLINE).code, Some(0));
}

#[test]
fn a_port_that_is_taken_is_told_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let config = format!("targets = ['http://127.0.0.1:1/']\n[serve]\nlisten = '{port}'\n");
    let done = Sitewatch::new().file("c.toml", config).args(["run", "-c", "c.toml"]).run();
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains(&format!("cannot listen on {port}")), "{done:?}");
}
