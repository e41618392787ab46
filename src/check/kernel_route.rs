//! Asks the kernel for a route. A connection fails with «network is unreachable» both if our own route is
//! missing and if a router on the way reports that it has none; this tells the two apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

/// Port of a connection that sends nothing: any but 0.
const PORT: u16 = 9;
/// Error of a kernel that does not know the address family.
const NO_FAMILY: i32 = Errno::AFNOSUPPORT.raw_os_error();

/// Returns true if this machine has a route to the address `to`; from one of its own addresses or
/// interfaces if `from` names one. Sends no packet.
///
/// # Errors
/// No socket can be opened: this machine has no descriptor or no memory left.
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
    // If the socket cannot be bound, the connection failed for another reason.
    let _ = match from.map(|from| (from, from.parse::<IpAddr>())) {
        Some((_, Ok(address))) => socket.bind(&SocketAddr::from((address, 0)).into()),
        Some((name, Err(_))) => socket.bind_device(Some(name.as_bytes())),
        None => socket.bind(&SocketAddr::from((any, 0)).into()),
    };
    // To connect a datagram socket only looks the route up.
    let connected = socket.connect(&SocketAddr::from((to, PORT)).into());
    let errno = connected.err().and_then(|error| error.raw_os_error());
    Ok(!errno.is_some_and(is_no_route))
}

/// Returns true if the error of the system says that there is no route.
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
        // With this variable set, the tests run without any other network.
        if std::env::var_os("SITEWATCH_OFFLINE").is_some() {
            assert!(!has_route("192.0.2.1".parse().unwrap(), None).unwrap());
            assert!(!has_route("2001:db8::1".parse().unwrap(), None).unwrap());
        }
    }
}
