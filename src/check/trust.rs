//! Whom to trust: roots parsed once and shared by every connection, instead of anew for each
//! (4 ms of CPU a check with the usual 140 roots).
//!
//! Searched once, at start: what `SSL_CERT_FILE` and `SSL_CERT_DIR` name and nothing else if
//! either is set, else the host's bundle. A target's own `ca_file` means that file alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;

use crate::error::{Context, Error};
use crate::model::target::Target;

/// Roots to verify a chain against.
#[derive(Clone)]
pub struct Roots(pub(crate) Arc<X509Store>);

/// All roots that the targets need.
#[derive(Default)]
pub struct Trust {
    host: Option<Roots>,
    files: HashMap<PathBuf, Roots>,
}

impl Trust {
    /// Reads the roots that `targets` need.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read or holds no certificate. A host without any roots is no
    /// error: its https checks are `unknown`, and say so.
    pub fn read<'a>(targets: impl Iterator<Item = &'a Target>) -> Result<Trust, Error> {
        let mut trust = Trust::default();
        let mut wants_host = false;
        for target in targets.filter(|target| target.verify) {
            match &target.ca_file {
                None => wants_host = true,
                Some(path) if trust.files.contains_key(path) => {}
                Some(path) => {
                    trust.files.insert(path.clone(), Roots::read(path)?);
                }
            }
        }
        if wants_host {
            trust.host = host_roots();
        }
        Ok(trust)
    }

    /// The roots for `target`; none if it does not verify, or if this host has none.
    pub fn of(&self, target: &Target) -> Option<&Roots> {
        if !target.verify {
            return None;
        }
        match &target.ca_file {
            Some(path) => self.files.get(path),
            None => self.host.as_ref(),
        }
    }
}

impl Roots {
    /// The certificates of a PEM file.
    fn read(path: &Path) -> Result<Roots, Error> {
        let what = || format!("read CA certificates from {}", path.display());
        let pem = std::fs::read(path).cannot(what())?;
        let certificates = X509::stack_from_pem(&pem).cannot(what())?;
        if certificates.is_empty() {
            return Err("no certificate in PEM form in it").cannot(what());
        }
        Roots::new(certificates).cannot(what())
    }

    fn new(certificates: Vec<X509>) -> Result<Roots, openssl::error::ErrorStack> {
        let mut builder = X509StoreBuilder::new()?;
        for certificate in certificates {
            builder.add_cert(certificate)?;
        }
        // As libcurl does with a CA file: an intermediate in it is an anchor of its own.
        builder.set_flags(X509VerifyFlags::TRUSTED_FIRST | X509VerifyFlags::PARTIAL_CHAIN)?;
        Ok(Roots(Arc::new(builder.build())))
    }
}

/// The host's roots: those that the environment names, else the first bundle found, else every
/// file of the first folder that has any.
fn host_roots() -> Option<Roots> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    if file.is_some() || folders.is_some() {
        let mut certificates = Vec::new();
        certificates.extend(file.iter().flat_map(|file| certificates_of(file.as_ref())));
        for folder in folders.iter().flat_map(std::env::split_paths) {
            certificates.extend(certificates_in(&folder));
        }
        return if certificates.is_empty() { None } else { Roots::new(certificates).ok() };
    }
    let found = openssl_probe::probe();
    if let Some(roots) = found.cert_file.and_then(|path| Roots::read(&path).ok()) {
        return Some(roots);
    }
    found.cert_dir.iter().find_map(|folder| {
        let certificates = certificates_in(folder);
        if certificates.is_empty() { None } else { Roots::new(certificates).ok() }
    })
}

/// The certificates of every file of a folder; none where there is nothing to read.
fn certificates_in(folder: &Path) -> Vec<X509> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| certificates_of(&entry.path())).collect()
}

/// The certificates of a PEM file, if it is one.
fn certificates_of(path: &Path) -> Vec<X509> {
    let pem = std::fs::read(path).unwrap_or_default();
    X509::stack_from_pem(&pem).unwrap_or_default()
}
