//! The harness's own word, checked: the real servers that the road is tested with. They start,
//! keep what they were given, stop as told, and shut out who is to be shut out.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::harness::admin::{Resource, Right};
use crate::harness::daemon::alive;
use crate::harness::kafka::{self, Door, GUEST};
use crate::harness::kcat::Kcat;
use crate::harness::postgres::{PASSWORD, USER, psql};
use crate::harness::{Kafka, Postgres, Sitewatch, Temp, Tls, certs, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// Names the test that is run as a process of its own, there.
const HELD: &str = "SITEWATCH_TEST_HELD";

#[test]
fn servers_go_with_a_test_process_that_is_killed() {
    if std::env::var_os(HELD).is_some() {
        let server = Postgres::start();
        println!("pid={} folder={}", server.pid(), server.folder().display());
        loop {
            std::thread::park();
        }
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let name = format!("{module}::servers_go_with_a_test_process_that_is_killed");
    let held = Sitewatch::program(std::env::current_exe().unwrap());
    let held = held.env(HELD, "1").args(["--exact", &name, "--nocapture"]).spawn();
    let line = eventually(DEADLINE, "its server", || {
        let out = held.stdout();
        let line = out.lines().find(|line| line.contains("pid=") && out.ends_with('\n'))?;
        Some(line.rsplit("pid=").next().unwrap().to_owned())
    });
    let (pid, folder) = line.split_once(" folder=").unwrap();
    let pid = pid.parse().unwrap();
    assert!(alive(pid) && Path::new(folder).is_dir(), "{line}");
    drop(held);
    eventually(DEADLINE, "the server gone", || !alive(pid) && !Path::new(folder).exists());
}

#[test]
fn postgres_gives_every_test_a_database_of_its_own() {
    let (one, two) = (Postgres::database(), Postgres::database());
    for database in [&one, &two] {
        let sql = "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)";
        database.client().batch_execute(sql).unwrap();
    }
    assert_eq!(one.psql("SELECT a, a + 1 FROM t ORDER BY a"), "1|2\n2|3");
    assert_eq!(psql(&one.url(), "SELECT count(*) FROM t").unwrap(), "2");
    assert!(psql(&two.url(), "SELECT b FROM t").unwrap_err().contains("\"b\" does not exist"));
    let gone = two.psql("SELECT current_database()");
    drop(two);
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{gone}'");
    assert_eq!(one.psql(&sql), "0");
}

#[test]
fn postgres_asks_for_passwords() {
    let server = Postgres::shared();
    let wrong = psql(&server.url_for(USER, "wrong"), "SELECT 1").unwrap_err();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    server.psql("CREATE ROLE reader LOGIN PASSWORD 'read'");
    let reader = server.url_for("reader", "read");
    assert_eq!(psql(&reader, "SELECT current_user").unwrap(), "reader");
    assert!(psql(&reader, "CREATE ROLE other").unwrap_err().contains("permission denied"));
    assert!(server.log().contains("authentication failed") && !server.log().contains(PASSWORD));
}

#[test]
fn postgres_keeps_what_was_committed_through_kill_and_restart() {
    let mut server = Postgres::with_settings("fsync = on");
    let url = server.url();
    server.psql("CREATE TABLE t AS SELECT 1 AS a");
    assert_eq!(server.psql("SHOW fsync"), "on");
    let mut client = server.client();
    server.stop_hard();
    assert!(client.batch_execute("SELECT 1").is_err());
    assert!(psql(&url, "SELECT 1").unwrap_err().contains("refused"));
    server.restart();
    assert_eq!(psql(&url, "SELECT a FROM t").unwrap(), "1");

    let mut client = server.client();
    server.pause();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            client.batch_execute("SELECT 1").unwrap();
            Instant::now()
        });
        let paused = Instant::now();
        std::thread::sleep(SHORT);
        server.resume();
        assert!(asked.join().unwrap() - paused >= SHORT);
    });
    // Not told to stop before: clients hear why.
    server.restart();
    let words = format!("{:?}", client.batch_execute("SELECT 1").unwrap_err());
    assert!(words.contains("immediate shutdown") || client.is_closed(), "{words}");
    assert_eq!(psql(&url, "SELECT a FROM t").unwrap(), "1");
}

