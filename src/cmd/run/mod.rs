//! `sitewatch run`: watches, and keeps the results, on one machine.
//!
//! ```text
//!     schedule ──Finding──> judge ──Record──> persist ──> SQLite    each on a thread of its own
//!                             └──> screen, log         main: signals; serve: /health
//! ```
//!
//! Stopping runs down the road: the scheduler starts nothing more and ends, the judge drains its queue,
//! the writer stores the rest. A second signal leaves at once.

mod view;

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use self::view::View;
use super::checking::{self, Checking, InitialState};
use super::reload::{LOOK_EVERY, Reload};
use super::{BAD_NEWS, FINE, host_name, keep_own, load, start_server, wants_colour};
use crate::args::CommonOptions;
use crate::clock;
use crate::config::{Config, Need};
use crate::error::{Context, Error};
use crate::model::batch::BatchLimits;
use crate::model::counters::Daemon;
use crate::model::health::SharedHealth;
use crate::model::record::{Record, TargetState};
use crate::model::report::Series;
use crate::show::screen::Screen;
use crate::show::text::{Paint, show_count};
use crate::stage::judge::TargetStates;
use crate::stage::messages::{JudgeOutput, Plan, Run};
use crate::stage::persist::records::{RecordWriter, Unstored};
use crate::stage::supervise::{SignalHandler, Supervisor};
use crate::store::{Sqlite, Store};
use crate::threads;

/// Most batches between judge and store, each of the records that were settled together. When full, the judge
/// waits.
const BATCHES: usize = 64;
/// Most targets that are announced in one batch.
const BATCH: usize = 16;

/// Watches targets and stores the records until the program is told to stop.
///
/// # Errors
/// Anything that keeps `run` from starting.
pub fn run(common: &CommonOptions) -> Result<u8, Error> {
    let since_us = clock::now_us();
    let mut config = load(common, Need::Targets)?;
    let node: Arc<str> = config.node.clone().unwrap_or_else(host_name).into();
    keep_own(&mut config, &node)?;
    let run = Run::begin(&node);
    let (store, _claim) = Sqlite::create_or_replace(&config.sqlite.path, config.sqlite.max_size)
        .map_err(|error| Error::new(error.to_string()))?;
    let supervisor = Supervisor::new()?;
    let health = SharedHealth::new(Daemon::Run, &node);
    health.count(|counters| counters.targets = config.targets.len() as u64);
    let _server = start_server(&config, &health)?;
    if store.uses_rollback_journal().map_err(|error| Error::new(error.to_string()))? {
        log::info!(
            "SQLite cannot use a write-ahead log on this file system: using a rollback journal"
        );
    }
    let plan = checking::plan(&config)?;

    let view = View::open(&config, &node, Paint::new(wants_colour()))?;
    let screen = view.as_ref().map(|view| Arc::clone(&view.screen));
    let stages = start(&config, &run, store, plan, &health, screen)?;
    log::info!(
        "watching {} as {node}, storing in {}",
        show_count(config.targets.len() as u64, "target"),
        config.sqlite.path.display()
    );
    let reload =
        Reload::new(common, (Need::Targets, since_us), &node, config, stages.checking.handle());
    let mut signals = RunSignals { checking: &stages.checking, view: view.as_ref(), reload };
    supervisor.run(&stages.ended, &mut signals);
    signals.before_exit();
    stages.join()
}

/// Reactions of `run` to signals.
struct RunSignals<'a> {
    checking: &'a Checking,
    view: Option<&'a View>,
    reload: Reload<'a>,
}

impl SignalHandler for RunSignals<'_> {
    fn stop(&mut self) {
        self.checking.stop();
    }

    fn before_exit(&mut self) {
        self.view.iter().for_each(|view| view.close());
    }

    fn reload(&mut self) {
        self.reload.reload();
    }

    fn poll_interval(&self) -> Option<Duration> {
        self.reload.is_watching().then_some(LOOK_EVERY)
    }

    fn poll(&mut self) {
        self.reload.look();
    }
}

/// Stages under way.
struct Stages {
    /// Closed when the last stage has ended.
    ended: smol::channel::Receiver<()>,
    checking: Checking,
    persist: JoinHandle<Option<Unstored>>,
}

/// Starts the stages, each on a thread of its own.
fn start(
    config: &Config,
    run: &Run,
    mut store: Sqlite,
    plan: Plan,
    health: &Arc<SharedHealth>,
    screen: Option<Arc<Mutex<Screen>>>,
) -> Result<Stages, Error> {
    let unreadable = |error: crate::store::StoreError| Error::new(error.to_string());
    let node = &run.node;
    let newest = store.newest(node).map_err(unreadable)?;
    let now_ms = clock::now_ms();
    let mut states = TargetStates::new();
    for (Series { target, node: of_node }, state) in store.states().map_err(unreadable)? {
        if of_node == *node {
            states.insert(target, state.at(now_ms));
        }
    }
    let (records_in, records) = sync_channel(BATCHES);
    let (ended_in, ended) = smol::channel::bounded(1);
    let writer = RecordWriter {
        store,
        health: Arc::clone(health),
        stop_timeout: config.probe.stop_timeout,
        limits: BatchLimits {
            count: config.write.batch_max,
            age: config.write.batch_age,
            bytes: config.spool.memory,
        },
    };
    let persist = threads::named("persist").spawn(move || {
        let unstored = writer.run(&records);
        drop(ended_in);
        unstored
    });
    let persist = persist.cannot("start a thread")?;
    let initial = InitialState { newest, states, screen };
    let owner = Arc::clone(node);
    let sink = Box::new(move |output| {
        let send = |records| match records_in.send(records) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        match output {
            JudgeOutput::Records(records) => send(records),
            JudgeOutput::Targets(targets, run) => targets.chunks(BATCH).try_for_each(|targets| {
                let state = |target| TargetState::new(target, &owner, run, clock::now_ms());
                let records = targets.iter().map(|target| Record::Target(Box::new(state(target))));
                send(records.collect())
            }),
        }
    });
    let checking = Checking::start(config, run, plan, initial, health, sink)?;
    Ok(Stages { ended, checking, persist })
}

impl Stages {
    /// Waits for all stages. Logs how they ended, and returns the exit code.
    fn join(self) -> Result<u8, Error> {
        let checked = self.checking.join();
        let broken = |_| Error::new("a thread of this program broke down");
        if let Some(Unstored { count }) = self.persist.join().map_err(broken)? {
            log::error!("{count} records could not be stored and are lost: the store is away");
            return Ok(BAD_NEWS);
        }
        if let Err(error) = checked {
            log::error!("{error}");
            return Ok(BAD_NEWS);
        }
        log::info!("stopped: everything is stored");
        Ok(FINE)
    }
}
