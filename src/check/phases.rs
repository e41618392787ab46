//! The phases of one hop, told apart: from libcurl's times, and where it has none because the hop
//! failed, from those that [`Wire`] takes.

use std::net::IpAddr;
use std::time::Duration;

use curl::easy::Easy2;

use super::raw;
use super::wire::Wire;
use crate::model::outcome::Phases;

/// Whether it is connected by another family of addresses than that which was tried first.
pub fn fell_back(wire: &Wire, address: Option<&str>) -> bool {
    const IPV6: i32 = rustix::net::AddressFamily::INET6.as_raw() as i32;
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    match (wire.family, address) {
        (Some(first), Some(address)) => (first == IPV6) != address.is_ipv6(),
        _ => false,
    }
}

/// Which phases a hop has.
pub struct Shape {
    /// A connection is made for it.
    pub connects: bool,
    /// libcurl looks a name up before it opens a socket.
    pub looks_up: bool,
    /// A proxy stands between.
    pub is_proxied: bool,
    /// TLS is spoken.
    pub is_tls: bool,
    /// Something is waited for once it is connected.
    pub speaks: bool,
}

/// The phases of one hop, from libcurl's times, and where it has none because the hop failed,
/// from ours.
pub fn phases(easy: &mut Easy2<Wire>, shape: &Shape) -> Phases {
    // libcurl's times, and ours, begin where the lookup has ended.
    let looked_us = easy.get_ref().looked.as_micros() as u64;
    let us = |time: Result<Duration, curl::Error>| {
        let us = time.ok().map(|time| time.as_micros() as u64).filter(|us| *us > 0);
        us.map(|us| us + looked_us)
    };
    let (connect, tls) = (us(easy.connect_time()), us(easy.appconnect_time()));
    let (first, total) = (us(easy.starttransfer_time()), us(easy.total_time()));
    // For a hop that was not connected this is the time of its end.
    let asked = us(easy.pretransfer_time()).filter(|_| raw::is_requested(easy));
    let wire = easy.get_ref();
    let ours = |after: Option<Duration>| after.map(|after| after.as_micros() as u64 + looked_us);

    let is_found = looked_us > 0 && !shape.is_proxied;
    let named = match shape.looks_up && !is_found {
        true => ours(wire.socket_after),
        false => Some(looked_us),
    };
    let connected = match shape.is_proxied {
        // libcurl's time is that of the way to it, not through it.
        true => ours(wire.tls_after).or(ours(wire.connected_after)).or(asked),
        false => connect.or(ours(wire.tls_after)),
    };
    let secured = if shape.is_tls { tls } else { connected };
    let spoke = ours(wire.greeted_after).or(first.filter(|_| wire.spoke));
    let reached = match shape.connects {
        true => [named, connected, secured, spoke, ours(wire.over_after)],
        false => [spoke, None, None, None, None],
    };
    let total = total.unwrap_or_else(|| wire.started.elapsed().as_micros() as u64 + looked_us);
    let total = reached.iter().flatten().copied().fold(total, u64::max);

    // Each phase from where the one before it ended; the first that was not ended was cut.
    let mut phases = Phases::default();
    let mut cursor = 0;
    let mut cut = false;
    let slots = [
        (&mut phases.dns_us, named, shape.connects),
        (&mut phases.connect_us, connected, shape.connects),
        (&mut phases.tls_us, secured, shape.connects && shape.is_tls),
        (&mut phases.first_byte_us, spoke, shape.speaks),
        (&mut phases.transfer_us, Some(total), shape.speaks),
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
