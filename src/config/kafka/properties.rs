//! `[kafka.properties]`: settings of librdkafka under its own names. Settings that our promises rest on are
//! refused, each with a reason.

use std::collections::BTreeMap;

use crate::config::toml::fault::quoted;
use crate::config::toml::item::Item;
use crate::config::toml::source::SourceOffset;
use crate::config::toml::syntax::describe_repeat;

/// Refused settings, and the reason. A name that ends in a point stands for all names that begin with it.
const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "write brokers in [kafka]"),
    (&["group.id"], "write group in [kafka]"),
    (&["allow.auto.create.topics"], "write create_topic in [kafka]"),
    (&["security.protocol"], "[kafka.tls] switches TLS on, and [kafka.sasl] the login"),
    (
        &[
            "enable.ssl.certificate.verification",
            "ssl.endpoint.identification.algorithm",
            "ssl.certificate.verify_cb",
            "ssl.cipher.suites",
        ],
        "a broker's certificate and name are always verified",
    ),
    (
        &[
            "ssl.ca.",
            "ssl.certificate.",
            "ssl.key.",
            "ssl.keystore.",
            "ssl.truststore.",
            "ssl_ca",
            "ssl_certificate",
            "ssl_key",
            "https.ca.",
        ],
        "write ca_file, cert_file, key_file and key_password in [kafka.tls]",
    ),
    (
        &["sasl.", "enable.sasl.", "enable_sasl_queue"],
        "write mechanism, username and password in [kafka.sasl]: there is no other login",
    ),
    (
        &["acks", "request.required.acks"],
        "a record counts as delivered only when every replica in sync has it",
    ),
    (
        &[
            "message.timeout.ms",
            "delivery.timeout.ms",
            "message.send.max.retries",
            "retries",
            "delivery.report.only.error",
        ],
        "each record is kept and sent again until the broker has acknowledged it",
    ),
    (
        &["enable.idempotence", "enable.gapless.guarantee", "transactional.id", "transaction."],
        "a record's key makes repeats harmless, and this would add errors that end the producer",
    ),
    (&["partitioner"], "all records of a target go to one partition"),
    (&["topic.blacklist"], "the topic must stay known"),
    (
        &[
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.partition.eof",
            "auto.commit.",
            "auto.offset.",
            "offset.store.",
            "isolation.level",
        ],
        "what was read is known from the offsets beside the rows in PostgreSQL",
    ),
    (&["group.instance.id"], "two writers with one configuration would shut each other out"),
    (
        &[
            "partition.assignment.strategy",
            "group.protocol",
            "group.protocol.type",
            "group.remote.",
        ],
        "writers of one group must share their partitions out in the same way",
    ),
    (
        &["session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"],
        "a writer that was killed is replaced within 15 s",
    ),
    (&["queue.buffering.max.ms"], "write linger.ms, its newer name"),
    (
        &[
            "queue.buffering.max.",
            "queued.",
            "fetch.max.bytes",
            "fetch.message.max.bytes",
            "max.partition.fetch.bytes",
            "message.max.bytes",
            "receive.message.max.bytes",
        ],
        "memory is bounded, by [spool] memory, and every record must fit",
    ),
    (
        &["debug", "log_level", "log.", "statistics.interval.ms"],
        "the log is bounded, and fit to be shown: use [log] level, or -v",
    ),
    (
        &["plugin.", "interceptors", "ssl.engine.", "ssl.providers", "ssl_engine_callback_data"],
        "no foreign code is loaded",
    ),
    (&["test."], "a broker that is a mere pretence keeps nothing"),
    (&["internal.", "opaque", "enabled_events", "default_topic_conf"], "it is set by the program"),
];

/// Returns the reason for which a setting is refused; none: it is allowed, or nobody knows it.
fn refused(name: &str) -> Option<&'static str> {
    let covers = |one: &&str| *one == name || one.ends_with('.') && name.starts_with(*one);
    let found = REFUSED.iter().find(|(names, _)| names.iter().any(covers));
    found.map(|(_, reason)| *reason)
}

