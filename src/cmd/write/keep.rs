//! The last stage of `write`: stores parcels, and says where to go on.
//!
//! Takes: parcels and questions. Gives: answers. Ends when: the reader is gone and all is stored,
//! or, once told to stop, `stop_timeout` is over. On failure: tries again until it works; a record
//! that PostgreSQL refuses for its own fault is looked for, and kept as a dead letter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::{Answer, Question, Work};
use crate::clock;
use crate::cmd::daemon::Shared;
use crate::config::{self, Config, Retention};
use crate::model::record::Record;
use crate::model::wire::encode;
use crate::show::text::count;
use crate::stop::Stop;
use crate::store::{DeadLetter, Parcel, Postgres, Ready, StoreError, Stored, Written};

/// First pause before a store that failed is tried again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause: a store that is back is used within this.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often what is past its time is dropped.
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// Nothing is lost if this is left undone.
const AT_ONCE: Duration = Duration::ZERO;
/// Longest sleep at once, so that a signal is seen.
const NAP: Duration = Duration::from_millis(100);

/// The stage.
pub struct Keep {
    settings: config::Postgres,
    retention: Retention,
    dead_letter_max: u64,
    stop_timeout: Duration,
    work: Receiver<Work>,
    answers: Sender<Answer>,
    shared: Arc<Shared>,
    stop: Stop,
    /// Since when the store is away, and why it was last.
    away: Option<(Instant, String)>,
    /// When we saw that we are to stop.
    told: Option<Instant>,
    retain_at: Instant,
}

/// What was not stored in the end.
pub struct Left {
    /// Records.
    pub count: u64,
}

/// Told to stop while the store was away.
struct GaveUp;

impl Keep {
    /// A stage that has not connected yet.
    pub fn new(
        config: &Config,
        settings: config::Postgres,
        work: Receiver<Work>,
        answers: Sender<Answer>,
        shared: Arc<Shared>,
        stop: Stop,
    ) -> Keep {
        Keep {
            settings,
            retention: config.retention.clone(),
            dead_letter_max: config.write.dead_letter_max,
            stop_timeout: config.probe.stop_timeout,
            work,
            answers,
            shared,
            stop,
            away: None,
            told: None,
            retain_at: Instant::now(),
        }
    }

