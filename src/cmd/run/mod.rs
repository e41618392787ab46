//! `sitewatch run`: watches, and keeps the results, on one machine.
//!
//! ```text
//!     watch ──Found──> judge ──Record──> keep ──> SQLite        each on a thread of its own
//!                        └──> screen, log         main: signals, /health
//! ```
//!
//! Stopping runs down the road: the watch starts nothing more and ends, the judge drains what is
//! left, the keeper stores it. A second signal leaves at once.

mod judge;
mod keep;
mod view;

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use smol::future::FutureExt;
use smol::stream::StreamExt;

use self::judge::{Judge, Stands};
use self::keep::{Keep, Left};
use self::view::View;
use super::{BAD_NEWS, FINE, host_name, keep_own, load, wants_colour};
use crate::args::Common;
use crate::check::trust::Trust;
use crate::check::watch::{Limits, Watch, draw_run};
use crate::clock;
use crate::config::{Config, Need};
use crate::error::{Context, Error};
use crate::model::batch;
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::report::standing;
use crate::show::health::Health;
use crate::show::http::{self, Response};
use crate::show::screen::Screen;
use crate::show::text::{Paint, count};
use crate::stop::Stop;
use crate::store::{Sqlite, Store};

/// Records between judge and store, at most; the judge waits when it is full.
const RECORDS: usize = 64;
/// Stack of each thread, in bytes: none recurses, none holds large buffers.
const STACK: usize = 512 * 1024;

/// Signals this soon after the first are the same telling: `timeout` and some shells send it to
/// the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// What the stages tell the rest of the program.
pub struct Shared(Mutex<Health>);

impl Shared {
    /// Changes the counters.
    pub fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn response(&self) -> Response {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).response()
    }
}

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
    let listener = config.serve.listen.map(http::listen).transpose()?;
    announce(&mut store, &config, &node, run).map_err(|error| Error::new(error.to_string()))?;
    let trust = Trust::read(config.targets.iter().map(|target| &**target))?;
    let mut signals = Signals::new([Signal::Int, Signal::Term]).cannot("catch signals")?;

    let view = View::open(&config, &node, Paint::new(wants_colour()))?;
    let screen = view.as_ref().map(|view| Arc::clone(&view.screen));
    let stages = start(&config, (&node, run), store, trust, screen)?;
    log::info!(
        "watching {} as {node}, storing in {}",
        count(config.targets.len() as u64, "target"),
        config.sqlite.path.display()
    );
    let shared = Arc::clone(&stages.shared);
    let answer = move |path: &str| match path {
        "/health" => shared.response(),
        _ => Response::text(404, "no such page; there is /health"),
    };
    let serve = async {
        match listener {
            Some(listener) => http::serve(listener, answer).await,
            None => smol::future::pending().await,
        }
    };
    let obey = async {
        let mut told: Option<Instant> = None;
        while let Some(signal) = signals.next().await {
            let Ok(signal) = signal else { continue };
            if told.is_some_and(|told| told.elapsed() < SAME_SIGNAL) {
                continue;
            }
            if told.replace(Instant::now()).is_some() {
                view.iter().for_each(View::close);
                std::process::exit(128 + signal as i32);
            }
            stages.stop();
            log::info!("stopping: checks under way end first; a second signal leaves at once");
        }
    };
    let ended = stages.ended.clone();
    let end = async { ended.recv().await.unwrap_or(()) };
    smol::block_on(end.or(obey).or(serve));
    view.iter().for_each(View::close);
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
    let mut records = vec![Record::Node(NodeState::new(node, run, sent_ms))];
    records.extend(
        config
            .targets
            .iter()
            .map(|target| Record::Target(Box::new(TargetState::new(target, node, run, sent_ms)))),
    );
    store.write(&mut records.iter(), sent_ms).map(|_| ())
}

/// The stages under way.
struct Stages {
    stop: Stop,
    waker: curl::multi::MultiWaker,
    shared: Arc<Shared>,
    /// Closed when the last stage has ended.
    ended: smol::channel::Receiver<()>,
    watch: JoinHandle<Result<(), Error>>,
    judge: JoinHandle<()>,
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
    let shared = Arc::new(Shared(Mutex::new(Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.to_string(),
        targets: config.targets.len() as u64,
        ..Health::default()
    })));
    let (found_in, found) = smol::channel::unbounded();
    let (records_in, records) = sync_channel(RECORDS);
    let (ended_in, ended) = smol::channel::bounded(1);

    let judge = Judge {
        found,
        records: records_in,
        stands,
        shared: Arc::clone(&shared),
        screen,
        node: Arc::clone(node),
    };
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
    let thread = |name: &str| Builder::new().name(name.to_owned()).stack_size(STACK);
    let keep = thread("keep").spawn(move || {
        let left = keep.run(&records);
        drop(ended_in);
        left
    });
    let keep = keep.cannot("start a thread")?;
    let judge = thread("judge").spawn(move || judge.run()).cannot("start a thread")?;
    // libcurl's handles stay on the thread that made them; only the waker comes back.
    let (targets, limits, owner) = (config.targets.clone(), limits(config), Arc::clone(node));
    let (stop, (waker_in, waker)) = (Stop::default(), sync_channel(1));
    let told = stop.clone();
    let watch = thread("watch").spawn(move || {
        let stored = |name: &str| newest.get(name).copied();
        let watch = Watch::new(targets, stored, (owner, run), limits, trust, found_in);
        let _ = waker_in.send(watch.waker());
        watch.run(&told)
    });
    let watch = watch.cannot("start a thread")?;
    let waker = waker.recv().cannot("start the watch")?;
    Ok(Stages { stop, waker, shared, ended, watch, judge, keep })
}

fn limits(config: &Config) -> Limits {
    Limits {
        max_in_flight: config.probe.max_in_flight,
        bodies_max: config.probe.bodies_max,
        stop_timeout: config.probe.stop_timeout,
    }
}

impl Stages {
    fn stop(&self) {
        self.stop.tell();
        if self.waker.wakeup().is_err() {
            log::debug!("the watch cannot be woken: it looks within a second");
        }
    }

    /// Waits for all stages, and says how it ended.
    fn join(self) -> Result<u8, Error> {
        let gone = |_| Error::new("a thread of this program broke down");
        let watched = self.watch.join().map_err(gone)?;
        self.judge.join().map_err(gone)?;
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
