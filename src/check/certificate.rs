//! The certificates of a handshake: when they end, and what is wrong with a chain that was
//! refused. Both from the one handshake of the check, which libcurl notes before it verifies.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreRef;
use openssl::x509::{X509, X509StoreContext};

use crate::date;
use crate::model::outcome::Cause;

/// When a chain ends, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The leaf.
    pub leaf_s: i64,
    /// The first of the chain that was sent.
    pub chain_s: i64,
}

/// Ends of a chain, from libcurl's lines. None: no certificate, or no date that can be read.
pub fn ends(chain: &[Vec<Vec<u8>>]) -> Option<Ends> {
    let of =
        |lines: &Vec<Vec<u8>>| seconds(std::str::from_utf8(value(lines, "Expire date")?).ok()?);
    let leaf_s = of(chain.first()?)?;
    let chain_s = chain.iter().filter_map(of).min()?;
    Some(Ends { leaf_s, chain_s })
}

/// Whose the leaf is and who has issued it: `example.org, issued by R11`.
pub fn whose(chain: &[Vec<Vec<u8>>]) -> Option<String> {
    let leaf = chain.first()?;
    let name = |line| value(leaf, line).map(|text| named(&String::from_utf8_lossy(text)));
    Some(format!("{}, issued by {}", name("Subject")?, name("Issuer")?))
}

/// Of OpenSSL's line for a name, `C=US, O=Let's Encrypt, CN=R11`, the common name, else all of it.
fn named(line: &str) -> String {
    let common = line.rsplit(", ").find_map(|part| part.strip_prefix("CN="));
    match common.unwrap_or(line) {
        "" => "no name".to_owned(),
        name => name.to_owned(),
    }
}

/// What is wrong with a chain that libcurl refused: the cause, and why, for people.
///
/// libcurl looks at the name first and then tells nothing of the dates, so the chain is verified
/// here once more against the same roots: expired comes before untrusted, before the name.
pub fn diagnose(
    chain: &[Vec<Vec<u8>>],
    roots: &X509StoreRef,
    why: &str,
) -> Option<(Cause, String)> {
    let certificates: Vec<X509> =
        chain.iter().filter_map(|lines| X509::from_pem(value(lines, "Cert")?).ok()).collect();
    let leaf = certificates.first()?;
    let mut others = Stack::new().ok()?;
    for certificate in certificates.iter().skip(1) {
        others.push(certificate.clone()).ok()?;
    }
    // An untrusted root is met before the dates are looked at, and an expired one stops there:
    // so the dates of what was sent are looked at first.
    let now = Asn1Time::days_from_now(0).ok()?;
    let expired = certificates.iter().position(|certificate| certificate.not_after() < now);
    if let Some(depth) = expired {
        let text = format!(
            "{} ended on {}",
            which(&certificates, depth),
            day(certificates[depth].not_after())
        );
        return Some((Cause::CertificateExpired, text));
    }
    let mut context = X509StoreContext::new().ok()?;
    let (valid, error, depth) = context
        .init(roots, leaf, &others, |context| {
            let valid = context.verify_cert()?;
            Ok((valid, context.error(), context.error_depth()))
        })
        .ok()?;
    let (code, text) = (error.as_raw(), error.error_string());
    if valid && why.contains("subject name") {
        let names = names(leaf);
        return Some((Cause::CertificateName, format!("the certificate is for {names}")));
    }
    if valid {
        // What only a handshake checks: the certificate's purpose, the strength of its key.
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
    let at = certificates.get(depth as usize).unwrap_or(leaf);
    let issuer = at.issuer_name().entries_by_nid(Nid::COMMONNAME).next();
    let issuer = issuer.and_then(|name| name.data().to_string().ok());
    let text = match (code, issuer) {
        (openssl_sys::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _) => {
            "self-signed: set ca_file to trust it".to_owned()
        }
        (
            openssl_sys::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | openssl_sys::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
            Some(issuer),
        ) => format!("issued by {issuer:?}, which is neither trusted here nor sent along"),
        (openssl_sys::X509_V_ERR_CERT_NOT_YET_VALID, _) => {
            format!("{} begins on {}", which(&certificates, depth as usize), day(at.not_before()))
        }
        _ => format!("{}: {text}", which(&certificates, depth as usize)),
    };
    Some((cause, text))
}

/// A certificate's time as all our times are written.
fn day(time: &Asn1TimeRef) -> String {
    let text = time.to_string();
    seconds(&text).map_or(text, |s| date::rfc3339(s.saturating_mul(1000)))
}

/// Which certificate of the chain it is: `the certificate`, or one behind it by its name.
fn which(certificates: &[X509], depth: usize) -> String {
    let Some(one) = certificates.get(depth).filter(|_| depth > 0) else {
        return "the certificate".to_owned();
    };
    let name = one.subject_name().entries_by_nid(Nid::COMMONNAME).next();
    match name.and_then(|name| name.data().to_string().ok()) {
        Some(name) => format!("the chain's certificate {name:?}"),
        None => format!("certificate {depth} of the chain"),
    }
}

/// The names that a certificate is for, a few of them.
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

/// The value of libcurl's line of that name.
fn value<'a>(lines: &'a [Vec<u8>], name: &str) -> Option<&'a [u8]> {
    lines.iter().find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))
}

/// Seconds since 1970 of OpenSSL's text for a time, such as `Nov  1 09:30:00 2026 GMT`.
fn seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_ascii_whitespace();
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let day: u8 = words.next()?.parse().ok()?;
    let time = words.next()?.split('.').next()?;
    let year: u16 = words.next()?.parse().ok()?;
    let mut time = time.split(':').map(|part| part.parse::<u8>().ok());
    let mut part = || time.next().flatten();
    date::seconds(year, month as u8, day, part()?, part()?, part()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_openssl_are_read() {
        for (text, want) in [
            ("Nov 21 03:00:00 2026 GMT", Some(1_795_230_000)),
            ("Nov  1 09:30:00 2026 GMT", Some(1_793_525_400)),
            ("Jan  1 00:00:00 1970 GMT", Some(0)),
            ("Feb 29 23:59:59 2040 GMT", Some(2_214_172_799)),
            // The last that is an ASN.1 UTCTime, and the first that is a GeneralizedTime.
            ("Dec 31 23:59:59 2049 GMT", Some(2_524_607_999)),
            ("Jan  1 00:00:00 2050 GMT", Some(2_524_608_000)),
            ("Feb  7 06:28:16 2106 GMT", Some(4_294_967_296)),
            ("Nov 21 03:00:00 2120 GMT", Some(4_761_601_200)),
            ("Dec 31 23:59:59 9999 GMT", Some(253_402_300_799)),
            ("Foo 31 23:59:59 9999 GMT", None),
            ("Bad time value", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
    }

    #[test]
    fn the_earliest_end_of_a_chain() {
        let line = |text: &str| vec![text.as_bytes().to_vec()];
        let chain = [
            line("Expire date:Nov 21 03:00:00 2030 GMT"),
            line("Expire date:Nov 21 03:00:00 2026 GMT"),
        ];
        let ends = ends(&chain).unwrap();
        assert_eq!((ends.leaf_s - ends.chain_s) / 86_400, 1461);
        assert_eq!(super::ends(&[]), None);
    }
}
