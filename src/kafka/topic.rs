//! Looks for the topic, and makes it if the configuration allows that.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::settings::{self, Asking};
use crate::config::KafkaConfig;
use crate::error::Error;

/// Longest time to wait for the brokers' answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// State of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// The topic exists.
    Exists,
    /// The topic was missing, and has been made.
    Made,
    /// The topic is missing or cannot be seen. The text says why it was not made, and what the user can do.
    Missing(String),
}

/// Looks for the topic, and makes it if it is missing and `create_topic` is set. It is no error if another
/// client makes the topic at the same time.
///
/// # Errors
/// No broker answers, the brokers' answer is an error, or there are no threads to make the topic with.
pub fn ensure<C: rdkafka::ClientContext>(
    kafka: &KafkaConfig,
    client: &Client<C>,
) -> Result<Topic, Error> {
    match fetch_topic_error(kafka, client)? {
        None => return Ok(Topic::Exists),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) if !kafka.create_topic => {
            return Ok(missing(kafka, "does not exist", "or set create_topic"));
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
        Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => {
            let why = format!("cannot be seen: {}", describe_code(code));
            return Ok(missing(kafka, &why, "or give our user the right to describe it"));
        }
        // A broker that has just started may not know all topics yet.
        Some(code) => {
            return Err(Error::new(format!(
                "cannot see topic {}: {}",
                kafka.topic,
                describe_code(code)
            )));
        }
    }
    let said = |error: KafkaError| Error::new(format!("cannot make the topic: {error}"));
    let config: ClientConfig = settings::plain(kafka)?;
    let admin = AdminClient::from_config_and_context(&config, Asking).map_err(said)?;
    let replication = TopicReplication::Fixed(kafka.replicas);
    let topic = NewTopic::new(&kafka.topic, kafka.partitions, replication);
    let options = AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT));
    let made = smol::block_on(admin.create_topics([&topic], &options)).map_err(said)?;
    match made.into_iter().next() {
        Some(Ok(_)) => Ok(Topic::Made),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Topic::Exists),
        Some(Err((_, code))) => {
            let why = format!("does not exist, and we cannot make it: {}", describe_code(code));
            Ok(missing(kafka, &why, "or give our user the right to create it"))
        }
        None => Err(Error::new("cannot make the topic: no answer")),
    }
}

/// Asks the brokers for the topic; returns the error code, none if the topic exists.
fn fetch_topic_error<C: rdkafka::ClientContext>(
    kafka: &KafkaConfig,
    client: &Client<C>,
) -> Result<Option<RDKafkaErrorCode>, Error> {
    let metadata =
        client.fetch_metadata(Some(&kafka.topic), REQUEST_TIMEOUT).map_err(|error| match error
            .rdkafka_error_code()
        {
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::AllBrokersDown,
            ) => Error::new("no broker answers"),
            _ => Error::new(format!("cannot ask for the topic: {error}")),
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == kafka.topic);
    let Some(topic) = topic else { return Ok(Some(RDKafkaErrorCode::UnknownTopicOrPartition)) };
    Ok(topic.error().map(RDKafkaErrorCode::from))
}

fn missing(kafka: &KafkaConfig, why: &str, or: &str) -> Topic {
    let (name, partitions) = (&kafka.topic, kafka.partitions);
    Topic::Missing(format!(
        "topic {name} {why}; make it with `kafka-topics.sh --bootstrap-server {} --create --topic \
         {name} --partitions {partitions}`, {or}",
        kafka.brokers[0]
    ))
}

/// Returns Kafka's words for a code: `Topic authorization failed`, without `Broker: ` before it.
pub fn describe_code(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let text = text.split_once(" (").and_then(|(_, text)| text.strip_suffix(')')).unwrap_or(&text);
    text.strip_prefix("Broker: ").or(text.strip_prefix("Local: ")).unwrap_or(text).to_owned()
}
