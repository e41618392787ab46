//! A small name server: UDP on port 53 of a loopback address of its own, with a table of answers by
//! name and type that can change while it serves. For other names it answers NXDOMAIN, or what
//! `otherwise` sets; for another type of a known name it answers that there is no record. Its test
//! runs in a network namespace, so it may bind port 53.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The server checks this often if it must stop.
const PAUSE: Duration = Duration::from_millis(50);

/// The type of a question for an IPv4 address.
pub const A: [u8; 2] = [0, 1];
/// The type of a question for an IPv6 address.
pub const AAAA: [u8; 2] = [0, 28];

/// The answer to a question.
#[derive(Debug, Clone, Copy)]
pub enum Says {
    /// Answers with this address.
    Address(IpAddr),
    /// Answers that the name has no such record.
    Nothing,
    /// Answers with an error code: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// Answers nothing.
    Silence,
    /// Answers with this address after a delay.
    Late(Duration, IpAddr),
}

/// Answers by name and type, and the answer to everything else.
struct Table {
    known: HashMap<(String, [u8; 2]), Says>,
    otherwise: Says,
}

/// The server; dropping it stops it.
pub struct Dns {
    address: Ipv4Addr,
    table: Arc<Mutex<Table>>,
    /// The thread holds a second reference, and ends when ours is gone.
    alive: Option<Arc<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Dns {
    /// Starts a server that knows no name.
    pub fn start() -> Dns {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        Dns::at(Ipv4Addr::new(127, 0, 53, NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Starts it at an address of this machine.
    pub fn at(address: Ipv4Addr) -> Dns {
        let socket = UdpSocket::bind((address, 53)).unwrap();
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        let table = Table { known: HashMap::new(), otherwise: Says::Code(3) };
        let table = Arc::new(Mutex::new(table));
        let (told, alive) = (Arc::clone(&table), Arc::new(()));
        let watched = Arc::downgrade(&alive);
        let serving = thread::spawn(move || {
            let mut question = [0; 512];
            while watched.strong_count() > 0 {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                let table = told.lock().unwrap_or_else(PoisonError::into_inner);
                match answer(&question[..length], &table) {
                    None => {}
                    Some((reply, Duration::ZERO)) => {
                        let _ = socket.send_to(&reply, from);
                    }
                    Some((reply, delay)) => {
                        let socket = socket.try_clone().unwrap();
                        thread::spawn(move || {
                            thread::sleep(delay);
                            let _ = socket.send_to(&reply, from);
                        });
                    }
                }
            }
        });
        Dns { address, table, alive: Some(alive), serving: Some(serving) }
    }

    /// Sets the address of a name.
    pub fn set(&self, name: &str, address: Ipv4Addr) -> &Dns {
        self.says(name, A, Says::Address(address.into())).says(name, AAAA, Says::Nothing)
    }

    /// Sets the answer to questions of this type about a name.
    pub fn says(&self, name: &str, kind: [u8; 2], says: Says) -> &Dns {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.known.insert((name.to_owned(), kind), says);
        drop(table);
        self
    }

    /// Sets the answer to all questions that have none.
    pub fn otherwise(&self, says: Says) -> &Dns {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).otherwise = says;
        self
    }

    /// Sets the answer to every question, known names included.
    pub fn always(&self, says: Says) -> &Dns {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        *table = Table { known: HashMap::new(), otherwise: says };
        drop(table);
        self
    }

    /// Returns an `/etc/resolv.conf` that names this server.
    pub fn resolv_conf(&self) -> String {
        format!("nameserver {}\n", self.address)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

/// Builds the reply to one question, and its delay; `None` if the message is no question.
fn answer(message: &[u8], table: &Table) -> Option<(Vec<u8>, Duration)> {
    let (head, rest) = message.split_at_checked(12)?;
    let (mut labels, mut at) = (Vec::new(), 0);
    while let length @ 1.. = usize::from(*rest.get(at)?) {
        labels.push(String::from_utf8_lossy(rest.get(at + 1..=at + length)?).to_lowercase());
        at += 1 + length;
    }
    // After the name: type and class.
    let question = rest.get(..at + 5)?;
    let kind = [question[at + 1], question[at + 2]];
    let says = table.known.get(&(labels.join("."), kind)).copied().unwrap_or(table.otherwise);
    let (code, address, delay) = match says {
        Says::Address(address) => (0, Some(address), Duration::ZERO),
        Says::Late(delay, address) => (0, Some(address), delay),
        Says::Nothing => (0, None, Duration::ZERO),
        Says::Code(code) => (code, None, Duration::ZERO),
        Says::Silence => return None,
    };
    // Flags: an answer, recursion available.
    let flags = [0x81, 0x80 | code];
    let counts = [0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    let mut reply = [&head[..2], &flags, &counts, question].concat();
    if let Some(address) = address {
        // The record: a pointer to the name, type, class IN, a lifetime of an hour. A client that
        // caches it so long is found out.
        reply.extend([0xc0, 12, kind[0], kind[1], 0, 1, 0, 0, 0x0e, 0x10, 0]);
        match address {
            IpAddr::V4(address) => {
                reply.push(4);
                reply.extend(address.octets());
            }
            IpAddr::V6(address) => {
                reply.push(16);
                reply.extend(address.octets());
            }
        }
    }
    Some((reply, delay))
}
