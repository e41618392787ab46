//! The way into Kafka: hands records to librdkafka and tells what became of each.

use std::sync::Arc;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};

use super::link::Link;
use super::settings;
use super::topic::words;
use crate::config::Kafka;
use crate::error::Error;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The brokers have it.
    Done,
    /// They will never take it, for its own fault.
    Refused(String),
    /// They do not have it, as far as is known; it may be sent again.
    Failed(String),
}

/// Called for each record that was handed over, on librdkafka's polling thread.
type Tell = Box<dyn Fn(u64, Delivery) + Send + Sync>;

/// A producer.
pub struct Publisher {
    producer: ThreadedProducer<Surroundings>,
    topic: String,
}

impl Publisher {
    /// One that tells `tell` what became of each record. Nothing need be reachable yet.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(kafka: &Kafka, link: Arc<Link>, tell: Tell) -> Result<Publisher, Error> {
        let config = settings::producer(kafka)?;
        let surroundings = Surroundings { link, tell };
        let producer = ThreadedProducer::from_config_and_context(&config, surroundings)
            .map_err(|error| settings::refused(&error))?;
        Ok(Publisher { producer, topic: kafka.topic.clone() })
    }

    /// Hands a record over; false: there is no room at the moment.
    ///
    /// # Errors
    /// librdkafka does not take it: refused, or failed.
    pub fn send(&self, id: u64, key: &str, payload: &str) -> Result<bool, Delivery> {
        let record =
            BaseRecord::with_opaque_to(&self.topic, Box::new(id)).key(key).payload(payload);
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Ok(false),
                _ => Err(outcome(&error)),
            },
        }
    }

    /// Takes back all that was handed over and not delivered: each is told as failed, or, if it
    /// was on its way, as what became of it.
    pub fn take_back(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// The client, to ask the brokers.
    pub fn client(&self) -> &Client<impl ClientContext + use<>> {
        self.producer.client()
    }
}

/// What librdkafka calls back.
struct Surroundings {
    link: Arc<Link>,
    tell: Tell,
}

impl ClientContext for Surroundings {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.link.log(level, facility, message);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Brokers that close what was idle look the same: what counts is whether they answer.
            Some(RDKafkaErrorCode::AllBrokersDown) => self.link.suspect(reason),
            _ => self.link.error(error, reason),
        }
    }
}

impl ProducerContext for Surroundings {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<u64>) {
        let delivery = match result {
            Ok(_) => {
                self.link.works();
                Delivery::Done
            }
            Err((error, _)) => outcome(error),
        };
        (self.tell)(*id, delivery);
    }
}

/// Refused for good is only what is the record's own fault: missing rights, an unknown topic, a
/// timestamp out of range may be mended, so such records are held and sent again.
fn outcome(error: &KafkaError) -> Delivery {
    use RDKafkaErrorCode::{
        InvalidMessage, InvalidMessageSize, InvalidRecord, MessageSizeTooLarge,
        TopicAuthorizationFailed,
    };
    let text = error.rdkafka_error_code().map_or_else(|| error.to_string(), words);
    match error.rdkafka_error_code() {
        Some(MessageSizeTooLarge | InvalidMessage | InvalidMessageSize | InvalidRecord) => {
            Delivery::Refused(text)
        }
        Some(TopicAuthorizationFailed) => {
            Delivery::Failed(format!("{text}: give our user the right to write to the topic"))
        }
        _ => Delivery::Failed(text),
    }
}