#[test]
fn postgres_speaks_tls_with_whom_it_should() {
    let set = certs::set();
    let server = Postgres::with_tls(&Tls::new(&set.good));
    let verify = |authority: &certs::Authority| {
        let file = authority.ca_file();
        psql(&server.url_with(&format!("sslmode=verify-full&sslrootcert={}", file.display())), TLS)
    };
    assert_eq!(verify(&set.authority).unwrap(), "t");
    assert!(verify(&set.stranger).unwrap_err().contains("certificate verify failed"));
    let plain = psql(&server.url_with("sslmode=disable"), TLS).unwrap_err();
    assert!(plain.contains("no encryption"), "{plain}");
    assert_eq!(psql(&server.url(), TLS).unwrap(), "t");
    assert_eq!(server.psql(TLS), "");

    let server = Postgres::with_tls(&Tls::new(&set.wrong_name).clients_of(&set.authority));
    let folder = Temp::new();
    let (cert, key) = set.authority.leaf(&[USER], -1, 90).write(&folder, "client");
    let ask = |mode: &str, cert: &str| {
        let (ca, key) = (certs::ca_file().display(), key.display());
        let words = format!("sslmode={mode}&sslrootcert={ca}&sslcert={cert}&sslkey={key}");
        psql(&server.url_with(&words), TLS)
    };
    let cert = cert.display().to_string();
    assert_eq!(ask("verify-ca", &cert).unwrap(), "t");
    let wrong = ask("verify-full", &cert).unwrap_err();
    assert!(wrong.contains("does not match host name"), "{wrong}");
    let none = ask("verify-ca", "/nonexistent").unwrap_err();
    assert!(none.contains("requires a valid client certificate"), "{none}");
}

/// Whether the connection that asks is over TLS; none over a socket.
const TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";

#[test]
fn kafka_gives_every_test_a_topic_that_takes_any_bytes() {
    let (topic, other) = (Kafka::topic(3), Kafka::topic(1));
    let big = [b"\0\n|%s\xff".repeat(174_762), b"1234".to_vec()].concat();
    assert_eq!(big.len(), 1 << 20);
    let records: [(&[u8], &[u8]); 5] =
        [(b"a", b""), (b"", b"keyless"), (b"\0k\xff", b"\0\xc3("), (b"b", &big), (b"a", b"{\n}")];
    topic.kcat().produce(topic.name(), &records).unwrap();
    other.produce(b"key", b"payload");
    let found = topic.consume();
    let mut pairs: Vec<_> =
        found.iter().map(|r| (r.key.as_slice(), r.payload.as_slice())).collect();
    pairs.sort_by_key(|(key, payload)| (*key, payload.len()));
    let mut wanted = records;
    wanted.sort_by_key(|(key, payload)| (*key, payload.len()));
    assert!(pairs == wanted, "{:?}", pairs.iter().map(|p| (p.0, p.1.len())).collect::<Vec<_>>());
    for partition in 0..3 {
        let offsets = found.iter().filter(|r| r.partition == partition).map(|r| r.offset);
        assert!(offsets.eq(0..found.iter().filter(|r| r.partition == partition).count() as i64));
    }
    let [record] = &other.consume()[..] else { panic!("not one record") };
    assert_eq!((record.key.as_slice(), record.payload.as_slice()), (&b"key"[..], &b"payload"[..]));
    assert!(Kcat::new(topic.brokers()).list(5).unwrap().contains(topic.name()));
}

#[test]
fn kafka_keeps_what_it_acknowledged_through_kill_and_restart() {
    let mut broker = Kafka::start();
    assert_eq!(broker.create_topic("t", 2), Ok(()));
    assert_eq!(broker.create_topic("t", 2), Err(36));
    let kcat = broker.kcat();
    kcat.produce("t", &[("k", "one")]).unwrap();
    broker.stop_hard();
    assert!(kcat.list(1).unwrap_err().contains("Connection refused"));
    broker.restart();
    kcat.produce("t", &[("k", "two")]).unwrap();
    let payloads = |kcat: &Kcat| -> Vec<_> {
        kcat.consume("t").unwrap().into_iter().map(|record| record.payload).collect()
    };
    assert_eq!(payloads(&kcat), [b"one", b"two"]);

    broker.pause();
    let silent = kcat.list(1).unwrap_err();
    assert!(!silent.contains("refused"), "{silent}");
    broker.resume();
    assert_eq!(payloads(&kcat), [b"one", b"two"]);
    assert_eq!((broker.delete_topic("t"), broker.delete_topic("t")), (Ok(()), Err(3)));
}

