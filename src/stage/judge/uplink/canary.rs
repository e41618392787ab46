//! Canaries: hosts to connect to, to see whether anybody answers.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use smol::channel::Sender;
use url::Url;

use crate::check::resolve::{self, Reply, Resolution, Step, look_up};
use crate::model::connect::Family;
use crate::model::uplink::{Doubt, Reach, Silence, reach};
use crate::threads;

/// Time that a canary has to answer.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(3);
/// Most canaries being asked at once, with the look-ups that hang on a dead name server.
const ASKED_MAX: usize = 64;

/// Function that asks a canary for a round; false: the canary cannot be asked.
pub type AskCanary = fn(Canary, u64, Sender<CanaryAnswer>) -> bool;

/// Host and port to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Name or address, without brackets.
    pub host: String,
    port: u16,
    /// Distance of the host, as far as it is known.
    pub reach: Option<Reach>,
    /// Bytes to send to a proxy, whose kernel answers a connect even if the proxy hangs; empty for other
    /// hosts.
    request: &'static [u8],
}

/// Result of asking one canary.
pub struct CanaryAnswer {
    /// Number of the round.
    pub round: u64,
    /// Host, as in [`Canary::host`].
    pub host: String,
    /// Distance of the farthest address that the host's name led to; none: no name was found.
    pub named: Option<Reach>,
    /// Distance of the address that answered; none: no answer.
    pub reach: Option<Reach>,
    /// The canary is a proxy, and was asked as one.
    pub is_proxy: bool,
    /// Time at which the canary answered, or was given up.
    pub at: Instant,
}

impl Canary {
    /// Creates the canary of a host: a name, or an address with or without brackets.
    pub fn new(host: &str, port: u16) -> Canary {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let reach = match &*host {
            "localhost" => Some(Reach::Loopback),
            _ => host.parse().ok().map(reach),
        };
        Canary { host, port, reach, request: b"" }
    }

    /// Creates the canary of a proxy. An HTTP proxy is asked for a page of its own, which it refuses; any
    /// other gets the greeting of SOCKS 5.
    pub fn proxy(url: &Url) -> Option<Canary> {
        let canary = Canary::new(url.host_str()?, url.port_or_known_default()?);
        let request: &[u8] = match url.scheme() {
            "http" => b"GET / HTTP/1.0\r\n\r\n",
            _ => b"\x05\x01\x00",
        };
        Some(Canary { request, ..canary })
    }

    /// Reads a canary from `host:port` or `[address]:port`.
    pub fn read(text: &str) -> Option<Canary> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Canary::new(host, port.parse().ok()?))
    }

    /// Returns true if host, port and request are the same, whatever is known of the distance.
    pub fn is_same(&self, other: &Canary) -> bool {
        (&self.host, self.port, self.request) == (&other.host, other.port, other.request)
    }

    /// Returns true if the host is a name, which has to be looked up.
    pub fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// Returns true if an answer from this canary would settle the doubt; `own` is the host that is in doubt.
    pub fn speaks_for(&self, doubt: &Doubt, own: Option<&str>) -> bool {
        own != Some(&*self.host)
            && match doubt.silence {
                // Names of this host itself need no name server; names of our own network need only ours.
                Silence::Names => {
                    let reaches = |reach| reach > Reach::Loopback && reach >= doubt.reach;
                    self.is_name() && self.reach.is_none_or(reaches)
                }
                Silence::Way => self.reach.is_none_or(|reach| reach >= doubt.reach),
            }
    }

    /// Connects to the canary, and returns its answer. A refused connection counts as an answer; a proxy has
    /// to say something.
    fn answer(self, round: u64, answers: &Sender<CanaryAnswer>) -> CanaryAnswer {
        let found = match self.host.parse() {
            Ok(address) => vec![address],
            Err(_) => look_up_canary(&self.host, answers),
        };
        let mut addresses: Vec<SocketAddr> =
            found.into_iter().map(|address| (address, self.port).into()).collect();
        let named = addresses.iter().map(|address| reach(address.ip())).max();
        let named = named.filter(|_| self.is_name());
        addresses.truncate(4);
        let each = CANARY_TIMEOUT / addresses.len().max(1) as u32;
        let is_proxy = !self.request.is_empty();
        let answers = |address: &SocketAddr| match TcpStream::connect_timeout(address, each) {
            Err(error) => !is_proxy && error.kind() == std::io::ErrorKind::ConnectionRefused,
            Ok(stream) => !is_proxy || answers_request(stream, self.request, each),
        };
        let reach = addresses.iter().find(|address| answers(address)).map(|at| reach(at.ip()));
        CanaryAnswer { round, host: self.host, named, reach, is_proxy, at: Instant::now() }
    }
}

fn answers_request(mut stream: TcpStream, request: &[u8], within: Duration) -> bool {
    let is_asked = stream.write_all(request).and_then(|()| stream.set_read_timeout(Some(within)));
    is_asked.is_ok() && stream.read(&mut [0]).is_ok_and(|count| count > 0)
}

/// Asks a canary on a thread of its own, which may hang in a look-up for longer than anybody waits for it.
/// Returns false if too many are asked already, or no thread can be started.
pub fn ask(canary: Canary, round: u64, answers: Sender<CanaryAnswer>) -> bool {
    // Each thread holds one sender of the channel, and so do the caller and this call.
    if answers.sender_count() > ASKED_MAX {
        return false;
    }
    let ask = move || {
        // The judge may have ended.
        let _ = answers.try_send(canary.answer(round, &answers));
    };
    threads::named("canary").spawn(ask).is_ok()
}

/// Returns the addresses of a name, as a check finds them: a server that is silent for one family does not
/// cost the addresses of the other. Look-ups that hang go on, and hold one sender of the channel each.
fn look_up_canary(host: &str, answers: &Sender<CanaryAnswer>) -> Vec<IpAddr> {
    let (found_in, found) = mpsc::channel();
    let begin = |ask: resolve::Ask, family: Family| {
        let (host, found_in, held) = (host.to_owned(), found_in.clone(), answers.clone());
        let look = move || {
            // Perhaps nobody waits for the result any more.
            let _ = found_in.send((ask, Reply::System(look_up(&host, family))));
            drop(held);
        };
        threads::named("canary").spawn(look).is_ok()
    };
    let began = Instant::now();
    let mut resolution = Resolution::new(host.to_owned(), Family::Any, Family::Any, CANARY_TIMEOUT);
    resolution.begun(began);
    if !begin(resolution.first(), Family::Any) {
        return Vec::new();
    }
    while began.elapsed() < CANARY_TIMEOUT {
        let now = Instant::now();
        match resolution.step(now) {
            Step::Done(resolved) => {
                return resolved.addresses.map(|all| all.to_vec()).unwrap_or_default();
            }
            Step::Ask(asks) => {
                for ask in asks {
                    match ask {
                        resolve::Ask::First(family) | resolve::Ask::Apart(family) => {
                            // This look-up only helps: a thread that cannot be started does not matter.
                            let _ = begin(ask, family);
                        }
                        // The reason for which there is no address does not matter here.
                        resolve::Ask::Servers(_) => {
                            resolution.take(ask, Reply::Servers(None), (now, now));
                        }
                    }
                }
            }
            Step::Wait => {
                let until = resolution
                    .next_at()
                    .unwrap_or(began + CANARY_TIMEOUT)
                    .min(began + CANARY_TIMEOUT);
                let left = until.saturating_duration_since(now);
                if let Ok((ask, reply)) = found.recv_timeout(left) {
                    resolution.take(ask, reply, (began, Instant::now()));
                }
            }
        }
    }
    Vec::new()
}