    /// Stores until the reader is gone. Gives what is left, if the store stays away.
    pub fn run(mut self) -> Option<Left> {
        let settings = self.settings.clone();
        let Ok(mut store) = self.insist(AT_ONCE, || Postgres::new(&settings)) else {
            return None;
        };
        store.keep(&self.retention);
        store.heed(&self.stop, self.stop_timeout);
        let ready = self.insist(AT_ONCE, || match store.prepare()? {
            Ready::Yes => Ok(()),
            Ready::Missing(text) => Err(StoreError::Away { text }),
        });
        if ready.is_err() {
            return None;
        }
        self.answer(Answer::Ready);
        loop {
            let wait = self.retain_at.saturating_duration_since(Instant::now());
            match self.work.recv_timeout(wait) {
                Ok(Work::Parcel(parcel)) => {
                    let left = parcel.records.len() as u64;
                    let Ok(answer) = self.store(&mut store, *parcel) else {
                        return Some(Left { count: left });
                    };
                    self.answer(answer);
                }
                Ok(Work::Offsets(question)) => {
                    let Ok(answer) = self.offsets(&mut store, &question) else { return None };
                    self.answer(answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
            if Instant::now() >= self.retain_at {
                self.retain(&mut store);
            }
        }
    }

    fn answer(&self, answer: Answer) {
        // A reader that is gone is noticed when it is waited for.
        let _ = self.answers.send(answer);
    }

    fn store(&mut self, store: &mut Postgres, mut parcel: Parcel) -> Result<Answer, GaveUp> {
        let checks = |parcel: &Parcel| parcel.records.len() as u64;
        let waiting = checks(&parcel);
        self.shared.change(|health| health.waiting = waiting);
        let stored =
            self.insist(self.stop_timeout, || match store.store(&parcel, clock::now_ms()) {
                Err(StoreError::Refused { text }) => {
                    sift(store, &mut parcel, &text)?;
                    store.store(&parcel, clock::now_ms())
                }
                other => other,
            })?;
        let written = match stored {
            Stored::Older(_) => return Ok(Answer::Older),
            Stored::Whole(written) => written,
        };
        let now = clock::now_ms();
        self.shared.change(|health| {
            health.stored += written.checks;
            health.repeats += written.repeats;
            health.expired += written.expired;
            health.waiting = 0;
            health.stored_ms = now;
        });
        Ok(Answer::Stored(parcel.marks))
    }

    fn offsets(&mut self, store: &mut Postgres, question: &Question) -> Result<Answer, GaveUp> {
        let offsets: BTreeMap<i32, i64> =
            self.insist(AT_ONCE, || store.offsets(&question.cluster, &question.topic))?;
        let next = |partition: &i32| offsets.get(partition).copied().unwrap_or(0);
        let answer = question.partitions.iter().map(|p| (*p, next(p))).collect();
        Ok(Answer::Offsets(answer, question.then))
    }

    /// Drops what is past its time. What cannot be dropped now is dropped next time.
    fn retain(&mut self, store: &mut Postgres) {
        self.retain_at = Instant::now() + RETAIN_EVERY;
        match store.retain(&self.retention, self.dead_letter_max, clock::now_ms()) {
            Ok(gone) if gone.hours + gone.letters_old + gone.letters_over > 0 => log::info!(
                "past their time and gone: {} of checks, {}",
                count(gone.hours, "hour"),
                count(gone.letters_old + gone.letters_over, "dead letter")
            ),
            Ok(_) => {}
            Err(error) => log::debug!("{error}"),
        }
    }

    /// Does it until it works. Says once that the store is away, and once that it is back.
    ///
    /// # Errors
    /// Told to stop, and `patience` is over.
    fn insist<T>(
        &mut self,
        patience: Duration,
        mut act: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, GaveUp> {
        let mut pause = RETRY_FIRST;
        loop {
            match act() {
                Ok(done) => {
                    if let Some((since, _)) = self.away.take() {
                        let away = since.elapsed().as_secs();
                        log::info!("PostgreSQL is back after {away} s");
                        self.answer(Answer::Back);
                    }
                    return Ok(done);
                }
                Err(error) => self.trouble(&error.to_string()),
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if self.gives_up(patience) {
                    return Err(GaveUp);
                }
                std::thread::sleep(NAP.min(until.saturating_duration_since(Instant::now())));
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// A try has failed. A reason that is new is told, the same again is not.
    fn trouble(&mut self, why: &str) {
        match &mut self.away {
            Some((_, before)) if before == why => {}
            Some((_, before)) => {
                log::error!("PostgreSQL is away: {why}");
                why.clone_into(before);
            }
            None => {
                log::error!("PostgreSQL is away: {why}; waiting for it, Kafka keeps the records");
                self.away = Some((Instant::now(), why.to_owned()));
                self.shared.change(|health| health.trouble = Some("store_away"));
                self.answer(Answer::Away);
            }
        }
    }

    fn gives_up(&mut self, patience: Duration) -> bool {
        if !self.stop.is_told() {
            return false;
        }
        let told = *self.told.get_or_insert_with(Instant::now);
        told.elapsed() >= patience
    }
}

/// Finds the records that PostgreSQL refuses, and makes dead letters of them. All others are
/// stored on the way, without their marks: to store them again is harmless.
fn sift(store: &mut Postgres, parcel: &mut Parcel, why: &str) -> Result<(), StoreError> {
    log::error!("PostgreSQL refuses a record, which goes to dead_letter: {why}");
    let mut records: Vec<(Record, (i32, i64))> =
        parcel.records.drain(..).zip(parcel.origins.drain(..)).collect();
    let mut parts = vec![std::mem::take(&mut records)];
    while let Some(mut part) = parts.pop() {
        let whole = Parcel {
            records: part.iter().map(|(record, _)| record.clone()).collect(),
            ..Parcel::default()
        };
        match store.store(&whole, clock::now_ms()) {
            Ok(Stored::Whole(Written { .. }) | Stored::Older(_)) => {}
            Err(StoreError::Refused { text }) => match part.len() {
                0 => {}
                1 => {
                    let (record, (partition, offset)) = part.remove(0);
                    let payload = encode(&record).into_bytes();
                    let (reason, detail) = ("store", text);
                    parcel.dead.push(DeadLetter { partition, offset, payload, reason, detail });
                }
                count => {
                    let half = part.split_off(count / 2);
                    parts.extend([half, part]);
                }
            },
            Err(other) => {
                // Everything is tried again from the start.
                let rest = parts.into_iter().flatten().chain(part);
                let (records, origins): (Vec<_>, Vec<_>) = rest.unzip();
                parcel.records.extend(records);
                parcel.origins.extend(origins);
                return Err(other);
            }
        }
    }
    Ok(())
}
