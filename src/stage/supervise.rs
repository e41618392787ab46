//! Parts that all daemons share: signals, and the wait for the last stage to end.

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

/// Returns true if the process has a controlling terminal, wherever its output goes.
fn is_on_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Signals of a daemon, caught before its stages start: a daemon that cannot catch them does not start.
pub struct Daemon {
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
    /// Catches signals.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new() -> Result<Daemon, Error> {
        // async-io starts a thread of its own.
        threads::spare(1).cannot("start a thread")?;
        let signals = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::new(signals).cannot("catch signals")?;
        Ok(Daemon { signals, on_terminal: is_on_terminal() })
    }

    /// Passes signals to `daemon`, until `ended` is closed.
    pub fn oversee(mut self, ended: &Receiver<()>, daemon: &mut dyn Obey) {
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
        smol::block_on(end.or(obey));
    }
}
