//! The floor: a process that does nothing but what no check can do without. It connects, shakes
//! hands with OpenSSL against the same roots, loaded once, asks for the page, reads it, and closes;
//! as often a second as checks are made, or one after the other without a pause. The two differ: a
//! processor that has slept has all to fetch anew.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion,
};

use super::site::{Kind, Site};
use crate::harness::binary::cpu;

/// How often it is done.
#[derive(Clone, Copy)]
pub enum Pace {
    /// So often a second, for so many seconds.
    Rate(u64, u64),
    /// So many times, one after the other.
    Count(u64),
}

/// CPU of one, in ms, on that processor.
pub fn cost(site: &Site, kind: Kind, path: &str, pace: Pace, roots: &Path, processor: &str) -> f64 {
    let addresses = (0..16).map(|i| site.address(kind, i).to_string());
    let (rate, count) = match pace {
        Pace::Rate(rate, seconds) => (rate, rate * seconds),
        Pace::Count(count) => (0, count),
    };
    let output = Command::new("taskset")
        .args(["-c", processor])
        .arg(std::env::current_exe().unwrap())
        .args(["floor", if kind == Kind::Http { "http" } else { "https" }])
        .arg(roots)
        .args([path, &rate.to_string(), &count.to_string()])
        .args(addresses)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the floor ended with {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The process itself: prints the CPU of one, in ms.
pub fn run(words: &[String]) {
    let [scheme, roots, path, rate, count, addresses @ ..] = words else { panic!("{words:?}") };
    let context = (scheme == "https").then(|| context(Path::new(roots)));
    let addresses: Vec<SocketAddr> = addresses.iter().map(|at| at.parse().unwrap()).collect();
    let count: usize = count.parse().unwrap();
    let rate: u32 = rate.parse().unwrap();
    let pause = Duration::from_secs(1).checked_div(rate);
    let turn = |i: usize| fetch(addresses[i % addresses.len()], path, context.as_ref());
    (0..count / 10).for_each(turn);
    let (began, before) = (Instant::now(), cpu(std::process::id()));
    for i in 0..count {
        if let Some(pause) = pause {
            let due = began + pause * i as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        turn(i);
    }
    let used: Duration = cpu(std::process::id()) - before;
    println!("{}", used.as_secs_f64() * 1000.0 / count as f64);
}

fn context(roots: &Path) -> SslContext {
    let mut made = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
    made.set_min_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    made.set_ca_file(roots).unwrap();
    made.set_verify(SslVerifyMode::PEER);
    made.set_session_cache_mode(SslSessionCacheMode::OFF);
    made.build()
}

fn fetch(address: SocketAddr, path: &str, context: Option<&SslContext>) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    match context {
        None => get(stream, address, path),
        Some(context) => {
            let mut ssl = Ssl::new(context).unwrap();
            ssl.param_mut().set_ip(address.ip()).unwrap();
            get(ssl.connect(stream).unwrap(), address, path);
        }
    }
}

fn get(mut stream: impl Read + Write, address: SocketAddr, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => reply.extend_from_slice(&buffer[..count]),
        }
    }
    assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
}
