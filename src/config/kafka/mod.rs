//! `[kafka]`: the brokers, the topic and the group, and the proofs of identity on both sides.

pub(in crate::config) mod properties;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::HIDDEN;
use crate::config::identity::IdentityKeys;
use crate::config::targets::address::{self, is_host};
use crate::config::toml::fault::quoted;
use crate::config::toml::item::Item;
use crate::config::toml::table::Section;
use crate::model::connect::Identity;
use crate::words::{Word, words};

/// Longest name of a topic, by Kafka's rules, and of a group, by ours; in characters.
const NAME_MAX: usize = 249;

/// Settings for the brokers. `Debug` shows no password, and of properties the names alone.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Brokers to ask first, `host:port` or `[address]:port`, at least one.
    pub brokers: Vec<String>,
    /// Topic of the records; 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`. Default:
    /// `sitewatch`.
    pub topic: String,
    /// Consumer group of the writers; 1 to 249 characters, default `sitewatch`.
    pub group: String,
    /// Partitions of the topic, if we make it; 1 to 10 000, default 12.
    pub partitions: i32,
    /// Replicas of each partition, if we make the topic; 1 to 100, or -1, the default: the broker's own
    /// number.
    pub replicas: i32,
    /// Make the topic if it is missing. Default: true.
    pub create_topic: bool,
    /// TLS, perhaps without any setting; none: nothing is encrypted.
    pub tls: Option<KafkaTls>,
    /// Login; only ever together with `tls`.
    pub sasl: Option<KafkaSasl>,
    /// More settings of librdkafka, none of which our promises rest on. Unknown names and wrong values are
    /// found when a client is made.
    pub properties: BTreeMap<String, String>,
}

/// Roots to trust brokers by, and our own certificate for them. Their certificate and name are always
/// verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaTls {
    /// File of the only roots to trust; none: the host's roots.
    pub ca_file: Option<PathBuf>,
    /// Our certificate: `cert_file`, `key_file`, `key_password`.
    pub identity: Option<Arc<Identity>>,
}

/// Login by name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSasl {
    /// Way to prove the password.
    pub mechanism: Mechanism,
    /// Name of the user; 1 to 256 characters.
    pub username: String,
    /// Password; a secret, never empty.
    pub password: String,
}

words! {
    /// SASL mechanisms: how the client shows that it knows the password.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Mechanism {
        /// Sends the password itself.
        Plain = "PLAIN",
        /// SCRAM with SHA-256, RFC 7677.
        ScramSha256 = "SCRAM-SHA-256",
        /// SCRAM with SHA-512.
        ScramSha512 = "SCRAM-SHA-512",
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("partitions", &self.partitions)
            .field("replicas", &self.replicas)
            .field("create_topic", &self.create_topic)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl fmt::Debug for KafkaSasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .field("password", &HIDDEN)
            .finish()
    }
}

/// Reads `[kafka]`. Returns none if there is no such table, or no right `brokers` in it, which is a fault.
pub(in crate::config) fn read_kafka(top: &mut Section<'_>) -> Option<KafkaConfig> {
    let mut section = top.section_if_any("kafka", "in [kafka]")?;
    if !section.has("brokers") {
        section.fault("brokers is missing: [kafka] needs some, such as [\"kafka-1:9092\"]");
    }
    let brokers = section.read("brokers", read_brokers);
    let topic = section.read("topic", read_topic);
    let group = section.read("group", |it| it.words(1, NAME_MAX));
    let partitions = section.read("partitions", |it| it.number(1, 10_000));
    let replicas = section.read("replicas", read_replicas);
    let create_topic = section.read("create_topic", Item::boolean);
    let has_tls = section.has("tls");
    let tls = section.section_if_any("tls", "in [kafka.tls]").map(read_tls);
    let sasl = section.section_if_any("sasl", "in [kafka.sasl]");
    if let (Some(sasl), false) = (&sasl, has_tls) {
        sasl.fault(
            "[kafka.sasl] needs TLS, or others could read or answer the login: \
             add [kafka.tls], which may be empty",
        );
    }
    let sasl = sasl.and_then(read_sasl);
    let properties = properties::read(section.take_all("properties"));
    section.finish();
    Some(KafkaConfig {
        brokers: brokers?,
        topic: topic.unwrap_or_else(|| "sitewatch".to_string()),
        group: group.unwrap_or_else(|| "sitewatch".to_string()),
        partitions: partitions.map_or(12, |number| number as i32),
        replicas: replicas.unwrap_or(-1),
        create_topic: create_topic.unwrap_or(true),
        tls,
        sasl,
        properties,
    })
}