/// Returns true if the value may be a secret, going by the name.
pub(in crate::config) fn is_secret(name: &str) -> bool {
    ["password", "passphrase", "secret", "token", "pem", "jaas"].iter().any(|w| name.contains(w))
}

/// Returns the settings in all `tables`. `a.b = 1` is the same as `"a.b" = 1`, though to TOML it is a table
/// in a table.
pub(in crate::config) fn read(tables: Vec<Item<'_>>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for table in tables {
        collect(table, "", &mut found);
    }
    found.into_iter().map(|(name, (value, _))| (name, value)).collect()
}

fn collect<'a>(
    table: Item<'a>,
    prefix: &str,
    found: &mut BTreeMap<String, (String, SourceOffset<'a>)>,
) {
    let wanted = "a table: write [kafka.properties]";
    for entry in table.entries(wanted).unwrap_or_default() {
        let name = format!("{prefix}{}", entry.name);
        if entry.value.as_table().is_some() {
            collect(entry, &format!("{name}."), found);
            continue;
        }
        if let Some(value) = read_setting(entry, &name) {
            match found.get(&name) {
                Some((_, first)) => entry.fault_at_key(describe_repeat(&name, *first)),
                None => {
                    found.insert(name, (value, entry.key));
                }
            }
        }
    }
}

/// Returns the value of the setting `name`, as text.
fn read_setting(item: Item<'_>, name: &str) -> Option<String> {
    let is_right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
    let shown = quoted(name);
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_right) {
        let allowed = "lower-case letters, digits, . and _";
        item.fault_at_key(format!("{shown} is not a setting of librdkafka: {allowed}"));
        return None;
    }
    if let Some(reason) = refused(name) {
        item.fault_at_key(format!("{shown} cannot be set: {reason}"));
        return None;
    }
    if let Some(number) = item.integer() {
        return Some(number.to_string());
    }
    if let Some(truth) = item.value.as_bool() {
        return Some(truth.to_string());
    }
    let text = item.string("text, a number, true or false")?;
    if text.chars().any(char::is_control) {
        item.fault_at_key(format!("the value of {shown} holds a line end or control character"));
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of settings that our promises rest on.
    const OURS: [&str; 54] = [
        "bootstrap.servers",
        "metadata.broker.list",
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.auto.commit",
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "group.id",
        "group.instance.id",
        "partition.assignment.strategy",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "isolation.level",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.ms",
        "queued.min.messages",
        "queued.max.messages.kbytes",
        "security.protocol",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.ca.certificate.stores",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.certificate.verify_cb",
        "ssl.key.location",
        "ssl.key.pem",
        "ssl.key.password",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "sasl.kerberos.kinit.cmd",
        "sasl.oauthbearer.client.secret",
        "enable.ssl.certificate.verification",
        "ssl.endpoint.identification.algorithm",
        "test.mock.num.brokers",
        "transactional.id",
        "statistics.interval.ms",
        "debug",
        "log_level",
        "log.queue",
        "log.connection.close",
        "max.poll.interval.ms",
        "fetch.max.bytes",
        "plugin.library.paths",
        "ssl.engine.location",
    ];

    /// Names of settings that are a user's own affair.
    const FREE: [&str; 18] = [
        "linger.ms",
        "client.id",
        "client.rack",
        "compression.type",
        "compression.level",
        "batch.num.messages",
        "socket.keepalive.enable",
        "socket.timeout.ms",
        "reconnect.backoff.max.ms",
        "broker.address.family",
        "client.dns.lookup",
        "fetch.wait.max.ms",
        "ssl.crl.location",
        "ssl.curves.list",
        "retry.backoff.ms",
        "topic.metadata.refresh.interval.ms",
        "check.crcs",
        "acks.of.nobody",
    ];

    #[test]
    fn settings_that_promises_rest_on_are_refused() {
        for name in OURS {
            assert!(refused(name).is_some(), "{name}");
        }
        for name in FREE {
            assert_eq!(refused(name), None, "{name}");
        }
    }
}
