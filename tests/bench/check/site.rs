//! The site: a process of its own, on 16 loopback addresses, since one would run out of ports. A
//! page of the size that its path asks for; or delays that it makes, and says how long they took.
//!
//! ```text
//!     /1024           a body of so many bytes
//!     /wait/30/20     ms before the reply, and before the end of its body, which says what the
//!                     name's answer, the handshake (each with a delay of its own), these and the
//!                     rest took, in µs: `dns=00025080 tls=00040112 first=00030060 rest=00020055`
//! ```
//!
//! It is the name server too, of `h0.bench.example` and so on: at its own address, after a delay.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVersion};

use crate::harness::Temp;
use crate::harness::certs::{Authority, Kind as Key};

/// How many addresses of 127.0.1.0/24.
const ADDRESSES: u8 = 16;
/// What the last port waits before a handshake, and the name server before an answer.
const OPENING: Duration = Duration::from_millis(40);
const NAMING: Duration = Duration::from_millis(25);
/// Where the name server is.
pub const NAMES_AT: &str = "127.0.1.53";

/// What each name's last answer took.
static NAMED: Mutex<BTreeMap<String, u128>> = Mutex::new(BTreeMap::new());

/// Kinds of sites, in the order of their ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without TLS.
    Http,
    /// TLS 1.3 with an ECDSA certificate (P-256).
    Ecdsa,
    /// TLS 1.3 with an RSA certificate (2048 bits).
    Rsa,
    /// As ECDSA, after a delay.
    Late,
}

/// The process; ends with this.
pub struct Site {
    child: Child,
    ports: Vec<u16>,
    _folder: Temp,
}

impl Site {
    /// Starts it on that processor. Its certificates are signed by an authority below `root`.
    pub fn start(root: &Authority, processor: &str) -> Site {
        let folder = Temp::new();
        let between = root.intermediate("between", -1, 90);
        let mut names: Vec<String> =
            (1..=ADDRESSES).map(|last| format!("127.0.1.{last}")).collect();
        names.push("*.bench.example".to_owned());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        between.leaf_of(Key::P256, &names, -1, 90).write(&folder, "ecdsa");
        between.leaf_of(Key::Rsa2048, &names, -1, 90).write(&folder, "rsa");
        let mut child = Command::new("taskset")
            .args(["-c", processor])
            .arg(std::env::current_exe().unwrap())
            .arg("site")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
        Site { child, ports, _folder: folder }
    }

    /// The address of target number `i`: they take turns.
    pub fn address(&self, kind: Kind, i: u64) -> SocketAddr {
        (address((i % u64::from(ADDRESSES)) as u8 + 1), self.ports[kind as usize]).into()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, last).into()
}

/// The process itself: serves until whoever has started it is gone.
pub fn serve(folder: &Path) {
    let acceptor = |name: &str| {
        let mut made = SslAcceptor::mozilla_modern_v5(SslMethod::tls()).unwrap();
        made.set_min_proto_version(Some(SslVersion::TLS1_3)).unwrap();
        made.set_certificate_chain_file(folder.join(format!("{name}.pem"))).unwrap();
        made.set_private_key_file(folder.join(format!("{name}.key")), SslFiletype::PEM).unwrap();
        Some(made.build())
    };
    let kinds = [
        (Duration::ZERO, None),
        (Duration::ZERO, acceptor("ecdsa")),
        (Duration::ZERO, acceptor("rsa")),
        (OPENING, acceptor("ecdsa")),
    ];
    let mut ports = Vec::new();
    for (opening, acceptor) in kinds {
        let acceptor = acceptor.map(Arc::new);
        let mut port = 0;
        for last in 1..=ADDRESSES {
            let socket = TcpListener::bind((address(last), port)).unwrap();
            port = socket.local_addr().unwrap().port();
            let acceptor = acceptor.clone();
            thread::spawn(move || accept(&socket, opening, acceptor.as_deref()));
        }
        ports.push(port.to_string());
    }
    let names = UdpSocket::bind((NAMES_AT, 53)).unwrap();
    thread::spawn(move || answer_names(&Arc::new(names)));
    println!("{}", ports.join(" "));
    // The end of its input is the end of whoever has started it.
    let _ = std::io::stdin().read(&mut [0]);
}

fn accept(socket: &TcpListener, opening: Duration, acceptor: Option<&SslAcceptor>) {
    for stream in socket.incoming() {
        let (Ok(stream), began) = (stream, Instant::now()) else { continue };
        let acceptor = acceptor.cloned();
        let _ = stream.set_nodelay(true);
        // A client that leaves ends it.
        let answer = move || {
            let Some(acceptor) = acceptor else { return drop(reply(stream, began)) };
            thread::sleep(opening);
            if let Ok(stream) = acceptor.accept(stream) {
                let _ = reply(stream, began);
            }
        };
        let _ = thread::Builder::new().stack_size(128 << 10).spawn(answer);
    }
}

/// One request, one reply. `began`: when the connection was accepted.
fn reply(mut stream: impl Read + Write, began: Instant) -> std::io::Result<()> {
    let secured = Instant::now();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 2048];
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let words: Vec<u64> = path.split('/').filter_map(|word| word.parse().ok()).collect();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n";
    if let [size] = words[..] {
        let page = "filler text of a page ".repeat(size as usize / 22 + 1);
        let page = &page[..size as usize];
        stream.write_all(format!("{head}Content-Length: {size}\r\n\r\n{page}").as_bytes())?;
        return stream.flush();
    }
    let [first, rest] = words[..] else { return Ok(()) };
    thread::sleep(Duration::from_millis(first));
    let spoke = Instant::now();
    let size = "it took ".len() + said(0, 0, 0, 0).len();
    stream.write_all(format!("{head}Content-Length: {size}\r\n\r\nit took ").as_bytes())?;
    stream.flush()?;
    thread::sleep(Duration::from_millis(rest));
    let host = request.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let dns = NAMED.lock().unwrap().get(name).copied().unwrap_or(0);
    let us = |from: Instant, to: Instant| (to - from).as_micros();
    let (tls, first) = (us(began, secured), us(secured, spoke));
    let rest = us(spoke, Instant::now());
    stream.write_all(said(dns, tls, first, rest).as_bytes())?;
    stream.flush()
}

/// What it took, always as long, in µs.
fn said(dns: u128, tls: u128, first: u128, rest: u128) -> String {
    format!("dns={dns:08} tls={tls:08} first={first:08} rest={rest:08}\n")
}

/// Answers each question after a while, with the address whose turn the name's number is.
fn answer_names(socket: &Arc<UdpSocket>) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let (question, began, socket) =
            (buffer[..length].to_vec(), Instant::now(), Arc::clone(socket));
        let answer = move || {
            thread::sleep(NAMING);
            let Some(name) = name_of(&question) else { return };
            let number: u64 = name[1..].split('.').next().unwrap().parse().unwrap_or(0);
            let last = (number % u64::from(ADDRESSES)) as u8 + 1;
            // RFC 1035: a response, recursion available, one question and one answer, which has
            // the name of the question, type A, class IN, no time to live, and 4 bytes.
            let mut reply = question.clone();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            reply.truncate(12 + name.len() + 2 + 4);
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 1, last]);
            NAMED.lock().unwrap().insert(name, began.elapsed().as_micros());
            let _ = socket.send_to(&reply, from);
        };
        let _ = thread::Builder::new().stack_size(128 << 10).spawn(answer);
    }
}

/// The name that is asked for.
fn name_of(question: &[u8]) -> Option<String> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            return Some(labels.join("."));
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
}
