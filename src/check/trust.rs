//! Whom to trust: roots parsed once and shared by every connection, instead of anew for each
//! (4 ms of CPU a check with the usual 140 roots).
//!
//! Where they come from is `crate::roots`' matter; a target's own `ca_file` means that file alone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;

use crate::error::{Context, Error};
use crate::model::target::Target;
use crate::roots;

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
                    let read = roots::read(path)?;
                    let store = Roots::new(read).cannot("use CA certificates")?;
                    trust.files.insert(path.clone(), store);
                }
            }
        }
        if wants_host {
            let host = roots::host();
            trust.host = if host.is_empty() { None } else { Roots::new(host).ok() };
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
