//! The command line: words to a [`Command`], and the usage text. No I/O here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};

use crate::config::units::parse_duration;
use crate::error::Error;

/// What `--help` prints.
pub const USAGE: &str = include_str!("args/usage.txt");

/// What an unknown command could have been.
const COMMANDS: &str = "run, probe, write, check, status or config";

/// Most lines of a `status --by`.
const COUNT_MAX: u32 = 1_000_000;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print the usage.
    Help,
    /// Print the version; verbose: of every library.
    Version {
        /// `-v` was given too.
        verbose: bool,
    },
    /// `run`
    Run(Common),
    /// `probe`
    Probe(Common),
    /// `write`
    Write(Common, Write),
    /// `check`
    Check(Common, Box<Check>),
    /// `status`
    Status(Common, Status),
    /// `config`
    Config(Common, Config),
}

/// Options of all commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// `--config`, in their order.
    pub configs: Vec<PathBuf>,
    /// `--env-file`
    pub env_file: Option<PathBuf>,
    /// How often `--verbose`.
    pub verbose: u8,
    /// `--quiet`
    pub quiet: bool,
}

/// Options of `write`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// `--setup`
    pub setup: bool,
    /// `--admin-url`; may hold a password.
    pub admin_url: Option<String>,
}

/// Options of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// URLs and names.
    pub what: Vec<String>,
    /// `--all`
    pub all: bool,
    /// `--count`; at least 1.
    pub count: u32,
    /// `--every`
    pub every: Duration,
    /// `--format json`
    pub json: bool,
    /// Keys of a target: flag and value, in their order.
    pub keys: Vec<(&'static str, String)>,
}

/// Options of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Names of targets; none: all.
    pub names: Vec<String>,
    /// `--since`
    pub since: When,
    /// `--until`
    pub until: When,
    /// `--by`
    pub by: Option<By>,
    /// `--per-node`
    pub per_node: bool,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// `--down`
    pub down: bool,
    /// `--format`
    pub format: Format,
    /// `--store`; none: PostgreSQL, if it is configured.
    pub store: Option<Store>,
}

/// Which store to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Of `run`.
    Sqlite,
    /// Of `write`.
    Postgres,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// In milliseconds since 1970.
    At(i64),
}

/// Length of a line's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Hours of UTC.
    Hour,
    /// Days of UTC.
    Day,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// An array of objects.
    Json,
    /// RFC 4180.
    Csv,
}

/// What `config` is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config {
    /// `--check`
    Check,
    /// `--print`
    Print,
    /// `--example`
    Example,
}

/// Flags of `check` that are keys of a target.
const KEYS: [&str; 10] = [
    "method",
    "header",
    "body",
    "status",
    "match",
    "reject",
    "timeout",
    "slow-after",
    "max-redirects",
    "ca-file",
];

/// Reads the words behind the program's name.
///
/// # Errors
/// A word that is none of the command's, or a value that it does not take; what is allowed.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let mut parser = Parser::from_args(words);
    let mut common = Common::default();
    let (mut help, mut version) = (false, false);
    let mut command = None;
    while command.is_none() {
        match parser.next().map_err(usage)? {
            None => break,
            Some(Short('V') | Long("version")) => version = true,
            Some(Value(word)) => command = Some(word.to_string_lossy().into_owned()),
            Some(arg) => help |= Shared::of(arg)?.take(&mut parser, &mut common)?,
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
            Some("check") => parse_check(&mut parser, &mut common)?
                .map(|check| Command::Check(common, Box::new(check))),
            Some("status") => parse_status(&mut parser, &mut common)?
                .map(|status| Command::Status(common, status)),
            Some("config") => parse_config(&mut parser, &mut common)?
                .map(|config| Command::Config(common, config)),
            Some(word) => {
                let text = format!("unknown command {word:?}: {COMMANDS}");
                return Err(Error::new(text));
            }
        };
    Ok(parsed.filter(|_| !help).unwrap_or(Command::Help))
}

fn finish_version(mut parser: Parser, mut common: Common) -> Result<Command, Error> {
    while let Some(arg) = parser.next().map_err(usage)? {
        Shared::of(arg)?.take(&mut parser, &mut common)?;
    }
    Ok(Command::Version { verbose: common.verbose > 0 })
}

/// An option of all commands.
enum Shared {
    Config,
    EnvFile,
    Verbose,
    Quiet,
    Help,
}

impl Shared {
    fn of(arg: lexopt::Arg<'_>) -> Result<Shared, Error> {
        match arg {
            Short('c') | Long("config") => Ok(Shared::Config),
            Long("env-file") => Ok(Shared::EnvFile),
            Short('v') | Long("verbose") => Ok(Shared::Verbose),
            Short('q') | Long("quiet") => Ok(Shared::Quiet),
            Short('h') | Long("help") => Ok(Shared::Help),
            other => Err(usage(other.unexpected())),
        }
    }

    /// Takes its value, if it has one. True: `--help`.
    fn take(self, parser: &mut Parser, common: &mut Common) -> Result<bool, Error> {
        match self {
            Shared::Config => common.configs.push(parser.value().map_err(usage)?.into()),
            Shared::EnvFile => common.env_file = Some(parser.value().map_err(usage)?.into()),
            Shared::Verbose => common.verbose = common.verbose.saturating_add(1),
            Shared::Quiet => common.quiet = true,
            Shared::Help => return Ok(true),
        }
        Ok(false)
    }
}

