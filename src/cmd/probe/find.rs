//! The way to the topic: the producer, made anew when it has lost its way, and the search for the
//! topic, on a thread of its own, since brokers may take their time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

use crate::cmd::daemon::thread;
use crate::config::Kafka;
use crate::error::Error;
use crate::kafka::{Batching, Delivery, Link, Publisher, Topic, answers, ensure};

/// How often the topic is looked for while it is missing.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked for once it is made.
const MADE_PAUSE: Duration = Duration::from_millis(100);
/// Making it takes a client of its own, so it is tried only once in so many times.
const TRIED: u32 = 3;

/// What the search has found.
pub enum Found {
    /// How it stands with the topic.
    Topic(Topic),
    /// No broker answers.
    Nobody(Error),
    /// None answers our producer, and yet they answer others.
    Stuck,
}

/// What became of a record, by its number.
type Told = (u64, Delivery);

/// Who sends, and looks.
pub struct Finder {
    publisher: Arc<Publisher>,
    batching: Batching,
    kafka: Kafka,
    link: Arc<Link>,
    told: (Sender<Told>, Receiver<Told>),
    found: (Sender<Found>, Receiver<Found>),
    looked: Option<Instant>,
    /// No thread could be started to look: try again then.
    start_at: Option<Instant>,
}

impl Finder {
    /// One that has not looked yet.
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

    /// The producer.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// What became of a record.
    pub async fn told(&self) -> Option<Told> {
        self.told.1.recv().await.ok()
    }

    /// What was found.
    pub async fn found(&self) -> Option<Found> {
        self.found.1.recv().await.ok()
    }

    /// Makes the producer anew. What the old one had is told as returned.
    pub fn renew(&mut self) {
        let new = match publisher(&self.kafka, self.batching, &self.link, &self.told.0) {
            Ok(new) => new,
            Err(error) => return log::error!("{error}"),
        };
        let old = std::mem::replace(&mut self.publisher, new);
        // It takes back what it has when it goes, and that takes its time.
        if let Err(error) = thread("old").spawn(move || drop(old)) {
            log::error!("cannot start a thread: {error}");
        }
    }

    /// Sends so many records in a batch from now on, by another producer.
    pub fn batch(&mut self, batching: Batching) {
        if batching != self.batching {
            self.batching = batching;
            self.renew();
        }
    }

    /// Begins to look until the topic is there, soon after it looked last. Not to be called again
    /// before it was found, or is stuck.
    pub fn look(&mut self) {
        let now = Instant::now();
        let looked = self.looked.replace(now);
        let wait = looked.map(|looked| PAUSE.saturating_sub(now - looked)).unwrap_or_default();
        let (publisher, kafka) = (Arc::clone(&self.publisher), self.kafka.clone());
        let found = self.found.0.clone();
        let started = thread("topic").spawn(move || {
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

    /// Looks for the topic after all, once it is time to try again to start a thread for that.
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
    told: &Sender<Told>,
) -> Result<Arc<Publisher>, Error> {
    let told = told.clone();
    let tell = Box::new(move |id, delivery| {
        // Nobody listens only when the program ends.
        let _ = told.try_send((id, delivery));
    });
    Publisher::new(kafka, batching, Arc::clone(link), tell).map(Arc::new)
}

fn look(publisher: &Publisher, mut kafka: Kafka, found: &Sender<Found>) {
    // Nobody listens only when the program ends.
    let give = |what| drop(found.send_blocking(what));
    let may_make = kafka.create_topic;
    // It comes first that others are answered, and then that our producer is not.
    let (mut until_made, mut are_others_answered) = (0, false);
    loop {
        kafka.create_topic = may_make && until_made == 0;
        let topic = ensure(&kafka, publisher.client());
        match topic {
            Ok(Topic::Exists) => return give(Found::Topic(Topic::Exists)),
            Ok(Topic::Made) => {
                await_made(&kafka, publisher);
                return give(Found::Topic(Topic::Made));
            }
            Ok(missing @ Topic::Missing(_)) => {
                are_others_answered = false;
                // Why it cannot be made was told when that was tried.
                if until_made == 0 || !may_make {
                    give(Found::Topic(missing));
                }
                until_made = (until_made + 1) % TRIED;
            }
            Err(_) if are_others_answered => return give(Found::Stuck),
            Err(error) => {
                give(Found::Nobody(error));
                are_others_answered = answers(&kafka);
                if are_others_answered {
                    continue;
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until the producer's own client knows of a topic that was made.
fn await_made(kafka: &Kafka, publisher: &Publisher) {
    let kafka = Kafka { create_topic: false, ..kafka.clone() };
    for _ in 0..20 {
        if let Ok(Topic::Exists) = ensure(&kafka, publisher.client()) {
            return;
        }
        std::thread::sleep(MADE_PAUSE);
    }
}
