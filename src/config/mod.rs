//! The configuration: typed sections, and every default but a target's in one place. A command
//! reads it once at its start and then only looks at it.

mod address;
mod environment;
mod fault;
mod item;
mod print;
mod read;
mod source;
mod syntax;
mod table;
mod target;
mod text;
pub mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::log::LevelFilter;

use crate::model::target::Target;

pub use environment::Environment;
pub use fault::{Fault, Faults, Place};
pub use print::print;
pub use read::{Need, read};
pub use target::{header, lone_target};

/// The file that is read when none is named.
pub const DEFAULT_PATH: &str = "/etc/sitewatch/config.toml";

/// The folder for data when neither `state_dir` nor `$STATE_DIRECTORY` names one.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/sitewatch";

/// A configuration with every key that exists, each explained: `sitewatch config --example`.
pub const EXAMPLE: &str = include_str!("../../config.example");

/// A whole configuration, all files together.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this machine in records; 1 to 128 characters; no default here: `run` takes the
    /// host's name.
    pub node: Option<String>,
    /// Folder for data. Default: `$STATE_DIRECTORY`, else [`DEFAULT_STATE_DIR`].
    pub state_dir: PathBuf,
    /// What is watched: every `[[target]]`, then `targets`, then the lines of `targets_file`, each
    /// in the order written; no two have the same name.
    pub targets: Vec<Arc<Target>>,
    /// `[probe]`
    pub probe: Probe,
    /// `[spool]`
    pub spool: Spool,
    /// `[sqlite]`
    pub sqlite: Sqlite,
    /// `[write]`
    pub write: Write,
    /// `[serve]`
    pub serve: Serve,
    /// `[log]`
    pub log: Log,
}

/// How much the checks may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Checks under way at once; 1 to 10 000, default 100.
    pub max_in_flight: usize,
    /// Bodies held at once, in bytes; 4 KiB to 1 GiB, default 4 MiB.
    pub bodies_max: usize,
    /// How long checks under way may go on once told to stop; 0 s to 10 min, default 10 s.
    pub stop_timeout: Duration,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { max_in_flight: 100, bodies_max: 4 << 20, stop_timeout: Duration::from_secs(10) }
    }
}

/// What waits for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// Records held in memory, in bytes; 64 KiB to 1 GiB, default 4 MiB.
    pub memory: usize,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { memory: 4 << 20 }
    }
}

/// The store in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sqlite {
    /// The file. Default: `sitewatch.db` in `state_dir`.
    pub path: PathBuf,
    /// Its size, in bytes; past it the oldest checks go; 64 KiB to 1024 GiB, default 2 GiB.
    pub max_size: u64,
}

impl Sqlite {
    /// The store in that folder.
    pub fn in_folder(state_dir: &Path) -> Sqlite {
        Sqlite { path: state_dir.join("sitewatch.db"), max_size: 2 << 30 }
    }
}

/// How records are gathered into one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Records in one transaction at most; 1 to 1 000 000, default 20 000.
    pub batch_max: usize,
    /// How long the first of them waits at most; 0 s to 1 min, default 1 s.
    pub batch_age: Duration,
}

impl Default for Write {
    fn default() -> Write {
        Write { batch_max: 20_000, batch_age: Duration::from_secs(1) }
    }
}

/// The page and `/health`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serve {
    /// Address and port to listen on; without one nothing is served.
    pub listen: Option<SocketAddr>,
}

/// What goes to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least urgent level that is shown. Default: info.
    pub level: LevelFilter,
    /// Default: text.
    pub format: LogFormat,
    /// Lines written a minute; those over it are counted, and the count is written; 10 to
    /// 1 000 000, default 600.
    pub max_per_minute: u32,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: LevelFilter::Info, format: LogFormat::Text, max_per_minute: 600 }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