fn read_brokers(item: Item<'_>) -> Option<Vec<String>> {
    let items = item.list("a list of host:port, such as [\"kafka-1:9092\"]")?;
    if items.is_empty() {
        item.fault("brokers is empty: give at least one, such as [\"kafka-1:9092\"]");
        return None;
    }
    let brokers: Vec<String> = items.iter().filter_map(|it| read_broker(*it)).collect();
    (brokers.len() == items.len()).then_some(brokers)
}

fn read_broker(item: Item<'_>) -> Option<String> {
    let text = item.string("a host and port in quotes, such as \"kafka-1:9092\"")?;
    let cause = if text.contains("://") {
        "has a scheme: write host:port alone; [kafka.tls] switches TLS on"
    } else if text.contains(',') {
        "is more than one: give each its own quotes"
    } else if !is_host_and_port(&text) {
        "is not host:port: write it like kafka-1:9092 or [::1]:9092"
    } else {
        return Some(text);
    };
    // A user who takes the entry for a URL may have put a password before the @.
    item.fault(format!("brokers {} {cause}", quoted(&address::redact(item.written()))));
    None
}

/// Returns true if `text` is `host:port` or `[address]:port`.
pub(in crate::config) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_right = match inner {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_host(host) && !host.contains(':'),
    };
    is_right && port.starts_with(|c| ('1'..='9').contains(&c)) && port.parse::<u16>().is_ok()
}

fn read_topic(item: Item<'_>) -> Option<String> {
    let text = item.text()?;
    let is_right = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = (1..=NAME_MAX).contains(&text.len()) && text.chars().all(is_right);
    if !fits || text == "." || text == ".." {
        item.refuse(format_args!(
            "is not a topic: 1 to {NAME_MAX} letters, digits, ., _ and -, neither . nor .."
        ));
        return None;
    }
    Some(text)
}

fn read_replicas(item: Item<'_>) -> Option<i32> {
    const WANTED: &str = "1 to 100, or -1 for the broker's default";
    let Some(number) = item.integer() else {
        item.wanted(&format!("a number, {WANTED}"));
        return None;
    };
    if number != -1 && !(1..=100).contains(&number) {
        item.fault(format!("replicas {number} is out of range: {WANTED}"));
        return None;
    }
    Some(number as i32)
}

fn read_tls(mut section: Section<'_>) -> KafkaTls {
    let ca_file = section.read("ca_file", Item::certificates);
    let identity = IdentityKeys::read(&mut section).identity;
    section.finish();
    KafkaTls { ca_file, identity }
}

fn read_sasl(mut section: Section<'_>) -> Option<KafkaSasl> {
    for key in ["mechanism", "username", "password"] {
        if !section.has(key) {
            let text = "[kafka.sasl] needs mechanism, username and password";
            section.fault(format!("{key} is missing: {text}"));
        }
    }
    let mechanism = section.read("mechanism", |it| it.choice(&Mechanism::choices()));
    let username = section.read("username", |it| it.words(1, 256));
    let password = section.read("password", Item::secret);
    section.finish();
    Some(KafkaSasl { mechanism: mechanism?, username: username?, password: password? })
}
