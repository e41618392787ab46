//! Finds the fault of a certificate chain that was refused, from the one handshake of the check: its cause,
//! and a text for people.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::X509;

use super::certificate::{common_name, seconds};
use super::handshake::Verification;
use super::raw;
use crate::date;
use crate::model::outcome::Cause;

/// Returns the fault of a chain that was refused: its cause, and a text for people. `why` is libcurl's text.
/// None if the site sent no certificate.
pub fn diagnose(verification: &Verification, why: &str) -> Option<(Cause, String)> {
    let certificates = &verification.path[..];
    let leaf = certificates.first()?;
    // Look at the dates first: an expired certificate is the better reason, but OpenSSL reports an untrusted
    // root before it looks at the dates.
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
                format!(
                    "the certificate has no name of a site, and its common name {name:?} does not count"
                )
            }
            None => "the certificate has no name of a site".to_owned(),
        };
        return Some((Cause::CertificateName, text));
    }
    if valid && why.contains("subject name") {
        let names = names(leaf);
        return Some((Cause::CertificateName, format!("the certificate is for {names}")));
    }
    if valid {
        // The handshake also checks the certificate's purpose and the strength of its key.
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
        ) => format!("issued by {issuer:?}, which is not trusted here and not sent by the site"),
        (openssl_sys::X509_V_ERR_CERT_NOT_YET_VALID, _) => {
            format!("{} begins on {}", which(certificates, depth), day(at.not_before()))
        }
        _ => format!("{}: {}", which(certificates, depth), raw::words(code)),
    };
    Some((cause, text))
}

/// Writes a certificate's time in the form of RFC 3339, like all our times.
fn day(time: &Asn1TimeRef) -> String {
    seconds(time).map_or_else(|| time.to_string(), |s| date::rfc3339(s.saturating_mul(1000)))
}

/// Names a certificate of the chain for people: `the certificate` for the leaf, others by their common name.
fn which(certificates: &[X509], depth: usize) -> String {
    let Some(one) = certificates.get(depth).filter(|_| depth > 0) else {
        return "the certificate".to_owned();
    };
    match common_name(one.subject_name()) {
        Some(name) => format!("the chain's certificate {name:?}"),
        None => format!("certificate {depth} of the chain"),
    }
}

/// Lists the first few names and addresses that a certificate is for.
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
    fn times_beyond_2049_are_written_too() {
        let time = Asn1Time::from_str("21201121030000Z").unwrap();
        assert_eq!(day(&time), "2120-11-21T03:00:00Z");
    }
}
