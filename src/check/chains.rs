//! Remembers certificate chains that were verified. A site shows the same chain at every check, and to verify
//! the chain again took a sixth of a check's CPU time, measured with one signature on P-256.
//!
//! A chain is found by its bytes. With the same roots its verification holds while all certificates of its
//! path are valid; outside of that time OpenSSL verifies the chain again. Every handshake still proves that
//! the site has the key of the leaf.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use openssl::sha::Sha256;
use openssl::stack::StackRef;
use openssl::x509::X509;

use super::certificate;

/// Most chains that are remembered, of some 150 bytes each. When this many are there, all are forgotten.
const CHAINS_MAX: usize = 4096;

/// Chains that were verified with one set of roots.
#[derive(Default)]
pub struct VerifiedChains(Mutex<HashMap<[u8; 32], VerifiedChain>>);

/// Path that OpenSSL found for a chain.
struct VerifiedChain {
    /// Latest begin of validity in the path, in seconds since 1970.
    from_s: i64,
    /// Earliest end of validity in the path, in seconds since 1970; at that second the path is no longer
    /// valid.
    until_s: i64,
    /// Certificates of the path, leaf first.
    path: Vec<PathCertificate>,
}

/// A certificate of a path.
enum PathCertificate {
    /// Index in the chain that the site sends. Such a certificate is not stored: those of a thousand chains
    /// would take megabytes.
    Sent(usize),
    /// One of the roots.
    Root(X509),
}

impl VerifiedChains {
    /// Returns the path, leaf first, that was verified for a chain. None if the chain is not remembered, or
    /// its path is not valid at `now_s` (seconds since 1970).
    pub fn find(&self, sent: &StackRef<X509>, now_s: i64) -> Option<Vec<X509>> {
        let key = key(sent)?;
        let chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = chains.get(&key).filter(|c| (c.from_s..c.until_s).contains(&now_s))?;
        let certificate = |link: &PathCertificate| match link {
            PathCertificate::Sent(at) => sent.get(*at).map(ToOwned::to_owned),
            PathCertificate::Root(root) => Some(root.clone()),
        };
        chain.path.iter().map(certificate).collect()
    }

    /// Remembers `path`, leaf first, as the verified path of the chain `sent`. Does nothing if a date of the
    /// path cannot be read.
    pub fn insert(&self, sent: &StackRef<X509>, path: &[X509]) {
        let (Some(key), Some((from_s, until_s))) = (key(sent), certificate::validity(path)) else {
            return;
        };
        let link = |certificate: &X509| {
            let at = sent.iter().position(|sent| sent == &**certificate);
            at.map_or_else(|| PathCertificate::Root(certificate.clone()), PathCertificate::Sent)
        };
        let chain = VerifiedChain { from_s, until_s, path: path.iter().map(link).collect() };
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() >= CHAINS_MAX {
            chains.clear();
        }
        chains.insert(key, chain);
    }
}

/// Returns the SHA-256 of all certificates in DER; DER begins with its length, so that no two chains share
/// their bytes. None without memory.
fn key(sent: &StackRef<X509>) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    for certificate in sent {
        hash.update(&certificate.to_der().ok()?);
    }
    Some(hash.finish())
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;
    use openssl::stack::Stack;
    use openssl::x509::X509Builder;

    use super::*;

    /// Makes a time from seconds since 1970, less than an hour.
    fn time(since_1970_s: u32) -> Asn1Time {
        let (minutes, seconds) = (since_1970_s / 60, since_1970_s % 60);
        Asn1Time::from_str(&format!("1970010100{minutes:02}{seconds:02}Z")).unwrap()
    }

    /// Makes a certificate with a serial number, valid between two times in seconds since 1970.
    fn certificate(serial: u32, from_s: u32, until_s: u32) -> X509 {
        let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let mut builder = X509Builder::new().unwrap();
        let serial = openssl::bn::BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_not_before(&time(from_s)).unwrap();
        builder.set_not_after(&time(until_s)).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    fn stack(certificates: &[&X509]) -> Stack<X509> {
        let mut stack = Stack::new().unwrap();
        certificates.iter().for_each(|one| stack.push((*one).clone()).unwrap());
        stack
    }

    #[test]
    fn a_chain_is_remembered_for_as_long_as_all_of_its_path_is_valid() {
        let leaf = certificate(1, 100, 200);
        let beside = certificate(2, 0, 10);
        let root = certificate(3, 110, 190);
        let sent = stack(&[&leaf, &beside]);
        let chains = VerifiedChains::default();
        assert!(chains.find(&sent, 150).is_none());
        chains.insert(&sent, &[leaf.clone(), root.clone()]);
        for (now_s, want) in [(109, false), (110, true), (189, true), (190, false)] {
            assert_eq!(chains.find(&sent, now_s).is_some(), want, "{now_s}");
        }
        let path = chains.find(&sent, 150).unwrap();
        assert_eq!(
            path.iter().map(|of| of.to_der().unwrap()).collect::<Vec<_>>(),
            [leaf.to_der().unwrap(), root.to_der().unwrap()]
        );
    }

    #[test]
    fn a_chain_with_other_certificates_is_not_found() {
        let (leaf, other) = (certificate(1, 100, 200), certificate(2, 100, 200));
        let chains = VerifiedChains::default();
        chains.insert(&stack(&[&leaf, &other]), &[leaf.clone(), other.clone()]);
        for sent in [stack(&[&leaf]), stack(&[&other, &leaf]), stack(&[&leaf, &other, &other])] {
            assert!(chains.find(&sent, 150).is_none());
        }
        assert!(VerifiedChains::default().find(&stack(&[&leaf, &other]), 150).is_none());
    }

    #[test]
    fn a_full_list_forgets_all_chains() {
        let leaf = certificate(1, 100, 200);
        let chains = VerifiedChains::default();
        let sent = stack(&[&leaf]);
        let full: HashMap<[u8; 32], VerifiedChain> = (0..CHAINS_MAX as u64)
            .map(|i| {
                let mut key = [0; 32];
                key[..8].copy_from_slice(&i.to_le_bytes());
                (key, VerifiedChain { from_s: 0, until_s: 1, path: Vec::new() })
            })
            .collect();
        *chains.0.lock().unwrap() = full;
        chains.insert(&sent, std::slice::from_ref(&leaf));
        assert_eq!(chains.0.lock().unwrap().len(), 1);
        assert!(chains.find(&sent, 150).is_some());
    }
}
