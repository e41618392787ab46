//! Remembers certificate chains that were verified. A site shows the same chain at every check, and to
//! verify it anew was a sixth of a check's work, measured with one signature on P-256.
//!
//! A chain is the bytes that a site sends. It stays good under the same roots for as long as every
//! certificate of its path is valid; before and after, OpenSSL verifies it again. The handshake itself still
//! proves each time that the site holds the leaf's key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use openssl::sha::Sha256;
use openssl::stack::StackRef;
use openssl::x509::X509;

use super::certificate;

/// Remember at most this many chains, some 150 bytes each. When full, all are forgotten.
const CHAINS_MAX: usize = 4096;

/// Chains that were verified under one set of roots.
#[derive(Default)]
pub struct VerifiedChains(Mutex<HashMap<[u8; 32], VerifiedChain>>);

/// The path that was found for a chain.
struct VerifiedChain {
    /// Times between which every certificate of the path is valid, in seconds since 1970. The path is no
    /// longer valid at `until_s` itself.
    from_s: i64,
    until_s: i64,
    /// Leaf first.
    path: Vec<PathCertificate>,
}

/// A certificate of a path.
enum PathCertificate {
    /// Place in the chain that the site sends.
    Sent(usize),
    /// One of the roots. (Sites' certificates are not kept: a thousand chains would take megabytes.)
    Root(X509),
}

impl VerifiedChains {
    /// Returns the verified path, leaf first, of a chain that is remembered and valid at `now_s` (seconds
    /// since 1970).
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

    /// Remembers that `path`, leaf first, is the verified path of a chain. A path with a date that cannot be
    /// read is not remembered.
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

/// SHA-256 of all certificates in DER, which tells its own length. None: no memory.
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

    /// These seconds after 1970 began, less than an hour.
    fn time(since_1970_s: u32) -> Asn1Time {
        let (minutes, seconds) = (since_1970_s / 60, since_1970_s % 60);
        Asn1Time::from_str(&format!("1970010100{minutes:02}{seconds:02}Z")).unwrap()
    }

    /// A certificate with this serial number, valid from and until these seconds since 1970.
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
    fn another_chain_is_another_one() {
        let (leaf, other) = (certificate(1, 100, 200), certificate(2, 100, 200));
        let chains = VerifiedChains::default();
        chains.insert(&stack(&[&leaf, &other]), &[leaf.clone(), other.clone()]);
        for sent in [stack(&[&leaf]), stack(&[&other, &leaf]), stack(&[&leaf, &other, &other])] {
            assert!(chains.find(&sent, 150).is_none());
        }
        assert!(VerifiedChains::default().find(&stack(&[&leaf, &other]), 150).is_none());
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
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
