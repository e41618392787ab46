//! The commands: one file each, and the only place where stages meet.

mod check;
mod checking;
mod config;
mod probe;
mod reload;
mod run;
mod service;
mod status;
mod version;
mod write;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use log::LevelFilter;

use crate::args::{self, Command, CommonOptions};
use crate::character::clean_lines;
use crate::config::{Config, Environment, Need, read};
use crate::error::{Context, Error};
use crate::log::LogFormat;
use crate::model::health::SharedHealth;
use crate::show::terminal;
use crate::show::text::{Paint, show_count};
use crate::stage::serve::PageServer;

/// Exit code: all is well.
const FINE: u8 = 0;
/// Exit code: the answer is bad news.
const BAD_NEWS: u8 = 1;
/// Exit code: there is no answer.
const NO_ANSWER: u8 = 2;

/// Runs the command that the words of the command line name. Returns the exit code.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    // This call comes before anything else of OpenSSL. It alone keeps OpenSSL from freeing its data when the
    // process exits, while a thread of librdkafka may be in the middle of a handshake.
    openssl::init();
    let code = args::parse(words).and_then(|command| match command {
        Command::Help => print(args::USAGE).map(|()| FINE),
        Command::Version { verbose } => version::version(verbose),
        Command::Run(common) => run::run(&common),
        Command::Probe(common) => probe::probe(&common),
        Command::Write(common, options) => write::write(&common, &options),
        Command::Check(common, options) => check::check(&common, &options),
        Command::Status(common, options) => status::status(&common, &options),
        Command::Config(common, options) => config::config(&common, options),
        Command::Service(common, options) => service::service(&common, options),
    });
    code.unwrap_or_else(|error| {
        complain(&error);
        NO_ANSWER
    })
}

/// Prints the reason for having no answer to stderr. Faults of a configuration begin with their place.
fn complain(error: &Error) {
    let text = error.to_string();
    let text = clean_lines(&text);
    let line = if text.contains('\n') || starts_with_place(&text) {
        format!("{text}\n")
    } else {
        format!("sitewatch: {text}\n")
    };
    // If stderr is closed, there is nowhere left to say so.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns true if a text begins with `PATH:LINE:COLUMN: `.
fn starts_with_place(text: &str) -> bool {
    let Some((place, _)) = text.split_once(": ") else { return false };
    let mut numbers = place.rsplitn(3, ':').take(2);
    numbers.all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        && place.matches(':').count() >= 2
}

/// Reads the configuration and starts the log.
fn load(common: &CommonOptions, need: Need) -> Result<Config, Error> {
    let (environment, paths) = surroundings(common)?;
    let config =
        read(&paths, &environment, need).map_err(|faults| Error::new(faults.to_string()))?;
    start_log(common, config.log.level, config.log.format, config.log.max_per_minute);
    Ok(config)
}

/// Drops the targets that are for other nodes, and logs their number.
///
/// # Errors
/// Targets are configured, but none of them is for this node.
fn keep_own(config: &mut Config, node: &str) -> Result<(), Error> {
    let all = config.targets.len();
    config.targets.retain(|target| target.is_for(node));
    let own = config.targets.len();
    if own == 0 && all > 0 {
        let targets = show_count(all as u64, "target");
        let text = format!("none of {targets} has {node:?} among its nodes: set node, or nodes");
        return Err(Error::new(text));
    }
    if own < all {
        log::info!("{} for other nodes", show_count((all - own) as u64, "target"));
    }
    Ok(())
}

/// Starts to serve pages, if the configuration has an address to listen on; until dropped.
fn start_server(config: &Config, health: &Arc<SharedHealth>) -> Result<Option<PageServer>, Error> {
    let start = |address| PageServer::start(address, Arc::clone(health));
    config.serve.listen.map(start).transpose()
}

/// Returns the environment, with the file of variables if one is given, and the paths of the configuration.
fn surroundings(common: &CommonOptions) -> Result<(Environment, Vec<std::path::PathBuf>), Error> {
    let mut environment = Environment::of_process();
    if let Some(path) = &common.env_file {
        environment =
            environment.with_file(path).map_err(|faults| Error::new(faults.to_string()))?;
    }
    let paths = environment.paths(common.configs.clone());
    Ok((environment, paths))
}

fn start_log(common: &CommonOptions, level: LevelFilter, format: LogFormat, max_per_minute: u32) {
    let level = self::level(common, level);
    crate::log::start(level, format, max_per_minute, crate::clock::now_ms);
}

/// Returns the level of the log, from the configuration and the flags of the command line.
fn level(common: &CommonOptions, configured: LevelFilter) -> LevelFilter {
    match common.verbose {
        _ if common.quiet => configured.min(LevelFilter::Warn),
        0 => configured,
        1 => configured.max(LevelFilter::Debug),
        _ => LevelFilter::Trace,
    }
}

/// Writes to stdout. A reader that has gone (`| head`) is no error.
fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).cannot("write to stdout")
        }
        _ => Ok(()),
    }
}

/// Returns the columns of the terminal on stdout, 80 if they are unknown; none if stdout is no terminal.
fn width() -> Option<usize> {
    let out = std::io::stdout();
    out.is_terminal().then(|| terminal::size(&out).map_or(80, |(columns, _)| columns))
}

/// Returns colours if stdout is a terminal that wants them, else none.
fn paint() -> Paint {
    Paint::new(std::io::stdout().is_terminal() && wants_colour())
}

/// Returns true if the environment allows colours on the terminal: <https://no-color.org>.
fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Returns the name of this host, for nodes that have none of their own; `localhost` if the host has none.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
