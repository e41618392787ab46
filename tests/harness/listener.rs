//! A real HTTP/1.1 server, with TLS or without, that replies as scripted and records its replies.
//! Tests judge the program by that record.
//!
//! Each connection has a thread. A request's number (its serial) is its place in the log, from 1.
//! The log grows by each request until the listener is dropped, without a bound: about 500 bytes
//! each. Dropping the listener closes open connections and waits for every thread.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use openssl::ssl::{NameType, SslAcceptor};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::certs::Leaf;
use super::reply;
use super::request::{Request, Requests, header};
use super::script::{Act, End, Opening, Script};
use super::tls::Tls;
use super::wait::eventually;
use super::wire::{Stop, Wire, close, peer_spoke, read_out, reset, swallow};

/// At most this many connections wait to be accepted.
const BACKLOG: i32 = 1024;

/// A connection's stack, in bytes: TLS takes most of it.
const STACK_BYTES: usize = 256 * 1024;

/// Stopping may take this long.
const STOPPING: Duration = Duration::from_secs(10);

/// One request that was read whole, and its result.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its number, from 1.
    pub serial: u64,
    /// The number of its connection, from 1; requests that share a connection have the same.
    pub connection: u64,
    /// The address that it came to.
    pub local: SocketAddr,
    /// The address that it came from.
    pub peer: SocketAddr,
    /// The method, such as `GET`.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// Headers as sent, in order; invalid UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The name that the client sent in TLS (SNI).
    pub sni: Option<String>,
    /// True if TLS resumed an earlier session.
    pub resumed: bool,
    /// The time when it had been read.
    pub at: SystemTime,
    /// True if the whole reply was written to the socket, and not cut. It is set after the last
    /// byte was sent: see `Listener::settled`.
    pub answered: bool,
}

impl Seen {
    /// Returns the value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// The server; dropping it stops it.
pub struct Listener {
    address: SocketAddr,
    scheme: &'static str,
    socket: Arc<TcpListener>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    stop: Stop,
    acceptor: Option<SslAcceptor>,
    state: Mutex<State>,
    /// Notified when a connection ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    routes: HashMap<String, VecDeque<Script>>,
    always: VecDeque<Script>,
    opening: Opening,
    log: Vec<Seen>,
    connections: u64,
    open: HashMap<u64, Arc<TcpStream>>,
}

impl Listener {
    /// Listens on 127.0.0.1, without TLS.
    pub fn http() -> Listener {
        Listener::bind((Ipv4Addr::LOCALHOST, 0), None)
    }

    /// Listens on 127.0.0.1 with this certificate, by TLS 1.2 and 1.3.
    pub fn https(leaf: &Leaf) -> Listener {
        Listener::bind((Ipv4Addr::LOCALHOST, 0), Some(&Tls::new(leaf)))
    }

    /// Listens on [::1], without TLS.
    pub fn http6() -> Listener {
        Listener::bind((Ipv6Addr::LOCALHOST, 0), None)
    }

    /// Listens on every address of 127.0.0.0/8, without TLS; see `url_at`.
    pub fn everywhere() -> Listener {
        Listener::bind((Ipv4Addr::UNSPECIFIED, 0), None)
    }

