//! `[kafka]` and `[postgres]` that are read right.

use super::*;
use crate::model::connect::Identity;
use crate::model::secret::Secret;

const FULL: &str = r#"
    node = "n"
    targets = ["example.org"]
    [kafka]
    brokers = ["kafka-1.example.org:9093", "[2001:db8::1]:9093", "192.0.2.1:1"]
    topic = "a.b_c-D9"
    group = "any text, ä"
    partitions = 3
    replicas = 2
    create_topic = false
    [kafka.tls]
    ca_file = "ca.pem"
    cert_file = "client.pem"
    key_file = "client.key"
    key_password = "${TOKEN}"
    [kafka.sasl]
    mechanism = "PLAIN"
    username = "me"
    password = "${TOKEN}"
    [kafka.properties]
    linger.ms = 500
    socket.keepalive.enable = true
    "client.rack" = "${HOST}"
    "my.password" = "${TOKEN}"
    [postgres]
    url = "postgresql://u:${TOKEN}@db.example.org/d?sslrootcert=ca.pem&sslcert=client.pem&sslkey=client.key&sslpassword=${TOKEN}"
    schema = "watch_2"
    [retention]
    checks = "1h"
    dead_letters = "100y"
"#;

fn folder(name: &str, text: &str) -> Folder {
    let files =
        [("ca.pem", CA), ("client.pem", CLIENT), ("client.key", KEY), ("config.toml", text)];
    Folder::new(name, &files)
}

fn read_in(folder: &Folder, need: Need) -> Config {
    read(&[folder.0.join("config.toml")], &environment(), need).unwrap()
}

#[test]
fn every_key_is_read() {
    let folder = folder("road", FULL);
    let config = read_in(&folder, Need::Probe);
    let path = |name: &str| Some(folder.0.join(name));
    let properties = [
        ("client.rack", "example.org"),
        ("linger.ms", "500"),
        ("my.password", "secret"),
        ("socket.keepalive.enable", "true"),
    ];
    let want = KafkaConfig {
        brokers: ["kafka-1.example.org:9093", "[2001:db8::1]:9093", "192.0.2.1:1"]
            .map(str::to_string)
            .to_vec(),
        topic: "a.b_c-D9".into(),
        group: "any text, ä".into(),
        partitions: 3,
        replicas: 2,
        create_topic: false,
        tls: Some(KafkaTls {
            ca_file: path("ca.pem"),
            identity: Some(Arc::new(Identity {
                cert_file: folder.0.join("client.pem"),
                key_file: folder.0.join("client.key"),
                key_password: Some(Secret("secret".into())),
            })),
        }),
        sasl: Some(KafkaSasl {
            mechanism: Mechanism::Plain,
            username: "me".into(),
            password: "secret".into(),
        }),
        properties: properties.map(|(name, value)| (name.into(), value.into())).into(),
    };
    assert_eq!(config.kafka, Some(want));
    let postgres = config.postgres.as_ref().unwrap();
    assert_eq!(postgres.schema, "watch_2");
    let dsn = &postgres.dsn;
    assert_eq!((dsn.ssl_mode, dsn.config.get_dbname()), (SslMode::VerifyFull, Some("d")));
    assert_eq!((&dsn.root_cert, &dsn.cert), (&path("ca.pem"), &path("client.pem")));
    assert_eq!((&dsn.key, dsn.key_password.as_deref()), (&path("client.key"), Some("secret")));
    let hour = Duration::from_secs(3600);
    let retention = RetentionConfig { checks: hour, dead_letters: 100 * 365 * 24 * hour };
    assert_eq!(config.retention, retention);
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = "[kafka]\nbrokers = [\"k:1\"]\n[postgres]\nurl = \"host=h\"";
    let config = read_in(&folder("road-defaults", text), Need::Write);
    let want = KafkaConfig {
        brokers: vec!["k:1".into()],
        topic: "sitewatch".into(),
        group: "sitewatch".into(),
        partitions: 12,
        replicas: -1,
        create_topic: true,
        tls: None,
        sasl: None,
        properties: Default::default(),
    };
    assert_eq!(config.kafka, Some(want));
    assert_eq!(config.postgres.unwrap().schema, "sitewatch");
    // An empty table switches TLS on.
    let text = "[kafka]\nbrokers = [\"k:1\"]\nreplicas = -1\n[kafka.tls]";
    let config = read_in(&folder("road-tls", text), Need::Nothing);
    assert_eq!(config.kafka.unwrap().tls, Some(KafkaTls::default()));
}

#[test]
fn tables_may_be_spread_over_files() {
    let login = "[kafka.sasl]\nmechanism = \"SCRAM-SHA-256\"\nusername = \"u\"\npassword = \"p\"";
    let files = [
        ("a.toml", "[kafka]\nbrokers = [\"k:1\"]\n[kafka.properties]\n\"a.b\" = 1"),
        ("b.toml", "[kafka.tls]\n[kafka.properties.a]\nc = 2"),
        ("c.toml", login),
    ];
    let folder = Folder::new("road-spread", &files);
    let config = read(std::slice::from_ref(&folder.0), &environment(), Need::Nothing).unwrap();
    let kafka = config.kafka.unwrap();
    assert_eq!(kafka.sasl.unwrap().mechanism.as_str(), "SCRAM-SHA-256");
    assert_eq!(kafka.properties.into_keys().collect::<Vec<_>>(), ["a.b", "a.c"]);
    let twice = [folder.0.join("a.toml"), folder.0.join("a.toml")];
    let faults = read(&twice, &environment(), Need::Nothing).unwrap_err();
    assert_eq!(faults.iter().count(), 2, "{faults}");
}

#[test]
fn what_is_printed_hides_secrets_and_reads_again() {
    let folder = folder("road-print", FULL);
    let printed = print(&read_in(&folder, Need::Any));
    assert!(!printed.contains("secret"), "{printed}");
    for line in [
        r#"brokers = ["kafka-1.example.org:9093", "[2001:db8::1]:9093", "192.0.2.1:1"]"#,
        r#"topic = "a.b_c-D9""#,
        "replicas = 2",
        "create_topic = false",
        r#"key_password = "***""#,
        r#"mechanism = "PLAIN""#,
        r#"username = "me""#,
        r#"password = "***""#,
        r#""linger.ms" = "500""#,
        r#""my.password" = "***""#,
        r#"schema = "watch_2""#,
        r#"checks = "1h""#,
        r#"dead_letters = "100y""#,
    ] {
        assert!(printed.lines().any(|found| found == line), "{line} is not in:\n{printed}");
    }
    let url = printed.lines().find(|line| line.starts_with("url = \"host=")).unwrap();
    for word in ["host=db.example.org", "password=***", "sslmode=verify-full", "sslpassword=***"] {
        assert!(url.contains(word), "{word} is not in {url}");
    }
    fs::write(folder.0.join("config.toml"), &printed).unwrap();
    assert_eq!(print(&read_in(&folder, Need::Any)), printed);
}
