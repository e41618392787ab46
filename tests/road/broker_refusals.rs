//! Brokers that answer, and take nothing, or only slowly: the reason is told once, with what to do,
//! and «back» only once something was delivered. Nothing is lost that fits.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::fixtures::published::Published;
use crate::harness::admin::{Resource, Right};
use crate::harness::daemon::random;
use crate::harness::greeter::{Greeter, Greeting};
use crate::harness::kafka::{self, Door, GUEST, PASSWORD};
use crate::harness::kcat::Kcat;
use crate::harness::{Kafka, Listener, Postgres, Script, Sitewatch, certs, dead, eventually};
use crate::road::probe::{DEADLINE, FAST, answered, start, stop, targets, times};

fn listener() -> Listener {
    let listener = Listener::http();
    listener.always(Script::ok("").serial());
    listener
}

fn admin(broker: &Kafka) -> AdminClient<DefaultClientContext> {
    let config = ClientConfig::from_iter([("bootstrap.servers".to_owned(), broker.brokers())]);
    config.create().unwrap()
}

/// Makes a topic of one partition with a setting.
fn make(broker: &Kafka, topic: &str, key: &str, value: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set(key, value);
    let made = smol::block_on(admin(broker).create_topics([&new], &AdminOptions::new())).unwrap();
    assert!(made[0].is_ok(), "{made:?}");
}

fn alter(broker: &Kafka, topic: &str, key: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    let done =
        smol::block_on(admin(broker).alter_configs([&change], &AdminOptions::new())).unwrap();
    assert!(done[0].is_ok(), "{done:?}");
}

fn wait(time: Duration) {
    let since = Instant::now();
    eventually(2 * time + DEADLINE, "its time", || since.elapsed() > time);
}

/// Kafka 4 itself takes a record with fewer replicas than that where the topic has no more, so this
/// broker is librdkafka's.
#[test]
fn too_few_replicas_are_named_once_and_nothing_is_lost() {
    let (broker, listener) = (MockCluster::new(1).unwrap(), listener());
    broker.create_topic("t", 1, 1).unwrap();
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1000];
    broker.request_errors(RDKafkaApiKey::Produce, &errors);
    let place = broker.bootstrap_servers();
    let mut running = start(&place, "t", &format!("{FAST}{}", targets(&listener, 10)));
    running.await_stderr("Kafka is away: Not enough in-sync replicas", DEADLINE);
    assert!(running.stderr().contains("min.insync.replicas asks for more brokers"));
    wait(Duration::from_secs(20));
    let log = running.stderr();
    let counts = ["Kafka is away", "Kafka is back", "stuck", "memory is full", "ERROR"];
    assert_eq!(counts.map(|words| times(&log, words)), [1, 0, 0, 0, 1], "{log}");
    broker.clear_request_errors(RDKafkaApiKey::Produce);
    running.await_stderr("Kafka is back", DEADLINE);
    let log = stop(running).stderr;
    assert_eq!(["Kafka is away", "Kafka is back"].map(|words| times(&log, words)), [1, 1], "{log}");
    assert_eq!(Published::read(&Kcat::new(&place), "t").all_serials(), answered(&listener, "/"));
}

/// Records of some 500 bytes fit one by one, and no two of them together.
#[test]
fn a_topic_for_small_batches_gets_them_as_fast_as_they_come() {
    let (broker, listener) = (Kafka::shared(), listener());
    let topic = format!("small-{}", random());
    make(broker, &topic, "max.message.bytes", "900");
    let more = format!(
        "[kafka.properties]\n'compression.codec' = 'none'\n{FAST}{}",
        targets(&listener, 40)
    );
    let running = start(&broker.brokers(), &topic, &more);
    eventually(DEADLINE, "many checks", || answered(&listener, "/").len() > 400);
    let log = stop(running).stderr;
    let counts = ["ERROR", "WARN", "Kafka is", "stuck"].map(|words| times(&log, words));
    assert_eq!(counts, [0; 4], "{log}");
    let published = Published::read(&broker.kcat(), &topic);
    assert_eq!(published.all_serials(), answered(&listener, "/"));
    assert!(published.losses.is_empty());
}

