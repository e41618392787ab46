//! Remarks on a whole configuration that is right, but may not do what was meant.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::config::toml::context::ReadContext;
use crate::config::toml::source::SourceOffset;
use crate::model::target::{Target, is_name};

/// Remark if no host can tell a failure of our own network from one of a site.
const ALONE: &str = "no [uplink] canaries, no brokers and no second host: when this machine's own \
                     network is away, its targets count as down";

/// Remark if all canaries are addresses, which say nothing about the name servers.
const NAMELESS: &str = "no canary has a name: where name servers are silent or fail, only targets of \
                        other names show whose trouble that is, and with none such every named target \
                        is unknown: add one by its name";

/// Places of the keys that the remarks concern.
pub(in crate::config) struct RemarkOffsets<'a> {
    /// Place at which the configuration begins: for keys that are not there.
    pub first: SourceOffset<'a>,
    /// Place of `canaries` of `[uplink]`.
    pub canaries: Option<SourceOffset<'a>>,
    /// Place of `max_in_flight` of `[probe]`.
    pub in_flight: Option<SourceOffset<'a>>,
}

/// Takes note of the remarks on `config`.
pub(in crate::config) fn add_remarks(
    config: &Config,
    places: &RemarkOffsets<'_>,
    context: &ReadContext<'_>,
) {
    if asks_nobody(config) {
        context.remark(places.canaries.unwrap_or(places.first), ALONE);
    }
    if let Some(at) = places.canaries.filter(|_| asks_no_name(config)) {
        context.remark(at, NAMELESS);
    }
    if let Some(text) = describe_overload(config) {
        context.remark(places.in_flight.unwrap_or(places.first), text);
    }
}

/// Returns true if there are targets, and neither canaries nor another host that could stand in for them.
fn asks_nobody(config: &Config) -> bool {
    let mut hosts = config.targets.iter().map(|target| target.url.host());
    let Some(first) = hosts.next() else { return false };
    match &config.uplink.canaries {
        Some(canaries) => canaries.is_empty(),
        None => config.kafka.is_none() && hosts.all(|host| host == first),
    }
}

/// Returns true if names of targets are looked up, and all canaries are addresses.
fn asks_no_name(config: &Config) -> bool {
    let Some(canaries) = config.uplink.canaries.as_ref().filter(|all| !all.is_empty()) else {
        return false;
    };
    let looks_up = |target: &Arc<Target>| {
        let connect = &target.connect;
        connect.proxy.is_none() && connect.resolve.is_none() && is_name(&target.url)
    };
    canaries.iter().all(|canary| is_address(canary)) && config.targets.iter().any(looks_up)
}

/// Returns true if a `host:port` has an address for a host.
fn is_address(canary: &str) -> bool {
    let host = canary.rsplit_once(':').map_or(canary, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Returns a remark if checks would wait for one another when every target times out: a site that is down must
/// not delay the checks of others.
pub fn describe_overload(config: &Config) -> Option<String> {
    let share = |target: &Arc<Target>| {
        let longest = target.timeout.as_secs_f64() * f64::from(target.attempts);
        longest / target.interval.as_secs_f64()
    };
    let most = config.targets.iter().map(share).sum::<f64>().ceil() as usize;
    let room = config.probe.max_in_flight;
    (most > room).then(|| {
        format!(
            "if every target timed out, {most} checks would be under way at once, and \
             max_in_flight is {room}: slots would be missed; raise it, or lower timeout"
        )
    })
}
