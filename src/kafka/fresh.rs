//! Finds out if a client has to be made anew. librdkafka (2.10 to 2.13) forgets brokers that are not in the
//! metadata. If all brokers of a cluster are fenced, as after they stood still, the metadata names none,
//! and librdkafka never asks again: <https://github.com/confluentinc/librdkafka/issues/5301>.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::config::FromClientConfigAndContext;

use super::settings::{self, Asking};
use crate::config::KafkaConfig;

/// Longest time to connect to a broker, and to wait for its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns true if the brokers answer a new client. Makes no client if no broker can be reached.
pub fn answers_new_client(kafka: &KafkaConfig) -> bool {
    kafka.brokers.iter().any(|broker| is_listening(broker)) && fetches_metadata(kafka)
}

fn is_listening(broker: &str) -> bool {
    let addresses = broker.to_socket_addrs().into_iter().flatten();
    addresses.take(2).any(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok())
}

fn fetches_metadata(kafka: &KafkaConfig) -> bool {
    let Ok(config) = settings::plain(kafka) else { return false };
    let Ok(client) = AdminClient::from_config_and_context(&config, Asking) else { return false };
    let metadata = client.inner().fetch_metadata(Some(&kafka.topic), REQUEST_TIMEOUT);
    metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
}
