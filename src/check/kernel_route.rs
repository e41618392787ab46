//! Asks the kernel for a route. A connection fails with «network is unreachable» in two cases: this machine
//! has no route, or a router on the path reports that it has none. The kernel's answer tells which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

/// Port for the question; any but 0, since no packet is sent.
const PORT: u16 = 9;
/// Error number of a kernel without this address family.
const NO_FAMILY: i32 = Errno::AFNOSUPPORT.raw_os_error();

/// Returns true if this machine has a route to the address `to`. `from` limits the answer to routes from one
/// of this machine's addresses or interfaces. Sends no packet.
///
/// # Errors
/// The socket cannot be opened: no descriptor or no memory is left.
pub fn has_route(to: IpAddr, from: Option<&str>) -> std::io::Result<bool> {
    let (domain, any): (Domain, IpAddr) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = match Socket::new(domain, Type::DGRAM, None) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(NO_FAMILY) => return Ok(false),
        Err(error) => return Err(error),
    };
    // An address that cannot be bound is another fault than a missing route: ignore it here.
    let _ = match from.map(|from| (from, from.parse::<IpAddr>())) {
        Some((_, Ok(address))) => socket.bind(&SocketAddr::from((address, 0)).into()),
        Some((name, Err(_))) => socket.bind_device(Some(name.as_bytes())),
        None => socket.bind(&SocketAddr::from((any, 0)).into()),
    };
    // Connecting a datagram socket sends nothing: the kernel only looks up the route.
    let connected = socket.connect(&SocketAddr::from((to, PORT)).into());
    let errno = connected.err().and_then(|error| error.raw_os_error());
    Ok(!errno.is_some_and(is_no_route))
}

/// Returns true if this error number of the system means «no route».
pub fn is_no_route(errno: i32) -> bool {
    [Errno::NETUNREACH, Errno::NETDOWN].iter().any(|of| of.raw_os_error() == errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_always_reached() {
        for (to, from) in [
            ("127.0.0.1", None),
            ("127.0.0.1", Some("127.0.0.9")),
            ("127.0.0.1", Some("lo")),
            ("127.0.0.1", Some("nosuch0")),
        ] {
            assert!(has_route(to.parse().unwrap(), from).unwrap(), "{to} {from:?}");
        }
        // This variable says that the tests run without any network but loopback.
        if std::env::var_os("SITEWATCH_OFFLINE").is_some() {
            assert!(!has_route("192.0.2.1".parse().unwrap(), None).unwrap());
            assert!(!has_route("2001:db8::1".parse().unwrap(), None).unwrap());
        }
    }
}
