//! The configuration: typed sections, each with its bounds and defaults in one place. A command reads the
//! configuration at its start and then only looks at it.

mod environment;
mod identity;
mod kafka;
mod pem;
mod postgres;
mod print;
mod reader;
mod remarks;
mod sections;
mod targets;
mod toml;
pub mod units;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::target::Target;

pub use self::environment::Environment;
pub use self::kafka::{KafkaConfig, KafkaSasl, KafkaTls, Mechanism};
pub use self::postgres::PostgresConfig;
pub use self::postgres::dsn::{Dsn, SslMode};
pub use self::print::print;
pub use self::reader::{Need, read};
pub use self::remarks::describe_overload;
pub use self::sections::{
    LogConfig, ProbeConfig, ReloadOn, RetentionConfig, ServeConfig, SpoolConfig, SqliteConfig,
    UplinkConfig, WriteConfig,
};
pub use self::targets::keys::parse_target;
pub use self::targets::values::make_header;
pub use self::toml::fault::{ConfigFault, ConfigFaults, Location, Remark};
pub use self::toml::source::list_files;

/// File that is read when none is named.
pub const DEFAULT_PATH: &str = "/etc/sitewatch/config.toml";

/// Folder for data when neither `state_dir` nor `$STATE_DIRECTORY` names one.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/sitewatch";

/// Configuration with every key that exists, each explained: `sitewatch config --example`.
pub const EXAMPLE: &str = include_str!("../../config.example");

/// Text in place of a secret.
const HIDDEN: &str = "***";

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
    pub probe: ProbeConfig,
    /// `[uplink]`
    pub uplink: UplinkConfig,
    /// `[spool]`
    pub spool: SpoolConfig,
    /// `[sqlite]`
    pub sqlite: SqliteConfig,
    /// `[kafka]`; absent without that table.
    pub kafka: Option<KafkaConfig>,
    /// `[postgres]`; absent without that table.
    pub postgres: Option<PostgresConfig>,
    /// `[write]`
    pub write: WriteConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[serve]`
    pub serve: ServeConfig,
    /// `[log]`
    pub log: LogConfig,
    /// Remarks on text that is right, but may not be what was meant; in the order of files and places, none
    /// twice.
    pub remarks: Vec<Remark>,
}

#[cfg(test)]
mod tests;
