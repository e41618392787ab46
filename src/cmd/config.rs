//! `sitewatch config`: check and print the configuration.

use super::{FINE, head, print, surroundings};
use crate::args::{self, Common};
use crate::config::{self, Config, EXAMPLE, Need};
use crate::error::Error;
use crate::show::text::count;

/// What is told where nobody can tell our own network's trouble from a site's.
const ALONE: &str = "note: no [uplink] canaries, no brokers and no second host: when this machine's \
                     own network is away, its targets count as down\n";

/// Checks, prints or shows the example.
///
/// # Errors
/// Every fault of the files, one a line.
pub fn config(common: &Common, what: args::Config) -> Result<u8, Error> {
    if what == args::Config::Example {
        return print(EXAMPLE).map(|()| FINE);
    }
    let (environment, paths) = surroundings(common)?;
    let config = config::read(&paths, &environment, Need::Any)
        .map_err(|faults| Error::new(faults.to_string()))?;
    match what {
        args::Config::Print => print(&config::print(&config)),
        _ => {
            let kafka = if config.kafka.is_some() { ", [kafka]" } else { "" };
            let postgres = if config.postgres.is_some() { ", [postgres]" } else { "" };
            let targets = count(config.targets.len() as u64, "target");
            let note = if asks_nobody(&config) { ALONE } else { "" };
            let crowd = head::crowd(&config).map(|text| format!("note: {text}\n"));
            let crowd = crowd.unwrap_or_default();
            print(&format!("fine: {targets}{kafka}{postgres}\n{note}{crowd}"))
        }
    }?;
    Ok(FINE)
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
