//! Stage of `write` that looks after the database: makes the partitions of the hours to come, and deletes rows
//! that were kept for long enough. It has a connection of its own, so that no batch waits for it.
//!
//! Takes: nothing. Gives: nothing. Ends when: the writer has ended, or the program is told to stop. On failure:
//! tries again, later and later, and logs each reason once for an outage. That the server cannot be reached is
//! logged only if it lasts, since the writer logs it at once.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::{self, Config, RetentionConfig};
use crate::model::backoff::Backoff;
use crate::model::outage::Outage;
use crate::model::safeguard::{age_moment, clock_fault};
use crate::show::text::show_count;
use crate::stop::Stop;
use crate::store::{Postgres, Readiness, RetentionCounts, Store, StoreError};

/// Pause after a round.
const ROUND_PAUSE: Duration = Duration::from_secs(60);
/// Pause after a round that left dead letters over their limit, and first pause after one that failed.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// Time after which a server that cannot be used is logged here too.
const UNREACHABLE_MAX: Duration = Duration::from_secs(5 * 60);

/// Reason for which a round failed.
enum RoundFault {
    /// The server is away or not ready, or a clock is wrong: the writer logs that.
    Unreachable(String),
    /// The server is there, and a step failed.
    Step(StoreError),
}

/// Stage that looks after the database.
pub struct Housekeeper {
    settings: config::PostgresConfig,
    retention: RetentionConfig,
    dead_letter_max: u64,
    stop: Stop,
    /// None until the first round.
    store: Option<Postgres>,
    /// Number of the connection over which the tables were looked at last; none: not yet.
    prepared: Option<u64>,
    /// Time since the first of the last rounds that failed; none if the last one succeeded.
    outage: Option<Outage>,
}

impl Housekeeper {
    /// Creates the stage; it has not connected yet.
    pub fn new(config: &Config, settings: config::PostgresConfig, stop: Stop) -> Housekeeper {
        Housekeeper {
            settings,
            retention: config.retention.clone(),
            dead_letter_max: config.write.dead_letter_max,
            stop,
            store: None,
            prepared: None,
            outage: None,
        }
    }

    /// Looks after the database until the sender of `writer` is gone.
    pub fn run(mut self, writer: &Receiver<Infallible>) {
        let mut backoff = Backoff::new(RETRY_FIRST, ROUND_PAUSE);
        let mut pause = Duration::ZERO;
        loop {
            match writer.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) if !self.stop.is_told() => {}
                _ => return,
            }
            pause = match self.tend() {
                Ok(counts) => {
                    backoff.reset();
                    self.end_outage();
                    log_counts(&counts);
                    if counts.has_more { RETRY_FIRST } else { ROUND_PAUSE }
                }
                Err(fault) => {
                    self.note_fault(&fault);
                    backoff.pause()
                }
            };
        }
    }

    /// Does one round: partitions first, then retention by the age that the database's clock gives.
    fn tend(&mut self) -> Result<RetentionCounts, RoundFault> {
        let unreachable = |error: StoreError| RoundFault::Unreachable(error.to_string());
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Postgres::new(&self.settings).map_err(unreachable)?,
        };
        store.set_stop(&self.stop, Duration::ZERO);
        let store = self.store.insert(store);
        store.ping().map_err(unreachable)?;
        if self.prepared != Some(store.connections()) {
            if let Readiness::Missing(text) = store.prepare().map_err(unreachable)? {
                return Err(RoundFault::Unreachable(text));
            }
            self.prepared = Some(store.connections());
        }
        let before_ms = clock::now_ms();
        let now_ms = store.server_time_ms().map_err(RoundFault::Step)?;
        if let Some(why) = clock_fault((before_ms, clock::now_ms()), now_ms) {
            return Err(RoundFault::Unreachable(why));
        }
        store.make_hours(now_ms).map_err(RoundFault::Step)?;
        let newest_ms = store.newest_due().map_err(RoundFault::Step)?;
        let age_ms = age_moment(now_ms, newest_ms);
        store.retain(&self.retention, self.dead_letter_max, age_ms).map_err(RoundFault::Step)
    }

    fn note_fault(&mut self, fault: &RoundFault) {
        if self.stop.is_told() {
            return;
        }
        let now = Instant::now();
        let outage = self.outage.get_or_insert_with(|| Outage::new(now));
        let (reason, is_due) = match fault {
            RoundFault::Unreachable(why) => (why.clone(), outage.length(now) >= UNREACHABLE_MAX),
            RoundFault::Step(error) => (error.to_string(), true),
        };
        if is_due && outage.report(&reason) {
            log::warn!("rows older than the retention are not deleted: {reason}; trying again");
        }
    }

    fn end_outage(&mut self) {
        let Some(outage) = self.outage.take() else { return };
        if outage.is_reported() {
            let seconds = outage.length(Instant::now()).as_secs();
            log::info!("rows older than the retention are deleted again after {seconds} s");
        }
    }
}

fn log_counts(counts: &RetentionCounts) {
    let letters = counts.letters_old + counts.letters_over;
    if counts.hours + letters > 0 {
        log::info!(
            "deleted as older than the retention: {} of checks, {}",
            show_count(counts.hours, "hour"),
            show_count(letters, "dead letter")
        );
    }
}
