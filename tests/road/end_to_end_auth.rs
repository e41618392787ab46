//! The whole road behind locked doors: Kafka over mutual TLS and over SASL, PostgreSQL with
//! `verify-full`; and what a writer says when a door stays shut.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::binary::{Output, Running};
use crate::harness::daemon::random;
use crate::harness::kafka::{self, Door};
use crate::harness::postgres;
use crate::harness::{Kafka, Listener, Postgres, Script, Sitewatch, Temp, Tls, certs, eventually};

const DEADLINE: Duration = Duration::from_secs(40);

/// `[kafka]` up to its door, which `tables` opens.
fn road(door: Door, topic: &str, tables: &str) -> String {
    let broker = Kafka::shared().door(door);
    format!("[kafka]\nbrokers = ['{broker}']\ntopic = '{topic}'\ngroup = '{topic}'\n{tables}")
}

fn tls(ca: &Path) -> String {
    format!("[kafka.tls]\nca_file = '{}'\n", ca.display())
}

fn sasl(mechanism: &str, password: &str) -> String {
    let user = kafka::USER;
    format!(
        "[kafka.sasl]\nmechanism = '{mechanism}'\nusername = '{user}'\npassword = '{password}'\n"
    )
}

fn store(server: &Postgres, ca: &Path) -> String {
    let url = server.url_with(&format!("sslmode=verify-full&sslrootcert={}", ca.display()));
    format!("[postgres]\nurl = '{url}'\n")
}

fn start(command: &str, config: &str) -> Running {
    Sitewatch::new().file("c.toml", config).args([command, "-c", "c.toml", "-v", "-v"]).spawn()
}

fn stop(mut running: Running) -> Output {
    running.signal(Signal::TERM);
    running.wait(DEADLINE)
}

#[track_caller]
fn is_discreet(log: &str) {
    for secret in ["hush", "PRIVATE KEY"] {
        assert!(!log.contains(secret), "{secret} is told: {log}");
    }
}

#[test]
fn the_road_runs_behind_locked_doors() {
    let set = certs::set();
    let (ca, folder) = (set.authority.ca_file(), Temp::new());
    let (cert, key) = set.authority.leaf(&[kafka::USER], -1, 90).write(&folder, "client");
    let own = format!("cert_file = '{}'\nkey_file = '{}'\n", cert.display(), key.display());
    let mutual = tls(&ca) + &own;
    let server = Postgres::with_tls(&Tls::new(&set.good));
    let listener = Listener::http();
    listener.always(Script::ok("fine"));
    let word = random();
    let sasl = |mechanism| tls(&ca) + &sasl(mechanism, kafka::PASSWORD);
    let ways = [
        (Door::Mutual, mutual.clone(), Door::Mutual, mutual),
        (Door::Sasl, sasl("SCRAM-SHA-512"), Door::Sasl, sasl("SCRAM-SHA-256")),
    ];
    for (way, (out, out_tables, back, back_tables)) in ways.into_iter().enumerate() {
        let (topic, schema) = (format!("secure-{word}-{way}"), format!("way_{way}"));
        let edge = format!(
            "node = 'edge'\ntargets = ['{}']\n[defaults]\ninterval = '1s'\n{}",
            listener.url("/"),
            road(out, &topic, &out_tables)
        );
        let centre = format!(
            "{}{}schema = '{schema}'\n",
            road(back, &topic, &back_tables),
            store(&server, &ca)
        );
        let (probe, write) = (start("probe", &edge), start("write", &centre));
        let count = format!("SELECT count(*) FROM {schema}.checks WHERE verdict = 'up'");
        eventually(DEADLINE, "three checks at the other end", || {
            let logs = format!("{}{}", probe.stderr(), write.stderr());
            assert!(!logs.contains("ERROR"), "{logs}");
            logs.contains("reading partitions") && server.psql(&count).parse::<u32>().unwrap() >= 3
        });
        for done in [stop(probe), stop(write)] {
            assert_eq!(done.code, Some(0), "{done:?}");
            is_discreet(&done.stderr);
        }
    }
}

/// What a writer says that cannot go on; it is discreet, and says it once.
#[track_caller]
fn refused(config: &str, what: &str) -> String {
    let mut write = start("write", config);
    write.await_stderr(" is away: ", DEADLINE);
    let done = stop(write);
    is_discreet(&done.stderr);
    let lines: Vec<&str> = done.stderr.lines().filter(|line| line.contains(" is away: ")).collect();
    assert_eq!(lines.len(), 1, "{what}: {}", done.stderr);
    assert!(lines[0].contains("ERROR"), "{what}: {}", lines[0]);
    lines[0].to_owned()
}

#[test]
fn a_door_that_stays_shut_says_why() {
    let set = certs::set();
    let (ca, stranger) = (set.authority.ca_file(), set.stranger.ca_file());
    let server = Postgres::with_tls(&Tls::new(&set.good));
    let misnamed = Postgres::with_tls(&Tls::new(&set.wrong_name));
    let topic = format!("shut-{}", random());
    let good = kafka::PASSWORD;
    let scram = |door, ca: &Path, password| {
        let tables = tls(ca) + &sasl("SCRAM-SHA-256", password);
        road(door, &topic, &tables) + &store(&server, &set.authority.ca_file())
    };
    let open = road(Door::Sasl, &topic, &(tls(&ca) + &sasl("PLAIN", good)));
    let wrong_password = server
        .url_for(postgres::USER, "hush-wrong")
        .replace("sslmode=require", &format!("sslmode=verify-full&sslrootcert={}", ca.display()));
    let cases = [
        ("Kafka's CA", scram(Door::Sasl, &stranger, good), "the broker's certificate is refused"),
        ("Kafka's name", scram(Door::Misnamed, &ca, good), "it is not for 127.0.0.1"),
        ("Kafka's password", scram(Door::Sasl, &ca, "hush-wrong"), "uthentication failed"),
        (
            "no certificate of ours",
            road(Door::Mutual, &topic, &tls(&ca)) + &store(&server, &ca),
            "certificate",
        ),
        ("the database's CA", open.clone() + &store(&server, &stranger), "certificate"),
        ("the database's name", open.clone() + &store(&misnamed, &ca), "127.0.0.1"),
        (
            "the database's password",
            format!("{open}[postgres]\nurl = '{wrong_password}'\n"),
            "password authentication failed",
        ),
    ];
    for (what, config, words) in cases {
        let said = refused(&config, what);
        assert!(said.contains(words), "{what}: no {words:?} in {said}");
    }
}
