//! What librdkafka is told. Its own defaults are for servers: a gigabyte of queue, a minute until
//! a dead broker is noticed. What the user sets in `[kafka.properties]` comes last; what our
//! promises rest on is refused there.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::Kafka;
use crate::error::{Context, Error};
use crate::roots;

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
    ("log.connection.close", "false"),
    ("enable.metrics.push", "false"),
];

/// For a small machine: what waits to be sent is ours to hold, librdkafka has only the next few.
/// No idempotence: a resend after a restart repeats anyway, the record's key absorbs it, and
/// idempotence would bring errors that end the client.
const PRODUCER: [(&str, &str); 11] = [
    ("acks", "all"),
    ("enable.idempotence", "false"),
    ("compression.codec", "lz4"),
    ("linger.ms", "200"),
    ("batch.size", "262144"),
    ("message.max.bytes", "262144"),
    ("queue.buffering.max.messages", "4000"),
    ("queue.buffering.max.kbytes", "2048"),
    ("message.timeout.ms", "60000"),
    // As Java's clients: one target, one partition, whoever else writes.
    ("partitioner", "murmur2_random"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

/// A cooperative group without static members (two writers with one configuration would fence one
/// another), replaced within 15 s. Offsets come from the database.
const CONSUMER: [(&str, &str); 14] = [
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
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "500"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// For a producer.
///
/// # Errors
/// No roots to trust.
pub fn producer(kafka: &Kafka) -> Result<ClientConfig, Error> {
    client(kafka, &PRODUCER)
}

/// For a consumer.
///
/// # Errors
/// No roots to trust.
pub fn consumer(kafka: &Kafka) -> Result<ClientConfig, Error> {
    let mut config = client(kafka, &CONSUMER)?;
    config.set("group.id", &kafka.group);
    Ok(config)
}

/// For neither: to ask the brokers.
///
/// # Errors
/// No roots to trust.
pub fn plain(kafka: &Kafka) -> Result<ClientConfig, Error> {
    client(kafka, &[])
}

fn client(kafka: &Kafka, own: &[(&str, &str)]) -> Result<ClientConfig, Error> {
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
        let path = |path: &std::path::Path| path.display().to_string();
        if let Some(file) = &tls.cert_file {
            config.set("ssl.certificate.location", path(file));
        }
        if let Some(file) = &tls.key_file {
            config.set("ssl.key.location", path(file));
        }
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", password);
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
    config.set_log_level(RDKafkaLogLevel::Warning);
    Ok(config)
}

/// The roots that the brokers' certificates must lead to, as PEM.
fn trusted(ca_file: Option<&std::path::Path>) -> Result<String, Error> {
    let certificates = match ca_file {
        Some(path) => roots::read(path)?,
        None => roots::host(),
    };
    if certificates.is_empty() {
        let text = "no CA certificates on this machine: install ca-certificates, or set ca_file \
                    in [kafka.tls]";
        return Err(Error::new(text));
    }
    let mut pem = Vec::new();
    for certificate in &certificates {
        pem.extend(certificate.to_pem().cannot("use CA certificates")?);
    }
    String::from_utf8(pem).cannot("use CA certificates")
}
