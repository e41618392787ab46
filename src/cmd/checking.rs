//! Starts the scheduler and the judge for `run` and `probe`, each on a thread of its own.
//! The stage after them takes records.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::check::canary::CanaryClient;
use crate::check::trust::Trust;
use crate::config::{Config, describe_overload};
use crate::error::{Context, Error};
use crate::model::health::SharedHealth;
use crate::model::uplink::{Canaries, Uplink};
use crate::show::screen::Screen;
use crate::stage::judge::{Judge, TargetStates};
use crate::stage::messages::{OutputSink, Plan, Run, SchedulerHandle};
use crate::stage::schedule::{Limits, Scheduler};
use crate::stop::Stop;
use crate::threads;

/// Open descriptors to ask the kernel for, or more if more are needed; the service files allow as many.
const DESCRIPTORS: u64 = 65_536;
/// Descriptors that are open besides those of checks: files, the store, brokers, look-ups.
const OTHERS: usize = 100;

/// State that is known before the first check.
#[derive(Default)]
pub struct InitialState {
    /// Newest due time that is stored of each target, in milliseconds since 1970.
    pub newest: BTreeMap<String, i64>,
    /// State of each target, and its start.
    pub states: TargetStates,
    /// Live view on the terminal, if there is one.
    pub screen: Option<Arc<Mutex<Screen>>>,
}

/// Returns the plan of a configuration. Warns if its checks would wait for one another.
///
/// # Errors
/// A `ca_file` that cannot be read or holds no certificate.
pub fn plan(config: &Config) -> Result<Plan, Error> {
    let trust = Trust::read(config.targets.iter().map(|target| &**target))?;
    if let Some(text) = describe_overload(config) {
        log::warn!("{text}");
    }
    Ok(Plan { targets: config.targets.clone(), trust, canaries: canaries(config) })
}

/// Returns the hosts that tell our own network's trouble from a target's: those configured, else the brokers
/// of Kafka, with targets that may stand in.
pub fn canaries(config: &Config) -> Canaries {
    let brokers = || config.kafka.as_ref().map(|kafka| kafka.brokers.clone());
    let configured = config.uplink.canaries.clone();
    let stands_in = configured.is_none();
    Canaries { hosts: configured.or_else(brokers).unwrap_or_default(), stands_in }
}

/// Raises the limit on open descriptors as far as needed and allowed: a shell allows 1024 until asked, too
/// few for a large `max_in_flight` or many connections that are kept. Warns if too few can be had.
fn ask_for_descriptors(config: &Config) {
    let room = config.probe.max_in_flight;
    let kept = config.targets.iter().filter(|target| target.connect.reuse).count();
    let needed = (room + kept + OTHERS) as u64;
    let now = getrlimit(Resource::Nofile);
    let Some(mut limit) = now.current else { return };
    let wanted = needed.max(DESCRIPTORS);
    let asked = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    // If the kernel refuses, the present limit stays.
    if limit < asked && setrlimit(Resource::Nofile, Rlimit { current: Some(asked), ..now }).is_ok()
    {
        limit = asked;
    }
    if limit < needed {
        log::warn!(
            "at most {limit} descriptors can be open (ulimit -n), but {room} checks at once \
             (max_in_flight) and {kept} kept connections need at least {needed}: checks that get \
             none have the verdict unknown"
        );
    }
}

/// Scheduler and judge, under way.
pub struct Checking {
    stop: Stop,
    handle: SchedulerHandle,
    scheduler: JoinHandle<Result<(), Error>>,
    judge: JoinHandle<()>,
}

impl Checking {
    /// Starts to check the targets of `plan` in this run. Records go to `sink`, which is dropped after the
    /// last one.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        config: &Config,
        run: &Run,
        plan: Plan,
        initial: InitialState,
        health: &Arc<SharedHealth>,
        sink: OutputSink,
    ) -> Result<Checking, Error> {
        let (findings_in, findings) = smol::channel::unbounded();
        ask_for_descriptors(config);
        // libcurl's handles must stay on the thread that made them, so the scheduler is built there and sends
        // only its own two handles back.
        let (own_run, newest) = (run.clone(), initial.newest);
        let limits = Limits {
            max_in_flight: config.probe.max_in_flight,
            bodies_max: config.probe.bodies_max,
            stop_timeout: config.probe.stop_timeout,
            clock_wait: config.probe.clock_wait,
        };
        let (stop, (ends_in, ends)) = (Stop::default(), sync_channel(1));
        let scheduler_stop = stop.clone();
        let scheduler = threads::named("schedule").spawn(move || {
            let scheduler = Scheduler::new(own_run, limits, findings_in);
            let _ = ends_in.send((scheduler.handle(), scheduler.decision_sender()));
            scheduler.run(plan, newest, &scheduler_stop)
        });
        let scheduler = scheduler.cannot("start a thread")?;
        let (handle, decisions) = ends.recv().cannot("start the scheduler")?;
        let judge = Judge {
            findings,
            sink,
            decisions,
            run: run.number,
            uplink: Uplink::default(),
            canaries: CanaryClient::default(),
            states: initial.states,
            health: Arc::clone(health),
            screen: initial.screen,
            node: Arc::clone(&run.node),
            soon_ending: HashSet::new(),
            records: Vec::new(),
        };
        let judge = threads::named("judge").spawn(move || judge.run()).cannot("start a thread")?;
        Ok(Checking { stop, handle, scheduler, judge })
    }

    /// Returns the handle of the scheduler, for a new plan.
    pub fn handle(&self) -> SchedulerHandle {
        self.handle.clone()
    }

    /// Starts no more checks; the checks under way end.
    pub fn stop(&self) {
        self.stop.tell();
        self.handle.wake();
        log::info!("stopping: checks under way end first; a second signal leaves at once");
    }

    /// Waits for both stages.
    ///
    /// # Errors
    /// The scheduler could not go on.
    pub fn join(self) -> Result<(), Error> {
        let broken = |_| Error::new("a thread of this program broke down");
        let scheduled = self.scheduler.join().map_err(broken)?;
        self.judge.join().map_err(broken)?;
        scheduled
    }
}
