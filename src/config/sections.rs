//! Small tables of the configuration: their keys, with bounds and defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::log::LevelFilter;

use crate::config::kafka::is_host_and_port;
use crate::config::toml::item::Item;
use crate::config::toml::source::SourceOffset;
use crate::config::toml::table::Section;
use crate::log::LogFormat;
use crate::words::{Word, words};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

words! {
    /// Events at which the configuration is read again.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum ReloadOn {
        /// On SIGHUP.
        #[default]
        Signal = "signal",
        /// On SIGHUP, and when its files change.
        Watch = "watch",
    }
}

/// Limits of the checks: `[probe]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Checks under way at once; 1 to 10 000, default 100.
    pub max_in_flight: usize,
    /// Bodies held at once, in bytes; 4 KiB to 1 GiB, default 4 MiB.
    pub bodies_max: usize,
    /// Longest time that checks under way may take after the request to stop; 0 s to 10 min, default 10 s.
    pub stop_timeout: Duration,
    /// Longest wait for the clock to be synchronised on a host that has just booted; 0 s to 1 h, default 2
    /// min.
    pub clock_wait: Duration,
}

impl Default for ProbeConfig {
    fn default() -> ProbeConfig {
        ProbeConfig {
            max_in_flight: 100,
            bodies_max: 4 << 20,
            stop_timeout: Duration::from_secs(10),
            clock_wait: 2 * MINUTE,
        }
    }
}

/// Limits of the records that wait for the store: `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Memory for records, in bytes; 64 KiB to 1 GiB, default 4 MiB.
    pub memory: usize,
}

impl Default for SpoolConfig {
    fn default() -> SpoolConfig {
        SpoolConfig { memory: 4 << 20 }
    }
}

/// Hosts by which a failure of our own network is told from one of a site: `[uplink]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkConfig {
    /// `host:port` or `[address]:port` of the hosts to connect to when a check fails in silence. None: the
    /// brokers of `[kafka]`, and other targets.
    pub canaries: Option<Vec<String>>,
}

/// Store in one file: `[sqlite]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteConfig {
    /// Path of the file. Default: `sitewatch.db` in `state_dir`.
    pub path: PathBuf,
    /// Largest size of the file, in bytes; past it the oldest checks go; 64 KiB to 1024 GiB, default 2 GiB.
    pub max_size: u64,
}

impl SqliteConfig {
    /// Returns the store in that folder, of the default size.
    pub fn in_folder(state_dir: &Path) -> SqliteConfig {
        SqliteConfig { path: state_dir.join("sitewatch.db"), max_size: 2 << 30 }
    }
}

/// Limits of the records in one transaction: `[write]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteConfig {
    /// Most records in one transaction; 1 to 1 000 000, default 20 000.
    pub batch_max: usize,
    /// Longest wait of the first of them; 0 s to 1 min, default 1 s.
    pub batch_age: Duration,
    /// Largest size of the stored messages that could not be read, in bytes; past it the oldest go; 64 KiB to
    /// 1024 GiB, default 256 MiB.
    pub dead_letter_max: u64,
}

impl Default for WriteConfig {
    fn default() -> WriteConfig {
        WriteConfig {
            batch_max: 20_000,
            batch_age: Duration::from_secs(1),
            dead_letter_max: 256 << 20,
        }
    }
}

/// Times for which the central store keeps data: `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Time for which single checks are kept; 1 h to 100 years, default 90 days.
    pub checks: Duration,
    /// Time for which messages that could not be read are kept; 1 h to 100 years, default 30 days.
    pub dead_letters: Duration,
}

impl Default for RetentionConfig {
    fn default() -> RetentionConfig {
        RetentionConfig { checks: 90 * DAY, dead_letters: 30 * DAY }
    }
}

/// HTTP server of `/health`: `[serve]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServeConfig {
    /// Address and port to listen on; none: nothing is served.
    pub listen: Option<SocketAddr>,
}

/// Output to stderr: `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Least urgent level that is shown. Default: info.
    pub level: LevelFilter,
    /// Format of a line. Default: text.
    pub format: LogFormat,
    /// Most lines written a minute; the others are counted, and a line gives their number; 10 to 1 000 000,
    /// default 600.
    pub max_per_minute: u32,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { level: LevelFilter::Info, format: LogFormat::Text, max_per_minute: 600 }
    }
}

