//! Explains the trouble with a broker so that the user can act. librdkafka explains it with the names of
//! its own settings, and says of a certificate only that it is refused.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;

use crate::config::{KafkaConfig, KafkaTls};
use crate::roots;

/// Longest time for each step of [`refusal`].
const STEP: Duration = Duration::from_secs(3);

/// A broker that hangs up sooner than this, once the connection is up, is taken for one that wants a
/// login.
const AT_ONCE_MS: u64 = 2000;

/// Meaning of a message of librdkafka.
#[derive(Debug, PartialEq, Eq)]
pub enum Explained {
    /// The explanation is certain.
    Surely(String),
    /// The explanation is a guess: a broker that starts or stops may look the same.
    Perhaps(String),
}

/// Alerts of a broker that refuses our certificate, or misses one.
const UNWELCOME: [&str; 4] = [
    "alert bad certificate",
    "alert certificate required",
    "alert certificate unknown",
    "alert unknown ca",
];

/// Messages for a broker that hangs up.
const HUNG_UP: [&str; 3] = ["Disconnected", "Broken pipe", "reset by peer"];

/// Prefix before the address of the group's coordinator.
const COORDINATOR: &str = "GroupCoordinator: ";

/// Messages for a broker that cannot be reached.
const UNREACHED: [&str; 3] = ["Connect to ", "Failed to resolve ", "Connection setup timed out"];

/// Message for a server that does not speak Kafka: its first four bytes are taken for a size.
const FOREIGN: &str = "Invalid response size ";

/// Shortens a message of librdkafka to broker and reason, without the parts for its developers:
/// `ssl://host:9093/1: reason (after 3ms in state UP)` becomes `host:9093: reason`.
pub fn shown(said: &str) -> String {
    let reason = said.split(" (after ").next().unwrap_or(said);
    let reason = reason.strip_prefix(COORDINATOR).unwrap_or(reason);
    let Some((broker, why)) = reason.split_once(": ") else { return reason.to_owned() };
    let broker = broker.split_once("://").map_or(broker, |(_, address)| address);
    let broker = broker.split('/').next().unwrap_or(broker);
    format!("{broker}: {why}")
}

/// Explains a message of librdkafka in terms of our settings; none if the message needs no explanation.
pub fn explain(said: &str, kafka: &KafkaConfig) -> Option<Explained> {
    let reason = shown(said);
    let (broker, why) = reason.split_once(": ")?;
    let has_certificate = kafka.tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    if UNWELCOME.iter().any(|words| why.contains(words)) {
        let what = if has_certificate {
            "our certificate is refused: the broker must trust the CA that signed cert_file"
        } else {
            "the broker wants a certificate of ours: set cert_file and key_file in [kafka.tls]"
        };
        return Some(Explained::Surely(format!("{broker}: {what}")));
    }
    if let Some((_, size)) = why.split_once(FOREIGN) {
        return Some(Explained::Surely(format!("{broker}: {}", foreign(size))));
    }
    if UNREACHED.iter().any(|words| why.starts_with(words))
        && kafka.brokers.iter().all(|known| known != broker)
    {
        return Some(Explained::Perhaps(format!(
            "{reason}; the brokers give this address as their own: mend their advertised.listeners"
        )));
    }
    if !HUNG_UP.iter().any(|words| why.contains(words)) {
        return None;
    }
    // librdkafka (2.12) has hints of its own for these cases, but does not pass them on.
    let what = if said.contains("in state APIVERSION_QUERY") && kafka.tls.is_none() {
        "as brokers do that want TLS: add [kafka.tls], or take another port"
    } else if why.contains("PLAINTEXT broker listener") {
        "as brokers do that have no TLS: remove [kafka.tls], or take another port"
    } else if said.contains("in state UP") && lasted_ms(said)? < AT_ONCE_MS && kafka.sasl.is_none()
    {
        "as brokers do that want a login: add [kafka.sasl], or take another port"
    } else {
        return None;
    };
    Some(Explained::Perhaps(format!("{broker}: the broker hangs up, {what}")))
}

/// Describes the server that answers in place of a broker, by the size that its first bytes were taken for.
fn foreign(size: &str) -> String {
    let number = size.split(' ').next().and_then(|word| word.parse::<i32>().ok());
    let bytes = number.unwrap_or_default().to_be_bytes();
    let what = match &bytes {
        b"HTTP" => "a web server (HTTP)".to_owned(),
        // The first bytes are a TLS alert or handshake.
        [21 | 22, 3, ..] => return "this port wants TLS: add [kafka.tls]".to_owned(),
        text if text.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
            format!("another server, which begins with {:?}", String::from_utf8_lossy(text))
        }
        _ => "another server".to_owned(),
    };
    format!("this is no Kafka broker but {what}: mend brokers in [kafka]")
}

/// Reads from a message the time that a broker had been in its state, in milliseconds.
fn lasted_ms(said: &str) -> Option<u64> {
    said.split_once(" (after ")?.1.split_once("ms in state ")?.0.parse().ok()
}

