//! The example: it works as it is, and has every key.

use std::path::Path;
use std::time::Duration;

use super::*;

#[test]
fn the_example_reads_without_fault() {
    let folder = Folder::new("example", &[("config.toml", EXAMPLE)]);
    let config = read(&[folder.0.join("config.toml")], &environment(), Need::Targets).unwrap();
    // The folder is that of the service files, and of `sitewatch status` in a shell beside them.
    assert_eq!(config.state_dir, Path::new("/var/lib/sitewatch"));
    assert_eq!(config.serve.listen, Some("127.0.0.1:8380".parse().unwrap()));
    let own = config.targets.last().unwrap();
    assert_eq!((&*own.name, own.interval), ("sitewatch itself", Duration::from_secs(2)));
    assert!(own.matches[0].find(r#"{"status":"ok"}"#).is_some());
    assert!(config.targets.iter().all(|target| target.interval <= Duration::from_secs(10)));
}

#[test]
fn the_example_has_every_key() {
    // The keys that a fault lists as allowed are all that the table knows.
    let known = |header: &str| -> Vec<String> {
        let fault =
            config("known", &format!("{header}\nzzzzzzzzzzzz = 1")).unwrap_err().to_string();
        let (_, keys) = fault.lines().last().unwrap().split_once("allowed are ").unwrap();
        keys.split(", ").map(str::to_string).collect()
    };
    // The lines of that table, up to the next one.
    let part = |table: &str| -> Vec<&str> {
        let mut lines = EXAMPLE.lines().map(|line| line.trim_start_matches('#'));
        if !table.is_empty() {
            assert!(lines.any(|line| line == table), "{table}");
        }
        lines.take_while(|line| !line.starts_with('[')).map(str::trim_start).collect()
    };
    let mut count = 0;
    let mut every = |table: &str, part: Vec<&str>, keys: Vec<String>| {
        for key in keys {
            let header = match table {
                "" => format!("[{key}]"),
                _ => format!("{}.{key}]", table.trim_end_matches(']')),
            };
            let stands = part.iter().any(|line| line.starts_with(&format!("{key} = ")));
            assert!(stands || EXAMPLE.contains(&header), "{key} of {table:?}");
            count += 1;
        }
    };
    for table in
        ["", "[defaults]", "[probe]", "[uplink]", "[spool]", "[sqlite]", "[kafka]", "[kafka.tls]"]
    {
        every(table, part(table), known(table));
    }
    for table in ["[kafka.sasl]", "[postgres]", "[write]", "[retention]", "[serve]", "[log]"] {
        every(table, part(table), known(table));
    }
    let all = EXAMPLE.lines().map(|line| line.trim_start_matches('#').trim_start()).collect();
    every("[[target]]", all, known("[[target]]\nurl = \"example.org\""));
    assert!(count > 60, "only {count} keys");
}

/// Returns the example with those commented-out lines in force that `wanted` takes.
fn uncommented(wanted: impl Fn(&str) -> bool) -> String {
    let is_toml = |text: &&str| text.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let line = |line: &'static str| match line.strip_prefix('#').filter(is_toml) {
        Some(toml) if wanted(toml) => toml,
        _ => line,
    };
    EXAMPLE.lines().map(|text| format!("{}\n", line(text))).collect()
}

#[test]
fn keys_that_are_commented_out_show_their_default() {
    // Keys that have a default: with their lines in force, the configuration stays as it is.
    let starts = |toml: &str, words: &[&str]| words.iter().any(|word| toml.starts_with(word));
    let road = |toml: &str| starts(toml, &["[kafka]", "[postgres]", "brokers", "url"]);
    let samples = |toml: &str| {
        starts(toml, &["node", "targets", "headers", "status", "match", "reject", "slow_after"])
            || starts(toml, &["ca_file", "labels", "nodes", "path", "cert_file", "key_file"])
            || starts(toml, &["[kafka.", "key_password", "mechanism", "username", "password"])
            || starts(toml, &["linger.ms", "client.rack", "resolve", "interface", "proxy"])
            || starts(toml, &["basic", "bearer", "server_name", "canaries", "expect"])
    };
    let without = uncommented(road).replace("?sslrootcert=postgres-ca.pem", "");
    let with = uncommented(|toml| !samples(toml)).replace("?sslrootcert=postgres-ca.pem", "");
    let printed = |text: &str| {
        print(&config("example-defaults", &text.replace("${PGPASSWORD}", "p")).unwrap())
    };
    assert!(with.lines().count() == without.lines().count() && with != without);
    assert_eq!(printed(&with), printed(&without));
}

#[test]
fn the_road_of_the_example_reads_without_fault() {
    let begin = EXAMPLE.find("\n#[kafka]\n").unwrap();
    let end = EXAMPLE.find("\n[write]\n").unwrap();
    let road = uncommented(|_| true);
    let road = &road[road.find("\n[kafka]\n").unwrap()..road.find("\n[write]\n").unwrap()];
    let text = [&EXAMPLE[..begin], road, &EXAMPLE[end..]].concat();
    let files = [
        ("kafka-ca.pem", CA),
        ("postgres-ca.pem", CA),
        ("client.pem", CLIENT),
        ("client.key", KEY),
        ("config.toml", &text),
    ];
    let folder = Folder::new("example-road", &files);
    let environment: Environment = ["KEY_PASSWORD", "KAFKA_PASSWORD", "PGPASSWORD"]
        .map(|name| (name.to_string(), "secret".to_string()))
        .into_iter()
        .collect();
    let config = read(&[folder.0.join("config.toml")], &environment, Need::Write).unwrap();
    let kafka = config.kafka.unwrap();
    assert_eq!(kafka.tls.unwrap().identity.unwrap().cert_file, folder.0.join("client.pem"));
    assert_eq!(kafka.sasl.unwrap().mechanism, Mechanism::ScramSha512);
    assert_eq!(kafka.properties["linger.ms"], "500");
    let dsn = config.postgres.unwrap().dsn;
    assert_eq!(
        (dsn.ssl_mode, dsn.config.get_password()),
        (SslMode::VerifyFull, Some(&b"secret"[..]))
    );
    assert_eq!(dsn.root_cert, Some(folder.0.join("postgres-ca.pem")));
}
