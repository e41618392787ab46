//! The name's lookup, with a name server of our own that is late, silent or knows no such name.
//! The program gets it by a mount of its own over `/etc/resolv.conf`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use miniserde::json::Value;

use super::{DELAY, TIMEOUT};
use crate::harness::{Fields, Listener, Script, Sitewatch, json};

/// A name server that answers 127.0.0.1, or that there is no such name, after a while; or never.
struct Names {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    fn new(host: u8, knows: bool, delay: Option<Duration>) -> Names {
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 53, host], 53))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || {
            let mut bytes = [0; 512];
            while !told.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut bytes) else { continue };
                let (Some(delay), Some(answer)) = (delay, answer(&bytes[..n], knows)) else {
                    continue;
                };
                let socket = socket.try_clone().unwrap();
                thread::spawn(move || {
                    thread::sleep(delay);
                    let _ = socket.send_to(&answer, from);
                });
            }
        }));
        Names { address, stop, thread }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// RFC 1035: the question again, and for type A one answer if the name is known.
fn answer(question: &[u8], knows: bool) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)? + 13;
    let is_a = question.get(name..name + 2)? == [0, 1];
    let mut bytes = question.get(..name + 4)?.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, if knows { 0x80 } else { 0x83 }]);
    bytes[4..12].copy_from_slice(&[0, 1, 0, u8::from(knows && is_a), 0, 0, 0, 0]);
    if knows && is_a {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(bytes)
}

/// The record of a check that asks this name server, and how long the program ran.
fn check(names: &Names, url: &str) -> (Value, Duration) {
    let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" check \"$1\" \
                  --timeout 800ms --format json";
    let program = env!("CARGO_BIN_EXE_sitewatch");
    let done = Sitewatch::program("unshare")
        .file("resolv.conf", format!("nameserver {}\n", names.address.ip()))
        .args(["--mount", "sh", "-c", script, program, url])
        .run();
    assert!(done.code.is_some_and(|code| code < 2) && done.stderr.is_empty(), "{done:?}");
    (json::parse(&done.stdout), done.took)
}

#[test]
fn a_late_answer_is_in_its_own_phase() {
    let site = Listener::http();
    site.always(Script::ok("x"));
    let names = Names::new(1, true, Some(DELAY));
    let (record, _) = check(&names, &site.url_at("shop.example", "/"));
    assert_eq!(record.text("verdict"), "up", "{record:?}");
    assert!(record.int("dns_us") >= DELAY.as_micros() as i64, "{record:?}");
    assert!(record.int("connect_us") < DELAY.as_micros() as i64 / 2, "{record:?}");
}

#[test]
fn no_such_name() {
    let names = Names::new(2, false, Some(DELAY));
    let (record, _) = check(&names, "http://shop.example/");
    assert_eq!((record.text("verdict"), record.text("cause")), ("down", "dns"), "{record:?}");
    assert!(record.int("dns_us") >= DELAY.as_micros() as i64, "{record:?}");
    assert!(!record.has("connect_us"), "{record:?}");
}

#[test]
fn a_silent_name_server_is_a_timeout_and_the_program_ends_then() {
    let names = Names::new(3, true, None);
    let (record, took) = check(&names, "http://shop.example/");
    assert_eq!((record.text("verdict"), record.text("cause")), ("down", "timeout"), "{record:?}");
    assert!(record.text("error").contains("looking up the name"), "{record:?}");
    assert_eq!(record.int("dns_us"), record.int("total_us"), "{record:?}");
    assert!(record.int("total_us") + 1000 >= TIMEOUT.as_micros() as i64, "{record:?}");
    assert!(!record.has("connect_us"), "{record:?}");
    // The system's own patience is 10 s.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
