//! `sitewatch status`: prints a report from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::{BAD_NEWS, FINE, NO_ANSWER, host_name, load, paint, print, width};
use crate::args::{self, CommonOptions, ReportFormat, TimePoint, WindowLength};
use crate::character::clean_lines;
use crate::clock;
use crate::config::{Config, Need};
use crate::error::Error;
use crate::model::outcome::Verdict;
use crate::model::report::{Report, Reporter};
use crate::show::{figure, status};
use crate::store::{Labels, Postgres, Sqlite, Store, StoreError};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Most lines of a report: each takes about 1 kB of memory while the report is made.
const LINES_MAX: usize = 100_000;
/// Most windows of `--by`.
const WINDOWS_MAX: i64 = 10_000;

/// Prints a report of the targets, and returns the exit code of the worst.
///
/// # Errors
/// No store, no such target, or times that make no window.
pub fn status(common: &CommonOptions, options: &args::StatusOptions) -> Result<u8, Error> {
    let config = load(common, Need::Nothing)?;
    let now_ms = clock::now_ms();
    let windows = windows(options, now_ms)?;
    let (mut store, is_of_one_node) = open(&config, options.store)?;
    let (from_ms, until_ms) = (windows[0].0, windows[windows.len() - 1].1);
    let mut reports = reports((&mut *store, is_of_one_node), &config, options, windows, now_ms)?;
    let losses = store.losses(from_ms, until_ms).map_err(said)?;
    // The reader of our output may be slow, and an open store would hold up `run`.
    drop(store);
    if options.down {
        reports.retain(|report| report.standing.verdict == Some(Verdict::Down));
    }
    match options.format {
        ReportFormat::Json => print(&figure::write_json(&reports))?,
        // A file or a program gets the data unchanged.
        ReportFormat::Csv if width().is_some() => {
            print(&clean_lines(&figure::write_csv(&reports)))?;
        }
        ReportFormat::Csv => print(&figure::write_csv(&reports))?,
        ReportFormat::Text => {
            print(&status::write_text(&reports, now_ms, width(), paint()))?;
            tell_losses(losses);
        }
    }
    Ok(verdict(&reports))
}

/// Opens the store that was asked for; without a wish PostgreSQL if it is configured, else SQLite. True: the
/// store holds the results of one node.
fn open(config: &Config, wanted: Option<args::StoreKind>) -> Result<(Box<dyn Store>, bool), Error> {
    match (wanted, &config.postgres) {
        (None | Some(args::StoreKind::Postgres), Some(postgres)) => {
            Ok((Box::new(Postgres::open(postgres).map_err(said)?), false))
        }
        (Some(args::StoreKind::Postgres), None) => {
            Err(Error::new("--store postgres: there is no [postgres] in the configuration"))
        }
        (None, None) | (Some(args::StoreKind::Sqlite), _) => {
            Ok((Box::new(Sqlite::open(&config.sqlite.path).map_err(said)?), true))
        }
    }
}

/// Returns the windows that were asked for, rising, in milliseconds since 1970: start, and end that is not in
/// the window.
fn windows(options: &args::StatusOptions, now_ms: i64) -> Result<Vec<(i64, i64)>, Error> {
    let at = |when: TimePoint| match when {
        TimePoint::At(ms) => ms,
        TimePoint::Ago(ago) if ago == Duration::ZERO => now_ms + 1,
        TimePoint::Ago(ago) => {
            now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
        }
    };
    let (since, until) = (at(options.since).max(0), at(options.until));
    if since >= until {
        return Err(Error::new("--since is not before --until"));
    }
    let Some(by) = options.by else { return Ok(vec![(since, until)]) };
    let step = match by {
        WindowLength::Hour => HOUR_MS,
        WindowLength::Day => DAY_MS,
    };
    let first = since - since.rem_euclid(step);
    if (until - first) / step >= WINDOWS_MAX {
        return Err(Error::new(format!("--by makes more than {WINDOWS_MAX} lines a target")));
    }
    let starts = (0..).map(|i| first + i * step).take_while(|start| *start < until);
    Ok(starts.map(|start| (start.max(since), (start + step).min(until))).collect())
}

fn reports(
    (store, is_of_one_node): (&mut dyn Store, bool),
    config: &Config,
    options: &args::StatusOptions,
    windows: Vec<(i64, i64)>,
    now_ms: i64,
) -> Result<Vec<Report>, Error> {
    let known = store.targets().map_err(said)?;
    let configured = config.targets.iter().map(|target| Arc::clone(&target.name));
    // The SQLite file holds the results of this node: targets for other nodes are never checked here.
    let node = config.node.clone().unwrap_or_else(host_name);
    let own = config.targets.iter().filter(|target| !is_of_one_node || target.is_for(&node));
    let mut names: BTreeSet<Arc<str>> = known.keys().cloned().chain(configured).collect();
    for name in &options.names {
        if !names.contains(name.as_str()) {
            return Err(Error::new(format!("no target {name:?}, neither stored nor configured")));
        }
    }
    let labels = |name: &Arc<str>| -> Labels {
        let target = config.targets.iter().find(|target| target.name == *name);
        target.map(|target| target.labels.clone()).or(known.get(name).cloned()).unwrap_or_default()
    };
    names.retain(|name| {
        let of = labels(name);
        (options.names.is_empty() || options.names.iter().any(|wanted| **wanted == **name))
            && options.labels.iter().all(|(key, value)| of.get(key) == Some(value))
    });
    if windows.len() * names.len() > LINES_MAX {
        let text = format!("--by makes more than {LINES_MAX} lines: name targets, or ask for less");
        return Err(Error::new(text));
    }
    let (from_ms, until_ms) = (windows[0].0, windows[windows.len() - 1].1);
    let mut reporter = Reporter::new(windows);
    store
        .checks(from_ms, until_ms, &mut |series, check| {
            if names.contains(&series.target) {
                reporter.check(series, check);
            }
        })
        .map_err(said)?;
    store
        .gaps(from_ms, until_ms, &mut |gap| {
            if names.contains(&gap.target) {
                reporter.gap(gap);
            }
        })
        .map_err(said)?;
    let states = store.states().map_err(said)?;
    // A target without a check in the window is shown only if it is configured, or was asked for by name.
    let always: Vec<Arc<str>> = own
        .map(|target| Arc::clone(&target.name))
        .chain(options.names.iter().map(|name| Arc::from(name.as_str())))
        .filter(|name| names.contains(name))
        .collect();
    Ok(reporter.finish(&states, &always, options.per_node, now_ms))
}

/// Prints to stderr the numbers of records that the window has lost.
fn tell_losses(losses: BTreeMap<String, u64>) {
    for (cause, count) in losses {
        let why = match cause.as_str() {
            "expired" => "checks went to keep the store within max_size",
            "memory_full" => "records were lost while the store or Kafka was away",
            _ => "records were lost",
        };
        // If stderr is closed, there is nowhere left to say so.
        let _ = writeln!(std::io::stderr(), "sitewatch: {count} {why}");
    }
}

/// Returns the exit code. Any target down: bad news; else any unknown or never checked: no answer.
fn verdict(reports: &[Report]) -> u8 {
    let any = |verdict| reports.iter().any(|report| report.standing.verdict == verdict);
    if any(Some(Verdict::Down)) {
        BAD_NEWS
    } else if any(Some(Verdict::Unknown)) || any(None) {
        NO_ANSWER
    } else {
        FINE
    }
}

fn said(error: StoreError) -> Error {
    Error::new(error.to_string())
}
