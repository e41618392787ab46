//! Files with certificates and keys: what is wrong with them is a fault of the configuration, and
//! not of every check, of Kafka or of PostgreSQL later on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use openssl::pkey::PKey;
use openssl::x509::X509;

use super::source::{cause, read_bounded};

/// Largest file that is read, in bytes: a system's bundle has some 300 KB.
const FILE_MAX: u64 = 8 << 20;

/// Which file of a pair is at fault, and why, in words that follow its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PairFault {
    Certificate(String),
    Key(String),
    /// The password does not open the key.
    Password,
}

/// A certificate, its key, and what opens the key.
type Pair = (PathBuf, PathBuf, Option<String>);

/// What was found in files, each read once: a thousand targets may name the same.
#[derive(Default)]
pub(super) struct Cache {
    certificates: RefCell<BTreeMap<PathBuf, Result<(), String>>>,
    pairs: RefCell<BTreeMap<Pair, Result<(), PairFault>>>,
}

impl Cache {
    /// As [`certificates`].
    pub fn certificates(&self, path: &Path) -> Result<(), String> {
        let mut known = self.certificates.borrow_mut();
        known.entry(path.to_owned()).or_insert_with(|| certificates(path)).clone()
    }

    /// As [`pair`].
    pub fn pair(&self, cert: &Path, key: &Path, password: Option<&str>) -> Result<(), PairFault> {
        let named = (cert.to_owned(), key.to_owned(), password.map(str::to_owned));
        let mut known = self.pairs.borrow_mut();
        known.entry(named).or_insert_with(|| pair(cert, key, password)).clone()
    }
}

/// Whether the file at `path` holds certificates in PEM form, at least one.
///
/// # Errors
/// Why not, in words that follow its name.
pub(super) fn certificates(path: &Path) -> Result<(), String> {
    read_certificates(path).map(drop)
}

/// Whether the key at `key` is that of the first certificate at `cert`, and can be opened.
///
/// # Errors
/// Which of the files is at fault.
pub(super) fn pair(cert: &Path, key: &Path, password: Option<&str>) -> Result<(), PairFault> {
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

/// The first certificate at `path`, where all can be read.
fn read_certificates(path: &Path) -> Result<X509, String> {
    let all = X509::stack_from_pem(&read(path)?);
    let all = all.map_err(|_| "holds a certificate that cannot be read")?;
    all.into_iter().next().ok_or_else(|| "holds no certificate in PEM form".to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, FILE_MAX).map_err(|error| format!("cannot be read: {}", cause(&error)))
}