/// Makes a TLS handshake of our own with `broker` (host:port). If the broker's certificate is refused,
/// returns the reason, for people.
pub fn refusal(broker: &str, tls: &KafkaTls) -> Option<String> {
    let (host, _) = broker.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let address = broker.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, STEP).ok()?;
    stream.set_read_timeout(Some(STEP)).ok()?;
    stream.set_write_timeout(Some(STEP)).ok()?;
    let mut builder = SslConnector::builder(SslMethod::tls_client()).ok()?;
    let mut store = X509StoreBuilder::new().ok()?;
    for certificate in roots::load(tls.ca_file.as_deref()).ok()? {
        store.add_cert(certificate).ok()?;
    }
    builder.set_cert_store(store.build());
    let ssl = builder.build().configure().ok()?.into_ssl(host).ok()?;
    let mut stream = openssl::ssl::SslStream::new(ssl, stream).ok()?;
    // Ignore a failure: the broker may want a client certificate, but its own is verified before that.
    let _ = stream.connect();
    let result = stream.ssl().verify_result();
    if result == X509VerifyResult::OK {
        return None;
    }
    let why = result.error_string();
    let advice = match result.as_raw() {
        openssl_sys::X509_V_ERR_HOSTNAME_MISMATCH | openssl_sys::X509_V_ERR_IP_ADDRESS_MISMATCH => {
            format!("it is not for {host}")
        }
        openssl_sys::X509_V_ERR_CERT_HAS_EXPIRED => "it has expired".to_owned(),
        _ => "set ca_file in [kafka.tls] to the CA that signed it".to_owned(),
    };
    Some(format!("{broker}: the broker's certificate is refused: {why}: {advice}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_reason_is_shown_without_what_is_for_others() {
        for (said, want) in [
            (
                "sasl_ssl://b:9092/bootstrap: Receive failed: x (after 3ms in state UP)",
                "b:9092: Receive failed: x",
            ),
            ("b:1/3: Connect to ipv4#1.2.3.4:1 failed", "b:1: Connect to ipv4#1.2.3.4:1 failed"),
            ("1/1 brokers are down", "1/1 brokers are down"),
            ("", ""),
        ] {
            assert_eq!(shown(said), want);
        }
    }

    #[test]
    fn what_a_broker_means_is_told_in_our_settings() {
        let mut kafka = KafkaConfig {
            brokers: vec!["b:1".to_owned()],
            topic: "t".to_owned(),
            group: "g".to_owned(),
            partitions: 1,
            replicas: -1,
            create_topic: true,
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        };
        let early =
            "b:1/bootstrap: Disconnected: closed by peer (after 1ms in state APIVERSION_QUERY)";
        let late = "ssl://b:1/1: Disconnected: closed by peer (after 2000ms in state UP)";
        let said = |kafka: &KafkaConfig, said| match explain(said, kafka) {
            Some(Explained::Perhaps(why) | Explained::Surely(why)) => why,
            None => String::new(),
        };
        assert!(
            said(&kafka, early).ends_with("that want TLS: add [kafka.tls], or take another port")
        );
        assert_eq!(said(&kafka, late), "");
        assert_eq!(said(&kafka, "b:1/1: Connect to b:1 failed (after 1ms in state CONNECT)"), "");
        let size = |bytes: &[u8; 4]| {
            let size = i32::from_be_bytes(*bytes);
            let said = format!(
                "b:1/bootstrap: Receive failed: Invalid response size {size} (0..100000000): \
                 increase receive.message.max.bytes (after 1ms in state APIVERSION_QUERY)"
            );
            explain(&said, &kafka)
        };
        for (bytes, want) in [
            (
                b"HTTP",
                "b:1: this is no Kafka broker but a web server (HTTP): mend brokers in [kafka]",
            ),
            (
                b"SSH-",
                "b:1: this is no Kafka broker but another server, which begins with \"SSH-\": mend brokers in [kafka]",
            ),
            (
                b"\xff\0\0\0",
                "b:1: this is no Kafka broker but another server: mend brokers in [kafka]",
            ),
            (b"\x15\x03\x03\0", "b:1: this port wants TLS: add [kafka.tls]"),
        ] {
            assert_eq!(size(bytes), Some(Explained::Surely(want.to_owned())));
        }
        let other = "GroupCoordinator: c:9/1: Connect to ipv4#10.0.0.1:9 failed: refused (after 1ms in state CONNECT)";
        let want = "c:9: Connect to ipv4#10.0.0.1:9 failed: refused; the brokers give this address as their own: mend their advertised.listeners";
        assert_eq!(explain(other, &kafka), Some(Explained::Perhaps(want.to_owned())));
        kafka.tls = Some(KafkaTls::default());
        assert_eq!(said(&kafka, early), "");
        assert!(said(&kafka, &late.replace("2000", "20")).contains("[kafka.sasl]"));
        let alert = "ssl://b:1/1: Receive failed: error:0A: ssl/tls alert bad certificate: x (after 1ms in state UP)";
        let wants = "b:1: the broker wants a certificate of ours: set cert_file and key_file in [kafka.tls]";
        assert_eq!(explain(alert, &kafka), Some(Explained::Surely(wants.to_owned())));
    }
}
