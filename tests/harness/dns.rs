//! A name server of the smallest kind: UDP on port 53 of a loopback address of its own, and a
//! table of names with an IPv4 address each that can be changed while it serves. It knows of
//! nothing else, and says so (NXDOMAIN); of a name it knows it has no record of another type. A
//! test that wants it is alone on its network, and may bind port 53 there.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it looks whether it is to end.
const PAUSE: Duration = Duration::from_millis(50);

/// A question's type: an IPv4 address.
const A: [u8; 2] = [0, 1];

/// The server; stopped on drop.
pub struct Dns {
    address: Ipv4Addr,
    names: Arc<Mutex<HashMap<String, Ipv4Addr>>>,
    /// Its thread holds another; when ours is gone it ends.
    alive: Option<Arc<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Dns {
    /// One that knows no name.
    pub fn start() -> Dns {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        Dns::at(Ipv4Addr::new(127, 0, 53, NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The same at an address of this machine.
    pub fn at(address: Ipv4Addr) -> Dns {
        let socket = UdpSocket::bind((address, 53)).unwrap();
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        let names = Arc::new(Mutex::new(HashMap::new()));
        let (known, alive) = (Arc::clone(&names), Arc::new(()));
        let watched = Arc::downgrade(&alive);
        let serving = thread::spawn(move || {
            let mut question = [0; 512];
            while watched.strong_count() > 0 {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(reply) = answer(&question[..length], &known) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Dns { address, names, alive: Some(alive), serving: Some(serving) }
    }

    /// A name it knows from now on, or knows better.
    pub fn set(&self, name: &str, address: Ipv4Addr) -> &Dns {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), address);
        self
    }

    /// What an `/etc/resolv.conf` says that leads here.
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

/// The reply to one question; none to what is none.
fn answer(message: &[u8], names: &HashMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (head, rest) = message.split_at_checked(12)?;
    let (mut labels, mut at) = (Vec::new(), 0);
    while let length @ 1.. = usize::from(*rest.get(at)?) {
        labels.push(String::from_utf8_lossy(rest.get(at + 1..=at + length)?).to_lowercase());
        at += 1 + length;
    }
    // The name's end, type and class.
    let question = rest.get(..at + 5)?;
    let kind = &question[at + 1..at + 3];
    let found = names.get(&labels.join("."));
    let address = found.filter(|_| kind == A);
    // An answer, recursion available; NXDOMAIN is 3.
    let flags = [0x81, if found.is_some() { 0x80 } else { 0x83 }];
    let counts = [0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    let mut reply = [&head[..2], &flags, &counts, question].concat();
    if let Some(address) = address {
        // The name above, A, IN, an hour to live: whoever keeps it that long is found out.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}
