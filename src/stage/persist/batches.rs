//! Last stage of `write`: stores batches in PostgreSQL, and returns the offsets at which reading goes on.
//!
//! Takes: [`StoreRequest`]. Gives: [`StoreReply`]. Ends when: the consumer is gone and all is stored, or,
//! once told to stop, `stop_timeout` is over. On failure: tries again until a try succeeds; a record that
//! PostgreSQL refuses for its own fault is looked for, and kept as a dead letter. While a clock or the table
//! is at fault, the batch waits, and nothing is dropped.

mod attempt;
mod outage;
mod suspects;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use self::attempt::{SetAsideCounts, TryResult};
use self::outage::{StoreFault, StoreOutage};
use self::suspects::SuspectBatch;
use crate::clock;
use crate::config::{self, Config, RetentionConfig};
use crate::model::backoff::Backoff;
use crate::model::health::SharedHealth;
use crate::model::safeguard::clock_fault;
use crate::stage::messages::{PositionRequest, StoreReply, StoreRequest};
use crate::stop::Stop;
use crate::store::{Batch, Position, Postgres, Readiness, WriteResult};

/// First pause before a store that failed is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause: a store that is back is used within this.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Wait after a stop for a step that can be left undone: nothing is lost then.
const AT_ONCE: Duration = Duration::ZERO;
/// Longest sleep at a time, so that a signal is seen soon.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Time without a question after which a store is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The same while nothing can be stored, or a batch is in doubt.
const PING_EVERY_IN_OUTAGE: Duration = Duration::from_secs(1);

/// Stage that stores batches.
pub struct BatchWriter {
    settings: config::PostgresConfig,
    retention: RetentionConfig,
    stop_timeout: Duration,
    requests: Receiver<StoreRequest>,
    replies: Sender<StoreReply>,
    health: Arc<SharedHealth>,
    stop: Stop,
    /// Reason for which nothing is stored for now; none: all is well.
    outage: Option<StoreOutage>,
    /// Number of the connection over which the tables were looked at last; none: not yet.
    prepared: Option<u64>,
    /// Counts of the records that were put aside.
    aside: SetAsideCounts,
    /// Batch that waits until it is known whether the table or its records are at fault.
    doubt: Option<SuspectBatch>,
}

/// Work that was left when the writer was told to stop while nothing could be stored.
pub struct Unstored {
    /// Number of records that were being stored.
    pub count: u64,
    /// The store was there, and the records were held back.
    pub is_held: bool,
}

/// End of all tries: the program was told to stop, and nothing could be stored for long enough.
struct GaveUp;

impl BatchWriter {
    /// Creates the stage; it has not connected yet.
    pub fn new(
        config: &Config,
        settings: config::PostgresConfig,
        requests: Receiver<StoreRequest>,
        replies: Sender<StoreReply>,
        health: Arc<SharedHealth>,
        stop: Stop,
    ) -> BatchWriter {
        BatchWriter {
            settings,
            retention: config.retention.clone(),
            stop_timeout: config.probe.stop_timeout,
            requests,
            replies,
            health,
            stop,
            outage: None,
            prepared: None,
            aside: SetAsideCounts::default(),
            doubt: None,
        }
    }

    /// Stores batches until the consumer is gone. Returns what is left, if nothing can be stored.
    pub fn run(mut self) -> Option<Unstored> {
        let (GaveUp, count) = self.work().err()?;
        let is_held =
            self.doubt.is_some() || self.outage.is_some_and(|outage| outage.is_held_back());
        Some(Unstored { count, is_held })
    }

    /// Stores batches and answers questions until the consumer is gone. An error has the number of records
    /// that were being stored.
    fn work(&mut self) -> Result<(), (GaveUp, u64)> {
        let idle = |gave_up| (gave_up, 0);
        let settings = self.settings.clone();
        let store = self.retry_until_done(AT_ONCE, |_| Ok(Postgres::new(&settings)?));
        let mut store = store.map_err(idle)?;
        store.set_retention(&self.retention);
        store.set_stop(&self.stop, self.stop_timeout);
        self.retry_until_done(AT_ONCE, |writer| writer.prepare(&mut store)).map_err(idle)?;
        self.reply(StoreReply::Ready);
        loop {
            let is_waiting = self.outage.is_some() || self.doubt.is_some();
            let knock = if is_waiting { PING_EVERY_IN_OUTAGE } else { PING_EVERY };
            match self.requests.recv_timeout(knock) {
                Ok(StoreRequest::Batch(batch)) => {
                    let answer = self.store(&mut store, *batch)?;
                    self.reply(answer);
                }
                Ok(StoreRequest::Positions(question)) => {
                    let answer = self.positions(&mut store, &question).map_err(idle)?;
                    self.reply(answer);
                }
                // The table may be mended by now, or the records have waited long enough to be judged.
                Err(RecvTimeoutError::Timeout) if self.doubt.is_some() => {
                    let answer = self.store(&mut store, Batch::default())?;
                    if !matches!(answer, StoreReply::Deferred { .. }) {
                        self.reply(answer);
                    }
                }
                Err(RecvTimeoutError::Timeout) => match self.now_ms(&mut store) {
                    Ok(_) => self.end_outage(),
                    Err(fault) => self.note_fault(&fault),
                },
                Err(RecvTimeoutError::Disconnected) => {
                    let left = self.doubt.as_ref().map(|doubt| (GaveUp, doubt.count()));
                    return left.map_or(Ok(()), Err);
                }
            }
        }
    }

    fn reply(&self, answer: StoreReply) {
        // A consumer that is gone is noticed when the writer waits for its next work.
        let _ = self.replies.send(answer);
    }

