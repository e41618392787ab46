//! Last stage of `run`: gathers records and stores them, batch by batch.
//!
//! Takes: records. Gives: nothing. Ends when: nobody sends any more and all are stored, or `stop_timeout` is
//! over. On failure: holds the records and tries again; once its memory is full, drops the oldest, counts
//! them, and stores the count as a loss once the store is back.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::backoff::Backoff;
use crate::model::batch::{BatchLimits, BatchQueue};
use crate::model::health::SharedHealth;
use crate::model::outage::Outage;
use crate::model::record::Record;
use crate::store::{Batch, Store, WriteCounts};

/// First pause before a store that failed is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Least time between two log lines about the oldest checks being dropped.
const EXPIRED_EVERY: Duration = Duration::from_secs(3600);

/// Stage that stores records.
pub struct RecordWriter<S> {
    /// Store that the records go to.
    pub store: S,
    /// Health of the daemon.
    pub health: Arc<SharedHealth>,
    /// Longest time for storing the last records once nobody sends any more.
    pub stop_timeout: Duration,
    /// Limits of a batch, and of the memory for the records that wait.
    pub limits: BatchLimits,
}

/// Records that could not be stored at the end.
pub struct Unstored {
    /// Number of records.
    pub count: usize,
}

impl<S: Store> RecordWriter<S> {
    /// Stores records until nobody sends any more. Returns the records that are left, if the store stays
    /// away.
    pub fn run(mut self, records: &Receiver<Vec<Record>>) -> Option<Unstored> {
        let mut waiting = Waiting::new(self.limits);
        loop {
            let received = match waiting.due() {
                None => records.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => records.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(records) => {
                    records.into_iter().for_each(|record| waiting.push(record, &self.health));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if waiting.due().is_some_and(|due| due <= Instant::now()) {
                self.store(&mut waiting);
            }
        }
        let limit = Instant::now() + self.stop_timeout;
        while !waiting.queue.is_empty() {
            self.store(&mut waiting);
            if waiting.retry.is_some() {
                if Instant::now() >= limit {
                    return Some(Unstored { count: waiting.queue.len() });
                }
                std::thread::sleep(RETRY_FIRST);
            }
        }
        None
    }

    /// Tries to store the next batch, and the losses with it.
    fn store(&mut self, waiting: &mut Waiting) {
        let now_ms = clock::now_ms();
        let batch = Batch { records: waiting.queue.take_batch(), ..Batch::default() };
        match self.store.write(&batch, now_ms) {
            Ok(result) => {
                let written = result.counts();
                waiting.queue.note_stored(Instant::now());
                if let Some(retry) = waiting.retry.take() {
                    let away = retry.outage.length(Instant::now()).as_secs();
                    log::info!(
                        "the store is back after {away} s; {} records wait",
                        waiting.queue.len()
                    );
                }
                waiting.log_expired(&written);
                let (checks, left) = (written.checks, waiting.queue.len() as u64);
                self.health.update(|health| {
                    health.trouble = None;
                    health.counters.stored += checks;
                    health.counters.expired += written.expired;
                    health.counters.stored_ms = now_ms;
                    health.counters.waiting = left;
                });
            }
            Err(error) => {
                waiting.queue.put_back(batch.records);
                let retry = waiting.retry.get_or_insert_with(Retry::new);
                if retry.outage.report(&error.to_string()) {
                    log::error!("{error}; checks go on, their results wait in memory");
                }
                retry.next = Instant::now() + retry.backoff.pause();
                self.health.update(|health| health.trouble = Some("store_away"));
            }
        }
    }
}

/// Records that wait, and the state of the tries to store them.
struct Waiting {
    queue: BatchQueue,
    /// Tries while the store is away; none: the store works.
    retry: Option<Retry>,
    /// Checks that were dropped for `max_size` since the last log line about it.
    expired: u64,
    /// Time of that log line.
    expired_logged_at: Option<Instant>,
}

/// Tries of a store that is away.
struct Retry {
    outage: Outage,
    /// Time of the next try.
    next: Instant,
    backoff: Backoff,
}

impl Retry {
    fn new() -> Retry {
        let now = Instant::now();
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        Retry { outage: Outage::new(now), next: now, backoff }
    }
}

impl Waiting {
    fn new(limits: BatchLimits) -> Waiting {
        let queue = BatchQueue::new(limits);
        Waiting { queue, retry: None, expired: 0, expired_logged_at: None }
    }

    /// Returns the time to store next, not before the next try while the store is away; none: nothing waits.
    fn due(&self) -> Option<Instant> {
        let due = self.queue.due()?;
        Some(self.retry.as_ref().map_or(due, |retry| due.max(retry.next)))
    }

    fn push(&mut self, record: Record, health: &SharedHealth) {
        let had_losses = !self.queue.losses().is_empty();
        let lost = self.queue.push(record, Instant::now());
        if lost > 0 && !had_losses {
            log::error!("memory is full while the store is away: dropping the oldest records");
        }
        let waiting = self.queue.len() as u64;
        health.count(|counters| {
            counters.lost += lost;
            counters.waiting = waiting;
        });
    }

    /// Logs that the oldest checks are dropped, the first time and then once an hour at most.
    fn log_expired(&mut self, written: &WriteCounts) {
        self.expired += written.expired;
        let silent = self.expired_logged_at.is_some_and(|said| said.elapsed() < EXPIRED_EVERY);
        if self.expired > 0 && !silent {
            log::warn!(
                "the store has reached max_size: deleted the {} oldest checks",
                self.expired
            );
            (self.expired, self.expired_logged_at) = (0, Some(Instant::now()));
        }
    }
}
