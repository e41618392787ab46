//! Locked doors, opened by each artefact: Kafka by a certificate, by keys behind a password in
//! every form that the host's build takes, and by every SASL mechanism; PostgreSQL by
//! `verify-full` with a certificate of ours. What OpenSSL, curl and librdkafka are built without
//! is not needed here.

use std::path::{Path, PathBuf};

use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use rustix::process::Signal;

use super::{DEADLINE, each};
use crate::doors::{own, sasl, tls};
use crate::harness::certs::Kind;
use crate::harness::daemon::random;
use crate::harness::kafka::{Door, PASSWORD, USER};
use crate::harness::{
    Artefact, Kafka, Listener, Postgres, Script, Temp, Tls, certs, eventually, postgres,
};
use crate::probe::{FAST, stop, targets};
use crate::published::Published;

const KEY_PASSWORD: &str = "hush-key";

/// A client's certificate, and its key in every form.
struct Client {
    cert: PathBuf,
    open: PathBuf,
    /// Behind `KEY_PASSWORD`: what it is, and the file.
    locked: Vec<(&'static str, PathBuf)>,
}

impl Client {
    fn new(folder: &Temp) -> Client {
        let leaf = certs::set().authority.leaf_of(Kind::Rsa2048, &[USER], -1, 90);
        let (cert, open) = leaf.write(folder, "client");
        let rsa: Rsa<Private> = leaf.key().rsa().unwrap();
        let word = KEY_PASSWORD.as_bytes();
        let new = |key: &PKey<Private>, cipher| {
            key.private_key_to_pem_pkcs8_passphrase(cipher, word).unwrap()
        };
        let old = |cipher| rsa.private_key_to_pem_passphrase(cipher, word).unwrap();
        let forms = [
            ("PKCS8 AES-256", new(leaf.key(), Cipher::aes_256_cbc())),
            ("PKCS8 AES-128", new(leaf.key(), Cipher::aes_128_cbc())),
            ("PKCS8 DES-EDE3", new(leaf.key(), Cipher::des_ede3_cbc())),
            ("PEM AES-256", old(Cipher::aes_256_cbc())),
            ("PEM DES-EDE3", old(Cipher::des_ede3_cbc())),
        ];
        let mut locked = Vec::new();
        for (form, pem) in forms {
            let header =
                if form.starts_with("PKCS8") { "BEGIN ENCRYPTED" } else { "Proc-Type: 4,ENC" };
            assert!(String::from_utf8_lossy(&pem).contains(header), "{form}");
            locked.push((form, folder.write(&format!("{form}.key"), pem)));
        }
        Client { cert, open, locked }
    }
}

fn probe(artefact: &Artefact, door: Door, tables: &str, listener: &Listener) -> (String, String) {
    let (topic, broker) = (format!("art-{}", random()), Kafka::shared().door(door));
    let config = format!(
        "node = 'edge'\n[kafka]\nbrokers = ['{broker}']\ntopic = '{topic}'\n{tables}[probe]\n\
         stop_timeout = '1s'\n{FAST}{}",
        targets(listener, 1)
    );
    let program = artefact.sitewatch().file("c.toml", config).args(["probe", "-c", "c.toml"]);
    let running = program.spawn();
    eventually(DEADLINE, "a check of it in Kafka", || {
        let log = running.stderr();
        assert!(!log.contains("ERROR"), "{topic}: {log}");
        log.contains("is made")
            && !Published::read(&Kafka::shared().kcat(), &topic).checks.is_empty()
    });
    (stop(running).stderr, topic)
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_record_comes_through_each_door_of_kafka() {
    let (folder, set) = (Temp::new(), certs::set());
    let client = Client::new(&folder);
    let ours = tls(Some(certs::ca_file()));
    let with = |key: &Path| ours.clone() + &own(&(&client.cert, key));
    let mut ways = vec![
        ("TLS", Door::Tls, ours.clone()),
        ("mutual", Door::Mutual, with(&client.open)),
        ("PLAIN", Door::Sasl, ours.clone() + &sasl("PLAIN", PASSWORD)),
        ("SCRAM-256", Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-256", PASSWORD)),
        ("SCRAM-512", Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-512", PASSWORD)),
    ];
    for (form, key) in &client.locked {
        let opened = format!("{}key_password = '{KEY_PASSWORD}'\n", with(key));
        ways.push((form, Door::Mutual, opened));
    }
    // A key of the other kind.
    let (cert, key) = set.authority.leaf(&[USER], -1, 90).write(&folder, "curve");
    ways.push(("mutual, P-256", Door::Mutual, ours.clone() + &own(&(&cert, &key))));
    each(|artefact| {
        let listener = Listener::http();
        listener.always(Script::ok("").serial());
        for (name, door, tables) in &ways {
            let (log, _) = probe(artefact, *door, tables, &listener);
            for secret in [PASSWORD, KEY_PASSWORD, "PRIVATE KEY"] {
                assert!(!log.contains(secret), "{name}: {secret} is told: {log}");
            }
        }
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_writer_comes_through_the_doors_of_both() {
    let (folder, set) = (Temp::new(), certs::set());
    let client = Client::new(&folder);
    let ca = certs::ca_file().display();
    let server = Postgres::with_tls(&Tls::new(&set.good).clients_of(&set.authority));
    each(|artefact| {
        let listener = Listener::http();
        listener.always(Script::ok("").serial());
        let ours = tls(Some(certs::ca_file())) + &sasl("SCRAM-SHA-512", PASSWORD);
        let (_, topic) = probe(artefact, Door::Sasl, &ours, &listener);
        for (number, (form, key)) in client.locked.iter().enumerate() {
            let schema = format!("s{number}_{}", random());
            let (cert, key) =
                (client.cert.display(), key.display().to_string().replace(' ', "%20"));
            let url = server.url_with(&format!(
                "sslmode=verify-full&sslrootcert={ca}&sslcert={cert}&sslkey={key}&sslpassword={KEY_PASSWORD}"
            ));
            let config = format!(
                "[kafka]\nbrokers = ['{}']\ntopic = '{topic}'\ngroup = '{schema}'\n{}[postgres]\n\
                 url = '{url}'\nschema = '{schema}'\n",
                Kafka::shared().door(Door::Sasl),
                tls(Some(certs::ca_file())) + &sasl("SCRAM-SHA-256", PASSWORD),
            );
            let program = artefact.sitewatch().file("c.toml", config);
            let mut running = program.args(["write", "-c", "c.toml"]).spawn();
            eventually(DEADLINE, "a check that is stored", || {
                let log = running.stderr();
                assert!(!log.contains("ERROR"), "{form}: {log}");
                log.contains("reading partitions")
                    && server.psql(&format!("SELECT count(*) FROM {schema}.checks")) != "0"
            });
            running.signal(Signal::TERM);
            let done = running.wait(DEADLINE);
            assert_eq!(done.code, Some(0), "{done:?}");
            for secret in [PASSWORD, KEY_PASSWORD, postgres::PASSWORD] {
                assert!(!done.stderr.contains(secret), "{form}: {secret} is told: {}", done.stderr);
            }
        }
    });
}
