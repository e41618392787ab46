//! Producer and topic: replaces a producer that is stuck, and looks for the topic on a thread of its own,
//! since brokers may be slow to answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

use crate::config::Kafka;
use crate::error::Error;
use crate::kafka::{Batching, Delivery, Link, Publisher, Topic, answers, ensure};
use crate::threads;

/// Time between two searches for a missing topic.
const PAUSE: Duration = Duration::from_secs(2);
/// Time between two searches for a topic that was just made.
const MADE_PAUSE: Duration = Duration::from_millis(100);
/// Searches per attempt to make the topic: each attempt takes a client of its own.
const TRIED: u32 = 3;

/// Result of a search for the topic.
pub enum TopicFinding {
    /// Brokers answer: the topic exists, was made, or is missing.
    Topic(Topic),
    /// No broker answers.
    Nobody(Error),
    /// Brokers answer other clients, but not our producer.
    Stuck,
}

/// Number of a record, and the result of its delivery.
type Delivered = (u64, Delivery);

/// Producer, and the search for its topic.
pub struct Finder {
    publisher: Arc<Publisher>,
    batching: Batching,
    kafka: Kafka,
    link: Arc<Link>,
    told: (Sender<Delivered>, Receiver<Delivered>),
    found: (Sender<TopicFinding>, Receiver<TopicFinding>),
    looked: Option<Instant>,
    /// Time to try again to start the search, since no thread could be started for it.
    start_at: Option<Instant>,
}

impl Finder {
    /// Creates the producer; the topic is not looked for yet.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(kafka: &Kafka, link: &Arc<Link>) -> Result<Finder, Error> {
        let told = smol::channel::unbounded();
        Ok(Finder {
            publisher: publisher(kafka, Batching::Many, link, &told.0)?,
            batching: Batching::Many,
            kafka: kafka.clone(),
            link: Arc::clone(link),
            told,
            found: smol::channel::bounded(1),
            start_at: None,
            looked: None,
        })
    }

    /// Returns the producer.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Waits for the result of one record's delivery.
    pub async fn next_delivery(&self) -> Option<Delivered> {
        self.told.1.recv().await.ok()
    }

    /// Waits for the next result of the search.
    pub async fn next_finding(&self) -> Option<TopicFinding> {
        self.found.1.recv().await.ok()
    }

    /// Replaces the producer by a new one. Records that the old one still has are reported as returned.
    pub fn renew(&mut self) {
        let new = match publisher(&self.kafka, self.batching, &self.link, &self.told.0) {
            Ok(new) => new,
            Err(error) => return log::error!("{error}"),
        };
        let old = std::mem::replace(&mut self.publisher, new);
        // The old producer takes back its records when it is dropped, which takes a while.
        if let Err(error) = threads::named("old").spawn(move || drop(old)) {
            log::error!("cannot start a thread: {error}");
        }
    }

    /// Sets how many records go into a batch; a change replaces the producer.
    pub fn batch(&mut self, batching: Batching) {
        if batching != self.batching {
            self.batching = batching;
            self.renew();
        }
    }

    /// Begins to look for the topic until it exists, at least `PAUSE` after the last search began. Must not
    /// be called again before the topic is found, or the producer is stuck.
    pub fn look(&mut self) {
        let now = Instant::now();
        let looked = self.looked.replace(now);
        let wait = looked.map(|looked| PAUSE.saturating_sub(now - looked)).unwrap_or_default();
        let (publisher, kafka) = (Arc::clone(&self.publisher), self.kafka.clone());
        let found = self.found.0.clone();
        let started = threads::named("topic").spawn(move || {
            std::thread::sleep(wait);
            look(&publisher, kafka, &found);
        });
        // A host may have no thread to spare for a while (a limit on processes, memory).
        let was_refused = self.start_at.take().is_some();
        if let Err(error) = started {
            self.start_at = Some(now + PAUSE);
            if !was_refused {
                log::error!("cannot start a thread to look for the topic, trying again: {error}");
            }
        }
    }

    /// Looks for the topic if no thread could be started for that before, and the pause since is over.
    pub fn look_again(&mut self) {
        if self.start_at.is_some_and(|at| at <= Instant::now()) {
            self.look();
        }
    }
}

fn publisher(
    kafka: &Kafka,
    batching: Batching,
    link: &Arc<Link>,
    told: &Sender<Delivered>,
) -> Result<Arc<Publisher>, Error> {
    let told = told.clone();
    let tell = Box::new(move |id, delivery| {
        // The other end is gone only when the program ends.
        let _ = told.try_send((id, delivery));
    });
    Publisher::new(kafka, batching, Arc::clone(link), tell).map(Arc::new)
}

fn look(publisher: &Publisher, mut kafka: Kafka, found: &Sender<TopicFinding>) {
    // The other end is gone only when the program ends.
    let give = |what| drop(found.send_blocking(what));
    let may_make = kafka.create_topic;
    // The producer is stuck if brokers answer another client first, and then not our producer.
    let (mut until_made, mut are_others_answered) = (0, false);
    loop {
        kafka.create_topic = may_make && until_made == 0;
        let topic = ensure(&kafka, publisher.client());
        match topic {
            Ok(Topic::Exists) => return give(TopicFinding::Topic(Topic::Exists)),
            Ok(Topic::Made) => {
                await_made(&kafka, publisher);
                return give(TopicFinding::Topic(Topic::Made));
            }
            Ok(missing @ Topic::Missing(_)) => {
                are_others_answered = false;
                // The reason for a failure to make the topic was told by the search that tried to make it.
                if until_made == 0 || !may_make {
                    give(TopicFinding::Topic(missing));
                }
                until_made = (until_made + 1) % TRIED;
            }
            Err(_) if are_others_answered => return give(TopicFinding::Stuck),
            Err(error) => {
                give(TopicFinding::Nobody(error));
                are_others_answered = answers(&kafka);
                if are_others_answered {
                    continue;
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until the producer's own client knows of a topic that was made, for 20 searches at most.
fn await_made(kafka: &Kafka, publisher: &Publisher) {
    let kafka = Kafka { create_topic: false, ..kafka.clone() };
    for _ in 0..20 {
        if let Ok(Topic::Exists) = ensure(&kafka, publisher.client()) {
            return;
        }
        std::thread::sleep(MADE_PAUSE);
    }
}
