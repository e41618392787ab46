//! Canaries: hosts that are connected to, to see whether anybody answers.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use smol::channel::Sender;
use url::Url;

use super::super::daemon::thread;
use crate::check::resolve::{self, Reply, Resolution, Step, look_up};
use crate::model::connect::Family;
use crate::model::uplink::{Doubt, Reach, Silence, reach};

/// How long one has to answer.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Canaries that are being asked, and lookups that hang on a dead name server, at most.
const ASKED_MAX: usize = 64;

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
    /// Of a proxy: what it is asked, as its kernel answers a connect even if it hangs. Else nothing.
    words: &'static [u8],
}

/// Of one canary.
pub struct Answer {
    /// In which round.
    pub round: u64,
    /// As in [`Place::host`].
    pub host: String,
    /// How far away its name led, if that was found: the farthest of its addresses.
    pub named: Option<Reach>,
    /// Where it was, if it answered.
    pub reach: Option<Reach>,
    /// It is a proxy, and was asked as one.
    pub is_proxy: bool,
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
        Place { host, port, reach, words: b"" }
    }

    /// A proxy. That of HTTP is asked for something of its own, which it refuses.
    pub fn proxy(url: &Url) -> Option<Place> {
        let place = Place::new(url.host_str()?, url.port_or_known_default()?);
        let words: &[u8] = match url.scheme() {
            "http" => b"GET / HTTP/1.0\r\n\r\n",
            _ => b"\x05\x01\x00",
        };
        Some(Place { words, ..place })
    }

    /// `host:port` or `[address]:port`.
    pub fn read(text: &str) -> Option<Place> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Place::new(host, port.parse().ok()?))
    }

    /// Whether it is the same host and port, asked the same, whatever is known of where that is.
    pub fn is_same(&self, other: &Place) -> bool {
        (&self.host, self.port, self.words) == (&other.host, other.port, other.words)
    }

    /// Whether it is named, and its name is looked up.
    pub fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// Whether an answer from here would settle it; `own` is the host that is in doubt.
    pub fn speaks_for(&self, doubt: &Doubt, own: Option<&str>) -> bool {
        own != Some(&*self.host)
            && match doubt.silence {
                // This host's own names ask no name server; those of our own network ask ours alone.
                Silence::Names => {
                    let reaches = |reach| reach > Reach::Loopback && reach >= doubt.reach;
                    self.is_name() && self.reach.is_none_or(reaches)
                }
                Silence::Way => self.reach.is_none_or(|reach| reach >= doubt.reach),
            }
    }

    /// Connects; one that refuses has answered too. A proxy has answered once it says something.
    fn answer(self, round: u64, answers: &Sender<Answer>) -> Answer {
        let found = match self.host.parse() {
            Ok(address) => vec![address],
            Err(_) => find(&self.host, answers),
        };
        let mut addresses: Vec<SocketAddr> =
            found.into_iter().map(|address| (address, self.port).into()).collect();
        let named = addresses.iter().map(|address| reach(address.ip())).max();
        let named = named.filter(|_| self.is_name());
        addresses.truncate(4);
        let each = PATIENCE / addresses.len().max(1) as u32;
        let is_proxy = !self.words.is_empty();
        let answers = |address: &SocketAddr| match TcpStream::connect_timeout(address, each) {
            Err(error) => !is_proxy && error.kind() == std::io::ErrorKind::ConnectionRefused,
            Ok(stream) => !is_proxy || says_something(stream, self.words, each),
        };
        let reach = addresses.iter().find(|address| answers(address)).map(|at| reach(at.ip()));
        Answer { round, host: self.host, named, reach, is_proxy, at: Instant::now() }
    }
}

fn says_something(mut stream: TcpStream, words: &[u8], within: Duration) -> bool {
    let is_asked = stream.write_all(words).and_then(|()| stream.set_read_timeout(Some(within)));
    is_asked.is_ok() && stream.read(&mut [0]).is_ok_and(|count| count > 0)
}

/// Asks on a thread of its own; it may hang in a lookup for longer than anybody waits for it.
pub fn ask(place: Place, round: u64, answers: Sender<Answer>) -> bool {
    // Each thread has one of the channel's ends, and so have we and the caller.
    if answers.sender_count() > ASKED_MAX {
        return false;
    }
    let ask = move || {
        // The judge may have ended.
        let _ = answers.try_send(place.answer(round, &answers));
    };
    thread("canary").spawn(ask).is_ok()
}

/// The addresses of a name, as a check finds them: a server that is silent for one family does not
/// cost those of the other. Lookups that hang go on, and hold one of the channel's ends each.
fn find(host: &str, answers: &Sender<Answer>) -> Vec<IpAddr> {
    let (found_in, found) = mpsc::channel();
    let begin = |ask: resolve::Ask, family: Family| {
        let (host, found_in, held) = (host.to_owned(), found_in.clone(), answers.clone());
        let look = move || {
            // Nobody may wait for it any more.
            let _ = found_in.send((ask, Reply::System(look_up(&host, family))));
            drop(held);
        };
        thread("canary").spawn(look).is_ok()
    };
    let began = Instant::now();
    let mut resolution = Resolution::new(host.to_owned(), Family::Any, Family::Any, PATIENCE);
    resolution.begun(began);
    if !begin(resolution.first(), Family::Any) {
        return Vec::new();
    }
    while began.elapsed() < PATIENCE {
        let now = Instant::now();
        match resolution.step(now) {
            Step::Done(resolved) => {
                return resolved.addresses.map(|all| all.to_vec()).unwrap_or_default();
            }
            Step::Ask(asks) => {
                for ask in asks {
                    match ask {
                        resolve::Ask::First(family) | resolve::Ask::Apart(family) => {
                            // It only helps.
                            let _ = begin(ask, family);
                        }
                        // Why there is none is of no matter here.
                        resolve::Ask::Servers(_) => {
                            resolution.take(ask, Reply::Servers(None), (now, now));
                        }
                    }
                }
            }
            Step::Wait => {
                let until = resolution.next_at().unwrap_or(began + PATIENCE).min(began + PATIENCE);
                let left = until.saturating_duration_since(now);
                if let Ok((ask, reply)) = found.recv_timeout(left) {
                    resolution.take(ask, reply, (began, Instant::now()));
                }
            }
        }
    }
    Vec::new()
}
