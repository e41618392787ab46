//! Canaries: hosts that are asked, to see whether anybody answers.

use core::net::IpAddr;
use std::time::{Duration, Instant};

use url::Url;

use super::{Distance, DoubtfulCheck, Silence, distance};

/// Time that a canary has to answer.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(3);
/// Host and port to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Name or address, without brackets.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Distance of the host, as far as it is known.
    pub distance: Option<Distance>,
    /// Request to send to a proxy, whose kernel answers a connect even if the proxy hangs; empty for other
    /// hosts.
    pub request: &'static [u8],
}

/// Result of asking one canary.
pub struct CanaryAnswer {
    /// Number of the round.
    pub round: u64,
    /// Host, as in [`Canary::host`].
    pub host: String,
    /// Distance of the farthest address that the host's name led to; none: no name was found.
    pub named: Option<Distance>,
    /// Distance of the address that answered; none: no answer.
    pub distance: Option<Distance>,
    /// The canary is a proxy, and was asked as one.
    pub is_proxy: bool,
    /// Time at which the canary answered, or was given up.
    pub at: Instant,
}

impl Canary {
    /// Creates the canary of a host: a name, or an address with or without brackets.
    pub fn new(host: &str, port: u16) -> Canary {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let distance = match &*host {
            "localhost" => Some(Distance::Loopback),
            _ => host.parse().ok().map(distance),
        };
        Canary { host, port, distance, request: b"" }
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
    pub fn speaks_for(&self, doubt: &DoubtfulCheck, own: Option<&str>) -> bool {
        own != Some(&*self.host)
            && match doubt.silence {
                // Names of this host itself need no name server; names of our own network need only ours.
                Silence::NameServers => {
                    let reaches =
                        |distance| distance > Distance::Loopback && distance >= doubt.distance;
                    self.is_name() && self.distance.is_none_or(reaches)
                }
                Silence::Path => self.distance.is_none_or(|distance| distance >= doubt.distance),
            }
    }
}