/// None: `--help` was among the words.
fn parse_run(parser: &mut Parser, common: &mut Common) -> Result<Option<()>, Error> {
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        help |= Shared::of(arg)?.take(parser, common)?;
    }
    Ok((!help).then_some(()))
}

fn parse_write(parser: &mut Parser, common: &mut Common) -> Result<Option<Write>, Error> {
    let mut write = Write::default();
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Long("setup") => write.setup = true,
            Long("admin-url") => write.admin_url = Some(value(parser)?),
            other => help |= Shared::of(other)?.take(parser, common)?,
        }
    }
    if write.admin_url.is_some() && !write.setup && !help {
        return Err(Error::new("--admin-url is for write --setup"));
    }
    Ok((!help).then_some(write))
}

fn parse_check(parser: &mut Parser, common: &mut Common) -> Result<Option<Check>, Error> {
    let mut check = Check {
        what: Vec::new(),
        all: false,
        count: 1,
        every: Duration::from_secs(1),
        json: false,
        keys: Vec::new(),
    };
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Value(word) => check.what.push(text(word)?),
            Long("all") => check.all = true,
            Long("count") => {
                let count = value(parser)?;
                let parsed = count.parse().ok().filter(|n| (1..=COUNT_MAX).contains(n));
                check.count = parsed.ok_or_else(|| {
                    Error::new(format!("--count {count:?}: a number from 1 to {COUNT_MAX}"))
                })?;
            }
            Long("every") => check.every = duration("--every", &value(parser)?)?,
            Long("format") => {
                check.json = match value(parser)?.as_str() {
                    "text" => false,
                    "json" => true,
                    other => return Err(Error::new(format!("--format {other:?}: text or json"))),
                }
            }
            Long("insecure") => check.keys.push(("insecure", String::new())),
            Long(flag) if KEYS.contains(&flag) => {
                let key = KEYS[KEYS.iter().position(|key| *key == flag).unwrap_or(0)];
                check.keys.push((key, value(parser)?));
            }
            other => help |= Shared::of(other)?.take(parser, common)?,
        }
    }
    if !help && check.what.is_empty() && !check.all {
        return Err(Error::new("check what? a URL, the name of a target, or --all"));
    }
    if check.all && !check.what.is_empty() {
        return Err(Error::new("--all is every target: no names beside it"));
    }
    Ok((!help).then_some(check))
}

fn parse_status(parser: &mut Parser, common: &mut Common) -> Result<Option<Status>, Error> {
    let mut status = Status {
        names: Vec::new(),
        since: When::Ago(Duration::from_secs(24 * 3600)),
        until: When::Ago(Duration::ZERO),
        by: None,
        per_node: false,
        labels: Vec::new(),
        down: false,
        format: Format::Text,
        store: None,
    };
    let mut help = false;
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Value(word) => status.names.push(text(word)?),
            Long("since") => status.since = when("--since", &value(parser)?)?,
            Long("until") => status.until = when("--until", &value(parser)?)?,
            Long("by") => {
                status.by = Some(match value(parser)?.as_str() {
                    "hour" => By::Hour,
                    "day" => By::Day,
                    other => return Err(Error::new(format!("--by {other:?}: hour or day"))),
                });
            }
            Long("per-node") => status.per_node = true,
            Long("label") => {
                let label = value(parser)?;
                let Some((key, value)) = label.split_once('=') else {
                    return Err(Error::new(format!("--label {label:?}: key=value")));
                };
                status.labels.push((key.to_owned(), value.to_owned()));
            }
            Long("down") => status.down = true,
            Long("format") => {
                status.format = match value(parser)?.as_str() {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    "csv" => Format::Csv,
                    other => {
                        return Err(Error::new(format!("--format {other:?}: text, json or csv")));
                    }
                };
            }
            Long("store") => {
                status.store = Some(match value(parser)?.as_str() {
                    "sqlite" => Store::Sqlite,
                    "postgres" => Store::Postgres,
                    other => {
                        return Err(Error::new(format!("--store {other:?}: sqlite or postgres")));
                    }
                });
            }
            other => help |= Shared::of(other)?.take(parser, common)?,
        }
    }
    Ok((!help).then_some(status))
}

fn parse_config(parser: &mut Parser, common: &mut Common) -> Result<Option<Config>, Error> {
    let mut help = false;
    let mut config = None;
    while let Some(arg) = parser.next().map_err(usage)? {
        let wanted = match arg {
            Long("check") => Config::Check,
            Long("print") => Config::Print,
            Long("example") => Config::Example,
            other => {
                help |= Shared::of(other)?.take(parser, common)?;
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

/// A duration back from now, RFC 3339, or a date.
fn when(flag: &str, word: &str) -> Result<When, Error> {
    if let Ok(ago) = parse_duration(word) {
        return Ok(When::Ago(ago));
    }
    let is_date = word.len() == 10 && word.bytes().filter(|b| *b == b'-').count() == 2;
    let whole = if is_date { format!("{word}T00:00:00Z") } else { word.to_owned() };
    let time = humantime::parse_rfc3339(&whole).ok();
    let ms = time
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok());
    ms.map(When::At).ok_or_else(|| {
        let allowed = "a duration back from now (24h), a date (2026-11-21), or RFC 3339 in UTC \
                       (2026-11-21T03:00:00Z)";
        Error::new(format!("{flag} {word:?}: {allowed}"))
    })
}

fn usage(error: lexopt::Error) -> Error {
    Error::new(format!("{error}; see sitewatch --help"))
}

#[cfg(test)]
mod tests;
