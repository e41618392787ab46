//! Settings for librdkafka. Its own defaults are for servers: a queue of a gigabyte, a minute until a dead
//! broker is noticed. The user's `[kafka.properties]` are set last; settings that our promises rest on are
//! refused there.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use rdkafka::{ClientConfig, ClientContext};

use crate::config::KafkaConfig;
use crate::error::{Context, Error};
use crate::model::secret::Secret;
use crate::roots;
use crate::threads;

/// Threads of a client besides one for each broker: librdkafka's main one, two for its internal brokers,
/// the one on which rdkafka polls, and one more.
const THREADS: usize = 5;

/// Settings of both ends: our name for the brokers, and the time until a broker counts as away.
const COMMON: [(&str, &str); 9] = [
    ("client.id", "sitewatch"),
    ("allow.auto.create.topics", "false"),
    // A broker that says nothing is noticed within 10 s.
    ("socket.timeout.ms", "10000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.ms", "250"),
    ("reconnect.backoff.max.ms", "5000"),
    // A broker may hang up because it wants TLS, or a login.
    ("log.connection.close", "true"),
    ("enable.metrics.push", "false"),
];

/// Settings of the producer, for a small machine: we hold the records that wait, librdkafka only the next
/// few. Idempotence is off: a restart repeats records anyway, their key removes the duplicates, and
/// idempotence would bring errors that end the client. A batch that is sent again may arrive after later
/// batches. One request at a time would prevent that, but then a connection with a latency of 300 ms would
/// carry no more than 200 KB/s.
const PRODUCER: [(&str, &str); 14] = [
    ("acks", "all"),
    ("enable.idempotence", "false"),
    ("compression.codec", "lz4"),
    ("linger.ms", "200"),
    // A batch that is too large for the topic is refused as a whole: so a batch is no larger than the
    // largest record.
    ("batch.size", "65536"),
    ("message.max.bytes", "262144"),
    ("queue.buffering.max.messages", "4000"),
    ("queue.buffering.max.kbytes", "2048"),
    ("message.timeout.ms", "60000"),
    // Records that the brokers still refuse come back to us: we report them in our own words.
    ("retries", "2"),
    // librdkafka reports that a quota holds us back in its statistics alone.
    ("statistics.interval.ms", "3000"),
    // The partitioner of Java's clients: a target has the same partition for all writers.
    ("partitioner", "murmur2_random"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    // Records for a topic that is gone come back at once, and are sent again.
    ("topic.metadata.propagation.max.ms", "1000"),
];

/// Settings of the consumer: a cooperative group, in which a dead member is replaced within 15 s. No static
/// members: two writers with one configuration would fence each other. Offsets come from the database.
const CONSUMER: [(&str, &str); 15] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "2000"),
    ("max.poll.interval.ms", "300000"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // If an offset is gone, read from the earliest one, never from the latest.
    ("auto.offset.reset", "earliest"),
    ("queued.max.messages.kbytes", "2048"),
    ("queued.min.messages", "10000"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.message.max.bytes", "262144"),
    // TCP's own checksum misses one of 65536 errors.
    ("check.crcs", "true"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "500"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// Makes the settings of a producer.
///
/// # Errors
/// The roots to trust cannot be read, or there are no threads for a client.
pub fn producer(kafka: &KafkaConfig, batching: Batching) -> Result<ClientConfig, Error> {
    let mut config = client(kafka, &PRODUCER)?;
    if batching == Batching::Single {
        config.set("batch.num.messages", "1");
    }
    Ok(config)
}

/// Number of records that a producer sends in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// As many as fit.
    Many,
    /// One record: none is refused for the size of others.
    Single,
}

/// Makes the settings of a consumer.
///
/// # Errors
/// The roots to trust cannot be read, or there are no threads for a client.
pub fn consumer(kafka: &KafkaConfig) -> Result<ClientConfig, Error> {
    let mut config = client(kafka, &CONSUMER)?;
    config.set("group.id", &kafka.group);
    // Only this debug log says that a topic was made anew under the same name.
    if !kafka.properties.contains_key("debug") {
        config.set("debug", "topic");
    }
    config.set_log_level(RDKafkaLogLevel::Debug);
    Ok(config)
}

/// Callbacks of a client that [`plain`] has set up. (rdkafka's own callbacks read statistics that nobody
/// asks for, with 60 KB of code.)
pub struct Asking;

impl ClientContext for Asking {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log::debug!("librdkafka: {facility}: {message}");
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!("librdkafka: {error}: {reason}");
    }
}

/// Makes the settings of a client that only asks the brokers: neither producer nor consumer.
///
/// # Errors
/// The roots to trust cannot be read, or there are no threads for a client.
pub fn plain(kafka: &KafkaConfig) -> Result<ClientConfig, Error> {
    client(kafka, &[])
}

fn client(kafka: &KafkaConfig, own: &[(&str, &str)]) -> Result<ClientConfig, Error> {
    // rdkafka panics if it cannot start its threads.
    threads::ensure_spare(kafka.brokers.len() + THREADS).cannot("start a thread for Kafka")?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers.join(","));
    for (name, value) in COMMON.iter().chain(own) {
        config.set(*name, *value);
    }
    let protocol = match (&kafka.tls, &kafka.sasl) {
        (None, None) => "plaintext",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), None) => "ssl",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &kafka.tls {
        config.set("enable.ssl.certificate.verification", "true");
        config.set("ssl.endpoint.identification.algorithm", "https");
        config.set("ssl.ca.pem", trusted(tls.ca_file.as_deref())?);
        if let Some(identity) = &tls.identity {
            config.set("ssl.certificate.location", identity.cert_file.display().to_string());
            config.set("ssl.key.location", identity.key_file.display().to_string());
            if let Some(Secret(password)) = &identity.key_password {
                config.set("ssl.key.password", password);
            }
        }
    }
    if let Some(sasl) = &kafka.sasl {
        config.set("sasl.mechanisms", sasl.mechanism.as_str());
        config.set("sasl.username", &sasl.username);
        config.set("sasl.password", &sasl.password);
    }
    for (name, value) in &kafka.properties {
        config.set(name, value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    Ok(config)
}

/// Names the setting that librdkafka does not take; never its value, which may be a secret.
pub fn refused(error: &KafkaError) -> Error {
    let why = match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            format!("librdkafka knows no {name}, which [kafka.properties] sets")
        }
        KafkaError::ClientConfig(_, why, name, _) => {
            let range = why.split_once(" is outside ").map(|(_, range)| range.trim());
            let range = range.map(|range| format!(", {range}")).unwrap_or_default();
            format!("librdkafka does not take the value of {name} in [kafka.properties]{range}")
        }
        KafkaError::ClientCreation(why) if why.contains("key values mismatch") => {
            "key_file is not the key of cert_file".to_owned()
        }
        KafkaError::ClientCreation(why) => why
            .replace("ssl.key.location failed", "key_file cannot be read, or key_password is wrong")
            .replace("ssl.certificate.location failed", "cert_file cannot be read"),
        error => error.to_string(),
    };
    Error::new(format!("cannot set up Kafka: {why}"))
}

/// Returns the roots that the brokers' certificates must lead to, as PEM.
fn trusted(ca_file: Option<&std::path::Path>) -> Result<String, Error> {
    let mut pem = Vec::new();
    for certificate in roots::load(ca_file)? {
        pem.extend(certificate.to_pem().cannot("use CA certificates")?);
    }
    String::from_utf8(pem).cannot("use CA certificates")
}
