//! A forward proxy: HTTP's CONNECT and whole URLs, and SOCKS 5 (RFC 1928, 1929), on one port. It
//! connects every name to 127.0.0.1, and records the requests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// A request to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The method, such as `CONNECT` or `GET`, or `SOCKS`.
    pub how: String,
    pub place: String,
    /// The login: the header's value, or `user:password` of SOCKS.
    pub login: Option<String>,
}

/// The proxy; its threads end with the test's process.
pub struct Proxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
}

/// The proxy's behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Connects.
    Kind,
    /// Answers with this HTTP status, or this SOCKS code.
    Refuses(u16),
    /// Connects after this time.
    Slow(Duration),
    /// Accepts, and reads for ever.
    Silent,
    /// Reads the first bytes, and closes.
    Closes,
    /// Closes at once.
    ClosesAtOnce,
    /// Closes after the first bytes, which it leaves unread.
    ClosesUnread,
    /// Resets the connection at once.
    Resets,
    /// Sends this before any request, and stays silent.
    Says(&'static [u8]),
    /// Sends this to any request, and closes.
    SaysAndCloses(&'static [u8]),
    /// Answers the SOCKS greeting, and nothing more.
    Greets,
    /// Answers the SOCKS greeting, and closes at the request.
    GreetsAndCloses,
}

impl Proxy {
    /// Starts a proxy on a free port.
    pub fn start(manner: Manner) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&noted);
                // A client that leaves ends its thread by an error.
                thread::spawn(move || serve(stream, manner, &log));
            }
        });
        Proxy { address, log }
    }

    /// Returns its URL with this scheme, and `login@` or nothing before the host.
    pub fn url(&self, scheme: &str, login: &str) -> String {
        format!("{scheme}://{login}{}", self.address)
    }

    /// Returns its requests until now.
    pub fn log(&self) -> Vec<Asked> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, manner: Manner, log: &Mutex<Vec<Asked>>) -> Option<()> {
    let note = |asked| log.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    match manner {
        Manner::ClosesAtOnce => return None,
        Manner::Resets => return reset(&stream),
        Manner::Silent => return hold(&mut stream),
        Manner::Says(words) => {
            stream.write_all(words).ok()?;
            return hold(&mut stream);
        }
        Manner::SaysAndCloses(words) => {
            read_some(&mut stream)?;
            return stream.write_all(words).ok();
        }
        Manner::Closes => return read_some(&mut stream),
        _ => {}
    }
    let mut first = [0];
    stream.peek(&mut first).ok()?;
    if manner == Manner::ClosesUnread {
        return None;
    }
    if first[0] == 5 { socks(&mut stream, manner, note) } else { http(&mut stream, manner, note) }
}

/// Reads until the client closes.
fn hold(stream: &mut TcpStream) -> Option<()> {
    std::io::copy(stream, &mut std::io::sink()).ok().map(drop)
}

/// Reads everything that has come: closing with unread bytes would reset the connection.
fn read_some(stream: &mut TcpStream) -> Option<()> {
    let mut buffer = [0; 4096];
    stream.read(&mut buffer).ok().map(drop)
}

fn reset(stream: &TcpStream) -> Option<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok()
}

fn http(stream: &mut TcpStream, manner: Manner, note: impl Fn(Asked)) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (how, what) = (words.next()?.to_owned(), words.next()?);
    let login = headers
        .lines()
        .find_map(|line| line.strip_prefix("Proxy-Authorization: ").map(str::to_owned));
    if what.starts_with('/') {
        return write!(stream, "HTTP/1.0 400 I am a proxy\r\n\r\n").ok();
    }
    let whole = what.strip_prefix("http://");
    let (place, path) = whole.map_or((what, ""), |rest| rest.split_at(rest.find('/').unwrap()));
    note(Asked { how, place: place.to_owned(), login });
    if let Manner::Refuses(status) = manner {
        return write!(stream, "HTTP/1.1 {status} no\r\nContent-Length: 0\r\n\r\n").ok();
    }
    if let Manner::Slow(pause) = manner {
        thread::sleep(pause);
    }
    let mut there = open(place)?;
    match whole {
        Some(_) => {
            let first = line.replacen(what, path, 1);
            write!(there, "{first}\r\n{headers}").ok()?;
        }
        None => write!(stream, "HTTP/1.1 200 there you are\r\n\r\n").ok()?,
    }
    pass_on(stream, &there)
}

fn socks(stream: &mut TcpStream, manner: Manner, note: impl Fn(Asked)) -> Option<()> {
    let from = stream.try_clone().ok()?;
    let take = |count: usize| {
        let mut bytes = vec![0; count];
        (&from).read_exact(&mut bytes).ok().map(|()| bytes)
    };
    if manner == Manner::Greets || manner == Manner::GreetsAndCloses {
        take(3)?;
        stream.write_all(&[5, 0]).ok()?;
        take(1)?;
        return if manner == Manner::Greets { hold(stream) } else { read_some(stream) };
    }
    let methods = usize::from(take(2)?[1]);
    let wants_login = take(methods)?.contains(&2);
    stream.write_all(&[5, if wants_login { 2 } else { 0 }]).ok()?;
    let byte = || take(1).map(|bytes| bytes[0]);
    let text = || String::from_utf8(take(byte()?.into())?).ok();
    let mut login = None;
    if wants_login {
        byte()?;
        login = Some(format!("{}:{}", text()?, text()?));
        stream.write_all(&[1, 0]).ok()?;
    }
    let host = match take(4)?[3] {
        1 => take(4)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        _ => text()?,
    };
    let port = take(2)?;
    let place = format!("{host}:{}", u16::from_be_bytes([port[0], port[1]]));
    note(Asked { how: "SOCKS".to_owned(), place: place.clone(), login });
    let answer = match manner {
        Manner::Refuses(number) => number as u8,
        _ => 0,
    };
    if let Manner::Slow(pause) = manner {
        thread::sleep(pause);
    }
    stream.write_all(&[5, answer, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    if answer == 0 { pass_on(stream, &open(&place)?) } else { None }
}

fn open(place: &str) -> Option<TcpStream> {
    let port = place.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
    TcpStream::connect(("127.0.0.1", port)).ok()
}

/// Copies both ways until both sides have ended.
fn pass_on(here: &TcpStream, there: &TcpStream) -> Option<()> {
    let copy = |from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().ok()?, to.try_clone().ok()?);
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write).ok()
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(here, there));
        copy(there, here)
    })
}
