//! Certificates of a handshake: finds their ends, and the fault of a chain that was refused. Both come
//! from the one handshake of the check, as OpenSSL verifies it.

use std::sync::{Arc, Mutex};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::x509::{X509, X509NameRef, X509Ref};

use super::chains::VerifiedChains;
use crate::date;
use crate::model::outcome::Cause;

/// Notes of a hop's handshake, shared with OpenSSL's callbacks.
pub type SharedHandshake = Arc<Mutex<Handshake>>;

/// Notes of one handshake.
#[derive(Default)]
pub struct Handshake {
    /// Result of the verification; none if the handshake did not come so far.
    pub verification: Option<Verification>,
    /// The site asked for a certificate of ours, and there is none for it.
    pub lacks_certificate: bool,
    /// Number of the fatal alert that the site sent (RFC 8446, 6).
    pub alert: Option<u8>,
    /// Chains that were verified before under the same roots. If none, every chain is verified anew.
    pub chains: Option<Arc<VerifiedChains>>,
}

/// Result of OpenSSL's verification of the site's certificates.
pub struct Verification {
    /// Path that was verified, leaf first, root last, as far as OpenSSL found one. Certificates that the site
    /// sent beside the path are left out: they do not matter.
    pub path: Vec<X509>,
    /// Error, one of OpenSSL's X509_V_ numbers. With 0 the path is good, but perhaps for another name.
    pub error: i32,
    /// Place in the path of the certificate with the error; 0 is the leaf.
    pub depth: usize,
}

/// Ends of a path's validity, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// End of the leaf.
    pub leaf_s: i64,
    /// Earliest end of all certificates of the path.
    pub chain_s: i64,
}

/// Summary of a path for the record: its ends, and the names of its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Ends of the path.
    pub ends: Ends,
    /// Subject and issuer of the leaf: `example.org, issued by R11`.
    pub whose: Option<String>,
}

impl Summary {
    /// Makes the summary of a path, leaf first; none without a certificate, or without a date that can be
    /// read.
    pub fn of(path: &[X509]) -> Option<Summary> {
        Some(Summary { ends: ends(path)?, whose: whose(path) })
    }
}

/// Returns the ends of a path; none without a certificate, or without a date that can be read.
fn ends(path: &[X509]) -> Option<Ends> {
    let leaf_s = seconds(path.first()?.not_after())?;
    let chain_s = path.iter().filter_map(|of| seconds(of.not_after())).min()?;
    Some(Ends { leaf_s, chain_s })
}

/// Returns the times between which all certificates of a path are valid: the latest beginning and the
/// earliest end, in seconds since 1970. None: no certificate, or no date that can be read.
pub fn validity(path: &[X509]) -> Option<(i64, i64)> {
    let from_s: Option<Vec<i64>> = path.iter().map(|of| seconds(of.not_before())).collect();
    let until_s: Option<Vec<i64>> = path.iter().map(|of| seconds(of.not_after())).collect();
    Some((from_s?.into_iter().max()?, until_s?.into_iter().min()?))
}

fn whose(path: &[X509]) -> Option<String> {
    let leaf = path.first()?;
    Some(format!("{}, issued by {}", named(leaf.subject_name()), named(leaf.issuer_name())))
}

/// Returns true if a certificate has names or addresses of a site (RFC 9525, 2). The common name does not
/// count: browsers ignore it, though libcurl does not.
pub fn has_names(leaf: &X509Ref) -> bool {
    let names = leaf.subject_alt_names();
    names.iter().flatten().any(|name| name.dnsname().is_some() || name.ipaddress().is_some())
}

/// Returns the common name, or else all parts of the name: `C=US, O=Let's Encrypt`.
fn named(name: &X509NameRef) -> String {
    if let Some(common) = common_name(name) {
        return common;
    }
    let part = |entry: &openssl::x509::X509NameEntryRef| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        Some(format!("{key}={}", entry.data().to_string().ok()?))
    };
    let parts: Vec<String> = name.entries().filter_map(part).collect();
    if parts.is_empty() { "no name".to_owned() } else { parts.join(", ") }
}

fn common_name(name: &X509NameRef) -> Option<String> {
    let last = name.entries_by_nid(Nid::COMMONNAME).last()?;
    last.data().to_string().ok().filter(|text| !text.is_empty())
}

