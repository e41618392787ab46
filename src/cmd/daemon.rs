//! Parts that all daemons share: signals, `/health`, and the wait for the last stage to end.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use async_signal::{Signal, Signals};
use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::stream::StreamExt;

use crate::config::Config;
use crate::error::{Context, Error};
use crate::model::health::SharedHealth;
use crate::serve::http::{self, Request, Response};
use crate::show::health;
use crate::threads;

/// Signals that come within this time of the first count as the same one: `timeout` and some shells signal
/// both the process and its group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// Returns true if the process has a controlling terminal, wherever its output goes.
fn is_on_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Listener and signals of a daemon, obtained before its stages start: a daemon that cannot have them does
/// not start.
pub struct Daemon {
    listener: Option<Async<TcpListener>>,
    signals: Signals,
    /// The daemon was started on a terminal.
    on_terminal: bool,
}

/// Reactions of a daemon to signals.
pub trait Obey {
    /// Begins an orderly stop, at the first signal to stop.
    fn stop(&mut self);
    /// Does what must be done before the process exits at once, at the second signal to stop.
    fn leave(&mut self) {}
    /// Reacts to SIGHUP.
    fn hang_up(&mut self);
    /// Returns the time between two calls of [`Obey::look`]; none: the method is never called.
    fn looks_every(&self) -> Option<Duration> {
        None
    }
    /// Does the work that is due every [`Obey::looks_every`], until the daemon is told to stop.
    fn look(&mut self) {}
}

impl Daemon {
    /// Binds the listener of the configuration, if there is one, and catches signals.
    ///
    /// # Errors
    /// The address is taken, or no thread can be started.
    pub fn new(config: &Config) -> Result<Daemon, Error> {
        // async-io starts a thread of its own.
        threads::spare(1).cannot("start a thread")?;
        let listener = config.serve.listen.map(http::listen).transpose()?;
        let signals = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::new(signals).cannot("catch signals")?;
        Ok(Daemon { listener, signals, on_terminal: is_on_terminal() })
    }

    /// Serves `/health`, and passes signals to `daemon`, until `ended` is closed.
    pub fn oversee(
        mut self,
        shared: &Arc<SharedHealth>,
        ended: &Receiver<()>,
        daemon: &mut dyn Obey,
    ) {
        let shared = Arc::clone(shared);
        let answer = move |request: Request<'_>| match request.path {
            "/health" => {
                let health = shared.snapshot();
                let status = if health.trouble.is_none() { 200 } else { 503 };
                Response::json(status, health::json(&health))
            }
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
                // SIGHUP from a terminal that is gone ends the program that ran on it, as usual.
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
