//! Remarks on a configuration as a whole: it is right, and may not do what was meant.

use std::sync::Arc;

use super::Config;
use super::source::At;
use super::table::Reader;
use crate::model::target::Target;

/// Told where nobody can tell our own network's trouble from a site's.
const ALONE: &str = "no [uplink] canaries, no brokers and no second host: when this machine's own \
                     network is away, its targets count as down";

/// Places of keys that remarks are about.
pub(super) struct Places<'a> {
    /// Where the configuration begins: for keys that are not there.
    pub first: At<'a>,
    /// `canaries` of `[uplink]`.
    pub canaries: Option<At<'a>>,
    /// `max_in_flight` of `[probe]`.
    pub in_flight: Option<At<'a>>,
}

/// Takes note of the remarks on `config`.
pub(super) fn remark(config: &Config, places: &Places<'_>, reader: &Reader<'_>) {
    if asks_nobody(config) {
        reader.remark(places.canaries.unwrap_or(places.first), ALONE);
    }
    if let Some(text) = crowd(config) {
        reader.remark(places.in_flight.unwrap_or(places.first), text);
    }
}

/// Whether there are targets, and neither canaries nor another host that could stand in for them.
fn asks_nobody(config: &Config) -> bool {
    let mut hosts = config.targets.iter().map(|target| target.url.host());
    let Some(first) = hosts.next() else { return false };
    match &config.uplink.canaries {
        Some(canaries) => canaries.is_empty(),
        None => config.kafka.is_none() && hosts.all(|host| host == first),
    }
}

/// Says that checks would wait for one another if every target timed out, if so: a site that is
/// down must not delay those that are up.
pub fn crowd(config: &Config) -> Option<String> {
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
