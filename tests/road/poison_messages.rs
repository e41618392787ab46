//! A stranger writes into our topic: what can be read is stored, what cannot is kept as it was
//! beside it, and nobody waits.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};
use rustix::process::Signal;
use sitewatch::model::outcome::Verdict;
use sitewatch::model::wire::encode_check;

use crate::fixtures::records::outcome;
use crate::harness::kafka::Topic;
use crate::harness::{Kafka, Postgres, Sitewatch, eventually};

const DEADLINE: Duration = Duration::from_secs(40);
const MINUTE_MS: i64 = 60_000;

fn now_ms() -> i64 {
    sitewatch::clock::now_ms()
}

/// A check of `site`, `i` slots ago.
fn good(site: &str, i: i64) -> String {
    let due_ms = now_ms() / MINUTE_MS * MINUTE_MS - i * 1000;
    encode_check(&outcome(site, "a", due_ms, Verdict::Up))
}

/// The same with this put in before its end: of a field that is given twice the last counts.
fn with(more: &str) -> Vec<u8> {
    let json = good("poisoned", 0);
    format!("{},{more}}}", &json[..json.len() - 1]).into_bytes()
}

/// Messages, each with the reason that it is a dead letter for; none: it is stored, or skipped.
fn messages() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let deep = format!("\"extra\":{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let mut bytes = with("\"error\":\"");
    bytes.truncate(bytes.len() - 1);
    bytes.extend(b"\xff\xfe\"}");
    vec![
        (good("poisoned", 1)[..120].into(), Some("json")),
        (b"".to_vec(), Some("json")),
        (b"\0\0\0".to_vec(), Some("json")),
        (b"[1,2,3]".to_vec(), Some("json")),
        (bytes, Some("json")),
        (vec![b'x'; 1_000_000], Some("size")),
        (format!("{{\"v\":1,\"x\":\"{}\"}}", "y".repeat(70_000)).into(), Some("size")),
        (with("\"due_ms\":253370764800000"), Some("time")),
        (with("\"due_ms\":1"), Some("time")),
        (with(&format!("\"due_ms\":{}", now_ms() + 2 * 3_600_000)), Some("time")),
        (with("\"due_ms\":\"yesterday\""), Some("field")),
        (with("\"total_us\":-5"), Some("field")),
        (with("\"status\":99999"), Some("field")),
        (with("\"verdict\":\"excellent\""), Some("field")),
        (with("\"responded\":{}"), Some("field")),
        (with("\"target\":null"), Some("field")),
        (with("\"run\":4294967296"), Some("field")),
        (with("\"hops\":{\"a\":1}"), Some("field")),
        (b"{\"kind\":\"check\"}".to_vec(), Some("field")),
        (with("\"v\":2"), Some("version")),
        (with("\"v\":3,\"target\":{\"of\":\"tomorrow\"}"), Some("version")),
        (b"{\"v\":1,\"kind\":\"weather\",\"node\":\"a\",\"run\":1}".to_vec(), None),
        (with(&format!("\"target\":\"deep\",{deep}")), None),
        (with("\"target\":\"fields\",\"of_tomorrow\":{\"a\":[1,2]}"), None),
        (with("\"target\":\"nul\",\"error\":\"a\\u0000b\",\"matched\":\"\\u0000\""), None),
        (with(&format!("\"target\":\"long\",\"error\":\"{}\"", "é".repeat(5000))), None),
        (with("\"target\":\"cause\",\"cause\":\"of_tomorrow\""), None),
        (with("\"target\":\"far\",\"cert_expires_s\":253402300799"), None),
        (with("\"target\":\"'; DROP TABLE outcome; --\""), None),
    ]
}

/// What the group of the topic's name has committed in its one partition.
fn committed(topic: &Topic) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", topic.brokers())
        .set("group.id", topic.name())
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic.name(), 0);
    let list = consumer.committed_offsets(list, DEADLINE).unwrap();
    list.elements()[0].offset().to_raw().unwrap()
}

#[test]
fn what_cannot_be_read_is_kept_and_only_that() {
    let (topic, database) = (Kafka::topic(1), Postgres::database());
    let sent = messages();
    topic.produce(b"site", good("before", 1).as_bytes());
    for (payload, _) in &sent {
        topic.produce(b"site", payload);
    }
    topic.produce(b"site", good("after", 1).as_bytes());

    let config = format!(
        "[kafka]\nbrokers = [\"{}\"]\ntopic = \"{}\"\ngroup = \"{}\"\n[postgres]\nurl = \"{}\"\n",
        topic.brokers(),
        topic.name(),
        topic.name(),
        database.url()
    );
    let mut write = Sitewatch::new().file("c.toml", config).args(["write", "-c", "c.toml"]).spawn();
    eventually(DEADLINE, "the last message to be stored", || {
        assert!(!write.ended(), "{}", write.stderr());
        let all = (sent.len() + 2).to_string();
        write.stderr().contains("reading partitions")
            && database.psql("SELECT max(next) FROM sitewatch.kafka_offset") == all
    });

    let letters = database.psql(
        "SELECT string_agg(record_offset || ' ' || reason || ' ' || length(payload), E'\\n'
           ORDER BY record_offset) FROM sitewatch.dead_letter",
    );
    let kept = |payload: &[u8]| payload.len().min(65_536);
    let want: Vec<String> = (1..)
        .zip(&sent)
        .filter_map(|(offset, (payload, reason))| {
            reason.map(|reason| format!("{offset} {reason} {}", kept(payload)))
        })
        .collect();
    assert_eq!(letters.lines().collect::<Vec<_>>(), want);
    let details = database.psql(
        "SELECT detail FROM sitewatch.dead_letter WHERE reason IN ('field', 'version')
         ORDER BY record_offset LIMIT 1",
    );
    assert_eq!(details, "due_ms: a whole number is expected, and it is text");

    let stored = database
        .psql("SELECT string_agg(target, ' ' ORDER BY target COLLATE \"C\") FROM sitewatch.checks");
    assert_eq!(stored, "'; DROP TABLE outcome; -- after before cause deep far fields long nul");
    let texts = database.psql(
        "SELECT string_agg(target || ' ' || coalesce(cause, '-') || ' ' || octet_length(error), ' '
           ORDER BY target) FROM sitewatch.checks WHERE target IN ('cause', 'nul', 'long')",
    );
    assert_eq!(texts, "long - 512 nul - 5");
    assert_eq!(database.psql("SELECT cause FROM sitewatch.checks WHERE target = 'cause'"), "other");
    write.signal(Signal::TERM);
    let done = write.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    // For the tools that watch lag.
    assert_eq!(committed(&topic), sent.len() as i64 + 2);
    // Once for each reason, and not for each message.
    for (word, count) in [("json", 1), ("size", 1), ("time", 1), ("field", 1), ("version", 1)] {
        let said = format!("cannot be read and goes to dead_letter: {word}: ");
        assert_eq!(done.stderr.matches(&said).count(), count, "{word}: {}", done.stderr);
    }
    assert_eq!(done.stderr.matches("kind \"weather\"").count(), 1, "{}", done.stderr);
}
