//! The last stage of `probe`: holds records until the brokers have them.
//!
//! Takes: records, and what became of those that were sent. Gives: nothing. Ends when: nobody
//! gives records any more and all are delivered, or `stop_timeout` is over. On failure: holds the
//! records, sends them again, and past its memory lets the oldest go, counted, and told as a loss
//! once Kafka is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt;

use crate::clock;
use crate::cmd::daemon::{Shared, thread};
use crate::config::{Config, Kafka};
use crate::error::Error;
use crate::kafka::{Change, Delivery, Link, Publisher, Topic, ensure};
use crate::model::outbox::Outbox;
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::target::Target;
use crate::show::text::count;

/// How often it looks around when nothing happens.
const TURN: Duration = Duration::from_secs(1);
/// First pause after a record came back, and the longest; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often the topic is looked for while it is missing.
const TOPIC_PAUSE: Duration = Duration::from_secs(2);
/// How often a node tells of itself, and of its targets.
const NODE_EVERY: Duration = Duration::from_secs(300);
const TARGETS_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Losses that go on are told this often.
const LOSS_EVERY: Duration = Duration::from_secs(10);
/// Without an answer for so long Kafka counts as away; sooner if a broker was lost meanwhile.
const SILENCE: Duration = Duration::from_secs(8);
const SILENCE_IN_DOUBT: Duration = Duration::from_secs(3);
/// How long what was taken back may need to come back.
const TAKE_BACK: Duration = Duration::from_secs(1);

/// The stage.
pub struct Send {
    publisher: Arc<Publisher>,
    link: Arc<Link>,
    kafka: Kafka,
    outbox: Outbox,
    records: Receiver<Record>,
    told: Receiver<(u64, Delivery)>,
    shared: Arc<Shared>,
    node: Arc<str>,
    run: u32,
    targets: Vec<Arc<Target>>,
    stop_timeout: Duration,
    /// The topic is there; else it is being looked for.
    has_topic: bool,
    topic: (Sender<Looked>, Receiver<Looked>),
    /// No record is sent before then, and how long the next pause is.
    retry_at: Option<Instant>,
    pause: Duration,
    /// States fell out of memory.
    untold: bool,
    node_at: Instant,
    targets_at: Instant,
    loss_at: Instant,
    /// When the brokers had nothing of ours to answer, or answered.
    heard: Instant,
    /// It was said that the oldest go.
    said_full: bool,
}

/// What was not delivered in the end.
pub struct Left {
    /// Records.
    pub count: u64,
    /// The oldest due time among them, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// How it stands with the topic; an error: no broker answers.
type Looked = Result<Topic, Error>;

/// What happens.
enum Event {
    Record(Record),
    Ended,
    Told(u64, Delivery),
    Topic(Looked),
    Nothing,
}

impl Send {
    /// A stage that announces the node and its targets first.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(
        config: &Config,
        kafka: &Kafka,
        (node, run): (&Arc<str>, u32),
        records: Receiver<Record>,
        shared: Arc<Shared>,
    ) -> Result<Send, Error> {
        let link = Arc::new(Link::new(kafka));
        let (told_in, told) = smol::channel::unbounded();
        let tell = Box::new(move |id, delivery| {
            // Nobody listens only when the program ends.
            let _ = told_in.try_send((id, delivery));
        });
        let now = Instant::now();
        Ok(Send {
            publisher: Arc::new(Publisher::new(kafka, Arc::clone(&link), tell)?),
            link,
            kafka: kafka.clone(),
            outbox: Outbox::new(config.spool.memory),
            records,
            told,
            shared,
            node: Arc::clone(node),
            run,
            targets: config.targets.clone(),
            stop_timeout: config.probe.stop_timeout,
            has_topic: false,
            topic: smol::channel::bounded(1),
            retry_at: None,
            pause: RETRY_FIRST,
            untold: false,
            node_at: now,
            targets_at: now,
            loss_at: now,
            heard: now,
            said_full: false,
        })
    }

