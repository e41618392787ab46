//! Files with certificates and keys, read while the configuration is. So an unusable file is one fault of the
//! configuration, instead of a failure of every check, of Kafka or of PostgreSQL.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use openssl::pkey::PKey;
use openssl::x509::X509;

use crate::config::toml::source::{describe, read_bounded};

/// Largest file that is read, in bytes: a system's bundle has some 300 KB.
const FILE_MAX: u64 = 8 << 20;

/// File of a pair that is at fault, and the reason in words that follow its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum PairFault {
    Certificate(String),
    Key(String),
    /// The password does not open the key.
    Password,
}

/// Paths of a certificate and its key, and the password that opens the key.
type Pair = (PathBuf, PathBuf, Option<String>);

/// Results of the checks by path. Each file is read once: a thousand targets may name the same one.
#[derive(Default)]
pub(in crate::config) struct PemCache {
    certificates: RefCell<BTreeMap<PathBuf, Result<(), String>>>,
    pairs: RefCell<BTreeMap<Pair, Result<(), PairFault>>>,
}

impl PemCache {
    /// Checks a file as [`check_certificates`] does, or returns the earlier result.
    pub fn check_certificates(&self, path: &Path) -> Result<(), String> {
        let mut known = self.certificates.borrow_mut();
        known.entry(path.to_owned()).or_insert_with(|| check_certificates(path)).clone()
    }

    /// Checks files as [`check_pair`] does, or returns the earlier result.
    pub fn check_pair(
        &self,
        cert: &Path,
        key: &Path,
        password: Option<&str>,
    ) -> Result<(), PairFault> {
        let named = (cert.to_owned(), key.to_owned(), password.map(str::to_owned));
        let mut known = self.pairs.borrow_mut();
        known.entry(named).or_insert_with(|| check_pair(cert, key, password)).clone()
    }
}

/// Checks that the file at `path` holds at least one certificate in PEM form.
///
/// # Errors
/// The reason for which it does not, in words that follow the file's name.
pub(in crate::config) fn check_certificates(path: &Path) -> Result<(), String> {
    read_certificates(path).map(drop)
}

/// Checks that the key at `key` is that of the first certificate at `cert`, and can be opened.
///
/// # Errors
/// The file that is at fault, and the reason.
pub(in crate::config) fn check_pair(
    cert: &Path,
    key: &Path,
    password: Option<&str>,
) -> Result<(), PairFault> {
    let leaf = read_certificates(cert).map_err(PairFault::Certificate)?;
    let pem = read(key).map_err(PairFault::Key)?;
    let asked = Cell::new(false);
    let opened = PKey::private_key_from_pem_callback(&pem, |room| {
        asked.set(true);
        let password = password.unwrap_or_default().as_bytes();
        let fits = password.len().min(room.len());
        room[..fits].copy_from_slice(&password[..fits]);
        Ok(fits)
    });
    let Ok(opened) = opened else {
        return Err(match (asked.get(), password) {
            (true, Some(_)) => PairFault::Password,
            (true, None) => PairFault::Key("is encrypted: its password is missing".to_owned()),
            (false, _) => PairFault::Key("holds no private key in PEM form".to_owned()),
        });
    };
    let is_its_key = leaf.public_key().is_ok_and(|public| public.public_eq(&opened));
    is_its_key.then_some(()).ok_or_else(|| {
        PairFault::Key(format!("is not the key of the certificate in {}", cert.display()))
    })
}

/// Returns the first certificate at `path`. All certificates there must be readable.
fn read_certificates(path: &Path) -> Result<X509, String> {
    let all = X509::stack_from_pem(&read(path)?);
    let all = all.map_err(|_| "holds a certificate that cannot be read")?;
    all.into_iter().next().ok_or_else(|| "holds no certificate in PEM form".to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, FILE_MAX).map_err(|error| format!("cannot be read: {}", describe(&error)))
}
