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
use crate::store::{
    DeadLetter, Origin, Parcel, Position, Postgres, Ready, StoreError, Stored, Written,
};

/// First pause before a store that failed is tried again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause: a store that is back is used within this.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often what is past its time is dropped.
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// The same where there was more than a moment is enough for.
const RETAIN_AGAIN: Duration = Duration::from_secs(2);
/// Nothing is lost if this is left undone.
const AT_ONCE: Duration = Duration::ZERO;
/// Longest sleep at once, so that a signal is seen.
const NAP: Duration = Duration::from_millis(100);
/// A store of which nothing was asked for so long is asked whether it is there; while it is not,
/// again after this.
const KNOCK: Duration = Duration::from_secs(5);
const KNOCK_AGAIN: Duration = Duration::from_secs(1);
/// Reasons told of one outage, at most: after "refused" may come "starting up".
const REASONS: usize = 5;

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
    /// Since when the store is away, and the reasons that were told.
    away: Option<(Instant, Vec<String>)>,
    retain_at: Instant,
}

/// It was told to stop while the store was away.
pub struct Left {
    /// Records that were being stored.
    pub count: u64,
}

/// Told to stop while the store was away, and for long enough.
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
            retain_at: Instant::now(),
        }
    }

    /// Stores until the reader is gone. Gives what is left, if the store stays away.
    pub fn run(mut self) -> Option<Left> {
        self.work().err().map(|(GaveUp, count)| Left { count })
    }

    /// An error: how many records were being stored.
    fn work(&mut self) -> Result<(), (GaveUp, u64)> {
        let idle = |gave_up| (gave_up, 0);
        let settings = self.settings.clone();
        let mut store = self.insist(AT_ONCE, || Postgres::new(&settings)).map_err(idle)?;
        store.keep(&self.retention);
        store.heed(&self.stop, self.stop_timeout);
        let ready = self.insist(AT_ONCE, || match store.prepare()? {
            Ready::Yes => Ok(()),
            Ready::Missing(text) => Err(StoreError::Away { text }),
        });
        ready.map_err(idle)?;
        self.answer(Answer::Ready);
        loop {
            let wait = self.retain_at.saturating_duration_since(Instant::now());
            let knock = if self.away.is_some() { KNOCK_AGAIN } else { KNOCK };
            match self.work.recv_timeout(wait.min(knock)) {
                Ok(Work::Parcel(parcel)) => {
                    let count = parcel.records.len() as u64;
                    let stored = self.store(&mut store, *parcel);
                    self.answer(stored.map_err(|gave_up| (gave_up, count))?);
                }
                Ok(Work::Positions(question)) => {
                    let answer = self.positions(&mut store, &question).map_err(idle)?;
                    self.answer(answer);
                }
                Err(RecvTimeoutError::Timeout) => match store.knock() {
                    Ok(()) => self.works(),
                    Err(error) => self.trouble(&error.to_string()),
                },
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
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
        let (written, answer) = match self.put(store, &mut parcel)? {
            Stored::Whole(written) => (written, Answer::Stored(parcel.marks)),
            Stored::Older(_) => {
                // What was read is true all the same, and may not be there to be read again.
                parcel.marks.clear();
                match self.put(store, &mut parcel)? {
                    Stored::Whole(written) => (written, Answer::Older),
                    Stored::Older(_) => return Ok(Answer::Older),
                }
            }
        };
        let now = clock::now_ms();
        self.shared.change(|health| {
            health.stored += written.checks;
            health.repeats += written.repeats;
            health.expired += written.expired;
            health.waiting = 0;
            health.stored_ms = now;
        });
        Ok(answer)
    }

    /// Stores a parcel; records that are refused become dead letters.
    fn put(&mut self, store: &mut Postgres, parcel: &mut Parcel) -> Result<Stored, GaveUp> {
        self.insist(self.stop_timeout, || match store.store(parcel, clock::now_ms()) {
            Err(StoreError::Refused { text }) => {
                sift(store, parcel, &text)?;
                store.store(parcel, clock::now_ms())
            }
            other => other,
        })
    }

    fn positions(&mut self, store: &mut Postgres, question: &Question) -> Result<Answer, GaveUp> {
        let mut positions: BTreeMap<i32, Position> =
            self.insist(AT_ONCE, || store.positions(&question.cluster, &question.topic))?;
        let mut of = |partition: &i32| positions.remove(partition).unwrap_or_default();
        let answer = question.partitions.iter().map(|p| (*p, of(p))).collect();
        Ok(Answer::Positions(answer))
    }

    /// Drops what is past its time. What cannot be dropped now is dropped next time.
    fn retain(&mut self, store: &mut Postgres) {
        self.retain_at = Instant::now() + RETAIN_EVERY;
        match store.retain(&self.retention, self.dead_letter_max, clock::now_ms()) {
            Ok(gone) => {
                if gone.has_more {
                    self.retain_at = Instant::now() + RETAIN_AGAIN;
                }
                let letters = gone.letters_old + gone.letters_over;
                if gone.hours + letters > 0 {
                    log::info!(
                        "past their time and gone: {} of checks, {}",
                        count(gone.hours, "hour"),
                        count(letters, "dead letter")
                    );
                }
            }
            Err(error) => log::debug!("{error}"),
        }
    }

    /// Does it until it works. Says once that the store is away, and once that it is back.
    ///
    /// # Errors
    /// It was told to stop, so long ago.
    fn insist<T>(
        &mut self,
        patience: Duration,
        mut act: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, GaveUp> {
        let mut pause = RETRY_FIRST;
        loop {
            match act() {
                Ok(done) => {
                    self.works();
                    return Ok(done);
                }
                Err(_) if self.gives_up(patience) => return Err(GaveUp),
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

    fn gives_up(&self, patience: Duration) -> bool {
        self.stop.told_at().is_some_and(|told| told.elapsed() >= patience)
    }

    /// A try has succeeded.
    fn works(&mut self) {
        if let Some((since, _)) = self.away.take() {
            log::info!("PostgreSQL is back after {} s", since.elapsed().as_secs());
            self.answer(Answer::Back);
        }
    }

    /// A try has failed. Each reason is told once.
    fn trouble(&mut self, why: &str) {
        match &mut self.away {
            None => {
                log::error!("PostgreSQL is away: {why}; waiting for it, Kafka keeps the records");
                self.away = Some((Instant::now(), vec![why.to_owned()]));
                self.answer(Answer::Away);
            }
            Some((_, told)) if told.len() >= REASONS || told.iter().any(|before| before == why) => {
            }
            Some((_, told)) => {
                log::error!("PostgreSQL is away: {why}");
                told.push(why.to_owned());
            }
        }
    }
}

/// Finds the records that PostgreSQL refuses, and makes dead letters of them. All others are
/// stored on the way, without their marks: to store them again is harmless.
fn sift(store: &mut Postgres, parcel: &mut Parcel, why: &str) -> Result<(), StoreError> {
    log::error!("PostgreSQL refuses a record, which goes to dead_letter: {why}");
    let mut records: Vec<(Record, Origin)> =
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
                    let (record, origin) = part.remove(0);
                    let payload = encode(&record).into_bytes();
                    let (reason, detail) = ("store", text);
                    parcel.dead.push(DeadLetter { origin, payload, reason, detail });
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
