//! Addresses that never reply, each in its own way. The port stays taken until the address is
//! dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::listen;

/// A connect over `lo` that takes longer than this gets no answer.
const ANSWERED: Duration = Duration::from_millis(300);

/// An address without a server.
pub struct Dead {
    address: SocketAddr,
    _bound: Option<Socket>,
    _listening: Option<Arc<TcpListener>>,
    _waiting: Vec<TcpStream>,
}

impl Dead {
    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns an HTTP URL of the address.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns an HTTPS URL of the address.
    pub fn https_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

/// Refuses every connect: the port is bound, and nobody listens on it.
pub fn refused() -> Dead {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    Dead { address, _bound: Some(socket), _listening: None, _waiting: Vec::new() }
}

/// Connects, and never sends a byte: the kernel answers, and nobody accepts.
pub fn silent() -> Dead {
    let socket = listen((Ipv4Addr::LOCALHOST, 0).into(), 1024);
    let address = socket.local_addr().unwrap();
    Dead { address, _bound: None, _listening: Some(socket), _waiting: Vec::new() }
}

/// Never answers a connect, like a host that is off: the backlog is full.
pub fn full() -> Dead {
    let socket = listen((Ipv4Addr::LOCALHOST, 0).into(), 0);
    let address = socket.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, ANSWERED) {
        waiting.push(stream);
        assert!(waiting.len() < 16, "a backlog of 0 takes ever more connections");
    }
    Dead { address, _bound: None, _listening: Some(socket), _waiting: waiting }
}