/// None of them fits.
#[test]
fn records_larger_than_the_topic_takes_are_refused_as_such() {
    let (broker, listener) = (Kafka::shared(), listener());
    let topic = format!("tiny-{}", random());
    make(broker, &topic, "max.message.bytes", "150");
    let mut running = start(&broker.brokers(), &topic, &format!("{FAST}{}", targets(&listener, 5)));
    running.await_stderr("a record is lost", DEADLINE);
    wait(Duration::from_secs(10));
    let log = running.stderr();
    let words =
        "Kafka will never take it: Message size too large: raise max.message.bytes of the topic";
    assert_eq!(
        (times(&log, words), times(&log, "ERROR"), times(&log, "Kafka is")),
        (1, 1, 0),
        "{log}"
    );
    alter(broker, &topic, "max.message.bytes", "100000");
    let before = answered(&listener, "/").len();
    eventually(DEADLINE, "more checks", || answered(&listener, "/").len() > before + 20);
    let log = stop(running).stderr;
    assert_eq!((times(&log, "ERROR"), times(&log, "Kafka is")), (1, 0), "{log}");
    let published = Published::read(&broker.kcat(), &topic);
    let lost: i64 =
        published.losses.iter().map(|loss| crate::harness::Fields::int(loss, "count")).sum();
    let arrived = published.all_serials();
    assert_eq!(arrived.len() as i64 + lost, answered(&listener, "/").len() as i64, "{log}");
}

#[test]
fn a_quota_makes_kafka_slow_and_not_away() {
    let (broker, listener) = (Kafka::start(), listener());
    broker.create_topic("t", 1).unwrap();
    broker.limit("sitewatch", Some(300.0));
    let mut running = start(&broker.brokers(), "t", &format!("{FAST}{}", targets(&listener, 10)));
    running.await_stderr("Kafka slows us down", DEADLINE);
    wait(Duration::from_secs(45));
    let log = running.stderr();
    let counts =
        ["Kafka slows us down", "Kafka is", "stuck", "ERROR"].map(|words| times(&log, words));
    assert_eq!(counts, [1, 0, 0, 0], "{log}");
    broker.limit("sitewatch", None);
    let before = listener.log().len();
    eventually(DEADLINE, "all of it delivered", || {
        let arrived = Published::read(&broker.kcat(), "t").all_serials();
        arrived.last().is_some_and(|last| *last as usize > before)
    });
    stop(running);
    let published = Published::read(&broker.kcat(), "t");
    assert_eq!(published.all_serials(), answered(&listener, "/"));
    assert!(published.losses.is_empty());
}

#[test]
fn an_address_that_brokers_give_and_nobody_reaches_is_named() {
    let (nobody, listener, database) = (dead::refused(), listener(), Postgres::database());
    let place = nobody.address().to_string();
    let broker = Kafka::with_settings(&format!("advertised.listeners=PLAIN://{place}\n"));
    broker.create_topic("t", 1).unwrap();
    let mut probe = start(&broker.brokers(), "t", &format!("{FAST}{}", targets(&listener, 3)));
    let config = format!(
        "[kafka]\nbrokers = ['{}']\ntopic = 't'\n[postgres]\nurl = '{}'\n",
        broker.brokers(),
        database.url()
    );
    let mut write = Sitewatch::new().file("c.toml", config).args(["write", "-c", "c.toml"]).spawn();
    for running in [&mut probe, &mut write] {
        running.await_stderr("mend their advertised.listeners", DEADLINE);
    }
    wait(Duration::from_secs(15));
    for running in [probe, write] {
        let log = running.stderr();
        let counts = ["Kafka is away", "Kafka is back", "ERROR"].map(|words| times(&log, words));
        assert_eq!(counts, [1, 0, 1], "{log}");
        assert!(log.contains(&format!("Kafka is away: {place}: Connect to ")), "{log}");
    }
}

