//! Root certificates that checks trust. They are parsed once and shared by all connections: to parse the
//! usual 140 roots for each connection takes 4 ms of CPU.
//!
//! `crate::roots` finds the roots of this host. A target with a `ca_file` of its own trusts only that file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;

use super::chains::VerifiedChains;
use crate::error::{Context, Error};
use crate::model::target::Target;
use crate::roots;

/// Roots to verify a chain against.
#[derive(Clone)]
pub struct Roots {
    /// Roots in the form that OpenSSL takes.
    pub store: Arc<X509Store>,
    /// Chains that were verified with these roots.
    pub chains: Arc<VerifiedChains>,
}

/// All roots that the targets need.
#[derive(Default)]
pub struct Trust {
    /// Roots of this host; none if no target needs them. If they cannot be read, each https check that needs
    /// them reports the error.
    host: Option<Result<Roots, Error>>,
    files: HashMap<PathBuf, Roots>,
}

impl Trust {
    /// Reads the roots that `targets` need.
    ///
    /// # Errors
    /// A `ca_file` cannot be read or holds no certificate. Roots of the host that cannot be read are no
    /// error, but a warning: the https checks that need them are `unknown`, with this reason.
    pub fn read<'a>(targets: impl Iterator<Item = &'a Target>) -> Result<Trust, Error> {
        let mut trust = Trust::default();
        let mut wants_host = false;
        for target in targets.filter(|target| target.verify) {
            match &target.ca_file {
                None => wants_host = true,
                Some(path) if trust.files.contains_key(path) => {}
                Some(path) => {
                    trust.files.insert(path.clone(), Roots::read(Some(path))?);
                }
            }
        }
        if wants_host {
            let host = Roots::read(None);
            if let Err(error) = &host {
                log::warn!("{error}; https checks without a ca_file have the verdict unknown");
            }
            trust.host = Some(host);
        }
        Ok(trust)
    }

    /// Returns the roots for `target`; none if the target does not verify certificates.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub fn roots_for(&self, target: &Target) -> Result<Option<&Roots>, &Error> {
        match &target.ca_file {
            _ if !target.verify => Ok(None),
            Some(path) => Ok(self.files.get(path)),
            None => self.host.as_ref().map(Result::as_ref).transpose(),
        }
    }
}

impl Roots {
    fn read(ca_file: Option<&Path>) -> Result<Roots, Error> {
        let what = "use CA certificates";
        let mut builder = X509StoreBuilder::new().cannot(what)?;
        for certificate in roots::load(ca_file)? {
            builder.add_cert(certificate).cannot(what)?;
        }
        // As libcurl does: an intermediate certificate in the file is trusted without its root.
        let flags = X509VerifyFlags::TRUSTED_FIRST | X509VerifyFlags::PARTIAL_CHAIN;
        builder.set_flags(flags).cannot(what)?;
        Ok(Roots { store: Arc::new(builder.build()), chains: Arc::default() })
    }
}