    /// Stores a batch, with the one in doubt. An error has the number of their records.
    fn store(&mut self, store: &mut Postgres, batch: Batch) -> Result<StoreReply, (GaveUp, u64)> {
        let mut batch = self.join_suspects(batch);
        let waiting = batch.records.len() as u64;
        self.health.count(|counters| counters.waiting = waiting);
        let gave_up = |gave_up| (gave_up, waiting);
        let (mut tried, mut is_older) =
            (self.store_or_set_aside(store, &mut batch).map_err(gave_up)?, false);
        if matches!(tried, TryResult::Done(WriteResult::Older(_))) {
            // The records that were read are true all the same, and may not be there to be read again: they
            // are stored without marks.
            batch.marks.clear();
            (tried, is_older) =
                (self.store_or_set_aside(store, &mut batch).map_err(gave_up)?, true);
        }
        let written = match tried {
            TryResult::Done(WriteResult::Stored(written)) => written,
            TryResult::Done(WriteResult::Older(_)) => return Ok(StoreReply::Outdated),
            TryResult::Doubtful(why) => {
                self.hold(batch, &why);
                let deferred = StoreReply::Deferred { takes_more: !self.is_full() };
                return Ok(if is_older { StoreReply::Outdated } else { deferred });
            }
        };
        self.end_doubt();
        let now = clock::now_ms();
        let letters = self.aside.count(&batch);
        self.health.count(|counters| {
            counters.stored += written.checks;
            counters.repeats += written.repeats;
            counters.expired += written.expired;
            counters.dead_letters += letters;
            counters.waiting = 0;
            counters.stored_ms = now;
        });
        Ok(if is_older { StoreReply::Outdated } else { StoreReply::Stored(batch.marks) })
    }

    /// Stores a batch; records that are refused for their own fault become dead letters.
    fn store_or_set_aside(
        &mut self,
        store: &mut Postgres,
        batch: &mut Batch,
    ) -> Result<TryResult, GaveUp> {
        let waited = self.waited();
        self.retry_until_done(self.stop_timeout, |writer| writer.try_store(store, batch, waited))
    }

    fn positions(
        &mut self,
        store: &mut Postgres,
        question: &PositionRequest,
    ) -> Result<StoreReply, GaveUp> {
        let mut positions: BTreeMap<i32, Position> = self.retry_until_done(AT_ONCE, |writer| {
            writer.prepare(store)?;
            Ok(store.positions(&question.cluster, &question.topic)?)
        })?;
        let mut of = |partition: &i32| positions.remove(partition).unwrap_or_default();
        let answer = question.partitions.iter().map(|p| (*p, of(p))).collect();
        Ok(StoreReply::Positions(answer))
    }

    /// Makes sure that the store answers. Over a new connection there may be another database, or an older
    /// one: missing tables are made, and the consumer compares its marks with those there.
    fn prepare(&mut self, store: &mut Postgres) -> Result<(), StoreFault> {
        store.ping()?;
        if self.prepared == Some(store.connections()) {
            return Ok(());
        }
        match store.prepare()? {
            Readiness::Ready => {}
            Readiness::Missing(text) => return Err(StoreFault::Away(text)),
        }
        if self.prepared.replace(store.connections()).is_some() {
            self.reply(StoreReply::Reconnected);
        }
        Ok(())
    }

    /// Asks for the time by the database's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// The database is away, or this host's clock differs from the database's.
    fn now_ms(&mut self, store: &mut Postgres) -> Result<i64, StoreFault> {
        self.prepare(store)?;
        let before_ms = clock::now_ms();
        let now_ms = store.server_time_ms()?;
        match clock_fault((before_ms, clock::now_ms()), now_ms) {
            None => Ok(now_ms),
            Some(why) => Err(StoreFault::Clock(why)),
        }
    }

    /// Repeats `act` until it succeeds. Says once that nothing can be stored, and once that it can again.
    ///
    /// # Errors
    /// The program was told to stop `timeout` ago or earlier, or at all if the store is there and at fault.
    fn retry_until_done<T>(
        &mut self,
        timeout: Duration,
        mut act: impl FnMut(&mut BatchWriter) -> Result<T, StoreFault>,
    ) -> Result<T, GaveUp> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            let timeout = match act(self) {
                Ok(done) => {
                    self.end_outage();
                    return Ok(done);
                }
                Err(fault) => {
                    let timeout = if fault.is_held_back() { AT_ONCE } else { timeout };
                    if !self.gives_up(timeout) || fault.is_held_back() {
                        self.note_fault(&fault);
                    }
                    timeout
                }
            };
            let until = Instant::now() + backoff.pause();
            loop {
                if self.gives_up(timeout) {
                    return Err(GaveUp);
                }
                if Instant::now() >= until {
                    break;
                }
                std::thread::sleep(SLEEP_MAX.min(until.saturating_duration_since(Instant::now())));
            }
        }
    }

    fn gives_up(&self, timeout: Duration) -> bool {
        self.stop.told_at().is_some_and(|told| told.elapsed() >= timeout)
    }

    /// Ends the outage, if there is one, since a try has succeeded.
    fn end_outage(&mut self) {
        if let Some(outage) = self.outage.take() {
            outage.end();
            self.reply(StoreReply::Back);
        }
    }

    /// Begins or continues the outage, since a try has failed.
    fn note_fault(&mut self, fault: &StoreFault) {
        match &mut self.outage {
            None => {
                self.outage = Some(StoreOutage::begin(fault));
                self.reply(StoreReply::Away(fault.word()));
            }
            Some(outage) => {
                if outage.go_on(fault) {
                    self.reply(StoreReply::Away(fault.word()));
                }
            }
        }
    }
}
