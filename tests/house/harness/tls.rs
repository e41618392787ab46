//! The harness's own word, checked over TLS: a certificate is wrong in the way it is called, and
//! a handshake breaks where it was told to. The judge is libcurl.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::ssl::SslVersion;

use crate::harness::certs::{self, Authority, Leaf};
use crate::harness::client::get;
use crate::harness::{Client, Listener, Script, Temp, Tls};

const SHORT: Duration = Duration::from_millis(150);
const DEADLINE: Duration = Duration::from_secs(10);

fn https(leaf: &Leaf, script: Script) -> Listener {
    let listener = Listener::https(leaf);
    listener.always(script);
    listener
}

#[test]
fn certificates_are_good_or_bad_as_they_are_called() {
    let set = certs::set();
    let cases = [
        ("good", &set.good, None),
        ("good_rsa", &set.good_rsa, None),
        ("ending", &set.ending, None),
        ("chained", &set.chained, None),
        ("ending_intermediate", &set.ending_intermediate, None),
        ("expired", &set.expired, Some("certificate has expired")),
        ("not_yet", &set.not_yet, Some("certificate is not yet valid")),
        ("self_signed", &set.self_signed, Some("self-signed certificate")),
        ("wrong_name", &set.wrong_name, Some("no alternative certificate subject name matches")),
        ("untrusted", &set.untrusted, Some("unable to get local issuer certificate")),
        (
            "missing_intermediate",
            &set.missing_intermediate,
            Some("unable to get local issuer certificate"),
        ),
        ("expired_intermediate", &set.expired_intermediate, Some("certificate has expired")),
    ];
    for (name, leaf, fault) in cases {
        let listener = https(leaf, Script::ok("hello"));
        let got = get(&listener.url_at("localhost", "/"));
        match fault {
            None => assert_eq!((got.code, got.text().as_str()), (0, "hello"), "{name}: {got:?}"),
            Some(words) => {
                assert_eq!((got.code, got.status), (60, 0), "{name}: {got:?}");
                assert!(got.error.contains(words), "{name}: {got:?}");
                assert!(listener.log().is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn two_faults_are_both_there() {
    // curl tells one of them only, and asks for the name first.
    let both = https(&certs::set().expired_wrong_name, Script::ok("hello"));
    let name = get(&both.url_at("localhost", "/"));
    assert!(name.code == 60 && name.error.contains("no alternative"), "{name:?}");
    let date = Client::new().any_name().get(&both.url_at("localhost", "/"));
    assert!(date.code == 60 && date.error.contains("certificate has expired"), "{date:?}");
    let one = https(&certs::set().wrong_name, Script::ok("hello"));
    assert_eq!(Client::new().any_name().get(&one.url_at("localhost", "/")).code, 0);
}

#[test]
fn certificates_end_when_they_say() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let set = certs::set();
    // Half a day before the fifth day is full, so that it is told as four at any moment.
    assert!((set.ending.ends_s() - now - 9 * 43_200).abs() < 600);
    assert!((set.expired.ends_s() - now + 3 * 43_200).abs() < 600);
    let end = openssl::asn1::Asn1Time::from_unix(set.ending.ends_s()).unwrap();
    assert!(set.ending.chain()[0].not_after() == end);
    let lengths = [&set.good, &set.chained, &set.missing_intermediate].map(|l| l.chain().len());
    assert_eq!(lengths, [1, 2, 1]);
    assert!(set.good_rsa.key().rsa().is_ok() && set.good.key().ec_key().is_ok());
}

#[test]
fn another_authority_is_trusted_by_its_own_file_only() {
    let other = Authority::new("other");
    let listener = https(&other.leaf(&["127.0.0.1"], -1, 1), Script::ok("hello"));
    assert_eq!(get(&listener.url("/")).code, 60);
    assert_eq!(Client::new().trust(&other.ca_file()).get(&listener.url("/")).code, 0);
    let stranger = https(&certs::set().untrusted, Script::ok("hello"));
    let trusting = certs::set().stranger.ca_file();
    assert_eq!(Client::new().trust(&trusting).get(&stranger.url("/")).text(), "hello");
}

#[test]
fn handshakes_break_where_told() {
    let cases = [
        (Script::ok("x").close_at_once(), "unexpected eof"),
        (Script::ok("x").reset_at_once(), "reset by peer"),
        (Script::ok("x").cut_handshake_at(0), "unexpected eof"),
        (Script::ok("x").cut_handshake_at(300), "unexpected eof"),
        (Script::ok("x").alert(40), "handshake failure"),
        (Script::ok("x").alert(80), "internal error"),
        (Script::ok("x").alert(112), "unrecognized name"),
        (Script::ok("x").plain_on_tls(), "wrong version number"),
    ];
    for (script, words) in cases {
        let what = format!("{script:?}");
        let listener = https(&certs::set().good, script);
        let got = get(&listener.url("/"));
        assert_eq!((got.code, got.status), (35, 0), "{got:?} {what}");
        assert!(got.error.to_lowercase().contains(words), "{got:?} {what}");
        assert_eq!((listener.log().len(), listener.connections()), (0, 1), "{what}");
    }
}

#[test]
fn a_late_handshake_is_late_as_told() {
    let listener = https(&certs::set().good, Script::ok("x").delay_opening(SHORT));
    let got = get(&listener.url("/"));
    assert!(got.code == 0 && got.tls >= SHORT, "{got:?}");
    listener.always(Script::ok("x").delay_first_byte(SHORT));
    let got = get(&listener.url("/"));
    assert!(got.code == 0 && got.first_byte - got.tls >= SHORT, "{got:?}");
}

#[test]
fn versions_are_the_ones_told() {
    let good = &certs::set().good;
    let cases = [
        (SslVersion::TLS1_2, SslVersion::TLS1_2, true, true),
        (SslVersion::TLS1_3, SslVersion::TLS1_3, true, false),
        (SslVersion::TLS1_2, SslVersion::TLS1_3, true, true),
        (SslVersion::TLS1, SslVersion::TLS1_1, false, false),
    ];
    for (least, most, any, only12) in cases {
        let tls = Tls::new(good).versions(least, most);
        let listener = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
        listener.always(Script::ok("x"));
        let url = listener.url("/");
        assert_eq!(get(&url).code == 0, any, "{least:?} to {most:?}");
        assert_eq!(Client::new().tls12().get(&url).code == 0, only12, "{least:?} to {most:?}");
    }
}

#[test]
fn a_client_certificate_is_wanted_when_told() {
    let set = certs::set();
    let tls = Tls::new(&set.good).clients_of(&set.authority);
    let listener = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
    listener.always(Script::ok("come in"));
    let url = listener.url("/");
    assert_ne!(get(&url).code, 0);
    let folder = Temp::new();
    let (chain, key) = set.chained.write(&folder, "client");
    assert_eq!(Client::new().certificate(&chain, &key).get(&url).text(), "come in");
    let (chain, key) = set.untrusted.write(&folder, "stranger");
    assert_ne!(Client::new().certificate(&chain, &key).get(&url).code, 0);
    assert_eq!(listener.log().len(), 1);
}

#[test]
fn the_log_knows_the_name_asked_for_and_resumed_sessions() {
    let listener = https(&certs::set().good, Script::ok("x"));
    let mut client = Client::new().fresh();
    for host in ["localhost", "localhost", "127.0.0.1"] {
        assert_eq!(client.get(&listener.url_at(host, "/")).code, 0, "{host}");
    }
    let log = listener.settled(DEADLINE);
    let told: Vec<_> = log.iter().map(|s| (s.sni.as_deref(), s.resumed)).collect();
    assert_eq!(told, [(Some("localhost"), false), (Some("localhost"), true), (None, false)]);
}

#[test]
fn a_body_ends_with_a_notify_unless_told() {
    let listener = https(&certs::set().good, Script::ok("hello").until_close());
    assert_eq!(get(&listener.url("/")).code, 0);
    listener.always(Script::ok("hello").until_close().without_close_notify());
    let cut = get(&listener.url("/"));
    assert_eq!((cut.code, cut.text().as_str()), (56, "hello"), "{cut:?}");
    listener.always(Script::ok("hello").until_close().cut_body_at(5));
    assert_eq!(get(&listener.url("/")).code, 56);
}
