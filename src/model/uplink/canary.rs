//! Hosts that are asked to find out if our own network works: canaries, targets in their place, and proxies.

use core::net::IpAddr;
use std::time::{Duration, Instant};

use url::Url;

use super::{Distance, DoubtfulCheck, Silence, distance};

/// Time to wait for the answer of a canary.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(3);

/// Host and port to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Name or address, without brackets.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Distance of the host; none if not known.
    pub distance: Option<Distance>,
    /// Bytes to send to a proxy, since its kernel accepts connections even if the proxy hangs; empty for
    /// other hosts.
    pub request: &'static [u8],
}

/// Result of asking one canary.
pub struct CanaryAnswer {
    /// Number of the round.
    pub round: u64,
    /// Host, as in [`Canary::host`].
    pub host: String,
    /// Distance of the farthest address of the name; none if no address was found, or the host is an address.
    pub named: Option<Distance>,
    /// Distance of the address that has answered; none without an answer.
    pub distance: Option<Distance>,
    /// True if the canary is a proxy.
    pub is_proxy: bool,
    /// Time at which the canary has answered, or was given up.
    pub at: Instant,
}

impl Canary {
    /// Makes the canary for a host: a name, or an address with or without brackets.
    pub fn new(host: &str, port: u16) -> Canary {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let distance = match &*host {
            "localhost" => Some(Distance::Loopback),
            _ => host.parse().ok().map(distance),
        };
        Canary { host, port, distance, request: b"" }
    }

    /// Makes the canary for a proxy. An HTTP proxy gets a request for a page of its own, which it refuses;
    /// any other proxy gets the greeting of SOCKS 5.
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

    /// Returns true if host, port and request are the same. The distance may differ.
    pub fn is_same(&self, other: &Canary) -> bool {
        (&self.host, self.port, self.request) == (&other.host, other.port, other.request)
    }

    /// Returns true if the host is a name and no address.
    pub fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// Returns true if an answer from this canary would settle the check. `own` is the host of the check,
    /// which cannot prove anything about itself.
    pub fn speaks_for(&self, doubt: &DoubtfulCheck, own: Option<&str>) -> bool {
        own != Some(&*self.host)
            && match doubt.silence {
                // Names of this host need no name server, and names of our own network only our own one.
                Silence::NameServers => {
                    let reaches =
                        |distance| distance > Distance::Loopback && distance >= doubt.distance;
                    self.is_name() && self.distance.is_none_or(reaches)
                }
                Silence::Path => self.distance.is_none_or(|distance| distance >= doubt.distance),
            }
    }
}
