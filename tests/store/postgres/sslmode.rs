//! Every `sslmode`, against servers that speak TLS alone and one that does not: who is let in, and
//! what is said where nobody is.

use std::path::Path;

use sitewatch::store::{Postgres, StoreError};

use super::scratch::settings;
use crate::harness;
use crate::harness::postgres::{Database, PASSWORD, USER};
use crate::harness::{Temp, Tls, certs};

/// What connecting with these parameters gives: nothing, or the words after the place.
#[track_caller]
fn try_with(database: &Database, parameters: &str) -> Result<(), String> {
    try_url(&database.url_with(parameters))
}

#[track_caller]
fn try_url(url: &str) -> Result<(), String> {
    try_settings(&settings(url))
}

#[track_caller]
fn try_settings(settings: &sitewatch::config::PostgresConfig) -> Result<(), String> {
    let text = match Postgres::connect(settings) {
        Ok(_) => return Ok(()),
        Err(StoreError::Away { text }) => text,
        Err(other) => panic!("{other:?}"),
    };
    assert!(!text.contains("hush") && !text.contains("postgresql:"), "{text}");
    let (place, why) = text.split_once(": ").unwrap();
    assert!(place.starts_with("cannot connect to the database postgres at 127.0.0.1:"), "{text}");
    Err(why.to_owned())
}

#[track_caller]
fn refused(result: Result<(), String>, words: &[&str]) {
    let why = result.unwrap_err();
    for word in words {
        assert!(why.contains(word), "{word:?} is not in {why:?}");
    }
}

fn root(mode: &str, ca: &Path) -> String {
    format!("sslmode={mode}&sslrootcert={}", ca.display())
}

#[test]
fn each_sslmode_lets_in_whom_it_should() {
    let set = certs::set();
    let (ca, stranger) = (set.authority.ca_file(), set.stranger.ca_file());
    let good = harness::Postgres::with_tls(&Tls::new(&set.good));
    let misnamed = harness::Postgres::with_tls(&Tls::new(&set.wrong_name));
    let expired = harness::Postgres::with_tls(&Tls::new(&set.expired));
    let plain = harness::Postgres::shared();

    // Without a look at the certificate.
    for server in [&good, &misnamed, &expired] {
        for mode in ["allow", "prefer", "require"] {
            assert_eq!(try_with(server, &format!("sslmode={mode}")), Ok(()), "{mode}");
        }
    }
    refused(try_with(&good, "sslmode=disable"), &["no pg_hba.conf entry", "no encryption"]);
    for mode in ["disable", "allow", "prefer"] {
        assert_eq!(try_with(plain, &format!("sslmode={mode}")), Ok(()), "{mode}");
    }
    for mode in ["require".to_owned(), root("verify-ca", &ca), root("verify-full", &ca)] {
        let mode = if mode == "require" { "sslmode=require".to_owned() } else { mode };
        refused(try_with(plain, &mode), &["server does not support TLS"]);
    }

    // With one. A root that is named makes `require` look at it, as libpq has it.
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(try_with(&good, &root(mode, &ca)), Ok(()), "{mode}");
        let words = ["its certificate is not trusted", "sslrootcert"];
        refused(try_with(&good, &root(mode, &stranger)), &words);
        refused(try_with(&expired, &root(mode, &ca)), &["its certificate has expired"]);
    }
    assert_eq!(try_with(&misnamed, &root("verify-ca", &ca)), Ok(()));
    let words = ["its certificate is for another name than 127.0.0.1"];
    refused(try_with(&misnamed, &root("verify-full", &ca)), &words);
    // The host's roots do not know it, and there is no other look.
    refused(try_with(&good, "sslmode=verify-full"), &["CA"]);

    for url in [good.url_for(USER, "hush-wrong"), plain.url_for("nobody", PASSWORD)] {
        refused(try_url(&url), &["password authentication failed for user"]);
    }
}

#[test]
fn a_certificate_of_our_own_opens_the_door() {
    let set = certs::set();
    let folder = Temp::new();
    let server = harness::Postgres::with_tls(&Tls::new(&set.good).clients_of(&set.authority));
    let ca = root("verify-full", &set.authority.ca_file());
    let with = |cert: &Path, key: &Path, more: &str| {
        let (cert, key) = (cert.display(), key.display());
        try_with(&server, &format!("{ca}&sslcert={cert}&sslkey={key}{more}"))
    };
    let (cert, key) = set.authority.leaf(&[USER], -1, 90).write(&folder, "own");
    assert_eq!(with(&cert, &key, ""), Ok(()));
    refused(try_with(&server, &ca), &["client certificate"]);
    let (other, other_key) = set.authority.leaf(&["other"], -1, 90).write(&folder, "other");
    refused(with(&other, &other_key, ""), &[]);
    let (strange, strange_key) = set.stranger.leaf(&[USER], -1, 90).write(&folder, "strange");
    refused(with(&strange, &strange_key, ""), &[]);
    // The key's file is another by the time of the connection.
    let changed = |pem: &[u8], more: &str| {
        let path = folder.write("changed.key", std::fs::read(&key).unwrap());
        let files = format!("{ca}&sslcert={}&sslkey={}{more}", cert.display(), path.display());
        let read = settings(&server.url_with(&files));
        folder.write("changed.key", pem);
        try_settings(&read)
    };
    let other_pem = std::fs::read(&other_key).unwrap();
    refused(changed(&other_pem, ""), &["cannot use", "it is not the certificate's"]);

    // A key behind a password.
    let pem = std::fs::read(&key).unwrap();
    let private = openssl::pkey::PKey::private_key_from_pem(&pem).unwrap();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let locked = private.private_key_to_pem_pkcs8_passphrase(cipher, b"hush-key").unwrap();
    refused(changed(&locked, ""), &["it is encrypted; sslpassword opens it"]);
    refused(changed(&locked, "&sslpassword=hush-wrong"), &["sslpassword does not open it"]);
    refused(changed(b"no key at all", ""), &["cannot use the key"]);
    let locked = folder.write("locked.key", locked);
    assert_eq!(with(&cert, &locked, "&sslpassword=hush-key"), Ok(()));
}