/// Finds the fault of a chain that was refused: the cause, and a text for people. `why` is libcurl's text.
pub fn diagnose(verification: &Verification, why: &str) -> Option<(Cause, String)> {
    let certificates = &verification.path[..];
    let leaf = certificates.first()?;
    // OpenSSL reports an untrusted root before it looks at the dates. An expired certificate of the path is
    // the better reason: so look at the dates first.
    let now = Asn1Time::days_from_now(0).ok()?;
    let expired = certificates.iter().position(|certificate| certificate.not_after() < now);
    if let Some(depth) = expired {
        let text = format!(
            "{} ended on {}",
            which(certificates, depth),
            day(certificates[depth].not_after())
        );
        return Some((Cause::CertificateExpired, text));
    }
    let Verification { error: code, depth, .. } = *verification;
    let valid = code == openssl_sys::X509_V_OK;
    if code == openssl_sys::X509_V_ERR_HOSTNAME_MISMATCH {
        let text = match common_name(leaf.subject_name()) {
            Some(name) => {
                format!("it has no names of a site, and its common name {name:?} does not count")
            }
            None => "it has no names of a site".to_owned(),
        };
        return Some((Cause::CertificateName, text));
    }
    if valid && why.contains("subject name") {
        let names = names(leaf);
        return Some((Cause::CertificateName, format!("the certificate is for {names}")));
    }
    if valid {
        // Only a handshake checks the rest: the certificate's purpose, the strength of its key.
        let why = why.rsplit(": ").next().unwrap_or(why);
        return Some((Cause::Certificate, format!("not fit for a server: {why}")));
    }
    let cause = match code {
        openssl_sys::X509_V_ERR_CERT_HAS_EXPIRED => Cause::CertificateExpired,
        openssl_sys::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
        | openssl_sys::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
        | openssl_sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
        | openssl_sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | openssl_sys::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE => Cause::CertificateUntrusted,
        _ => Cause::Certificate,
    };
    let at = certificates.get(depth).unwrap_or(leaf);
    let text = match (code, common_name(at.issuer_name())) {
        (openssl_sys::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _) => {
            "self-signed: set ca_file to trust it".to_owned()
        }
        (
            openssl_sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | openssl_sys::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
            Some(issuer),
        ) => format!("issued by {issuer:?}, which is neither trusted here nor sent along"),
        (openssl_sys::X509_V_ERR_CERT_NOT_YET_VALID, _) => {
            format!("{} begins on {}", which(certificates, depth), day(at.not_before()))
        }
        _ => format!("{}: {}", which(certificates, depth), super::raw::words(code)),
    };
    Some((cause, text))
}

/// Writes a certificate's time as all our times are written (RFC 3339).
fn day(time: &Asn1TimeRef) -> String {
    seconds(time).map_or_else(|| time.to_string(), |s| date::rfc3339(s.saturating_mul(1000)))
}

/// Returns a certificate's time in seconds since 1970.
fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    // Not from a number: on musl of 32 bits its `time_t` is not that of the crate.
    let since = Asn1Time::from_str("19700101000000Z").ok()?.diff(time).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

/// Names a certificate of the chain for people: `the certificate` for the leaf, the others by their name.
fn which(certificates: &[X509], depth: usize) -> String {
    let Some(one) = certificates.get(depth).filter(|_| depth > 0) else {
        return "the certificate".to_owned();
    };
    match common_name(one.subject_name()) {
        Some(name) => format!("the chain's certificate {name:?}"),
        None => format!("certificate {depth} of the chain"),
    }
}

/// Lists a few of the names that a certificate is for.
fn names(certificate: &X509) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = certificate
        .subject_alt_names()
        .iter()
        .flatten()
        .filter_map(|name| {
            let address = name.ipaddress().and_then(|bytes| match bytes.len() {
                4 => <[u8; 4]>::try_from(bytes).ok().map(|b| std::net::IpAddr::from(b).to_string()),
                _ => {
                    <[u8; 16]>::try_from(bytes).ok().map(|b| std::net::IpAddr::from(b).to_string())
                }
            });
            name.dnsname().map(str::to_owned).or(address)
        })
        .collect();
    match names.len() {
        0 => "no name".to_owned(),
        n if n > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, want) in [
            ("20261121030000Z", 1_795_230_000),
            ("19700101000000Z", 0),
            ("19691231235959Z", -1),
            ("20400229235959Z", 2_214_172_799),
            // The last that is an ASN.1 UTCTime, and the first that is a GeneralizedTime.
            ("20491231235959Z", 2_524_607_999),
            ("20500101000000Z", 2_524_608_000),
            ("21060207062816Z", 4_294_967_296),
            ("21201121030000Z", 4_761_601_200),
            ("99991231235959Z", 253_402_300_799),
        ] {
            let time = Asn1Time::from_str(text).unwrap();
            assert_eq!(seconds(&time), Some(want), "{text}");
        }
        let time = Asn1Time::from_str("21201121030000Z").unwrap();
        assert_eq!(day(&time), "2120-11-21T03:00:00Z");
    }
}
