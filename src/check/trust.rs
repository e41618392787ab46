//! Whom to trust: roots parsed once and shared by every connection, instead of anew for each
//! (4 ms of CPU a check with the usual 140 roots).
//!
//! Where they come from is `crate::roots`' matter; a target's own `ca_file` means that file alone.

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
    /// As OpenSSL takes them.
    pub store: Arc<X509Store>,
    /// Chains that these roots have verified.
    pub chains: Arc<VerifiedChains>,
}

/// All roots that the targets need.
#[derive(Default)]
pub struct Trust {
    /// None: nobody needs them. The error is what an https check without them tells.
    host: Option<Result<Roots, Error>>,
    files: HashMap<PathBuf, Roots>,
}

impl Trust {
    /// Reads the roots that `targets` need.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read or holds no certificate. That the environment names roots
    /// which cannot be read is only warned of: its https checks are `unknown`, and say so.
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
                log::warn!("{error}; no https check can be made without a ca_file of its own");
            }
            trust.host = Some(host);
        }
        Ok(trust)
    }

    /// The roots for `target`; none if it does not verify.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn of(&self, target: &Target) -> Result<Option<&Roots>, &Error> {
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
        for certificate in roots::trusted(ca_file)? {
            builder.add_cert(certificate).cannot(what)?;
        }
        // As libcurl does with a CA file: an intermediate in it is an anchor of its own.
        let flags = X509VerifyFlags::TRUSTED_FIRST | X509VerifyFlags::PARTIAL_CHAIN;
        builder.set_flags(flags).cannot(what)?;
        Ok(Roots { store: Arc::new(builder.build()), chains: Arc::default() })
    }
}