#[test]
fn a_web_server_is_no_broker() {
    let (listener, database) = (listener(), Postgres::database());
    // What Kafka's client sends has no end for it.
    let web = Greeter::start(Greeting::of("HTTP/1.1 400 Bad Request\r\n\r\n"), None);
    let place = format!("127.0.0.1:{}", web.port());
    let mut probe = start(&place, "t", &format!("{FAST}{}", targets(&listener, 3)));
    let config =
        format!("[kafka]\nbrokers = ['{place}']\n[postgres]\nurl = '{}'\n", database.url());
    let mut write = Sitewatch::new().file("c.toml", config).args(["write", "-c", "c.toml"]).spawn();
    let words = format!("Kafka is away: {place}: this is no Kafka broker but a web server (HTTP)");
    for running in [&mut probe, &mut write] {
        running.await_stderr(&words, DEADLINE);
        assert!(!running.stderr().contains("receive.message.max.bytes"), "{}", running.stderr());
    }
}

/// The way through a door with a login that is asked for again every other second, and rights that
/// are taken away and given back meanwhile.
#[test]
fn a_login_that_is_asked_for_again_and_rights_that_go_and_come_cost_nothing() {
    let broker = Kafka::with_settings("connections.max.reauth.ms=2000\n");
    let (listener, database) = (listener(), Postgres::database());
    broker.create_topic("t", 1).unwrap();
    let road = |user: &str| {
        format!(
            "[kafka]\nbrokers = ['{}']\ntopic = 't'\ngroup = 'g'\n[kafka.tls]\nca_file = '{}'\n\
             [kafka.sasl]\nmechanism = 'SCRAM-SHA-256'\nusername = '{user}'\npassword = '{PASSWORD}'\n",
            broker.door(Door::Sasl),
            certs::ca_file().display()
        )
    };
    let edge = format!("node = 'edge'\n{}{FAST}{}", road(GUEST), targets(&listener, 5));
    let centre = format!("{}[postgres]\nurl = '{}'\n", road(GUEST), database.url());
    let topic = Resource::Topic("t");
    let allow = || {
        broker.allow(GUEST, topic, Right::Write);
        broker.allow(GUEST, topic, Right::Read);
    };
    allow();
    broker.allow(GUEST, Resource::Group("g"), Right::Read);
    let daemon = |name, config: &str| {
        Sitewatch::new().file("c.toml", config).args([name, "-c", "c.toml"]).spawn()
    };
    let mut probe = daemon("probe", &edge);
    probe.await_stderr("watching", DEADLINE);
    let mut write = daemon("write", &centre);
    write.await_stderr("reading partitions [0]", DEADLINE);
    let stored = || {
        let sql = "SELECT count(*) FROM sitewatch.outcome";
        crate::harness::postgres::psql(&database.url(), sql)
            .map_or(0, |count| count.parse().unwrap())
    };
    eventually(DEADLINE, "some stored", || stored() > 10);
    wait(Duration::from_secs(10));
    let more = stored();
    eventually(DEADLINE, "more stored", || stored() > more + 10);
    for running in [&probe, &write] {
        let log = running.stderr();
        assert_eq!((times(&log, "ERROR"), times(&log, "Kafka is")), (0, 0), "{log}");
    }
    broker.forbid(GUEST, topic);
    for running in [&mut probe, &mut write] {
        running.await_stderr("Kafka is away: ", DEADLINE);
        assert!(running.stderr().contains("Topic authorization failed"), "{}", running.stderr());
    }
    wait(Duration::from_secs(8));
    allow();
    for running in [&mut probe, &mut write] {
        running.await_stderr("Kafka is back", DEADLINE);
    }
    let log = stop(probe).stderr;
    assert_eq!(["Kafka is away", "Kafka is back"].map(|words| times(&log, words)), [1, 1], "{log}");
    let made = answered(&listener, "/").len();
    eventually(DEADLINE, "all stored", || stored() == made);
    // That the topic cannot be seen either is another reason.
    let log = write.stderr();
    assert!((1..=2).contains(&times(&log, "Kafka is away")), "{log}");
    assert_eq!(times(&log, "Kafka is back"), 1, "{log}");
    assert!(!log.contains(kafka::PASSWORD), "{log}");
}
