//! The one search for CA certificates, at start, for checks, Kafka and PostgreSQL alike: what
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name and nothing else if either is set, else the host's
//! bundle. A file that the user names means that file alone.

use std::path::Path;

use openssl::x509::X509;

use crate::error::{Context, Error};

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn read(path: &Path) -> Result<Vec<X509>, Error> {
    let what = || format!("read CA certificates from {}", path.display());
    let pem = std::fs::read(path).cannot(what())?;
    let certificates = X509::stack_from_pem(&pem).cannot(what())?;
    if certificates.is_empty() {
        return Err("no certificate in PEM form in it").cannot(what());
    }
    Ok(certificates)
}

/// The host's roots: those that the environment names, else the first bundle found, else every
/// file of the first folder that has any. Empty: this host has none.
pub fn host() -> Vec<X509> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    if file.is_some() || folders.is_some() {
        let mut certificates = Vec::new();
        certificates.extend(file.iter().flat_map(|file| of_file(file.as_ref())));
        for folder in folders.iter().flat_map(std::env::split_paths) {
            certificates.extend(of_folder(&folder));
        }
        return certificates;
    }
    let found = openssl_probe::probe();
    if let Some(certificates) = found.cert_file.and_then(|path| read(&path).ok()) {
        return certificates;
    }
    let mut folders = found.cert_dir.iter().map(|folder| of_folder(folder));
    folders.find(|certificates| !certificates.is_empty()).unwrap_or_default()
}

/// The certificates of every file of a folder; none where there is nothing to read.
fn of_folder(folder: &Path) -> Vec<X509> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| of_file(&entry.path())).collect()
}

/// The certificates of a PEM file, if it is one.
fn of_file(path: &Path) -> Vec<X509> {
    let pem = std::fs::read(path).unwrap_or_default();
    X509::stack_from_pem(&pem).unwrap_or_default()
}
