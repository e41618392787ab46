//! Computes the phases of one hop from libcurl's times. If a hop failed, libcurl lacks some of them; the
//! times that [`TransferCallbacks`] notes take their place.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use curl::easy::Easy2;

use super::callbacks::TransferCallbacks;
use super::raw;
use crate::model::outcome::Phases;

/// Returns true if the hop is connected by another address family than the one that was tried first.
pub fn fell_back(callbacks: &TransferCallbacks, address: Option<&str>) -> bool {
    const IPV6: i32 = rustix::net::AddressFamily::INET6.as_raw() as i32;
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    match (callbacks.family, address) {
        (Some(first), Some(address)) => (first == IPV6) != address.is_ipv6(),
        _ => false,
    }
}

/// Properties of a hop that decide which phases it has.
pub struct HopShape {
    /// The hop makes a new connection.
    pub connects: bool,
    /// A name is looked up before the first socket is opened.
    pub looks_up: bool,
    /// The hop goes through a proxy.
    pub is_proxied: bool,
    /// The hop uses TLS.
    pub is_tls: bool,
    /// The hop waits for bytes of the site once it is connected.
    pub awaits_bytes: bool,
}

/// Returns the best estimate of the start of libcurl's clock: the time that we noted for an event, less
/// libcurl's time of the same event. Both use CLOCK_MONOTONIC, and we note an event just after libcurl has,
/// so that the estimate is never too early.
fn origin(easy: &mut Easy2<TransferCallbacks>) -> Instant {
    let some = |time: Result<Duration, curl::Error>| time.ok().filter(|time| !time.is_zero());
    let named = some(easy.namelookup_time());
    let connected = some(easy.appconnect_time()).or(some(easy.connect_time()));
    let callbacks = easy.get_ref();
    let pairs = [callbacks.socket_at.zip(named), callbacks.connected_at.zip(connected)];
    let origins = pairs.into_iter().flatten().filter_map(|(at, time)| at.checked_sub(time));
    origins.min().map_or(callbacks.started, |origin| origin.max(callbacks.started))
}

/// Computes the phases of one hop.
pub fn phases(easy: &mut Easy2<TransferCallbacks>, shape: &HopShape) -> Phases {
    // All times below begin at the end of our lookup.
    let lookup_us = easy.get_ref().lookup_time.as_micros() as u64;
    let us = |time: Result<Duration, curl::Error>| {
        let us = time.ok().map(|time| time.as_micros() as u64).filter(|us| *us > 0);
        us.map(|us| us + lookup_us)
    };
    let (connect, tls) = (us(easy.connect_time()), us(easy.appconnect_time()));
    let (first, total) = (us(easy.starttransfer_time()), us(easy.total_time()));
    // Ignore the time if no request was sent: libcurl then returns the end of the hop.
    let asked = us(easy.pretransfer_time()).filter(|_| raw::is_requested(easy));
    let origin = origin(easy);
    let callbacks = easy.get_ref();
    let since = |at: Instant| at.saturating_duration_since(origin).as_micros() as u64 + lookup_us;
    let ours = |at: Option<Instant>| at.map(since);

    let is_found = lookup_us > 0 && !shape.is_proxied;
    let named = match shape.looks_up && !is_found {
        true => ours(callbacks.socket_at),
        false => Some(lookup_us),
    };
    let connected = match shape.is_proxied {
        // libcurl's connect time ends at the proxy, not at the site.
        true => ours(callbacks.tls_at).or(ours(callbacks.connected_at)).or(asked),
        false => connect.or(ours(callbacks.tls_at)),
    };
    let secured = if shape.is_tls { tls } else { connected };
    let first_byte = ours(callbacks.greeting_began_at).or(first.filter(|_| callbacks.has_bytes));
    let reached = match shape.connects {
        true => [named, connected, secured, first_byte, ours(callbacks.greeting_ended_at)],
        false => [first_byte, None, None, None, None],
    };
    let total = total.unwrap_or_else(|| since(Instant::now()));
    let total = reached.iter().flatten().copied().fold(total, u64::max);

    // Each phase begins at the end of the one before. The first phase without an end is the one in which the
    // hop failed: it is the last, and lasts until the end of the hop.
    let mut phases = Phases::default();
    let mut cursor = 0;
    let mut cut = false;
    let slots = [
        (&mut phases.dns_us, named, shape.connects),
        (&mut phases.connect_us, connected, shape.connects),
        (&mut phases.tls_us, secured, shape.connects && shape.is_tls),
        (&mut phases.first_byte_us, first_byte, shape.awaits_bytes),
        (&mut phases.transfer_us, Some(total), shape.awaits_bytes),
    ];
    for (slot, end, exists) in slots {
        if cut || !exists {
            continue;
        }
        let until = end.unwrap_or(total).max(cursor);
        *slot = Some(until - cursor);
        cursor = until;
        cut = end.is_none();
    }
    phases
}
