//! Kafka's doors: `probe` comes in where it should, trusts and is trusted by whom it should, says
//! what is wrong where it is not, and tells no secret meanwhile.

use std::path::Path;
use std::time::Duration;

use openssl::symm::Cipher;
use rustix::process::Signal;

use crate::fixtures::published::Published;
use crate::harness::binary::Running;
use crate::harness::daemon::random;
use crate::harness::kafka::{Door, PASSWORD, USER};
use crate::harness::{Kafka, Listener, Script, Sitewatch, Temp, certs, eventually};
use crate::road::probe::{FAST, command, stop, targets, times};

const DEADLINE: Duration = Duration::from_secs(60);
/// Opens a key. A word that must not stand in any log.
const KEY_PASSWORD: &str = "hush-key";

/// `[kafka.tls]` with these roots; none: the host's.
pub fn tls(ca: Option<&Path>) -> String {
    let ca = ca.map(|path| format!("ca_file = '{}'\n", path.display())).unwrap_or_default();
    format!("[kafka.tls]\n{ca}")
}

/// Our certificate and its key, within `[kafka.tls]`.
pub fn own((cert, key): &(impl AsRef<Path>, impl AsRef<Path>)) -> String {
    let (cert, key) = (cert.as_ref().display(), key.as_ref().display());
    format!("cert_file = '{cert}'\nkey_file = '{key}'\n")
}

pub fn sasl(mechanism: &str, password: &str) -> String {
    let words = format!("mechanism = '{mechanism}'\nusername = '{USER}'\npassword = '{password}'");
    format!("[kafka.sasl]\n{words}\n")
}

/// `probe` before a door, its log as full as it gets.
fn before(door: &str, topic: &str, tables: &str, listener: &Listener) -> Sitewatch {
    let more = format!("{tables}[probe]\nstop_timeout = '1s'\n{FAST}{}", targets(listener, 1));
    command(door, topic, &more).args(["-v", "-v"])
}

/// No secret of ours stands there.
#[track_caller]
fn is_discreet(log: &str) {
    assert!(log.contains(" DEBUG "), "not all is logged: {log}");
    for secret in [PASSWORD, KEY_PASSWORD, "hush", "PRIVATE KEY", "MIG"] {
        assert!(!log.contains(secret), "{secret} is told: {log}");
    }
}

fn listener() -> Listener {
    let listener = Listener::http();
    listener.always(Script::ok("").serial());
    listener
}

