//! `sitewatch run`: watches, and keeps the results, on one machine.
//!
//! ```text
//!     watch ──Found──> judge ──Record──> keep ──> SQLite        each on a thread of its own
//!                        └──> screen, log         main: signals, /health
//! ```
//!
//! Stopping runs down the road: the watch starts nothing more and ends, the judge drains what is
//! left, the keeper stores it. A second signal leaves at once.

mod keep;
mod view;

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use self::keep::{Keep, Left};
use self::view::View;
use super::daemon::{Daemon, Shared, thread};
use super::head::{Before, Head};
use super::judge::Stands;
use super::{BAD_NEWS, FINE, host_name, keep_own, load, wants_colour};
use crate::args::Common;
use crate::check::trust::Trust;
use crate::check::watch::draw_run;
use crate::clock;
use crate::config::{Config, Need};
use crate::error::{Context, Error};
use crate::model::batch;
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::report::standing;
use crate::show::health::{Health, Role};
use crate::show::screen::Screen;
use crate::show::text::{Paint, count};
use crate::store::{Sqlite, Store};

/// Records between judge and store, at most; the judge waits when it is full.
const RECORDS: usize = 64;
/// Targets that are announced at once: all of them at once would be kept twice.
const ANNOUNCED: usize = 1000;

/// Watches until told to stop.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(common: &Common) -> Result<u8, Error> {
    let mut config = load(common, Need::Targets)?;
    let node: Arc<str> = config.node.clone().unwrap_or_else(host_name).into();
    keep_own(&mut config, &node)?;
    let run = draw_run();
    let mut store = Sqlite::create(&config.sqlite.path, config.sqlite.max_size)
        .map_err(|error| Error::new(error.to_string()))?;
    let _claim = Sqlite::claim(&config.sqlite.path).map_err(|e| Error::new(e.to_string()))?;
    let daemon = Daemon::new(&config)?;
    announce(&mut store, &config, &node, run).map_err(|error| Error::new(error.to_string()))?;
    let trust = Trust::read(config.targets.iter().map(|target| &**target))?;

    let view = View::open(&config, &node, Paint::new(wants_colour()))?;
    let screen = view.as_ref().map(|view| Arc::clone(&view.screen));
    let stages = start(&config, (&node, run), store, trust, screen)?;
    log::info!(
        "watching {} as {node}, storing in {}",
        count(config.targets.len() as u64, "target"),
        config.sqlite.path.display()
    );
    let close = || view.iter().for_each(View::close);
    daemon.oversee(&stages.shared, &stages.ended, || stages.head.stop(), close);
    close();
    stages.join()
}

/// Stores what this node and its targets are, before the first check.
fn announce(
    store: &mut Sqlite,
    config: &Config,
    node: &Arc<str>,
    run: u32,
) -> Result<(), crate::store::StoreError> {
    if store.uses_rollback_journal()? {
        log::info!("no write-ahead log can be had on this file system: using a rollback journal");
    }
    let sent_ms = clock::now_ms();
    store.write(&mut [Record::Node(NodeState::new(node, run, sent_ms))].iter(), sent_ms)?;
    for targets in config.targets.chunks(ANNOUNCED) {
        let state = |target| Box::new(TargetState::new(target, node, run, sent_ms));
        let states = targets.iter().map(|target| Record::Target(state(target)));
        store.write(&mut states.collect::<Vec<_>>().iter(), sent_ms)?;
    }
    Ok(())
}

/// The stages under way.
struct Stages {
    shared: Arc<Shared>,
    /// Closed when the last stage has ended.
    ended: smol::channel::Receiver<()>,
    head: Head,
    keep: JoinHandle<Option<Left>>,
}

/// Starts the stages, each on its thread.
fn start(
    config: &Config,
    (node, run): (&Arc<str>, u32),
    mut store: Sqlite,
    trust: Trust,
    screen: Option<Arc<Mutex<Screen>>>,
) -> Result<Stages, Error> {
    let unreadable = |error: crate::store::StoreError| Error::new(error.to_string());
    let newest = store.newest(node).map_err(unreadable)?;
    let now_ms = clock::now_ms();
    let mut stands = Stands::new();
    for ((target, of_node), state) in store.states().map_err(unreadable)? {
        let now = standing(&[state], now_ms);
        if of_node == *node
            && let (Some(verdict), Some(since_ms)) = (now.verdict, now.since_ms)
        {
            stands.insert(target, (verdict.state(), since_ms));
        }
    }
    let shared = Shared::new(Health {
        role: Role::Run,
        node: node.to_string(),
        targets: config.targets.len() as u64,
        ..Health::default()
    });
    let (records_in, records) = sync_channel(RECORDS);
    let (ended_in, ended) = smol::channel::bounded(1);
    let keep = Keep {
        store,
        shared: Arc::clone(&shared),
        stop_timeout: config.probe.stop_timeout,
        limits: batch::Limits {
            count: config.write.batch_max,
            age: config.write.batch_age,
            bytes: config.spool.memory,
        },
    };
    let keep = thread("keep").spawn(move || {
        let left = keep.run(&records);
        drop(ended_in);
        left
    });
    let keep = keep.cannot("start a thread")?;
    let before = Before { newest, stands, screen };
    let give = Box::new(move |record| records_in.send(record).is_ok());
    let head = Head::start(config, (node, run), trust, before, &shared, give)?;
    Ok(Stages { shared, ended, head, keep })
}

impl Stages {
    /// Waits for all stages, and says how it ended.
    fn join(self) -> Result<u8, Error> {
        let watched = self.head.join();
        let gone = |_| Error::new("a thread of this program broke down");
        if let Some(Left { count }) = self.keep.join().map_err(gone)? {
            log::error!("{count} records could not be stored and are lost: the store is away");
            return Ok(BAD_NEWS);
        }
        if let Err(error) = watched {
            log::error!("{error}");
            return Ok(BAD_NEWS);
        }
        log::info!("stopped: everything is stored");
        Ok(FINE)
    }
}
