//! Supervises a daemon, on the main thread: passes signals on, until the last stage has ended.
//!
//! Takes: SIGINT, SIGTERM, SIGHUP. Gives: calls of a [`SignalHandler`]. Ends when: the last stage has ended; at
//! the second signal to stop, the process exits at once. On failure: a daemon that cannot catch signals does not
//! start; later there is none.

use std::io;
use std::time::{Duration, Instant};

use async_io::Timer;
use async_signal::{Signal, Signals};
use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::stream::StreamExt;

use crate::error::{Context, Error};
use crate::threads;

/// Signals that come within this time of the first count as the same one: `timeout` and some shells signal
/// both the process and its group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// Reactions of a daemon to signals.
pub trait SignalHandler {
    /// Begins an orderly stop, at the first signal to stop.
    fn stop(&mut self);
    /// Does what must be done before the process exits at once, at the second signal to stop.
    fn before_exit(&mut self) {}
    /// Reloads the configuration, at SIGHUP before the first signal to stop.
    fn reload(&mut self);
    /// Returns the time between two calls of [`SignalHandler::poll`]; none: the method is never called.
    fn poll_interval(&self) -> Option<Duration> {
        None
    }
    /// Does the work that is due every [`SignalHandler::poll_interval`], until the first signal to stop.
    fn poll(&mut self) {}
}

/// Catches the signals of a daemon: made before its stages start, so that none is missed.
pub struct Supervisor {
    signals: Signals,
    /// The daemon was started on a terminal.
    started_on_terminal: bool,
    /// Time of the first signal to stop.
    stopping_since: Option<Instant>,
}

impl Supervisor {
    /// Catches signals from here on.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new() -> Result<Supervisor, Error> {
        // async-io starts a thread of its own.
        threads::ensure_spare(1).cannot("start a thread")?;
        let signals = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::new(signals).cannot("catch signals")?;
        Ok(Supervisor { signals, started_on_terminal: is_on_terminal(), stopping_since: None })
    }

    /// Passes signals to `handler`, until `last_stage` is closed.
    pub fn run(mut self, last_stage: &Receiver<()>, handler: &mut dyn SignalHandler) {
        let end = async { last_stage.recv().await.unwrap_or(()) };
        let react = async {
            loop {
                match self.next_signal(handler.poll_interval()).await {
                    None => handler.poll(),
                    Some(Ok(signal)) => self.react(signal, handler),
                    Some(Err(_)) => {}
                }
            }
        };
        smol::block_on(end.or(react));
    }

    /// Waits for the next signal. Returns none if `poll_interval` is over before, and no stop has begun.
    async fn next_signal(&mut self, poll_interval: Option<Duration>) -> Option<io::Result<Signal>> {
        let poll_interval = poll_interval.filter(|_| self.stopping_since.is_none());
        let poll = async {
            match poll_interval {
                Some(interval) => drop(Timer::after(interval).await),
                None => smol::future::pending().await,
            }
            None
        };
        let signal = async { self.signals.next().await };
        signal.or(poll).await
    }

    fn react(&mut self, signal: Signal, handler: &mut dyn SignalHandler) {
        // SIGHUP from a terminal that is gone ends the program that ran on it, as usual.
        if signal == Signal::Hup && self.started_on_terminal == is_on_terminal() {
            if self.stopping_since.is_none() {
                handler.reload();
            }
            return;
        }
        match self.stopping_since {
            None => {
                self.stopping_since = Some(Instant::now());
                handler.stop();
            }
            Some(since) if since.elapsed() < SAME_SIGNAL => {}
            Some(_) => {
                handler.before_exit();
                std::process::exit(128 + signal as i32);
            }
        }
    }
}

/// Returns true if the process has a controlling terminal, wherever its output goes.
fn is_on_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
