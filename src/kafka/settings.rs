//! What librdkafka is told. Its own defaults are for servers: a gigabyte of queue, a minute until
//! a dead broker is noticed. What the user sets in `[kafka.properties]` comes last; what our
//! promises rest on is refused there.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use rdkafka::{ClientConfig, ClientContext};

use crate::config::Kafka;
use crate::error::{Context, Error};
use crate::model::target::Secret;
use crate::roots;
use crate::threads;

/// Threads of a client besides one for each broker: its own, two for brokers that it makes up, the one
/// that rdkafka polls it on, and one more.
const THREADS: usize = 5;

/// For both ends: brokers, who we are to them, and when they count as away.
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

/// For a small machine: what waits to be sent is ours to hold, librdkafka has only the next few.
/// No idempotence: a resend after a restart repeats anyway, the record's key absorbs it, and
/// idempotence would bring errors that end the client. A batch that is sent again may be overtaken by
/// those sent after it: with one request at a time, which would prevent it, a link of 300 ms would
/// carry no more than 200 KB/s.
const PRODUCER: [(&str, &str); 14] = [
    ("acks", "all"),
    ("enable.idempotence", "false"),
    ("compression.codec", "lz4"),
    ("linger.ms", "200"),
    // A batch that is too large for the topic is refused as a whole; so it is no larger than the
    // largest record.
    ("batch.size", "65536"),
    ("message.max.bytes", "262144"),
    ("queue.buffering.max.messages", "4000"),
    ("queue.buffering.max.kbytes", "2048"),
    ("message.timeout.ms", "60000"),
    // What brokers go on refusing comes back to us, who know how to say it.
    ("retries", "2"),
    // That a quota holds us back stands in the statistics alone.
    ("statistics.interval.ms", "3000"),
    // As Java's clients: one target, one partition, whoever else writes.
    ("partitioner", "murmur2_random"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    // What cannot be sent since its topic is gone comes back at once, and is sent again.
    ("topic.metadata.propagation.max.ms", "1000"),
];

/// A cooperative group without static members (two writers with one configuration would fence one
/// another), replaced within 15 s. Offsets come from the database.
const CONSUMER: [(&str, &str); 15] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "2000"),
    ("max.poll.interval.ms", "300000"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Offsets that are gone: the earliest there is, never the latest.
    ("auto.offset.reset", "earliest"),
    ("queued.max.messages.kbytes", "2048"),
    ("queued.min.messages", "10000"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.message.max.bytes", "262144"),
    // TCP's own sum lets one of 65536 flipped bits through.
    ("check.crcs", "true"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "500"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// For a producer.
///
/// # Errors
/// The roots to trust cannot be read, or there are no threads for a client.
pub fn producer(kafka: &Kafka, batching: Batching) -> Result<ClientConfig, Error> {
    let mut config = client(kafka, &PRODUCER)?;
    if batching == Batching::Single {
        config.set("batch.num.messages", "1");
    }
    Ok(config)
}

/// How many records a producer sends in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// As many as fit.
    Many,
    /// One: no record is refused for the size of others.
    Single,
}

/// For a consumer.
///
/// # Errors
/// The roots to trust cannot be read, or there are no threads for a client.
pub fn consumer(kafka: &Kafka) -> Result<ClientConfig, Error> {
    let mut config = client(kafka, &CONSUMER)?;
    config.set("group.id", &kafka.group);
    // That a topic is another one under the same name is said nowhere else.
    if !kafka.properties.contains_key("debug") {
        config.set("debug", "topic");
    }
    config.set_log_level(RDKafkaLogLevel::Debug);
    Ok(config)
}

/// What a client of `plain` calls back. (rdkafka's own reads statistics that nobody asks for, by
/// 60 KB of code.)
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

/// For neither: to ask the brokers.
///
/// # Errors
/// The roots to trust cannot be read, or there are no threads for a client.
pub fn plain(kafka: &Kafka) -> Result<ClientConfig, Error> {
    client(kafka, &[])
}

fn client(kafka: &Kafka, own: &[(&str, &str)]) -> Result<ClientConfig, Error> {
    // rdkafka panics where it cannot start its own.
    threads::spare(kafka.brokers.len() + THREADS).cannot("start a thread for Kafka")?;
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

/// Says which setting librdkafka does not take; never its value, which may be a secret.
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

/// The roots that the brokers' certificates must lead to, as PEM.
fn trusted(ca_file: Option<&std::path::Path>) -> Result<String, Error> {
    let mut pem = Vec::new();
    for certificate in roots::trusted(ca_file)? {
        pem.extend(certificate.to_pem().cannot("use CA certificates")?);
    }
    String::from_utf8(pem).cannot("use CA certificates")
}
