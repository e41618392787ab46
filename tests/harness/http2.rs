//! A server that speaks HTTP/2 over TLS, and HTTP/1.1 if asked to. It reads frames but no headers,
//! which is enough to see if a client speaks it, and answers each request as scripted.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use openssl::ssl::SslAcceptor;

use super::certs::Leaf;
use super::tls::Tls;
use super::wire::{Wire, close};

/// The first bytes of a client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
/// Flags: end of the stream, or acknowledgement; end of the headers.
const END: u8 = 1;
const END_HEADERS: u8 = 4;

/// The answer to a request.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Sends 200 with the body.
    Reply,
    /// Sends 200 with the body, then refuses further requests (GOAWAY) on the open connection.
    LastReply,
    /// Sends 200 with the body, then a PING, which the client need not answer at once.
    ReplyAndPing,
    /// Resets the stream after this time, with this error (RFC 9113, section 7).
    Reset(u32, Duration),
    /// Refuses all requests after this time, this one included (GOAWAY).
    GoAway(Duration),
    /// Closes the connection after this time.
    Close(Duration),
}

/// The error of a stream that the server has not processed.
pub const REFUSED_STREAM: u32 = 7;
/// The error of a stream that needs HTTP/1.1.
pub const HTTP_1_1_REQUIRED: u32 = 13;

/// The server; dropping it stops it.
pub struct Http2 {
    address: SocketAddr,
    socket: Arc<TcpListener>,
    site: Arc<Site>,
}

/// State that all connections share.
struct Site {
    tls: SslAcceptor,
    body: &'static str,
    answers: Mutex<VecDeque<Answer>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Http2 {
    /// Listens on 127.0.0.1 with this certificate, for HTTP/2 only; every reply is 200 with this
    /// body.
    pub fn start(leaf: &Leaf, body: &'static str) -> Http2 {
        Http2::answering(&Tls::new(leaf).speaking(b"\x02h2"), body, [Answer::Reply])
    }

    /// Listens in the same way, with these answers in turn and the last one for all further
    /// requests. TLS decides the versions; over HTTP/1.1 every answer is 200.
    pub fn answering(
        tls: &Tls<'_>,
        body: &'static str,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Http2 {
        let answers = Mutex::new(answers.into_iter().collect());
        let (connections, requests) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let site = Arc::new(Site { tls: tls.acceptor(), body, answers, connections, requests });
        let socket = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let address = socket.local_addr().unwrap();
        let (accepting, to) = (Arc::clone(&socket), Arc::clone(&site));
        thread::spawn(move || {
            // Accepting ends when the socket is shut down.
            while let Ok((stream, _)) = accepting.accept() {
                let site = Arc::clone(&to);
                site.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let stream = Arc::new(stream);
                    if let Ok(mut tls) = site.tls.accept(Wire::new(Arc::clone(&stream))) {
                        let is_2 = tls.ssl().selected_alpn_protocol() == Some(b"h2");
                        // A client that leaves ends its connection.
                        let _ = if is_2 { site.serve(&mut tls) } else { site.old(&mut tls) };
                    }
                    // The last bytes must reach the client.
                    close(&stream);
                });
            }
        });
        Http2 { address, socket, site }
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Returns the number of connections that were accepted.
    pub fn connections(&self) -> usize {
        self.site.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> usize {
        self.site.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        let _ = socket2::SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

impl Site {
    fn next(&self) -> Answer {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        next.unwrap()
    }

    /// Serves HTTP/1.1.
    fn old(&self, stream: &mut (impl Read + Write)) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let (size, body) = (self.body.len(), self.body);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{body}")?;
        stream.flush()
    }

    fn serve(&self, stream: &mut (impl Read + Write)) -> std::io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface)?;
        assert_eq!(preface, PREFACE);
        say(stream, SETTINGS, 0, 0, &[])?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let (kind, flags) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload)?;
            match kind {
                SETTINGS if flags & END == 0 => say(stream, SETTINGS, END, 0, &[])?,
                PING if flags & END == 0 => say(stream, PING, END, 0, &payload)?,
                HEADERS => match self.next() {
                    Answer::Reply => self.reply(stream, id)?,
                    Answer::LastReply => {
                        self.reply(stream, id)?;
                        go_away(stream, id)?;
                    }
                    Answer::ReplyAndPing => {
                        self.reply(stream, id)?;
                        say(stream, PING, 0, 0, b"sitewtch")?;
                    }
                    Answer::Reset(error, after) => {
                        thread::sleep(after);
                        say(stream, RESET, 0, id, &error.to_be_bytes())?;
                    }
                    Answer::GoAway(after) => {
                        thread::sleep(after);
                        go_away(stream, 0)?;
                    }
                    Answer::Close(after) => {
                        thread::sleep(after);
                        return Ok(());
                    }
                },
                _ => {}
            }
        }
    }

    fn reply(&self, stream: &mut impl Write, id: u32) -> std::io::Result<()> {
        // 0x88 is `:status: 200` in the static table.
        say(stream, HEADERS, END_HEADERS, id, &[0x88])?;
        say(stream, DATA, END, id, self.body.as_bytes())
    }
}

/// Accepts no streams after this one.
fn go_away(stream: &mut impl Write, last: u32) -> std::io::Result<()> {
    say(stream, GO_AWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

/// Sends a frame.
fn say(
    stream: &mut impl Write,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
    stream.write_all(&[&head, payload].concat())?;
    stream.flush()
}
