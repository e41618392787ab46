//! Producer and topic: replaces a producer that is stuck, and looks for the topic on a thread of its own,
//! since brokers may be slow to answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

use crate::config::KafkaConfig;
use crate::error::Error;
use crate::kafka::{
    Batching, BrokerStatus, Delivery, Topic, TopicProducer, answers_new_client, ensure,
};
use crate::threads;

/// Time between two searches for a missing topic.
const SEARCH_PAUSE: Duration = Duration::from_secs(2);
/// Time between two searches for a topic that was just made.
const CREATED_PAUSE: Duration = Duration::from_millis(100);
/// Searches per attempt to make the topic: each attempt takes a client of its own.
const TRIES_PER_CREATE: u32 = 3;

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
pub struct TopicFinder {
    producer: Arc<TopicProducer>,
    batching: Batching,
    kafka: KafkaConfig,
    status: Arc<BrokerStatus>,
    deliveries: (Sender<Delivered>, Receiver<Delivered>),
    findings: (Sender<TopicFinding>, Receiver<TopicFinding>),
    searched_at: Option<Instant>,
    /// Time to try again to start the search, since no thread could be started for it.
    start_at: Option<Instant>,
}

impl TopicFinder {
    /// Creates the producer; the topic is not searched for yet.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(kafka: &KafkaConfig, status: &Arc<BrokerStatus>) -> Result<TopicFinder, Error> {
        let deliveries = smol::channel::unbounded();
        Ok(TopicFinder {
            producer: producer(kafka, Batching::Many, status, &deliveries.0)?,
            batching: Batching::Many,
            kafka: kafka.clone(),
            status: Arc::clone(status),
            deliveries,
            findings: smol::channel::bounded(1),
            start_at: None,
            searched_at: None,
        })
    }

    /// Returns the producer.
    pub fn producer(&self) -> &TopicProducer {
        &self.producer
    }

    /// Waits for the result of one record's delivery.
    pub async fn next_delivery(&self) -> Option<Delivered> {
        self.deliveries.1.recv().await.ok()
    }

    /// Waits for the next result of the search.
    pub async fn next_finding(&self) -> Option<TopicFinding> {
        self.findings.1.recv().await.ok()
    }

    /// Replaces the producer by a new one. Records that the old one still has are reported as returned.
    pub fn replace_producer(&mut self) {
        let new = match producer(&self.kafka, self.batching, &self.status, &self.deliveries.0) {
            Ok(new) => new,
            Err(error) => return log::error!("{error}"),
        };
        let old = std::mem::replace(&mut self.producer, new);
        // The old producer takes back its records when it is dropped, which takes a while.
        if let Err(error) = threads::named("old").spawn(move || drop(old)) {
            log::error!("cannot start a thread: {error}");
        }
    }

    /// Sets how many records go into a batch; a change replaces the producer.
    pub fn set_batching(&mut self, batching: Batching) {
        if batching != self.batching {
            self.batching = batching;
            self.replace_producer();
        }
    }

    /// Begins to look for the topic until it exists, at least `SEARCH_PAUSE` after the last search began.
    /// Must not be called again before the topic is found, or the producer is stuck.
    pub fn search(&mut self) {
        let now = Instant::now();
        let searched_at = self.searched_at.replace(now);
        let wait = searched_at
            .map(|searched_at| SEARCH_PAUSE.saturating_sub(now - searched_at))
            .unwrap_or_default();
        let (producer, kafka) = (Arc::clone(&self.producer), self.kafka.clone());
        let findings = self.findings.0.clone();
        let started = threads::named("topic").spawn(move || {
            std::thread::sleep(wait);
            search_topic(&producer, kafka, &findings);
        });
        // A host may have no thread to spare for a while (a limit on processes, memory).
        let was_refused = self.start_at.take().is_some();
        if let Err(error) = started {
            self.start_at = Some(now + SEARCH_PAUSE);
            if !was_refused {
                log::error!("cannot start a thread to look for the topic, trying again: {error}");
            }
        }
    }

    /// Looks for the topic if no thread could be started for that before, and the pause since is over.
    pub fn retry_search(&mut self) {
        if self.start_at.is_some_and(|at| at <= Instant::now()) {
            self.search();
        }
    }
}

fn producer(
    kafka: &KafkaConfig,
    batching: Batching,
    status: &Arc<BrokerStatus>,
    deliveries: &Sender<Delivered>,
) -> Result<Arc<TopicProducer>, Error> {
    let deliveries = deliveries.clone();
    let on_delivery = Box::new(move |id, delivery| {
        // The other end is gone only when the program ends.
        let _ = deliveries.try_send((id, delivery));
    });
    TopicProducer::new(kafka, batching, Arc::clone(status), on_delivery).map(Arc::new)
}

fn search_topic(producer: &TopicProducer, mut kafka: KafkaConfig, findings: &Sender<TopicFinding>) {
    // The other end is gone only when the program ends.
    let send = |what| drop(findings.send_blocking(what));
    let may_make = kafka.create_topic;
    // The producer is stuck if brokers answer another client first, and then not our producer.
    let (mut until_create, mut are_others_answered) = (0, false);
    loop {
        kafka.create_topic = may_make && until_create == 0;
        let topic = ensure(&kafka, producer.client());
        match topic {
            Ok(Topic::Exists) => return send(TopicFinding::Topic(Topic::Exists)),
            Ok(Topic::Made) => {
                await_created(&kafka, producer);
                return send(TopicFinding::Topic(Topic::Made));
            }
            Ok(missing @ Topic::Missing(_)) => {
                are_others_answered = false;
                // The reason for a failure to make the topic was reported by the search that tried to make
                // it.
                if until_create == 0 || !may_make {
                    send(TopicFinding::Topic(missing));
                }
                until_create = (until_create + 1) % TRIES_PER_CREATE;
            }
            Err(_) if are_others_answered => return send(TopicFinding::Stuck),
            Err(error) => {
                send(TopicFinding::Nobody(error));
                are_others_answered = answers_new_client(&kafka);
                if are_others_answered {
                    continue;
                }
            }
        }
        std::thread::sleep(SEARCH_PAUSE);
    }
}

/// Waits until the producer's own client knows of a topic that was made, for 20 searches at most.
fn await_created(kafka: &KafkaConfig, producer: &TopicProducer) {
    let kafka = KafkaConfig { create_topic: false, ..kafka.clone() };
    for _ in 0..20 {
        if let Ok(Topic::Exists) = ensure(&kafka, producer.client()) {
            return;
        }
        std::thread::sleep(CREATED_PAUSE);
    }
}
