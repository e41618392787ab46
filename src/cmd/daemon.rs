//! What all daemons share: signals, `/health`, and waiting for the last stage to end.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use async_signal::{Signal, Signals};
use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::stream::StreamExt;

use crate::config::Config;
use crate::error::{Context, Error};
use crate::show::health::Health;
use crate::show::http::{self, Response};
use crate::threads;

/// Stack of each thread of ours, in bytes: none recurses, none holds large buffers.
pub const STACK: usize = 512 * 1024;

/// Signals this soon after the first are the same telling: `timeout` and some shells send it to
/// the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// What the stages tell the rest of the program.
#[derive(Default)]
pub struct Shared(Mutex<Health>);

impl Shared {
    /// With these counters to begin with.
    pub fn new(health: Health) -> Arc<Shared> {
        Arc::new(Shared(Mutex::new(health)))
    }

    /// Changes the counters.
    pub fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn response(&self) -> Response {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).response()
    }
}

/// Whether it has a controlling terminal, wherever its output goes.
fn is_on_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// A thread with a small stack.
pub fn thread(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// What a daemon needs of the world before its stages start, so that it can still refuse to.
pub struct Daemon {
    listener: Option<Async<TcpListener>>,
    signals: Signals,
    /// It was started on a terminal.
    on_terminal: bool,
}

/// What a daemon does when it is told something.
pub trait Obey {
    /// Ends as it should: told to stop for the first time.
    fn stop(&mut self);
    /// Told a second time: the last word before it leaves at once.
    fn leave(&mut self) {}
    /// SIGHUP.
    fn hang_up(&mut self);
    /// How often it looks around by itself, in [`Obey::look`].
    fn looks_every(&self) -> Option<Duration> {
        None
    }
    /// Looks around.
    fn look(&mut self) {}
}

impl Daemon {
    /// Listens where the configuration says, and for signals.
    ///
    /// # Errors
    /// The address is taken, or no thread can be started.
    pub fn new(config: &Config) -> Result<Daemon, Error> {
        // For async-io.
        threads::spare(1).cannot("start a thread")?;
        let listener = config.serve.listen.map(http::listen).transpose()?;
        let signals = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::new(signals).cannot("catch signals")?;
        Ok(Daemon { listener, signals, on_terminal: is_on_terminal() })
    }

    /// Serves, and has `obey` obey signals, until `ended` is closed.
    pub fn oversee(mut self, shared: &Arc<Shared>, ended: &Receiver<()>, daemon: &mut dyn Obey) {
        let shared = Arc::clone(shared);
        let answer = move |path: &str| match path {
            "/health" => shared.response(),
            _ => Response::text(404, "no such page; there is /health"),
        };
        let serve = async {
            match self.listener {
                Some(listener) => http::serve(listener, answer).await,
                None => smol::future::pending().await,
            }
        };
        let obey = async {
            let mut told: Option<Instant> = None;
            loop {
                let look = async {
                    match daemon.looks_every() {
                        Some(every) if told.is_none() => drop(Timer::after(every).await),
                        _ => smol::future::pending().await,
                    }
                    None
                };
                let signal = async { self.signals.next().await };
                let Some(signal) = signal.or(look).await else {
                    daemon.look();
                    continue;
                };
                let Ok(signal) = signal else { continue };
                // A terminal that is gone ends what ran on it, as ever.
                if signal == Signal::Hup && self.on_terminal == is_on_terminal() {
                    if told.is_none() {
                        daemon.hang_up();
                    }
                    continue;
                }
                if told.is_some_and(|told| told.elapsed() < SAME_SIGNAL) {
                    continue;
                }
                if told.replace(Instant::now()).is_some() {
                    daemon.leave();
                    std::process::exit(128 + signal as i32);
                }
                daemon.stop();
            }
        };
        let end = async { ended.recv().await.unwrap_or(()) };
        smol::block_on(end.or(obey).or(serve));
    }
}
