//! Makes one call of the system's resolver, so that `/etc/hosts`, search domains and all its other settings
//! count as they do for every other program.

use std::net::IpAddr;
use std::sync::Arc;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use rustix::process::{Resource, getrlimit};

use crate::check::fault::is_out_of_resources;
use crate::model::connect::Family;

/// With fewer free descriptors than this, a lookup may have failed for want of one.
const DESCRIPTORS: u64 = 16;

/// Result of one lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemReply {
    /// Addresses, at least one, in the order in which to try them.
    Addresses(Arc<[IpAddr]>),
    /// No address.
    Failed(LookupError),
    /// This machine could not ask; with the reason as a text for people.
    OutOfResources(Arc<str>),
}

/// Reason why a lookup has found no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// The name does not exist.
    UnknownName,
    /// The name exists, and has no address of the wanted family.
    NoAddress,
    /// No answer has come: the name servers are silent, or fail.
    NoAnswer,
}

/// Looks up the addresses of `host`.
pub fn look_up(host: &str, family: Family) -> SystemReply {
    let address = match family {
        Family::Any => 0,
        Family::V4 => AddrFamily::Inet.into(),
        Family::V6 => AddrFamily::Inet6.into(),
    };
    let socktype = SockType::Stream.into();
    let hints = AddrInfoHints { socktype, address, ..AddrInfoHints::default() };
    let missing = match getaddrinfo(Some(host), None, Some(hints)) {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.flatten() {
                let address = address.sockaddr.ip();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if !addresses.is_empty() {
                return SystemReply::Addresses(addresses.into());
            }
            LookupError::NoAddress
        }
        Err(error) => match error.kind() {
            LookupErrorKind::NoName => LookupError::UnknownName,
            LookupErrorKind::NoData => LookupError::NoAddress,
            _ => LookupError::NoAnswer,
        },
    };
    if is_short_of_descriptors() {
        return SystemReply::OutOfResources("too few file descriptors to look up a name".into());
    }
    SystemReply::Failed(missing)
}

/// Returns true if so few descriptors are left that the resolver may have had none for its files and sockets.
/// The resolver then reports that the name does not exist.
fn is_short_of_descriptors() -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    match std::fs::read_dir("/proc/self/fd") {
        Ok(open) => open.count() as u64 + DESCRIPTORS >= limit,
        Err(error) => is_out_of_resources(error.raw_os_error().unwrap_or(0)),
    }
}