    /// Sends until nobody gives records any more. Gives what is left, if Kafka stays away.
    pub fn run(mut self) -> Option<Left> {
        self.look_for_topic();
        loop {
            self.announce();
            self.send();
            match self.next(true, TURN) {
                Event::Ended => break,
                event => self.take(event),
            }
            self.tell_changes();
        }
        let limit = Instant::now() + self.stop_timeout;
        self.tell_loss(Instant::now() + LOSS_EVERY);
        while !self.outbox.is_empty() && Instant::now() < limit {
            self.send();
            let left = limit.saturating_duration_since(Instant::now());
            let event = self.next(false, left.min(RETRY_FIRST));
            self.take(event);
            self.tell_changes();
        }
        self.take_back();
        let (count, oldest_ms) = self.outbox.held();
        (count > 0).then_some(Left { count, oldest_ms })
    }

    /// Waits for the next event.
    fn next(&self, is_open: bool, wait: Duration) -> Event {
        let now = Instant::now();
        let retry = self.retry_at.map_or(wait, |at| at.saturating_duration_since(now).min(wait));
        let told = async {
            match self.told.recv().await {
                Ok((id, delivery)) => Event::Told(id, delivery),
                Err(_) => Event::Nothing,
            }
        };
        let record = async {
            match self.records.recv().await {
                Ok(record) => Event::Record(record),
                Err(_) if is_open => Event::Ended,
                Err(_) => smol::future::pending().await,
            }
        };
        let topic = async { self.topic.1.recv().await.map_or(Event::Nothing, Event::Topic) };
        let tick = async {
            Timer::after(retry).await;
            Event::Nothing
        };
        smol::block_on(told.or(record).or(topic).or(tick))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Record(record) => {
                if let Record::Node(state) = &record {
                    self.run = state.run;
                }
                self.hold(&record);
            }
            Event::Told(id, delivery) => self.settle(id, delivery),
            Event::Topic(Err(error)) => self.link.unanswered(&error.to_string()),
            Event::Topic(Ok(Topic::Missing(why))) => self.link.fails(&why),
            Event::Topic(Ok(Topic::Exists)) => self.has_topic = true,
            Event::Topic(Ok(Topic::Made)) => {
                log::info!("topic {} is made", self.kafka.topic);
                self.has_topic = true;
            }
            Event::Ended | Event::Nothing => {}
        }
    }

    /// Keeps a record until it is delivered.
    fn hold(&mut self, record: &Record) {
        let dropped = self.outbox.push(record);
        if dropped > 0 && !self.said_full {
            log::error!("memory is full while Kafka takes nothing: the oldest records go");
            self.said_full = true;
        }
        let waiting = self.outbox.len() as u64;
        self.shared.change(|health| {
            health.lost += dropped;
            health.waiting = waiting;
        });
    }

    /// What became of a record.
    fn settle(&mut self, id: u64, delivery: Delivery) {
        self.heard = Instant::now();
        match delivery {
            Delivery::Done => {
                self.outbox.done(id);
                (self.retry_at, self.pause) = (None, RETRY_FIRST);
                let (now, waiting) = (clock::now_ms(), self.outbox.len() as u64);
                self.shared.change(|health| {
                    health.stored += 1;
                    health.stored_ms = now;
                    health.waiting = waiting;
                });
                self.tell_loss(Instant::now());
            }
            Delivery::Refused(why) => self.refuse(id, &why),
            Delivery::Failed(why) => {
                self.outbox.failed(id);
                self.link.fails(&why);
                if self.retry_at.is_none() {
                    self.retry_at = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(RETRY_MAX);
                }
                // It may have been deleted.
                if self.has_topic {
                    self.look_for_topic();
                }
            }
        }
    }

    fn refuse(&mut self, id: u64, why: &str) {
        let lost = self.outbox.refused(id);
        log::error!("Kafka will never take a record, and it is lost: {why}");
        self.shared.change(|health| health.lost += lost);
    }

    /// Hands over what librdkafka has room for.
    fn send(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) || !self.has_topic {
            return;
        }
        self.retry_at = None;
        while let Some((id, entry)) = self.outbox.first() {
            match self.publisher.send(id, &entry.key, &entry.json) {
                Ok(true) => self.outbox.sent(id),
                Ok(false) => return,
                Err(why) => self.refuse(id, &why),
            }
        }
    }

    /// Tells what this node and its targets are, when it is time.
    fn announce(&mut self) {
        self.untold |= self.outbox.take_untold();
        // While nothing goes out it would only push out checks, which cannot be told again.
        if self.link.is_away() {
            return;
        }
        let (now, again) = (Instant::now(), std::mem::take(&mut self.untold));
        let (node, sent_ms) = (Arc::clone(&self.node), clock::now_ms());
        if now >= self.node_at || again {
            self.node_at = now + NODE_EVERY;
            let (held, oldest_ms) = self.outbox.held();
            let mut state = NodeState::new(&node, self.run, sent_ms);
            (state.spool_count, state.spool_oldest_ms) = (Some(held), oldest_ms);
            self.hold(&Record::Node(state));
        }
        if now >= self.targets_at || again {
            self.targets_at = now + TARGETS_EVERY;
            for target in self.targets.clone() {
                let state = TargetState::new(&target, &node, self.run, sent_ms);
                self.hold(&Record::Target(Box::new(state)));
            }
        }
    }

    /// Tells what was lost, now and again.
    fn tell_loss(&mut self, now: Instant) {
        if now < self.loss_at {
            return;
        }
        if let Some(loss) = self.outbox.take_loss() {
            self.loss_at = now + LOSS_EVERY;
            self.hold(&Record::Loss(loss));
        }
    }

    /// Logs how the road to the brokers has changed.
    fn tell_changes(&mut self) {
        if !self.outbox.is_under_way() {
            self.heard = Instant::now();
        }
        let silence = if self.link.is_in_doubt() { SILENCE_IN_DOUBT } else { SILENCE };
        if self.heard.elapsed() >= silence {
            self.link.unanswered(&format!("no answer for {} s", silence.as_secs()));
        }
        let waiting = count(self.outbox.len() as u64, "record");
        match self.link.change() {
            None => return,
            Some(Change::Away(why)) => {
                log::error!("Kafka is away: {why}; checks go on, {waiting} held in memory");
            }
            Some(Change::Back(after)) => {
                self.said_full = false;
                log::info!("Kafka is back after {} s, {waiting} to send", after.as_secs());
            }
        }
        let trouble = self.link.is_away().then_some("kafka_away");
        self.shared.change(|health| health.trouble = trouble);
    }

    /// Looks for the topic, on a thread of its own, since brokers may take their time.
    fn look_for_topic(&mut self) {
        self.has_topic = false;
        let (publisher, kafka) = (Arc::clone(&self.publisher), self.kafka.clone());
        let found = self.topic.0.clone();
        let looked = thread("topic").spawn(move || {
            loop {
                let topic = ensure(&kafka, publisher.client());
                let is_there = matches!(topic, Ok(Topic::Exists | Topic::Made));
                if found.send_blocking(topic).is_err() || is_there {
                    return;
                }
                std::thread::sleep(TOPIC_PAUSE);
            }
        });
        if let Err(error) = looked {
            log::error!("cannot start a thread: {error}");
        }
    }

    /// Takes back what was handed over, so that what became of each record is known.
    fn take_back(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        self.publisher.take_back();
        let limit = Instant::now() + TAKE_BACK;
        while !self.outbox.is_empty() && Instant::now() < limit {
            match self.next(false, RETRY_FIRST) {
                Event::Told(id, Delivery::Done) => self.outbox.done(id),
                Event::Nothing => return,
                _ => {}
            }
        }
    }
}
