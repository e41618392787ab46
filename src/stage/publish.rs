//! The last stage of `probe`: holds records until the brokers have them.
//!
//! Takes: records, targets to announce, and results of deliveries. Gives: nothing. Ends when: nobody gives
//! records any more and all are delivered, or `stop_timeout` is over. On failure: holds the records and sends
//! them again; once its memory is full, drops the oldest, counts them, and reports them as a loss once Kafka
//! is back.

mod announce;
mod delivery;
mod topic;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_io::Timer;
use smol::channel::Receiver;
use smol::future::FutureExt;

use self::announce::Announcer;
use self::topic::{TopicFinder, TopicFinding};
use super::messages::{JudgeOutput, Run};
use crate::config::{Config, KafkaConfig};
use crate::error::Error;
use crate::kafka::{Batching, BrokerStatus, Delivery, StatusChange, Topic};
use crate::model::backoff::Backoff;
use crate::model::health::{Health, SharedHealth};
use crate::model::outbox::Outbox;
use crate::model::record::Record;
use crate::show::text::show_count;

/// Longest wait for an event.
const TURN: Duration = Duration::from_secs(1);
/// First pause after a record came back.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest pause after a record came back.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Least time between two reports of losses that go on.
const LOSS_EVERY: Duration = Duration::from_secs(10);
/// Least time between two repeats of announcements that were dropped.
const REANNOUNCE_EVERY: Duration = Duration::from_secs(10);
/// Least time between two log lines about records that Kafka refuses.
const REFUSED_EVERY: Duration = Duration::from_secs(300);
/// Time for which records go out one by one after a batch was refused.
const ONE_BY_ONE_FOR: Duration = Duration::from_secs(600);
/// Time without an answer after which Kafka counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// The same if a broker was lost meanwhile.
const ANSWER_TIMEOUT_IN_DOUBT: Duration = Duration::from_secs(3);
/// Least time to deliver the records of the last checks under way.
const LAST_DELIVERY_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest wait for records that were taken back from librdkafka.
const TAKE_BACK_TIMEOUT: Duration = Duration::from_millis(500);

/// Stage that sends records to Kafka.
pub struct Publisher {
    status: Arc<BrokerStatus>,
    finder: TopicFinder,
    outbox: Outbox,
    outputs: Receiver<JudgeOutput>,
    health: Arc<SharedHealth>,
    announcer: Announcer,
    stop_timeout: Duration,
    /// Time at which the program was told to stop.
    stopped: Arc<OnceLock<Instant>>,
    topic: String,
    /// The topic is there; else the finder is looking for it.
    has_topic: bool,
    /// Reason for which a record came back, until the topic has been looked for.
    failure: Option<String>,
    /// Time since which records come back though the topic is there, and none is delivered.
    failing: Option<Instant>,
    /// Kafka counts as away since records keep coming back, though brokers and topic are there.
    takes_none: bool,
    /// Time until which records go out one by one.
    one_by_one_until: Option<Instant>,
    /// Earliest time to send the next record; none: now.
    retry_at: Option<Instant>,
    backoff: Backoff,
    loss_at: Instant,
    /// Earliest time to repeat announcements that were dropped.
    reannounce_at: Instant,
    /// Last time at which brokers answered, or had nothing of ours to answer.
    answered_at: Instant,
    /// The log has said that the oldest records are dropped.
    is_full_logged: bool,
    /// Time of the last log line about a refused record.
    refused_logged_at: Option<Instant>,
}

/// Records that were not delivered in the end.
pub struct Undelivered {
    /// Number of records.
    pub count: u64,
    /// Oldest due time among them, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// Event that the stage waits for.
enum Event {
    Output(JudgeOutput),
    Ended,
    Delivered(u64, Delivery),
    Topic(TopicFinding),
    Nothing,
}

impl Publisher {
    /// Creates the stage; nothing is sent yet.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(
        config: &Config,
        kafka: &KafkaConfig,
        run: &Run,
        outputs: Receiver<JudgeOutput>,
        health: Arc<SharedHealth>,
        stopped: Arc<OnceLock<Instant>>,
    ) -> Result<Publisher, Error> {
        let status = Arc::new(BrokerStatus::new(kafka));
        let now = Instant::now();
        Ok(Publisher {
            finder: TopicFinder::new(kafka, &status)?,
            status,
            outbox: Outbox::new(config.spool.memory),
            outputs,
            health,
            announcer: Announcer::new(run),
            stop_timeout: config.probe.stop_timeout,
            stopped,
            topic: kafka.topic.clone(),
            has_topic: false,
            failure: None,
            failing: None,
            takes_none: false,
            one_by_one_until: None,
            retry_at: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            loss_at: now,
            reannounce_at: now,
            answered_at: now,
            is_full_logged: false,
            refused_logged_at: None,
        })
    }

