//! Connections to PostgreSQL: texts that are read right, and texts that are refused.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::{
    ChannelBinding, Host, LoadBalanceHosts, SslMode as Negotiated, SslNegotiation,
    TargetSessionAttrs,
};

use super::*;
use crate::config::postgres::dsn::parse;

fn dsn(text: &str) -> Dsn {
    parse(text, &|path| PathBuf::from(DATA).join(path)).unwrap_or_else(|f| panic!("{text}: {f:?}"))
}

#[test]
fn uris_and_keywords_give_the_same() {
    for (uri, keywords, shown) in [
        ("postgresql://h", "host=h", "host=h"),
        ("postgres://h:6432/d", "host=h port=6432 dbname=d", "host=h port=6432 dbname=d"),
        (
            "postgresql://us%20er:%40%3A%2F%3F%23%25%27%5C@h/d%2Fb",
            r"host = h user = 'us er' password = '@:/?#%\'\\' dbname=d/b",
            "host=h dbname=d/b user='us er' password=***",
        ),
        ("postgresql://a:1,b/", "host=a,b port=1,", "host=a,b port=1,5432"),
        (
            "postgresql://[2001:db8::1]:5433",
            "host=2001:db8::1 port=5433",
            "host=2001:db8::1 port=5433",
        ),
        (
            "postgresql://h/?hostaddr=192.0.2.1&options=-c%20a%3Db",
            "host=h hostaddr=192.0.2.1 options='-c a=b'",
            "host=h hostaddr=192.0.2.1 options='-c a=b'",
        ),
    ] {
        let (uri, keywords) = (dsn(uri), dsn(keywords));
        assert_eq!(uri.shown(), keywords.shown());
        assert_eq!(uri.config.get_password(), keywords.config.get_password());
        let words: Vec<String> = uri.shown().split(' ').map(str::to_string).collect();
        let rest = uri.shown();
        for word in shown.split(' ') {
            assert!(words.iter().any(|found| found == word), "{word} is not in {rest}");
        }
        // The keywords that are shown give the same when read again, except for the password.
        assert_eq!(dsn(&rest).shown(), rest);
    }
    let special = dsn(r"host=h password='@:/?#%\'\\'");
    assert_eq!(special.config.get_password(), Some(&b"@:/?#%'\\"[..]));
    let uri = dsn("postgresql://u:%C3%BC%20%26@h?application_name=a%26b");
    assert_eq!(uri.config.get_password(), Some("ü &".as_bytes()));
    assert_eq!(uri.config.get_application_name(), Some("a&b"));
}

#[test]
fn hosts_are_names_addresses_and_sockets() {
    let both = dsn("host=a,b hostaddr=192.0.2.1,2001:db8::1 port=7000");
    assert_eq!(both.config.get_hosts(), [Host::Tcp("a".into()), Host::Tcp("b".into())]);
    let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(both.config.get_hostaddrs(), addresses);
    assert_eq!(both.config.get_ports(), [7000]);

    let socket = dsn("postgresql://u@%2Frun%2Fpostgresql/d");
    assert_eq!(socket.config.get_hosts(), [Host::Unix("/run/postgresql".into())]);
    // Without a name, the certificate must be for the address.
    let address = dsn("hostaddr=192.0.2.1");
    assert_eq!(address.config.get_hosts(), [Host::Tcp("192.0.2.1".into())]);
}

#[test]
fn without_sslmode_strangers_are_verified() {
    use SslMode::{Disable, Prefer, VerifyFull};
    for (text, mode) in [
        ("host=db.example.org", VerifyFull),
        ("host=192.0.2.1", VerifyFull),
        ("host=localhost.example.org", VerifyFull),
        ("host=128.0.0.1", VerifyFull),
        ("host=localhost,db.example.org", VerifyFull),
        ("host=localhost hostaddr=192.0.2.1", VerifyFull),
        ("host=localhost", Prefer),
        ("host=LocalHost", Prefer),
        ("host=127.0.0.1", Prefer),
        ("host=127.8.9.1,::1", Prefer),
        ("host=db.example.org hostaddr=127.0.0.1", Prefer),
        ("hostaddr=::1", Prefer),
        ("host=/run/postgresql,localhost", Prefer),
        ("host=/run/postgresql", Disable),
        ("postgresql:///d?host=/run/postgresql", Disable),
        // A user who names a root wants it used.
        ("host=localhost sslrootcert=../keys/ca.pem", VerifyFull),
        ("host=localhost sslrootcert=system", VerifyFull),
    ] {
        assert_eq!(dsn(text).ssl_mode, mode, "{text}");
    }
}

