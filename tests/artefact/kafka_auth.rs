//! Locked doors, opened by each artefact: Kafka by a certificate, by keys behind a password in
//! every form that the host's build takes, and by every SASL mechanism; PostgreSQL by
//! `verify-full` with a certificate of ours. What OpenSSL, curl and librdkafka are built without
//! is not needed here.

use std::path::{Path, PathBuf};

use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use rustix::process::Signal;

use super::targets::{DEADLINE, each};
use crate::fixtures::published::Published;
use crate::harness::certs::Kind;
use crate::harness::daemon::random;
use crate::harness::kafka::{Door, PASSWORD, USER};
use crate::harness::{
    Artefact, Kafka, Listener, Postgres, Script, Temp, Tls, certs, eventually, postgres,
};
use crate::road::kafka_auth::{own, sasl, tls};
use crate::road::probe::{FAST, stop, targets};

const KEY_PASSWORD: &str = "hush-key";

/// What we show, and what opens its key.
struct Client {
    form: &'static str,
    cert: PathBuf,
    key: PathBuf,
    is_locked: bool,
}

/// Certificates with a key in every form; those behind a password open by `KEY_PASSWORD`.
fn clients(folder: &Temp) -> Vec<Client> {
    let authority = &certs::set().authority;
    let leaf = authority.leaf_of(Kind::Rsa2048, &[USER], -1, 90);
    let (cert, key) = leaf.write(folder, "client");
    let mut clients = vec![Client { form: "open", cert: cert.clone(), key, is_locked: false }];
    let mut lock = |form, cert: &Path, pem: &[u8]| {
        let header = if form_is_new(form) { "BEGIN ENCRYPTED" } else { "Proc-Type: 4,ENC" };
        assert!(String::from_utf8_lossy(pem).contains(header), "{form}");
        let key = folder.write(&format!("{form}.key"), pem);
        clients.push(Client { form, cert: cert.to_owned(), key, is_locked: true });
    };
    let (rsa, word): (Rsa<Private>, _) = (leaf.key().rsa().unwrap(), KEY_PASSWORD.as_bytes());
    for (form, cipher) in [
        ("pkcs8-aes256", Cipher::aes_256_cbc()),
        ("pkcs8-des3", Cipher::des_ede3_cbc()),
        ("pem-aes256", Cipher::aes_256_cbc()),
        ("pem-des3", Cipher::des_ede3_cbc()),
    ] {
        let pem = if form_is_new(form) {
            leaf.key().private_key_to_pem_pkcs8_passphrase(cipher, word)
        } else {
            rsa.private_key_to_pem_passphrase(cipher, word)
        };
        lock(form, &cert, &pem.unwrap());
    }
    // What the openssl crate cannot write: one key, written twice by `openssl pkcs8 -topk8`.
    for (form, pem) in [
        ("pkcs8-scrypt", include_bytes!("../data/keys/scrypt.key").as_slice()),
        ("pkcs8-pbe-sha1-3des", include_bytes!("../data/keys/pbe-sha1-3des.key")),
    ] {
        let key = PKey::private_key_from_pem_passphrase(pem, word).unwrap();
        let (cert, _) = authority.leaf_with(key, &[USER], -1, 90).write(folder, form);
        lock(form, &cert, pem);
    }
    clients
}

fn form_is_new(form: &str) -> bool {
    form.starts_with("pkcs8")
}

fn probe(artefact: &Artefact, door: Door, tables: &str, listener: &Listener) -> (String, String) {
    let (topic, broker) = (format!("art-{}", random()), Kafka::shared().door(door));
    let config = format!(
        "node = 'edge'\n[kafka]\nbrokers = ['{broker}']\ntopic = '{topic}'\n{tables}[probe]\n\
         stop_timeout = '1s'\nclock_wait = '0s'\n{FAST}{}",
        targets(listener, 1)
    );
    let program = artefact.sitewatch().file("c.toml", config).args(["probe", "-c", "c.toml"]);
    let mut running = program.spawn();
    eventually(DEADLINE, "a check of it in Kafka", || {
        let (ended, log) = (running.ended(), running.stderr());
        assert!(!ended && !log.contains("ERROR"), "{tables}: {log}");
        log.contains("is made")
            && !Published::read(&Kafka::shared().kcat(), &topic).checks.is_empty()
    });
    (stop(running).stderr, topic)
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_record_comes_through_each_door_of_kafka() {
    let folder = Temp::new();
    let ours = tls(Some(certs::ca_file()));
    let mut ways = vec![
        (Door::Tls, ours.clone()),
        (Door::Sasl, ours.clone() + &sasl("PLAIN", PASSWORD)),
        (Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-256", PASSWORD)),
        (Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-512", PASSWORD)),
    ];
    for client in clients(&folder) {
        let mut tables = ours.clone() + &own(&(&client.cert, &client.key));
        if client.is_locked {
            tables += &format!("key_password = '{KEY_PASSWORD}'\n");
        }
        ways.push((Door::Mutual, tables));
    }
    each(|artefact| {
        let listener = Listener::http();
        listener.always(Script::ok("").serial());
        for (door, tables) in &ways {
            let (log, _) = probe(artefact, *door, tables, &listener);
            for secret in [PASSWORD, KEY_PASSWORD, "PRIVATE KEY"] {
                assert!(!log.contains(secret), "{secret} is told: {log}");
            }
        }
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_writer_comes_through_the_doors_of_both() {
    let (folder, set) = (Temp::new(), certs::set());
    let clients = clients(&folder);
    let ca = certs::ca_file().display();
    let server = Postgres::with_tls(&Tls::new(&set.good).clients_of(&set.authority));
    each(|artefact| {
        let listener = Listener::http();
        listener.always(Script::ok("").serial());
        let ours = tls(Some(certs::ca_file())) + &sasl("SCRAM-SHA-512", PASSWORD);
        let (_, topic) = probe(artefact, Door::Sasl, &ours, &listener);
        for Client { form, cert, key, is_locked } in &clients {
            let schema = format!("s_{}", random());
            let (cert, key) = (cert.display(), key.display());
            let mut url = server.url_with(&format!(
                "sslmode=verify-full&sslrootcert={ca}&sslcert={cert}&sslkey={key}"
            ));
            if *is_locked {
                url += &format!("&sslpassword={KEY_PASSWORD}");
            }
            let config = format!(
                "[kafka]\nbrokers = ['{}']\ntopic = '{topic}'\ngroup = '{schema}'\n{}[postgres]\n\
                 url = '{url}'\nschema = '{schema}'\n",
                Kafka::shared().door(Door::Sasl),
                tls(Some(certs::ca_file())) + &sasl("SCRAM-SHA-256", PASSWORD),
            );
            let program = artefact.sitewatch().file("c.toml", config);
            let mut running = program.args(["write", "-c", "c.toml"]).spawn();
            eventually(DEADLINE, "a check that is stored", || {
                let (ended, log) = (running.ended(), running.stderr());
                assert!(!ended && !log.contains("ERROR"), "{form}: {log}");
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
