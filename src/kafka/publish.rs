//! Publishes records to Kafka: hands them to librdkafka, and reports the delivery of each.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};

use super::link::BrokerStatus;
use super::settings::{self, Batching};
use super::topic::describe_code;
use crate::config::KafkaConfig;
use crate::error::Error;

/// Result of the delivery of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The brokers have the record.
    Done,
    /// The brokers will never take the record, because of the record itself; with the reason.
    Refused(String),
    /// The brokers do not take the record, for another reason; it may be sent again.
    Failed(String),
    /// No answer came in time, or the record was taken back; it may be sent again.
    Returned,
}

/// Callback for each record that was handed over, with its id; runs on the thread that polls librdkafka.
type DeliveryCallback = Box<dyn Fn(u64, Delivery) + Send + Sync>;

/// Producer of records.
pub struct TopicProducer {
    producer: ThreadedProducer<Callbacks>,
    topic: String,
}

impl TopicProducer {
    /// Makes a producer that calls `on_delivery` with the delivery of each record. No broker need be
    /// reachable yet.
    ///
    /// # Errors
    /// The roots cannot be read, librdkafka does not take a setting, or there are no threads for it.
    pub fn new(
        kafka: &KafkaConfig,
        batching: Batching,
        status: Arc<BrokerStatus>,
        on_delivery: DeliveryCallback,
    ) -> Result<TopicProducer, Error> {
        let config = settings::producer(kafka, batching)?;
        let callbacks = Callbacks { status, on_delivery };
        let producer = ThreadedProducer::from_config_and_context(&config, callbacks)
            .map_err(|error| settings::refused(&error))?;
        Ok(TopicProducer { producer, topic: kafka.topic.clone() })
    }

    /// Hands a record to librdkafka. Returns false if its queue is full at the moment.
    ///
    /// # Errors
    /// librdkafka does not take the record: refused, or failed.
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

    /// Takes back all records that were handed over and not delivered. Each is reported to `on_delivery`,
    /// most as [`Delivery::Returned`]; a record on its way may still be reported with its true delivery.
    pub fn take_back(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// Returns the client, for questions to the brokers.
    pub fn client(&self) -> &Client<impl ClientContext + use<>> {
        self.producer.client()
    }
}

/// Callbacks of librdkafka.
struct Callbacks {
    status: Arc<BrokerStatus>,
    on_delivery: DeliveryCallback,
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.status.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let longest_ms = throttled_ms(&String::from_utf8_lossy(statistics));
        if longest_ms > 0 {
            self.status.note_throttle(Duration::from_millis(longest_ms));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Brokers that close an idle connection look the same, so this is only a suspicion.
            Some(RDKafkaErrorCode::AllBrokersDown) => self.status.suspect(reason),
            _ => self.status.error(error, reason),
        }
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<u64>) {
        let delivery = match result {
            Ok(_) => {
                self.status.note_answer();
                Delivery::Done
            }
            Err((error, _)) => outcome(error),
        };
        (self.on_delivery)(*id, delivery);
    }
}

/// Turns an error into a delivery. Only errors of the record itself refuse it for good. Missing rights, an
/// unknown topic or a timestamp out of range can be mended: such records are held and sent again.
fn outcome(error: &KafkaError) -> Delivery {
    use RDKafkaErrorCode::{
        InvalidMessage, InvalidMessageSize, InvalidRecord, MessageSizeTooLarge, MessageTimedOut,
        NotEnoughReplicas, NotEnoughReplicasAfterAppend, PurgeInflight, PurgeQueue,
        TopicAuthorizationFailed,
    };
    let text = error.rdkafka_error_code().map_or_else(|| error.to_string(), describe_code);
    match error.rdkafka_error_code() {
        Some(MessageSizeTooLarge) => Delivery::Refused(format!(
            "{text}: raise max.message.bytes of the topic, which is smaller than the record"
        )),
        Some(InvalidMessage | InvalidMessageSize | InvalidRecord) => Delivery::Refused(text),
        Some(TopicAuthorizationFailed) => {
            Delivery::Failed(format!("{text}: give our user the right to write to the topic"))
        }
        Some(NotEnoughReplicas | NotEnoughReplicasAfterAppend) => Delivery::Failed(format!(
            "{text}: the topic's min.insync.replicas asks for more brokers than have it: start \
             those that are missing, or lower it"
        )),
        Some(MessageTimedOut | PurgeInflight | PurgeQueue) => Delivery::Returned,
        _ => Delivery::Failed(text),
    }
}

/// Returns the longest time that any broker has told us to wait, in milliseconds, from librdkafka's
/// statistics: `"throttle": { "min":0, "max":1500, …`.
fn throttled_ms(statistics: &str) -> u64 {
    let longest = |part: &str| {
        let (_, max) = part.split_once("\"max\":")?;
        let max = max.trim_start();
        let end = max.find(|c: char| !c.is_ascii_digit()).unwrap_or(max.len());
        max[..end].parse().ok()
    };
    statistics.split("\"throttle\":").skip(1).filter_map(longest).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_of_all_brokers_counts() {
        let broker = |max: u64| {
            format!(
                "{{ \"rtt\": {{ \"min\":1, \"max\":77777 }}, \"throttle\": {{ \"min\":0, \
                 \"max\":{max}, \"avg\":3 }}, \"toppars\":{{ \"max\":99999 }} }}"
            )
        };
        let all = format!("{{ \"brokers\":{{ {}, {} }} }}", broker(0), broker(1500));
        assert_eq!((throttled_ms(&all), throttled_ms(&broker(0))), (1500, 0));
        for broken in ["", "\"throttle\":", "\"throttle\": { \"max\":", "\"throttle\": {\"max\":x"]
        {
            assert_eq!(throttled_ms(broken), 0, "{broken}");
        }
    }
}
