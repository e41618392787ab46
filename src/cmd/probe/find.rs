//! Looks for the topic, on a thread of its own, since brokers may take their time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender};

use crate::cmd::daemon::thread;
use crate::config::Kafka;
use crate::error::Error;
use crate::kafka::{Publisher, Topic, ensure};

/// How often it is looked for while it is missing.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked for once it is made.
const MADE_PAUSE: Duration = Duration::from_millis(100);
/// Making it takes a client of its own, so it is tried only once in so many times.
const TRIED: u32 = 3;

/// How it stands with the topic; an error: no broker answers.
pub type Looked = Result<Topic, Error>;

/// Who looks.
pub struct Finder {
    publisher: Arc<Publisher>,
    kafka: Kafka,
    found: (Sender<Looked>, Receiver<Looked>),
    looked: Option<Instant>,
}

impl Finder {
    /// One that has not looked yet.
    pub fn new(publisher: &Arc<Publisher>, kafka: &Kafka) -> Finder {
        Finder {
            publisher: Arc::clone(publisher),
            kafka: kafka.clone(),
            found: smol::channel::bounded(1),
            looked: None,
        }
    }

    /// What was found.
    pub async fn found(&self) -> Looked {
        self.found.1.recv().await.unwrap_or_else(|_| Err(Error::new("nobody looks for the topic")))
    }

    /// Begins to look until the topic is there, soon after it looked last. Not to be called again
    /// before it was found.
    pub fn look(&mut self) {
        let now = Instant::now();
        let looked = self.looked.replace(now);
        let wait = looked.map(|looked| PAUSE.saturating_sub(now - looked)).unwrap_or_default();
        let (publisher, mut kafka) = (Arc::clone(&self.publisher), self.kafka.clone());
        let found = self.found.0.clone();
        let may_make = kafka.create_topic;
        let started = thread("topic").spawn(move || {
            std::thread::sleep(wait);
            let mut until_made = 0;
            loop {
                kafka.create_topic = may_make && until_made == 0;
                let topic = ensure(&kafka, publisher.client());
                match topic {
                    Ok(Topic::Exists) => return give(&found, topic),
                    Ok(Topic::Made) => {
                        await_made(&kafka, &publisher);
                        return give(&found, topic);
                    }
                    Err(_) => give(&found, topic),
                    Ok(Topic::Missing(_)) => {
                        // Why it cannot be made was told when that was tried.
                        if until_made == 0 || !may_make {
                            give(&found, topic);
                        }
                        until_made = (until_made + 1) % TRIED;
                    }
                }
                std::thread::sleep(PAUSE);
            }
        });
        if let Err(error) = started {
            log::error!("cannot start a thread: {error}");
        }
    }
}

fn give(found: &Sender<Looked>, topic: Looked) {
    // Nobody listens only when the program ends.
    let _ = found.send_blocking(topic);
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