#[test]
fn each_sslmode_means_what_libpq_means() {
    for (words, mode, negotiated) in [
        ("sslmode=disable", SslMode::Disable, Negotiated::Disable),
        ("sslmode=allow", SslMode::Allow, Negotiated::Prefer),
        ("sslmode=prefer", SslMode::Prefer, Negotiated::Prefer),
        ("sslmode=require", SslMode::Require, Negotiated::Require),
        ("sslmode=require sslrootcert=../keys/ca.pem", SslMode::VerifyCa, Negotiated::Require),
        ("sslmode=verify-ca", SslMode::VerifyCa, Negotiated::Require),
        ("sslmode=verify-full", SslMode::VerifyFull, Negotiated::Require),
        ("sslmode=verify-full sslrootcert=system", SslMode::VerifyFull, Negotiated::Require),
        ("sslmode=''", SslMode::VerifyFull, Negotiated::Require),
    ] {
        let found = dsn(&format!("host=h {words}"));
        assert_eq!((found.ssl_mode, found.config.get_ssl_mode()), (mode, negotiated), "{words}");
        let root = words.contains("ca.pem").then(|| PathBuf::from(DATA).join("../keys/ca.pem"));
        assert_eq!(found.root_cert, root);
        assert_eq!(dsn("host=localhost sslmode=verify-ca").ssl_mode, SslMode::VerifyCa);
        // TLS does not run over a socket, whatever is asked for.
        let socket = dsn(&format!("host=/run {words}"));
        let found = (socket.ssl_mode, socket.config.get_ssl_mode());
        assert_eq!(found, (SslMode::Disable, Negotiated::Disable), "{words}");
    }
    let direct = dsn("host=h sslnegotiation=direct sslcert=../keys/client.pem \
         sslkey=../keys/client_encrypted.key sslpassword=secret");
    assert_eq!(direct.config.get_ssl_negotiation(), SslNegotiation::Direct);
    assert_eq!(direct.cert, Some(PathBuf::from(DATA).join("../keys/client.pem")));
    assert_eq!(direct.key, Some(PathBuf::from(DATA).join("../keys/client_encrypted.key")));
    assert_eq!(direct.key_password.as_deref(), Some("secret"));
}

#[test]
fn a_dead_connection_is_noticed_unless_told_otherwise() {
    let seconds = Duration::from_secs;
    let plain = dsn("host=h").config;
    assert_eq!(plain.get_connect_timeout(), Some(&seconds(10)));
    assert_eq!(plain.get_tcp_user_timeout(), Some(&seconds(20)));
    assert_eq!(plain.get_keepalives_idle(), seconds(10));
    assert_eq!(plain.get_keepalives_interval(), Some(seconds(5)));
    assert_eq!((plain.get_keepalives(), plain.get_keepalives_retries()), (true, Some(3)));
    assert_eq!(plain.get_application_name(), Some("sitewatch"));

    let own = dsn(
        "host=h connect_timeout=1 tcp_user_timeout=1500 keepalives_idle=2 keepalives_interval=3 \
         keepalives_count=4 application_name=me target_session_attrs=read-write \
         load_balance_hosts=random channel_binding=require",
    );
    let shown = own.shown();
    let own = own.config;
    assert_eq!(own.get_connect_timeout(), Some(&seconds(1)));
    assert_eq!(own.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    assert_eq!(own.get_keepalives_idle(), seconds(2));
    assert_eq!(own.get_keepalives_interval(), Some(seconds(3)));
    assert_eq!(own.get_keepalives_retries(), Some(4));
    assert_eq!(own.get_application_name(), Some("me"));
    assert_eq!(own.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(own.get_load_balance_hosts(), LoadBalanceHosts::Random);
    assert_eq!(own.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(dsn(&shown).shown(), shown);

    let none = dsn("host=h connect_timeout=0 tcp_user_timeout=-1 keepalives=0 keepalives_count=0");
    let shown = none.shown();
    assert_eq!(none.config.get_connect_timeout(), None);
    assert_eq!(none.config.get_tcp_user_timeout(), None);
    assert_eq!((none.config.get_keepalives(), none.config.get_keepalives_retries()), (false, None));
    assert_eq!(dsn(&shown).shown(), shown);
}

#[test]
fn no_secret_is_in_any_fault_or_debug() {
    let dsn_of = |text: &str| parse(text, &|path| PathBuf::from(path));
    for text in [
        "postgresql://u:secret@h/d",
        "postgresql://u:secret@h/d?sslmode=verify-full",
        "postgresql://h/d?password=secret",
        "host=h password='secret secret'",
        "host=h sslcert=tests/data/keys/client.pem sslkey=tests/data/keys/client_encrypted.key \
         sslpassword=secret",
    ] {
        let dsn = dsn_of(text).unwrap();
        assert!(!format!("{dsn:?} {:?} {}", dsn.config, dsn.shown()).contains("secret"), "{text}");
    }
    // Common mistakes, with every character that a password may have.
    for sign in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\0ü".chars() {
        for text in [
            format!("postgresql://u:sec{sign}secret@h/d"),
            format!("postgresql://u:12{sign}secret@h/d"),
            format!("postgresql://u:{sign}secret@h/d?sslmode=require"),
            format!("postgresql://u:secret{sign}@h/d"),
            format!("postgresql://u:p@h{sign}secret@h/d"),
            format!("postgresql://h/d?password=sec{sign}secret"),
            format!("postgresql://h/d?password=sec{sign}secret=secret"),
            format!("host=h password=sec{sign}secret"),
            format!("host=h password=sec{sign}secret=secret"),
            format!("host=h password='sec{sign}secret'"),
            format!("u:sec{sign}secret@h/d"),
        ] {
            let told = dsn_of(&text).map_or_else(|faults| faults.join("\n"), |dsn| dsn.shown());
            assert!(!told.contains("secret"), "{text}: {told}");
        }
    }
}
