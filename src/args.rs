//! The command line: from words to a [`Command`], and the usage text. No I/O here.

mod check;
mod service;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};

use crate::config::units::parse_duration;
use crate::error::Error;

pub use self::check::CheckOptions;
pub use self::service::{DaemonName, ServiceManager, ServiceOptions};
pub use self::status::{ReportFormat, StatusOptions, StoreKind, TimePoint, WindowLength};

/// Text that `--help` prints.
pub const USAGE: &str = include_str!("args/usage.txt");

/// Names of the commands, for the fault of an unknown one.
const COMMANDS: &str = "run, probe, write, check, status, config or service";

/// Command that the words ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print the usage.
    Help,
    /// Print the version; verbose: also that of every library.
    Version {
        /// `-v` was given too.
        verbose: bool,
    },
    /// `run`
    Run(CommonOptions),
    /// `probe`
    Probe(CommonOptions),
    /// `write`
    Write(CommonOptions, WriteOptions),
    /// `check`
    Check(CommonOptions, Box<CheckOptions>),
    /// `status`
    Status(CommonOptions, StatusOptions),
    /// `config`
    Config(CommonOptions, ConfigTask),
    /// `service`
    Service(CommonOptions, ServiceOptions),
}

/// Options of all commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommonOptions {
    /// `--config`, in their order.
    pub configs: Vec<PathBuf>,
    /// `--env-file`
    pub env_file: Option<PathBuf>,
    /// Number of `--verbose`.
    pub verbose: u8,
    /// `--quiet`
    pub quiet: bool,
}

/// Options of `write`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `--setup`
    pub setup: bool,
    /// `--admin-url`; may hold a password.
    pub admin_url: Option<String>,
}

/// Task of `config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigTask {
    /// `--check`
    Check,
    /// `--print`
    Print,
    /// `--example`
    Example,
}

/// Reads the words behind the program's name.
///
/// # Errors
/// A word that the command does not know, or a value that an option does not take; the text says what is
/// allowed.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let mut parser = Parser::from_args(words);
    let mut common = CommonOptions::default();
    let (mut help, mut version) = (false, false);
    let mut command = None;
    while command.is_none() {
        match parser.next().map_err(usage)? {
            None => break,
            Some(Short('V') | Long("version")) => version = true,
            Some(Value(word)) => command = Some(word.to_string_lossy().into_owned()),
            Some(arg) => help |= SharedOption::of(arg)?.take(&mut parser, &mut common)?,
        }
    }
    let parsed =
        match command.as_deref() {
            None if version => return finish_version(parser, common),
            None if help => return Ok(Command::Help),
            None => return Err(Error::new(format!("which command? {COMMANDS}"))),
            Some("run") => parse_run(&mut parser, &mut common)?.map(|()| Command::Run(common)),
            Some("probe") => parse_run(&mut parser, &mut common)?.map(|()| Command::Probe(common)),
            Some("write") => {
                parse_write(&mut parser, &mut common)?.map(|write| Command::Write(common, write))
            }
            Some("check") => check::parse(&mut parser, &mut common)?
                .map(|check| Command::Check(common, Box::new(check))),
            Some("status") => status::parse(&mut parser, &mut common)?
                .map(|status| Command::Status(common, status)),
            Some("config") => parse_config(&mut parser, &mut common)?
                .map(|config| Command::Config(common, config)),
            Some("service") => service::parse(&mut parser, &mut common)?
                .map(|service| Command::Service(common, service)),
            Some(word) => {
                let text = format!("unknown command {word:?}: {COMMANDS}");
                return Err(Error::new(text));
            }
        };
    Ok(parsed.filter(|_| !help).unwrap_or(Command::Help))
}

fn finish_version(mut parser: Parser, mut common: CommonOptions) -> Result<Command, Error> {
    while let Some(arg) = parser.next().map_err(usage)? {
        SharedOption::of(arg)?.take(&mut parser, &mut common)?;
    }
    Ok(Command::Version { verbose: common.verbose > 0 })
}

/// Option of all commands.
enum SharedOption {
    Config,
    EnvFile,
    Verbose,
    Quiet,
    Help,
}

impl SharedOption {
    fn of(arg: lexopt::Arg<'_>) -> Result<SharedOption, Error> {
        match arg {
            Short('c') | Long("config") => Ok(SharedOption::Config),
            Long("env-file") => Ok(SharedOption::EnvFile),
            Short('v') | Long("verbose") => Ok(SharedOption::Verbose),
            Short('q') | Long("quiet") => Ok(SharedOption::Quiet),
            Short('h') | Long("help") => Ok(SharedOption::Help),
            other => Err(usage(other.unexpected())),
        }
    }

    /// Takes the option's value, if it has one. Returns true for `--help`.
    fn take(self, parser: &mut Parser, common: &mut CommonOptions) -> Result<bool, Error> {
        match self {
            SharedOption::Config => common.configs.push(parser.value().map_err(usage)?.into()),
            SharedOption::EnvFile => common.env_file = Some(parser.value().map_err(usage)?.into()),
            SharedOption::Verbose => common.verbose = common.verbose.saturating_add(1),
            SharedOption::Quiet => common.quiet = true,
            SharedOption::Help => return Ok(true),
        }
        Ok(false)
    }
}

/// Reads the words of a command without options of its own. Returns none if `--help` was among the words.
fn parse_run(parser: &mut Parser, common: &mut CommonOptions) -> Result<Option<()>, Error> {
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        help |= SharedOption::of(arg)?.take(parser, common)?;
    }
    Ok((!help).then_some(()))
}

fn parse_write(
    parser: &mut Parser,
    common: &mut CommonOptions,
) -> Result<Option<WriteOptions>, Error> {
    let mut write = WriteOptions::default();
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Long("setup") => write.setup = true,
            Long("admin-url") => write.admin_url = Some(value(parser)?),
            other => help |= SharedOption::of(other)?.take(parser, common)?,
        }
    }
    if write.admin_url.is_some() && !write.setup && !help {
        return Err(Error::new("--admin-url is for write --setup"));
    }
    Ok((!help).then_some(write))
}

fn parse_config(
    parser: &mut Parser,
    common: &mut CommonOptions,
) -> Result<Option<ConfigTask>, Error> {
    let mut help = false;
    let mut config = None;
    while let Some(arg) = parser.next().map_err(usage)? {
        let wanted = match arg {
            Long("check") => ConfigTask::Check,
            Long("print") => ConfigTask::Print,
            Long("example") => ConfigTask::Example,
            other => {
                help |= SharedOption::of(other)?.take(parser, common)?;
                continue;
            }
        };
        if config.replace(wanted).is_some_and(|before| before != wanted) {
            return Err(Error::new("config: one of --check, --print and --example"));
        }
    }
    match config {
        _ if help => Ok(None),
        Some(config) => Ok(Some(config)),
        None => Err(Error::new("config: --check, --print or --example?")),
    }
}

fn value(parser: &mut Parser) -> Result<String, Error> {
    text(parser.value().map_err(usage)?)
}

fn text(word: OsString) -> Result<String, Error> {
    word.string().map_err(usage)
}

fn duration(flag: &str, word: &str) -> Result<Duration, Error> {
    parse_duration(word).map_err(|error| Error::new(format!("{flag} {word:?}: {error}")))
}

fn usage(error: lexopt::Error) -> Error {
    Error::new(format!("{error}; see sitewatch --help"))
}

#[cfg(test)]
mod tests;