#[test]
fn a_record_arrives_through_each() {
    let (broker, set, folder, listener) = (Kafka::shared(), certs::set(), Temp::new(), listener());
    let ours = tls(Some(certs::ca_file()));
    let leaf = set.authority.leaf(&[USER], -1, 90);
    let (cert, key) = leaf.write(&folder, "client");
    let cipher = Cipher::aes_256_cbc();
    let locked = leaf.key().private_key_to_pem_pkcs8_passphrase(cipher, KEY_PASSWORD.as_bytes());
    let locked = folder.write("locked.key", locked.unwrap());
    let opened = format!("{}key_password = '{KEY_PASSWORD}'\n", own(&(&cert, locked)));
    let mut under_way = Vec::new();
    for (door, tables, roots) in [
        (Door::Tls, ours.clone(), ""),
        (Door::Mutual, ours.clone() + &own(&(&cert, key)), ""),
        (Door::Mutual, ours.clone() + &opened, ""),
        (Door::Sasl, ours.clone() + &sasl("PLAIN", PASSWORD), ""),
        (Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-256", PASSWORD), ""),
        (Door::Sasl, ours + &sasl("SCRAM-SHA-512", PASSWORD), ""),
        (Door::Tls, tls(None), certs::ca_file().to_str().unwrap()),
    ] {
        let topic = format!("door-{}", random());
        let probe = before(&broker.door(door), &topic, &tables, &listener);
        under_way.push((topic, probe.env("SSL_CERT_FILE", roots).spawn()));
    }
    for (topic, mut running) in under_way {
        running.await_stderr("is made", DEADLINE);
        eventually(DEADLINE, "a check of it in Kafka", || {
            !Published::read(&broker.kcat(), &topic).checks.is_empty()
        });
        let log = stop(running).stderr;
        assert_eq!((times(&log, "Kafka is"), times(&log, "ERROR")), (0, 0), "{log}");
        is_discreet(&log);
    }
}

#[test]
fn where_it_is_refused_or_refuses_it_says_why() {
    let (broker, set, folder, listener) = (Kafka::shared(), certs::set(), Temp::new(), listener());
    let (ours, theirs) = (tls(Some(certs::ca_file())), tls(Some(&set.stranger.ca_file())));
    let stranger = set.stranger.leaf(&[USER], -1, 90).write(&folder, "stranger");
    let ca = "the broker's certificate is refused: unable to get local issuer certificate: set \
              ca_file in [kafka.tls] to the CA that signed it";
    let name = "the broker's certificate is refused: hostname mismatch: it is not for localhost";
    let address =
        "the broker's certificate is refused: IP address mismatch: it is not for 127.0.0.1";
    let scram = "Authentication failed during authentication due to invalid credentials with SASL \
                 mechanism SCRAM-SHA-";
    let mut under_way: Vec<(String, Running)> = Vec::new();
    for (door, tables, words) in [
        (Door::Tls, theirs.clone(), ca),
        (Door::Tls, tls(None), ca),
        (Door::Sasl, theirs + &sasl("PLAIN", PASSWORD), ca),
        (Door::Misnamed, ours.clone() + &sasl("SCRAM-SHA-512", PASSWORD), address),
        (Door::Misnamed, ours.clone() + &sasl("PLAIN", PASSWORD), name),
        (Door::Sasl, ours.clone() + &sasl("PLAIN", "hush-no"), "Invalid username or password"),
        (Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-256", "hush-no"), scram),
        (Door::Sasl, ours.clone() + &sasl("SCRAM-SHA-512", "hush-no"), scram),
        (Door::Mutual, ours.clone(), "the broker wants a certificate of ours: set cert_file and"),
        (Door::Mutual, ours.clone() + &own(&stranger), "our certificate is refused: the broker"),
        (Door::Tls, String::new(), "the broker hangs up, as brokers do that want TLS"),
        (Door::Sasl, ours.clone(), "the broker hangs up, as brokers do that want a login"),
        (Door::Plain, ours, "the broker hangs up, as brokers do that have no TLS"),
    ] {
        let host = if words == name { "localhost" } else { "127.0.0.1" };
        let place = broker.door(door).replace("127.0.0.1", host);
        let probe = before(&place, &format!("door-{}", random()), &tables, &listener);
        // Roots that are not ours, where none is given.
        let roots = set.stranger.ca_file();
        under_way.push((format!("{place}: {words}"), probe.env("SSL_CERT_FILE", roots).spawn()));
    }
    for (words, running) in &mut under_way {
        running.await_stderr("Kafka is away", DEADLINE);
        let log = running.stderr();
        let line = log.lines().find(|line| line.contains("Kafka is away")).unwrap();
        let (place, why) = words.split_once(": ").unwrap();
        assert!(
            line.contains(&format!("away: {place}: ")) && line.contains(why),
            "{words}: {line}"
        );
        assert!(line.ends_with("held in memory"), "{line}");
    }
    for (_, running) in &mut under_way {
        running.signal(Signal::TERM);
    }
    for (words, running) in under_way {
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(1), "{words}: {done:?}");
        assert!(done.stderr.contains("not delivered and lost"), "{words}: {done:?}");
        assert_eq!(times(&done.stderr, "Kafka is"), 1, "{words}: {done:?}");
        is_discreet(&done.stderr);
    }
}

#[test]
fn with_files_that_do_not_fit_it_does_not_start() {
    let (set, folder, listener) = (certs::set(), Temp::new(), listener());
    let (cert, key) = set.authority.leaf(&[USER], -1, 90).write(&folder, "client");
    let (_, other) = set.authority.leaf(&[USER], -1, 90).write(&folder, "other");
    let cipher = Cipher::aes_256_cbc();
    let locked = set.good.key().private_key_to_pem_pkcs8_passphrase(cipher, b"hush-right");
    let locked = folder.write("locked.key", locked.unwrap());
    let wrong = format!("{}key_password = '{KEY_PASSWORD}'\n", own(&(&cert, locked)));
    let (ours, junk) = (tls(Some(certs::ca_file())), folder.write("junk.pem", "junk"));
    for (tables, words) in [
        (ours.clone() + &wrong, "key_password does not open key_file"),
        (ours.clone() + &own(&(&cert, &other)), "key_file is not the key of the certificate in"),
        (ours + &own(&(&junk, &key)), "cert_file holds no certificate in PEM form"),
        (tls(Some(&junk)), "holds no certificate in PEM form"),
    ] {
        let done = before("127.0.0.1:1", "t", &tables, &listener).run();
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.stderr.contains(words) && !done.stderr.contains("hush"), "{done:?}");
    }
}
