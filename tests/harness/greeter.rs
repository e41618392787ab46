//! A server that speaks first, as mail servers do: it sends pieces of a greeting with pauses before
//! them, then closes or stays silent. It counts the bytes that clients have sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::tls::Tls;

/// A greeting.
#[derive(Clone, Default)]
pub struct Greeting {
    pieces: Vec<(Duration, Vec<u8>)>,
    closes: bool,
}

impl Greeting {
    /// Sends nothing, and stays silent.
    pub fn silence() -> Greeting {
        Greeting::default()
    }

    /// Sends these bytes.
    pub fn of(bytes: impl Into<Vec<u8>>) -> Greeting {
        Greeting::silence().then(Duration::ZERO, bytes)
    }

    /// Sends more bytes after a pause.
    pub fn then(mut self, pause: Duration, bytes: impl Into<Vec<u8>>) -> Greeting {
        self.pieces.push((pause, bytes.into()));
        self
    }

    /// Closes at the end.
    pub fn closes(mut self) -> Greeting {
        self.closes = true;
        self
    }
}

/// The server; dropping it stops it.
pub struct Greeter {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Greeter {
    /// Starts a server with this greeting, over TLS if that is given.
    pub fn start(greeting: Greeting, tls: Option<&Tls<'_>>) -> Greeter {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let acceptor = tls.map(Tls::acceptor);
        let (heard, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let serving = thread::spawn(move || {
            for stream in socket.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (greeting, counts) = (greeting.clone(), Arc::clone(&counts));
                let acceptor = acceptor.clone();
                thread::spawn(move || match acceptor {
                    None => serve(stream, &greeting, &counts),
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream) {
                            serve(stream, &greeting, &counts);
                        }
                    }
                });
            }
        });
        Greeter { address, heard, stop, serving: Some(serving) }
    }

    /// Returns its address as a `tcp://` URL.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the number of bytes that clients have sent.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread checks the flag when somebody connects.
        drop(TcpStream::connect(self.address));
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn serve(mut stream: impl Read + Write, greeting: &Greeting, heard: &AtomicUsize) {
    for (pause, bytes) in &greeting.pieces {
        thread::sleep(*pause);
        if stream.write_all(bytes).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
    if greeting.closes {
        return;
    }
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => drop(heard.fetch_add(count, Ordering::Relaxed)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
