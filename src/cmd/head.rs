//! The head of the road, the same for `run` and `probe`: watch and judge, each on a thread of its
//! own. What comes after them takes records.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::daemon::{Shared, thread};
use super::judge::{Give, Judge, Stands};
use super::uplink::Uplink;
use crate::check::trust::Trust;
use crate::check::watch::{Limits, Watch};
use crate::config::Config;
use crate::error::{Context, Error};
use crate::show::screen::Screen;
use crate::stop::Stop;

/// What is known before the first check.
#[derive(Default)]
pub struct Before {
    /// The newest due time that is stored of each target.
    pub newest: BTreeMap<String, i64>,
    /// How each target stands.
    pub stands: Stands,
    /// What is on the terminal.
    pub screen: Option<Arc<Mutex<Screen>>>,
}

/// The two stages under way.
pub struct Head {
    stop: Stop,
    waker: curl::multi::MultiWaker,
    watch: JoinHandle<Result<(), Error>>,
    judge: JoinHandle<()>,
}

impl Head {
    /// Starts to watch the configured targets as `node`; records go to `give`, which is dropped
    /// when the last has been given.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        config: &Config,
        (node, run): (&Arc<str>, u32),
        trust: Trust,
        before: Before,
        shared: &Arc<Shared>,
        give: Give,
    ) -> Result<Head, Error> {
        let (found_in, found) = smol::channel::unbounded();
        // libcurl's handles stay on the thread that made them; only the waker comes back.
        let (targets, owner, newest) = (config.targets.clone(), Arc::clone(node), before.newest);
        let limits = Limits {
            max_in_flight: config.probe.max_in_flight,
            bodies_max: config.probe.bodies_max,
            stop_timeout: config.probe.stop_timeout,
        };
        let (stop, (waker_in, waker)) = (Stop::default(), sync_channel(1));
        let told = stop.clone();
        let watch = thread("watch").spawn(move || {
            let stored = move |name: &str| newest.get(name).copied();
            let watch = Watch::new(targets, stored, (owner, run), limits, trust, found_in);
            let _ = waker_in.send((watch.waker(), watch.line()));
            watch.run(&told)
        });
        let watch = watch.cannot("start a thread")?;
        let (waker, line) = waker.recv().cannot("start the watch")?;
        let brokers = || config.kafka.as_ref().map(|kafka| kafka.brokers.clone());
        let configured = config.uplink.canaries.clone();
        let stands_in = configured.is_none();
        let canaries = configured.or_else(brokers).unwrap_or_default();
        let uplink = Uplink::new(&config.targets, &canaries, stands_in);
        let judge = Judge {
            found,
            give,
            line,
            uplink,
            stands: before.stands,
            shared: Arc::clone(shared),
            screen: before.screen,
            node: Arc::clone(node),
            soon: Stands::new(),
        };
        let judge = thread("judge").spawn(move || judge.run()).cannot("start a thread")?;
        Ok(Head { stop, waker, watch, judge })
    }

    /// Starts no more checks; those under way end.
    pub fn stop(&self) {
        self.stop.tell();
        if self.waker.wakeup().is_err() {
            log::debug!("the watch cannot be woken: it looks within a second");
        }
        log::info!("stopping: checks under way end first; a second signal leaves at once");
    }

    /// Waits for both stages.
    ///
    /// # Errors
    /// The watch could not go on.
    pub fn join(self) -> Result<(), Error> {
        let gone = |_| Error::new("a thread of this program broke down");
        let watched = self.watch.join().map_err(gone)?;
        self.judge.join().map_err(gone)?;
        watched
    }
}
