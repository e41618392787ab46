//! Canaries: hosts that are connected to, to see whether anybody answers.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use smol::channel::Sender;

use super::super::daemon::thread;
use crate::model::uplink::{Doubt, Reach, Silence, reach};

/// How long one has to answer.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Canaries that are being asked, those included that hang on a dead name server.
const ASKED_MAX: usize = 32;

/// Asks a canary, for a round; false: it cannot be.
pub type Ask = fn(Place, u64, Sender<Answer>) -> bool;

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name or address, without brackets.
    pub host: String,
    port: u16,
    /// Where that is, as far as it is known.
    pub reach: Option<Reach>,
}

/// Of one canary.
pub struct Answer {
    /// In which round.
    pub round: u64,
    /// As in [`Place::host`].
    pub host: String,
    /// Its name was found.
    pub is_named: bool,
    /// Where it was, if it answered.
    pub reach: Option<Reach>,
    /// When it did, or did not.
    pub at: Instant,
}

impl Place {
    /// A host, an address with or without brackets.
    pub fn new(host: &str, port: u16) -> Place {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let reach = match &*host {
            "localhost" => Some(Reach::Loopback),
            _ => host.parse().ok().map(reach),
        };
        Place { host, port, reach }
    }

    /// `host:port` or `[address]:port`.
    pub fn read(text: &str) -> Option<Place> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Place::new(host, port.parse().ok()?))
    }

    /// Whether it is the same host and port, whatever is known of where that is.
    pub fn is_same(&self, other: &Place) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// Whether an answer from here would settle it; `own` is the host that is in doubt.
    pub fn speaks_for(&self, doubt: &Doubt, own: Option<&str>) -> bool {
        own != Some(&*self.host)
            && match doubt.silence {
                // This host's own names ask no name server.
                Silence::Names => self.is_name() && self.reach != Some(Reach::Loopback),
                Silence::Way => self.reach.is_none_or(|reach| reach >= doubt.reach),
            }
    }

    /// Connects; one that refuses has answered too.
    fn answer(self, round: u64) -> Answer {
        let found = (&*self.host, self.port).to_socket_addrs();
        let mut addresses: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
        let is_near = |address: &SocketAddr| reach(address.ip()) == Reach::Loopback;
        let is_named = self.is_name() && addresses.iter().any(|address| !is_near(address));
        addresses.truncate(4);
        let each = PATIENCE / addresses.len().max(1) as u32;
        let answers = |address: &SocketAddr| match TcpStream::connect_timeout(address, each) {
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            Ok(_) => true,
        };
        let reach = addresses.iter().find(|address| answers(address)).map(|at| reach(at.ip()));
        Answer { round, host: self.host, is_named, reach, at: Instant::now() }
    }
}

/// Asks on a thread of its own; it may hang in a lookup for longer than anybody waits for it.
pub fn ask(place: Place, round: u64, answers: Sender<Answer>) -> bool {
    // Each thread has one of the channel's ends, and so have we and the caller.
    if answers.sender_count() > ASKED_MAX {
        return false;
    }
    let ask = move || {
        // The judge may have ended.
        let _ = answers.try_send(place.answer(round));
    };
    thread("canary").spawn(ask).is_ok()
}
