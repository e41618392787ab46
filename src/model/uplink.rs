//! Decides whether a site or our own network is at fault, from the answers of targets and canaries; acts by
//! values that say what to do. [`Uplink`] holds the checks that nobody has answered, `round` chooses whom to
//! ask, and `canary` knows which answer would settle which check.

mod canary;
mod monitor;
mod round;
mod settlement;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

pub use self::canary::{CANARY_TIMEOUT, Canary, CanaryAnswer};
pub use self::monitor::{Uplink, UplinkAction};
pub use self::settlement::SettledCheck;

/// Hosts that prove by an answer that our own network works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canaries {
    /// Hosts, as `host:port` or `[address]:port`.
    pub hosts: Vec<String>,
    /// True if targets may take the place of canaries.
    pub stands_in: bool,
}

/// Distance of an address, nearest first. An answer from far away proves that nearer addresses can be reached
/// too, never the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// This host.
    Loopback,
    /// Our own network: private and link-local addresses (RFC 1918, 3927, 4193, 4291, 6598).
    Private,
    /// The internet.
    Public,
}

/// Returns the distance of an address.
pub fn distance(address: IpAddr) -> Distance {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_loopback() => Distance::Loopback,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() || is_shared(v4) => {
            Distance::Private
        }
        IpAddr::V6(v6) if v6.is_loopback() => Distance::Loopback,
        IpAddr::V6(v6) if is_local(v6) => Distance::Private,
        _ => Distance::Public,
    }
}

/// Returns true for 100.64.0.0/10, which providers use between themselves and their customers.
fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && b & 0b1100_0000 == 64
}

/// Returns true for fc00::/7 and fe80::/10.
fn is_local(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
}

/// Kind of silence: who did not answer. Either the site or our own network may be the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The name servers: none has answered, or none could find an address of the name.
    NameServers,
    /// The site, or a part of the path to it.
    Path,
}

/// Check that nobody answered, with the facts to judge it by. Somebody's answer at or after the end of the
/// check proves that our own network works. An answer during the check proves nothing: the network may have
/// failed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoubtfulCheck {
    /// Start of the check.
    pub began: Instant,
    /// End of the check.
    pub since: Instant,
    /// Kind of the silence.
    pub silence: Silence,
    /// Distance of the address that did not answer; or the last known distance of a name that was not found.
    pub distance: Distance,
}

/// Times of the newest answers, by distance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    loopback: Option<Instant>,
    private: Option<Instant>,
    public: Option<Instant>,
    private_names: Option<Instant>,
    public_names: Option<Instant>,
}

impl Evidence {
    /// Notes an answer from an address at that distance. `by_name` says that the address was looked up, so
    /// that the name servers have answered too; loopback addresses prove nothing about them.
    pub fn answered(&mut self, at: Instant, distance: Distance, by_name: bool) {
        let newest = match distance {
            Distance::Loopback => &mut self.loopback,
            Distance::Private => &mut self.private,
            Distance::Public => &mut self.public,
        };
        *newest = (*newest).max(Some(at));
        if by_name {
            self.named(at, distance);
        }
    }

    /// Notes that the name servers had an address at that distance for a name. A private address proves only
    /// that our own name server works, which may be cut off from all others.
    pub fn named(&mut self, at: Instant, distance: Distance) {
        let newest = match distance {
            Distance::Loopback => return,
            Distance::Private => &mut self.private_names,
            Distance::Public => &mut self.public_names,
        };
        *newest = (*newest).max(Some(at));
    }

    /// Returns true if an answer proves that our own network works, so that the site is at fault.
    pub fn clears_uplink_of(&self, doubt: &DoubtfulCheck) -> bool {
        let newest = match (doubt.silence, doubt.distance) {
            (Silence::NameServers, Distance::Loopback | Distance::Private) => {
                self.private_names.max(self.public_names)
            }
            (Silence::NameServers, Distance::Public) => self.public_names,
            (Silence::Path, Distance::Loopback) => self.loopback.max(self.private).max(self.public),
            (Silence::Path, Distance::Private) => self.private.max(self.public),
            (Silence::Path, Distance::Public) => self.public,
        };
        newest >= Some(doubt.since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses_have_distances() {
        for (text, want) in [
            ("127.0.0.1", Distance::Loopback),
            ("127.9.9.9", Distance::Loopback),
            ("::1", Distance::Loopback),
            ("::ffff:127.0.0.1", Distance::Loopback),
            ("10.1.2.3", Distance::Private),
            ("172.31.0.1", Distance::Private),
            ("172.32.0.1", Distance::Public),
            ("192.168.1.1", Distance::Private),
            ("169.254.0.1", Distance::Private),
            ("100.64.0.1", Distance::Private),
            ("100.127.255.255", Distance::Private),
            ("100.128.0.1", Distance::Public),
            ("fd00::1", Distance::Private),
            ("fe80::1", Distance::Private),
            ("fec0::1", Distance::Public),
            ("2001:db8::1", Distance::Public),
            ("192.0.2.1", Distance::Public),
            ("::ffff:10.0.0.1", Distance::Private),
        ] {
            assert_eq!(distance(text.parse().unwrap()), want, "{text}");
        }
    }

    #[test]
    fn a_near_answer_proves_nothing_about_a_far_address() {
        use Distance::{Loopback, Private, Public};
        let since = Instant::now();
        let doubt = |silence, distance| DoubtfulCheck { began: since, since, silence, distance };
        for seen in [Loopback, Private, Public] {
            for doubted in [Loopback, Private, Public] {
                let mut evidence = Evidence::default();
                assert!(!evidence.clears_uplink_of(&doubt(Silence::Path, doubted)));
                evidence.answered(since, seen, false);
                let settles = evidence.clears_uplink_of(&doubt(Silence::Path, doubted));
                assert_eq!(settles, seen >= doubted, "{seen:?} {doubted:?}");
                assert!(!evidence.clears_uplink_of(&doubt(Silence::NameServers, doubted)));
                evidence.answered(since, Loopback, true);
                assert!(!evidence.clears_uplink_of(&doubt(Silence::NameServers, doubted)));
                // Names from our own server prove nothing about names of the internet.
                evidence.named(since, Private);
                let settles = evidence.clears_uplink_of(&doubt(Silence::NameServers, doubted));
                assert_eq!(settles, doubted != Public, "{doubted:?}");
                evidence.answered(since, Public, true);
                assert!(evidence.clears_uplink_of(&doubt(Silence::NameServers, doubted)));
            }
        }
    }

    #[test]
    fn an_answer_before_the_end_of_the_check_proves_nothing() {
        let before = Instant::now();
        let since = before + Duration::from_millis(1);
        let doubt = DoubtfulCheck {
            began: before,
            since,
            silence: Silence::Path,
            distance: Distance::Public,
        };
        let mut evidence = Evidence::default();
        evidence.answered(before, Distance::Public, true);
        assert!(!evidence.clears_uplink_of(&doubt));
        evidence.answered(since, Distance::Public, false);
        evidence.answered(before, Distance::Public, false);
        assert!(evidence.clears_uplink_of(&doubt));
        assert!(
            !evidence.clears_uplink_of(&DoubtfulCheck { silence: Silence::NameServers, ..doubt })
        );
    }
}
