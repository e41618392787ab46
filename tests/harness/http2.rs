//! A server that speaks HTTP/2 alone, over TLS: every request gets the same reply. It reads
//! frames and no headers, which is enough to see whether a client can do it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use openssl::ssl::{AlpnError, SslAcceptor, SslMethod, select_next_proto};

use super::certs::Leaf;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// Flags: the last frame of a stream, or an acknowledgement; the headers end here.
const END: u8 = 1;
const END_HEADERS: u8 = 4;

/// The server; stopped on drop.
pub struct Http2 {
    address: SocketAddr,
    socket: Arc<TcpListener>,
}

impl Http2 {
    /// On 127.0.0.1, with this certificate; every reply is 200 with this body.
    pub fn start(leaf: &Leaf, body: &'static str) -> Http2 {
        let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        tls.set_private_key(leaf.key()).unwrap();
        tls.set_certificate(&leaf.chain()[0]).unwrap();
        tls.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x02h2", offered).ok_or(AlpnError::ALERT_FATAL)
        });
        let tls = tls.build();
        let socket = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let address = socket.local_addr().unwrap();
        let accepting = Arc::clone(&socket);
        thread::spawn(move || {
            // Ends when the socket is shut.
            while let Ok((stream, _)) = accepting.accept() {
                let tls = tls.clone();
                thread::spawn(move || {
                    if let Ok(mut stream) = tls.accept(stream) {
                        // A client that leaves ends it.
                        let _ = serve(&mut stream, body);
                    }
                });
            }
        });
        Http2 { address, socket }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        let _ = socket2::SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

fn serve(stream: &mut (impl Read + Write), body: &str) -> std::io::Result<()> {
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
            HEADERS => {
                // 0x88 is `:status: 200` of the table that both sides know.
                say(stream, HEADERS, END_HEADERS, id, &[0x88])?;
                say(stream, DATA, END, id, body.as_bytes())?;
            }
            _ => {}
        }
    }
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
