//! The site: a process of its own, on 16 loopback addresses, since one would run out of ports. A
//! page of the size that its path asks for; or delays that it makes, and says how long they took.
//!
//! ```text
//!     /1024           a body of so many bytes
//!     /wait/30/20     ms before the reply, and before the end of its body, which says what the
//!                     handshake (with a delay on its own port), that and the rest took, in µs:
//!                     `tls=00040112 first=00030060 rest=00020055`
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVersion};

use crate::harness::Temp;
use crate::harness::certs::{Authority, Kind as Key};

/// How many addresses of 127.0.1.0/24.
const ADDRESSES: u8 = 16;
/// What the last port waits before a handshake.
const OPENING: Duration = Duration::from_millis(40);

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
        let names: Vec<String> = (1..=ADDRESSES).map(|last| format!("127.0.1.{last}")).collect();
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
    let size = "it took ".len() + said(0, 0, 0).len();
    stream.write_all(format!("{head}Content-Length: {size}\r\n\r\nit took ").as_bytes())?;
    stream.flush()?;
    thread::sleep(Duration::from_millis(rest));
    let us = |from: Instant, to: Instant| (to - from).as_micros();
    let (tls, first) = (us(began, secured), us(secured, spoke));
    let rest = us(spoke, Instant::now());
    stream.write_all(said(tls, first, rest).as_bytes())?;
    stream.flush()
}

/// What it took, always as long, in µs.
fn said(tls: u128, first: u128, rest: u128) -> String {
    format!("tls={tls:08} first={first:08} rest={rest:08}\n")
}
