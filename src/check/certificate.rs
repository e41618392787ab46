//! Reads certificates: the ends of their validity, and their names for the record.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::x509::{X509, X509NameRef, X509Ref};

/// Ends of validity in a path, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidityEnds {
    /// End of the leaf's validity.
    pub leaf_s: i64,
    /// Earliest end in the path.
    pub chain_s: i64,
}

/// Summary of a path for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Ends of validity.
    pub ends: ValidityEnds,
    /// Subject and issuer of the leaf: `example.org, issued by R11`.
    pub names: Option<String>,
}

impl CertificateSummary {
    /// Makes the summary of a path, leaf first. None if the path is empty, or no date in it can be read.
    pub fn of(path: &[X509]) -> Option<CertificateSummary> {
        Some(CertificateSummary { ends: ends(path)?, names: names(path) })
    }
}

/// Returns the ends of validity. None if the path is empty, or no date in it can be read.
fn ends(path: &[X509]) -> Option<ValidityEnds> {
    let leaf_s = seconds(path.first()?.not_after())?;
    let chain_s = path.iter().filter_map(|of| seconds(of.not_after())).min()?;
    Some(ValidityEnds { leaf_s, chain_s })
}

/// Returns the time in which all certificates of a path are valid: the latest begin and the earliest end, in
/// seconds since 1970. None if the path is empty, or a date in it cannot be read.
pub fn validity(path: &[X509]) -> Option<(i64, i64)> {
    let from_s: Option<Vec<i64>> = path.iter().map(|of| seconds(of.not_before())).collect();
    let until_s: Option<Vec<i64>> = path.iter().map(|of| seconds(of.not_after())).collect();
    Some((from_s?.into_iter().max()?, until_s?.into_iter().min()?))
}

fn names(path: &[X509]) -> Option<String> {
    let leaf = path.first()?;
    Some(format!("{}, issued by {}", name_text(leaf.subject_name()), name_text(leaf.issuer_name())))
}

/// Returns true if a certificate names a site or an address as subject alternative name (RFC 9525, 2). The
/// common name does not count: browsers ignore that, though libcurl does not.
pub fn has_names(leaf: &X509Ref) -> bool {
    let names = leaf.subject_alt_names();
    names.iter().flatten().any(|name| name.dnsname().is_some() || name.ipaddress().is_some())
}

/// Returns the common name of a subject or an issuer; without one, all parts: `C=US, O=Let's Encrypt`.
fn name_text(name: &X509NameRef) -> String {
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

/// Returns the last common name of a subject or an issuer; none if that is empty.
pub fn common_name(name: &X509NameRef) -> Option<String> {
    let last = name.entries_by_nid(Nid::COMMONNAME).last()?;
    last.data().to_string().ok().filter(|text| !text.is_empty())
}

/// Returns a certificate's time in seconds since 1970.
pub fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    // From a text and not from a number: on 32-bit musl, `time_t` differs between the C library and the
    // crate.
    let since = Asn1Time::from_str("19700101000000Z").ok()?.diff(time).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
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
    }
}