/// Reads `[probe]`. Returns it with the places of its `max_in_flight` and `bodies_max`.
pub(in crate::config) fn read_probe<'a>(
    top: &mut Section<'a>,
) -> (ProbeConfig, Option<SourceOffset<'a>>, Option<SourceOffset<'a>>) {
    let default = ProbeConfig::default();
    let mut section = top.section("probe", "in [probe]");
    let in_flight = section.read_setting("max_in_flight", |it| it.number(1, 10_000));
    let bodies = section.read_setting("bodies_max", |it| it.memory(4 << 10, 1 << 30));
    let probe = ProbeConfig {
        max_in_flight: in_flight.as_ref().map_or(default.max_in_flight, |set| set.value as usize),
        bodies_max: bodies.as_ref().map_or(default.bodies_max, |set| set.value),
        stop_timeout: section
            .read("stop_timeout", |it| it.duration(Duration::ZERO, 10 * MINUTE))
            .unwrap_or(default.stop_timeout),
        clock_wait: section
            .read("clock_wait", |it| it.duration(Duration::ZERO, HOUR))
            .unwrap_or(default.clock_wait),
    };
    section.finish();
    (probe, in_flight.map(|set| set.at), bodies.map(|set| set.at))
}

pub(in crate::config) fn read_spool(top: &mut Section<'_>) -> SpoolConfig {
    let mut section = top.section("spool", "in [spool]");
    let memory = section.read("memory", |it| it.memory(64 << 10, 1 << 30));
    section.finish();
    memory.map_or_else(SpoolConfig::default, |memory| SpoolConfig { memory })
}

/// Reads `[uplink]`. Returns it with the place of its `canaries`.
pub(in crate::config) fn read_uplink<'a>(
    top: &mut Section<'a>,
) -> (UplinkConfig, Option<SourceOffset<'a>>) {
    let mut section = top.section("uplink", "in [uplink]");
    let canaries = section.read_setting("canaries", |item| {
        let items = item.list("a list of host:port, such as [\"gateway.example.org:443\"]")?;
        let canaries: Vec<String> = items.iter().filter_map(|it| read_canary(*it)).collect();
        (canaries.len() == items.len()).then_some(canaries)
    });
    section.finish();
    let at = canaries.as_ref().map(|set| set.at);
    (UplinkConfig { canaries: canaries.map(|set| set.value) }, at)
}

fn read_canary(item: Item<'_>) -> Option<String> {
    let text = item.string("a host and port in quotes, such as \"192.0.2.1:53\"")?;
    if !is_host_and_port(&text) {
        item.refuse("is not host:port: write it like example.org:443 or [2001:db8::1]:53");
        return None;
    }
    Some(text)
}

pub(in crate::config) fn read_sqlite(top: &mut Section<'_>, default: SqliteConfig) -> SqliteConfig {
    let mut section = top.section("sqlite", "in [sqlite]");
    let sqlite = SqliteConfig {
        path: section.read("path", Item::path).unwrap_or(default.path),
        max_size: section
            .read("max_size", |it| it.size(64 << 10, 1 << 40))
            .unwrap_or(default.max_size),
    };
    section.finish();
    sqlite
}

pub(in crate::config) fn read_write(top: &mut Section<'_>) -> WriteConfig {
    let default = WriteConfig::default();
    let mut section = top.section("write", "in [write]");
    let batch_max = section.read("batch_max", |it| it.number(1, 1_000_000));
    let write = WriteConfig {
        batch_max: batch_max.map_or(default.batch_max, |number| number as usize),
        batch_age: section
            .read("batch_age", |it| it.duration(Duration::ZERO, MINUTE))
            .unwrap_or(default.batch_age),
        dead_letter_max: section
            .read("dead_letter_max", |it| it.size(64 << 10, 1 << 40))
            .unwrap_or(default.dead_letter_max),
    };
    section.finish();
    write
}

pub(in crate::config) fn read_retention(top: &mut Section<'_>) -> RetentionConfig {
    let default = RetentionConfig::default();
    let mut section = top.section("retention", "in [retention]");
    let mut read =
        |key, last| section.read(key, |it| it.duration(HOUR, 100 * YEAR)).unwrap_or(last);
    let retention = RetentionConfig {
        checks: read("checks", default.checks),
        dead_letters: read("dead_letters", default.dead_letters),
    };
    section.finish();
    retention
}

pub(in crate::config) fn read_serve(top: &mut Section<'_>) -> ServeConfig {
    let mut section = top.section("serve", "in [serve]");
    let listen = section.read("listen", |it| {
        let text = it.string("an address and port in quotes, such as \"127.0.0.1:8380\"")?;
        let address = "an address and port: write it like 127.0.0.1:8380 or [::1]:8380";
        it.understood(text.parse().map_err(|_| format!("not {address}")))
    });
    section.finish();
    ServeConfig { listen }
}

pub(in crate::config) fn read_log(top: &mut Section<'_>) -> LogConfig {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];
    let default = LogConfig::default();
    let mut section = top.section("log", "in [log]");
    let log = LogConfig {
        level: section.read("level", |it| it.choice(&LEVELS)).unwrap_or(default.level),
        format: section
            .read("format", |it| it.choice(&LogFormat::choices()))
            .unwrap_or(default.format),
        max_per_minute: section
            .read("max_per_minute", |it| it.number(10, 1_000_000))
            .unwrap_or(default.max_per_minute),
    };
    section.finish();
    log
}
