//! The configuration: typed sections, each with its bounds and defaults in one place. A command reads the
//! configuration at its start and then only looks at it.

mod address;
mod connect;
mod context;
mod dsn;
mod environment;
mod fault;
mod given;
mod identity;
mod item;
mod kafka;
mod login;
mod pairs;
mod pem;
mod plain;
mod postgres;
mod print;
mod property;
mod read;
mod remark;
mod sections;
mod source;
mod syntax;
mod table;
mod target;
mod text;
pub mod units;
mod value;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::target::Target;

pub use self::dsn::{Dsn, SslMode};
pub use self::kafka::{Kafka, KafkaSasl, KafkaTls, Mechanism};
pub use self::postgres::Postgres;
pub use environment::Environment;
pub use fault::{Fault, Faults, Place, Remark};
pub use print::print;
pub use read::{Need, read};
pub use remark::crowd;
pub use sections::{Log, Probe, ReloadOn, Retention, Serve, Spool, Sqlite, Uplink, Write};
pub use source::files;
pub use target::lone_target;
pub use value::header;

/// File that is read when none is named.
pub const DEFAULT_PATH: &str = "/etc/sitewatch/config.toml";

/// Folder for data when neither `state_dir` nor `$STATE_DIRECTORY` names one.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/sitewatch";

/// Configuration with every key that exists, each explained: `sitewatch config --example`.
pub const EXAMPLE: &str = include_str!("../../config.example");

/// Whole configuration, all files together.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this machine in records; 1 to 128 characters; no default here: `run` takes the host's name,
    /// `probe` refuses to start without a name.
    pub node: Option<String>,
    /// Folder for data. Default: `$STATE_DIRECTORY`, else [`DEFAULT_STATE_DIR`].
    pub state_dir: PathBuf,
    /// Targets to watch: every `[[target]]`, then `targets`, then the lines of `targets_file`, each in the
    /// order written; no two have the same name.
    pub targets: Vec<Arc<Target>>,
    /// Path of `targets_file`, if there is one.
    pub targets_file: Option<PathBuf>,
    /// Events at which the configuration is read again.
    pub reload: ReloadOn,
    /// `[probe]`
    pub probe: Probe,
    /// `[uplink]`
    pub uplink: Uplink,
    /// `[spool]`
    pub spool: Spool,
    /// `[sqlite]`
    pub sqlite: Sqlite,
    /// `[kafka]`; absent without that table.
    pub kafka: Option<Kafka>,
    /// `[postgres]`; absent without that table.
    pub postgres: Option<Postgres>,
    /// `[write]`
    pub write: Write,
    /// `[retention]`
    pub retention: Retention,
    /// `[serve]`
    pub serve: Serve,
    /// `[log]`
    pub log: Log,
    /// Remarks on text that is right, but may not be what was meant; in the order of files and places, none
    /// twice.
    pub remarks: Vec<Remark>,
}

#[cfg(test)]
mod tests;
