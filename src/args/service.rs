//! Command line of `service`.

use lexopt::Arg::{Long, Value};
use lexopt::Parser;

use super::{CommonOptions, SharedOption, text, usage};
use crate::error::Error;

/// Service manager that starts the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceManager {
    /// `--systemd`
    Systemd,
    /// `--openwrt`
    OpenWrt,
}

/// Command that the service manager starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonName {
    /// `run`
    Run,
    /// `probe`
    Probe,
    /// `write`
    Write,
}

/// Options of `service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Service manager that the file is for.
    pub manager: ServiceManager,
    /// Command that the file starts.
    pub mode: DaemonName,
}

/// Reads the words of `service`. Returns none if `--help` was among the words.
pub fn parse(
    parser: &mut Parser,
    common: &mut CommonOptions,
) -> Result<Option<ServiceOptions>, Error> {
    let (mut manager, mut mode) = (None, None);
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        let wanted = match arg {
            Long("systemd") => ServiceManager::Systemd,
            Long("openwrt") => ServiceManager::OpenWrt,
            Value(word) => {
                let wanted = match text(word)?.as_str() {
                    "run" => DaemonName::Run,
                    "probe" => DaemonName::Probe,
                    "write" => DaemonName::Write,
                    other => {
                        let text = format!("service {other:?}: run, probe or write");
                        return Err(Error::new(text));
                    }
                };
                if mode.replace(wanted).is_some_and(|before| before != wanted) {
                    return Err(Error::new("service: one of run, probe and write"));
                }
                continue;
            }
            other => {
                help |= SharedOption::of(other)?.take(parser, common)?;
                continue;
            }
        };
        if manager.replace(wanted).is_some_and(|before| before != wanted) {
            return Err(Error::new("service: one of --systemd and --openwrt"));
        }
    }
    match (manager, mode) {
        _ if help => Ok(None),
        (None, _) => Err(Error::new("service: --systemd or --openwrt?")),
        (_, None) => Err(Error::new("service: run, probe or write?")),
        (Some(manager), Some(mode)) => Ok(Some(ServiceOptions { manager, mode })),
    }
}