    /// Listens on this address; port 0 is any. A port can be used again as soon as its listener is
    /// dropped.
    pub fn bind(address: impl Into<SocketAddr>, tls: Option<&Tls<'_>>) -> Listener {
        let socket = listen(address.into(), BACKLOG);
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            stop: Stop::default(),
            acceptor: tls.map(Tls::acceptor),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        let (on, to) = (Arc::clone(&socket), Arc::clone(&shared));
        let accepting = Some(thread::spawn(move || accept(&on, &to)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        Listener { address, scheme, socket, shared, accepting }
    }

    /// Plays this script for every request of this path, with or without a query, from now on.
    pub fn on(&self, path: &str, script: Script) -> &Listener {
        self.on_in_turn(path, [script])
    }

    /// Plays these scripts in turn, and the last one for all further requests.
    pub fn on_in_turn(&self, path: &str, scripts: impl IntoIterator<Item = Script>) -> &Listener {
        let scripts: VecDeque<Script> = scripts.into_iter().collect();
        for script in &scripts {
            let opens = script.opening != Opening::default();
            assert!(!opens, "an opening knows no path: give it to `always`");
        }
        self.shared.state().routes.insert(path.into(), scripts);
        self
    }

    /// Plays this script for every path that has none of its own, and its opening for every
    /// connection. Without one the reply is 404.
    pub fn always(&self, script: Script) -> &Listener {
        let mut state = self.shared.state();
        state.opening = script.opening;
        state.always = VecDeque::from([script]);
        drop(state);
        self
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns the URL by another name or address of this machine: `localhost`, `127.1.2.3`.
    pub fn url_at(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// Returns the number of connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// Returns every request until now, in the order they were read.
    pub fn log(&self) -> Vec<Seen> {
        self.shared.state().log.clone()
    }

    /// Waits until no connection is open, and returns the log: every `answered` is final then, if no
    /// client connects any more. Panics if the deadline passes first.
    #[track_caller]
    pub fn settled(&self, deadline: Duration) -> Vec<Seen> {
        eventually(deadline, "every connection of the listener closed", || {
            let state = self.shared.state();
            state.open.is_empty().then(|| state.log.clone())
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.tell();
        // This wakes the accepting thread.
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let mut state = self.shared.state();
        for stream in state.open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let waited =
            self.shared.ended.wait_timeout_while(state, STOPPING, |state| !state.open.is_empty());
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let left = state.open.len();
        drop(state);
        assert!(left == 0 || thread::panicking(), "{left} connections did not end");
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the next script for this path.
    fn script(&mut self, path: &str) -> Script {
        let bare = path.split('?').next().unwrap_or_default();
        let scripts = if self.routes.contains_key(path) {
            self.routes.get_mut(path)
        } else {
            self.routes.get_mut(bare)
        };
        let scripts = scripts.unwrap_or(&mut self.always);
        let next = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        next.unwrap_or_else(|| Script::status(404))
    }
}

/// A listening socket.
pub(super) fn listen(address: SocketAddr, backlog: i32) -> Arc<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SockAddr::from(address)).unwrap();
    socket.listen(backlog).unwrap();
    Arc::new(socket.into())
}

fn accept(socket: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.told() {
        let Ok((stream, _)) = socket.accept() else {
            // The listener stops, or there are no descriptors for a while.
            let _ = shared.stop.pause(Duration::from_millis(10));
            continue;
        };
        let stream = Arc::new(stream);
        let (number, opening) = {
            let mut state = shared.state();
            state.connections += 1;
            let number = state.connections;
            state.open.insert(number, Arc::clone(&stream));
            (number, state.opening)
        };
        // The guard takes the connection off the list of open ones when its thread ends, however
        // that happens, or here if there is no thread for it.
        let open = Open { number, stream, shared: Arc::clone(shared) };
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let _ = thread.spawn(move || open.run(opening));
    }
}

/// A connection.
struct Open {
    number: u64,
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.state().open.remove(&self.number);
        self.shared.ended.notify_all();
    }
}

impl Open {
    fn run(&self, opening: Opening) {
        let _ = self.stream.set_nodelay(true);
        if self.shared.stop.pause(opening.delay).is_err() {
            return;
        }
        match opening.act {
            Act::Serve => self.serve(Wire::new(Arc::clone(&self.stream))),
            Act::CutHandshake(bytes) => self.serve(Wire::limited(Arc::clone(&self.stream), bytes)),
            Act::Close => close(&self.stream),
            Act::Reset => {
                peer_spoke(&self.stream);
                reset(&self.stream);
            }
            Act::Alert(description) => self.say(&[21, 3, 3, 0, 2, 2, description]),
            Act::Plain => {
                self.say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno TLS here\n");
            }
        }
    }

    /// Answers the first bytes of the peer, whatever they are, with these bytes.
    fn say(&self, bytes: &[u8]) {
        swallow(&self.stream);
        if (&*self.stream).write_all(bytes).is_ok() {
            close(&self.stream);
        }
    }

    fn serve(&self, wire: Wire) {
        let Some(acceptor) = &self.shared.acceptor else {
            let mut wire = wire;
            let end = self.requests(&mut wire, None, false);
            return self.finish(end);
        };
        // The client reports a handshake that fails, so our last bytes must reach it.
        let Ok(mut tls) = acceptor.accept(wire) else { return close(&self.stream) };
        let sni = tls.ssl().servername(NameType::HOST_NAME).map(str::to_owned);
        let resumed = tls.ssl().session_reused();
        let end = self.requests(&mut tls, sni, resumed);
        if end == Some(End::Close) {
            // The peer may have left already.
            let _ = tls.shutdown();
        }
        self.finish(end);
    }

    /// Serves requests until one ends the connection. Returns how to end it, or `None` if the peer
    /// has ended it.
    fn requests<S: Read + Write>(
        &self,
        stream: &mut S,
        sni: Option<String>,
        resumed: bool,
    ) -> Option<End> {
        let mut requests = Requests::default();
        loop {
            let request = requests.next(stream).ok().flatten()?;
            let method = request.method.clone();
            let (serial, script) = self.enter(request, sni.clone(), resumed);
            let whole = reply::play(&script, &method, serial, stream, &self.shared.stop).ok()?;
            stream.flush().ok()?;
            if whole {
                self.shared.state().log[serial as usize - 1].answered = true;
            }
            if reply::say_unasked(&script, stream, &self.shared.stop).ok()? {
                return Some(script.end);
            }
            match script.end {
                End::Close if !whole => return Some(End::WithoutNotify),
                End::Close if script.keep_alive => {}
                end => return Some(end),
            }
        }
    }

    /// Puts a request into the log, and returns its number and its script.
    fn enter(&self, request: Request, sni: Option<String>, resumed: bool) -> (u64, Script) {
        let local = self.stream.local_addr().unwrap();
        // The address of a peer that has left is unknown.
        let peer = self.stream.peer_addr().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let mut state = self.shared.state();
        let script = state.script(&request.path);
        let serial = state.log.len() as u64 + 1;
        state.log.push(Seen {
            serial,
            connection: self.number,
            local,
            peer,
            method: request.method,
            path: request.path,
            headers: request.headers,
            body: request.body,
            sni,
            resumed,
            at: SystemTime::now(),
            answered: false,
        });
        (serial, script)
    }

    fn finish(&self, end: Option<End>) {
        match end {
            Some(End::Close | End::WithoutNotify) => close(&self.stream),
            Some(End::Reset) => reset(&self.stream),
            Some(End::Hang) => read_out(&self.stream),
            None => {}
        }
    }
}