#[test]
fn kafka_opens_its_doors_to_whom_it_should() {
    let (broker, set, folder) = (Kafka::shared(), certs::set(), Temp::new());
    let tls = |door: Door, authority: &certs::Authority| {
        let kcat = Kcat::new(&broker.door(door)).set("security.protocol", "ssl");
        kcat.set("ssl.ca.location", authority.ca_file().to_str().unwrap())
    };
    tls(Door::Tls, &set.authority).list(10).unwrap();
    let words = tls(Door::Tls, &set.stranger).list(1).unwrap_err();
    assert!(words.contains("certificate verify failed"), "{words}");
    let words = broker.kcat().set("security.protocol", "ssl").list(1).unwrap_err();
    assert!(words.contains("SSL"), "{words}");

    let mutual = |leaf: &certs::Leaf| {
        let (cert, key) = leaf.write(&folder, "client");
        let kcat = tls(Door::Mutual, &set.authority);
        let kcat = kcat.set("ssl.certificate.location", cert.to_str().unwrap());
        kcat.set("ssl.key.location", key.to_str().unwrap())
    };
    mutual(&set.authority.leaf(&[kafka::USER], -1, 90)).list(10).unwrap();
    mutual(&set.stranger.leaf(&[kafka::USER], -1, 90)).list(1).unwrap_err();
    tls(Door::Mutual, &set.authority).list(1).unwrap_err();

    assert!(!broker.log().contains(kafka::PASSWORD), "{}", broker.log());
}

#[test]
fn kafka_asks_for_passwords() {
    let broker = Kafka::shared();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert_eq!(enter(broker, Door::Sasl, mechanism, kafka::PASSWORD), Ok(()));
        let words = enter(broker, Door::Sasl, mechanism, "wrong").unwrap_err();
        assert!(words.to_lowercase().contains("authentication failed"), "{words}");
        let words = enter(broker, Door::Misnamed, mechanism, kafka::PASSWORD).unwrap_err();
        assert!(words.contains("certificate verify failed"), "{words}");
    }
    assert!(!broker.log().contains(kafka::PASSWORD), "{}", broker.log());
}

/// Comes in by password, with librdkafka of the crate, since kcat's may be too old for SCRAM. The
/// error is all that it heard.
fn enter(broker: &Kafka, door: Door, mechanism: &str, password: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.door(door));
    config.extend(sasl(mechanism, kafka::USER, password).map(owned));
    let heard = Heard(Mutex::new(String::new()));
    let client: BaseConsumer<Heard> = config.create_with_context(heard).unwrap();
    let start = Instant::now();
    // The words come late, and only to who polls; the clients that get in have come by then.
    while start.elapsed() < DEADLINE {
        if client.fetch_metadata(None, SHORT).is_ok() {
            return Ok(());
        }
        let _ = client.poll(Duration::ZERO);
        let words = client.context().0.lock().unwrap();
        if words.contains("failed") {
            return Err(words.clone());
        }
    }
    panic!("neither in nor refused");
}

struct Heard(Mutex<String>);

impl ClientContext for Heard {
    fn error(&self, _: KafkaError, reason: &str) {
        self.0.lock().unwrap().push_str(reason);
    }
}

impl ConsumerContext for Heard {}

fn sasl<'a>(mechanism: &'a str, user: &'a str, password: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", certs::ca_file().to_str().unwrap()),
        ("sasl.mechanism", mechanism),
        ("sasl.username", user),
        ("sasl.password", password),
    ]
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn kafka_gives_a_guest_the_rights_that_it_was_told_to() {
    let broker = Kafka::shared();
    let settings = sasl("PLAIN", GUEST, kafka::PASSWORD);
    let kcat = Kcat::new(&broker.door(Door::Sasl)).set("message.timeout.ms", "5000");
    let kcat = settings.iter().fold(kcat, |kcat, (name, value)| kcat.set(name, value));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.door(Door::Sasl)).extend(settings.map(owned));
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let create = || {
        let topic = NewTopic::new("guests", 1, TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &AdminOptions::new());
        smol::block_on(made).unwrap().remove(0).map_err(|(_, code)| code)
    };
    let topic = Resource::Topic("guests");
    assert_eq!(create(), Err(RDKafkaErrorCode::TopicAuthorizationFailed));
    // What it is told a broker knows a moment later.
    broker.allow(GUEST, topic, Right::Create);
    eventually(DEADLINE, "the right to create", || create() == Ok("guests".to_owned()));

    let words = kcat.produce("guests", &[("k", "p")]).unwrap_err();
    assert!(words.contains("uthorization failed"), "{words}");
    broker.allow(GUEST, topic, Right::Write);
    eventually(DEADLINE, "the right to write", || kcat.produce("guests", &[("k", "p")]).is_ok());
    assert!(kcat.consume("guests").unwrap_err().contains("uthorization failed"));
    broker.allow(GUEST, topic, Right::Read);
    let count = || kcat.consume("guests").map_or(0, |records| records.len());
    eventually(DEADLINE, "the right to read", || count() == 1);
    broker.allow(GUEST, Resource::Group("guests"), Right::Read);
}