    /// Sends records until nobody gives any more and all are delivered. Returns the records that are left, if
    /// Kafka stays away.
    pub fn run(mut self) -> Option<Undelivered> {
        self.look_for_topic();
        loop {
            self.announce();
            self.send();
            match self.next(true, TURN) {
                Event::Ended => break,
                event => self.take(event),
            }
            self.log_changes();
        }
        let stopped = self.stopped.get().copied().unwrap_or_else(Instant::now);
        let limit = (stopped + self.stop_timeout).max(Instant::now() + LAST_DELIVERY_TIMEOUT);
        while Instant::now() < limit {
            if self.outbox.is_empty() {
                self.loss_at = Instant::now();
                self.report_loss();
            }
            if self.outbox.is_empty() {
                return None;
            }
            self.send();
            let left = limit.saturating_duration_since(Instant::now());
            let event = self.next(false, left.min(RETRY_FIRST));
            self.take(event);
            self.log_changes();
        }
        self.take_back();
        let (count, oldest_ms) = self.outbox.held();
        (count > 0).then_some(Undelivered { count, oldest_ms })
    }

    /// Waits for the next event.
    fn next(&self, is_open: bool, wait: Duration) -> Event {
        let now = Instant::now();
        // Nothing is sent while the topic is looked for, and the finder tells when the topic is there.
        let retry = self.retry_at.filter(|_| self.has_topic);
        let retry = retry.map_or(wait, |at| at.saturating_duration_since(now).min(wait));
        let delivery = async {
            self.finder
                .next_delivery()
                .await
                .map_or(Event::Nothing, |(id, delivery)| Event::Delivered(id, delivery))
        };
        let output = async {
            match self.outputs.recv().await {
                Ok(output) => Event::Output(output),
                Err(_) if is_open => Event::Ended,
                Err(_) => smol::future::pending().await,
            }
        };
        let finding =
            async { self.finder.next_finding().await.map_or(Event::Nothing, Event::Topic) };
        let tick = async {
            Timer::after(retry).await;
            Event::Nothing
        };
        smol::block_on(delivery.or(output).or(finding).or(tick))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Output(JudgeOutput::Records(records)) => {
                for record in records {
                    match record {
                        Record::Node(state) => self.announcer.begin_run(state.run),
                        record => self.hold(&record),
                    }
                }
            }
            Event::Output(JudgeOutput::Targets(targets, _)) => {
                self.announcer.change_targets(targets);
            }
            Event::Delivered(id, delivery) => self.settle(id, delivery),
            Event::Topic(finding) => self.take_topic(finding),
            Event::Ended | Event::Nothing => {}
        }
    }

    fn take_topic(&mut self, finding: TopicFinding) {
        match finding {
            TopicFinding::Nobody(error) => self.status.note_silence(&error.to_string()),
            // The broker answers others, and lets us wait for our quota.
            TopicFinding::Stuck if self.status.is_throttled() => self.look_for_topic(),
            TopicFinding::Stuck => {
                log::info!("Kafka producer is stuck: reconnecting");
                self.finder.replace_producer();
                self.look_for_topic();
            }
            TopicFinding::Topic(Topic::Missing(why)) => self.status.note_fault(&why),
            TopicFinding::Topic(Topic::Made) => {
                log::info!("topic {} is made", self.topic);
                self.has_topic = true;
            }
            TopicFinding::Topic(Topic::Exists) => {
                self.has_topic = true;
                match self.failure.take() {
                    Some(why) => self.note_failure(&why),
                    // No record waits whose delivery could show that Kafka is back.
                    None if self.outbox.is_empty() && !self.takes_none => self.status.note_answer(),
                    None => {}
                }
            }
        }
    }

    /// Notes that a record came back, though topic and brokers are there. Kafka counts as away only if that
    /// goes on: right after a topic was made it is usual, and one of many brokers may be restarting.
    fn note_failure(&mut self, why: &str) {
        let since = *self.failing.get_or_insert_with(Instant::now);
        if since.elapsed() >= ANSWER_TIMEOUT_IN_DOUBT {
            self.takes_none = true;
            self.status.note_fault(why);
        } else {
            log::debug!("Kafka: a record came back: {why}");
        }
    }

    /// Keeps a record until it is delivered, or dropped since memory is full.
    fn hold(&mut self, record: &Record) {
        let dropped = self.outbox.push(record);
        if dropped > 0 && !self.is_full_logged {
            log::error!("memory is full while Kafka takes nothing: dropping the oldest records");
            self.is_full_logged = true;
        } else if self.outbox.has_room() {
            self.is_full_logged = false;
        }
        self.update_health(|health| health.counters.lost += dropped);
    }

    /// Changes the health; the number of waiting records is set too.
    fn update_health(&self, change: impl FnOnce(&mut Health)) {
        let waiting = self.outbox.len() as u64;
        self.health.update(|health| {
            health.counters.waiting = waiting;
            change(health);
        });
    }

    /// Hands records to librdkafka, as many as it has room for.
    fn send(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) || !self.has_topic {
            return;
        }
        self.retry_at = None;
        if self.one_by_one_until.is_some_and(|until| until <= Instant::now()) {
            self.one_by_one_until = None;
            self.outbox.send_singly(false);
            self.finder.set_batching(Batching::Many);
        }
        while let Some((id, entry)) = self.outbox.first() {
            match self.finder.producer().send(id, &entry.key, &entry.json) {
                Ok(true) => self.outbox.sent(id),
                Ok(false) | Err(Delivery::Done | Delivery::Returned) => return,
                Err(Delivery::Refused(why)) => {
                    self.outbox.sent(id);
                    self.refuse(id, &why);
                }
                Err(Delivery::Failed(why)) => return self.fail(why),
            }
        }
    }

    /// Queues the announcements of the node and its targets that are due. None while Kafka is away or much is
    /// held: announcements can be repeated, and would push out records that cannot.
    fn announce(&mut self) {
        // Brokers that refuse an announcement would refuse it again at once: repeat it only after a pause.
        let now = Instant::now();
        if now >= self.reannounce_at && self.outbox.take_state_dropped() {
            self.reannounce_at = now + REANNOUNCE_EVERY;
            self.announcer.announce_again();
        }
        while !self.status.is_away() && self.outbox.has_room() {
            let Some(record) = self.announcer.next(|| self.outbox.held()) else { return };
            self.hold(&record);
        }
    }

    /// Queues a record of each loss, at most every `LOSS_EVERY`.
    fn report_loss(&mut self) {
        let now = Instant::now();
        if now < self.loss_at {
            return;
        }
        for loss in self.outbox.take_losses() {
            self.loss_at = now + LOSS_EVERY;
            self.hold(&Record::Loss(loss));
        }
    }

    /// Logs changes of the connection to the brokers, and looks for the topic where it may be gone.
    fn log_changes(&mut self) {
        self.finder.retry_search();
        if !self.outbox.is_under_way() {
            self.answered_at = Instant::now();
        }
        let silent = self.answered_at.elapsed();
        let silence =
            if self.status.is_in_doubt() { ANSWER_TIMEOUT_IN_DOUBT } else { ANSWER_TIMEOUT };
        if silent >= silence {
            self.status.note_silence(&format!("no answer for {} s", silence.as_secs()));
        }
        // The topic may have been deleted, which librdkafka is slow to report. And while no record waits to
        // be delivered, nothing else shows that the brokers are back.
        let is_idle = self.status.is_away() && self.outbox.is_empty();
        if self.has_topic && (silent >= ANSWER_TIMEOUT_IN_DOUBT || is_idle) {
            self.look_for_topic();
        }
        let waiting = show_count(self.outbox.len() as u64, "record");
        match self.status.take_change() {
            None => return,
            Some(StatusChange::Throttled(wait)) => log::warn!(
                "Kafka slows us down: we send more than a quota of its brokers allows, and have to \
                 wait {} ms at a time, {waiting} held: raise the brokers' quota producer_byte_rate",
                wait.as_millis()
            ),
            Some(StatusChange::Away(why)) => {
                log::error!("Kafka is away: {why}; checks go on, {waiting} held in memory");
            }
            Some(StatusChange::Back(after)) => {
                log::info!("Kafka is back after {} s, {waiting} to send", after.as_secs());
            }
        }
        let trouble = self.status.is_away().then_some("kafka_away");
        self.update_health(|health| health.trouble = trouble);
    }

    fn look_for_topic(&mut self) {
        self.has_topic = false;
        self.finder.search();
    }

    /// Takes back the records that librdkafka has, so that the result of each is known.
    fn take_back(&mut self) {
        self.finder.producer().take_back();
        let limit = Instant::now() + TAKE_BACK_TIMEOUT;
        while !self.outbox.is_empty() && Instant::now() < limit {
            match self.next(false, RETRY_FIRST) {
                Event::Delivered(id, Delivery::Done) => self.outbox.done(id),
                Event::Nothing => return,
                _ => {}
            }
        }
    }
}
