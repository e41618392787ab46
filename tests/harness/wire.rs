//! A connection's socket below TLS, and pauses that end when the server stops.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;

/// The peer may take this long to close after we have closed.
const LINGER: Duration = Duration::from_secs(2);

/// A socket shared with the listener, which shuts it down when it stops. With a quota, writing
/// fails after that many bytes.
pub struct Wire {
    stream: Arc<TcpStream>,
    quota: Option<usize>,
}

impl Wire {
    /// Makes a socket without a quota.
    pub fn new(stream: Arc<TcpStream>) -> Wire {
        Wire { stream, quota: None }
    }

    /// Makes a socket with a quota.
    pub fn limited(stream: Arc<TcpStream>, bytes: usize) -> Wire {
        Wire { stream, quota: Some(bytes) }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(into)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(quota) = &mut self.quota else { return (&*self.stream).write(bytes) };
        if *quota == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let n = (&*self.stream).write(&bytes[..bytes.len().min(*quota)])?;
        *quota -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for the peer's first bytes, and leaves them unread. Returns false if the peer left
/// instead.
pub fn peer_spoke(stream: &TcpStream) -> bool {
    stream.peek(&mut [0; 1]).is_ok_and(|n| n > 0)
}

/// Reads what the peer has sent already, at least once.
pub fn swallow(stream: &TcpStream) {
    // A failure shows in the next write.
    let _ = (&*stream).read(&mut [0; 16_384]);
}

/// Ends with FIN. Closing a socket with unread bytes sends RST, so these are read first, until the
/// peer closes too.
pub fn close(stream: &TcpStream) {
    if stream.shutdown(Shutdown::Write).is_ok() && stream.set_read_timeout(Some(LINGER)).is_ok() {
        read_out(stream);
    }
}

/// Makes the close of this socket, which the caller does, a RST.
pub fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads until the peer closes, the listener stops, or a timeout that was set before expires.
pub fn read_out(stream: &TcpStream) {
    let mut piece = [0; 16_384];
    while let Ok(1..) = (&*stream).read(&mut piece) {}
}

/// The stop of a server: it ends pauses early.
#[derive(Default)]
pub struct Stop {
    told: Mutex<bool>,
    bell: Condvar,
}

impl Stop {
    /// Stops the server.
    pub fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Tells if the server was stopped.
    pub fn told(&self) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits this long, never less.
    ///
    /// # Errors
    /// `Interrupted`: the server was stopped.
    pub fn pause(&self, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(told, time, |told| !*told);
        let (told, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *told { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}
