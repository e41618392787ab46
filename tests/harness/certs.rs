//! Temporary authorities and certificates, made once in a process. Only a client that gets
//! `ca_file()` trusts them.
//!
//! Days count from the first use: `leaf(names, -30, -1)` ended yesterday.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

use super::temp::Temp;

/// The names of the good certificates: every name and address of a listener here.
const OURS: &[&str] = &["localhost", "site.example", "127.0.0.1", "::1"];

/// The kind of a leaf's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// A certificate that may sign others: a root, or an intermediate below one.
pub struct Authority {
    name: String,
    certificate: X509,
    key: PKey<Private>,
    /// The chain that a leaf sends after itself: this certificate and those above it, without the
    /// root.
    sent: Vec<X509>,
    folder: Temp,
}

impl Authority {
    /// Makes a root of this name, valid for ten years around now.
    pub fn new(name: &str) -> Authority {
        let key = make_key(Kind::P256);
        let certificate = sign(&Wanted::authority(name, -3650, 3650), &key, None);
        Authority::of(name, certificate, key, Vec::new())
    }

    /// Returns the end of its validity, in seconds since 1970.
    pub fn ends_s(&self) -> i64 {
        let since = Asn1Time::from_unix(0).unwrap().diff(self.certificate.not_after()).unwrap();
        i64::from(since.days) * 86_400 + i64::from(since.secs)
    }

    /// Makes an authority below this one, valid between these days.
    pub fn intermediate(&self, name: &str, from_days: i64, to_days: i64) -> Authority {
        let key = make_key(Kind::P256);
        let certificate = sign(&Wanted::authority(name, from_days, to_days), &key, Some(self));
        let mut sent = vec![certificate.clone()];
        sent.extend_from_slice(&self.sent);
        Authority::of(name, certificate, key, sent)
    }

    /// Makes a certificate for these names and addresses, valid between these days, on P-256.
    pub fn leaf(&self, names: &[&str], from_days: i64, to_days: i64) -> Leaf {
        self.leaf_of(Kind::P256, names, from_days, to_days)
    }

    /// Makes one with a key of this kind.
    pub fn leaf_of(&self, kind: Kind, names: &[&str], from_days: i64, to_days: i64) -> Leaf {
        self.leaf_with(make_key(kind), names, from_days, to_days)
    }

    /// Makes one for an existing key.
    pub fn leaf_with(
        &self,
        key: PKey<Private>,
        names: &[&str],
        from_days: i64,
        to_days: i64,
    ) -> Leaf {
        self.issue(key, Wanted::leaf(names, day_s(from_days), day_s(to_days)))
    }

    /// Makes a certificate for these names that is valid since yesterday and ends at this second
    /// since 1970.
    pub fn leaf_until(&self, names: &[&str], ends_s: i64) -> Leaf {
        self.issue(make_key(Kind::P256), Wanted::leaf(names, day_s(-1), ends_s))
    }

    fn issue(&self, key: PKey<Private>, wanted: Wanted<'_>) -> Leaf {
        let mut chain = vec![sign(&wanted, &key, Some(self))];
        chain.extend_from_slice(&self.sent);
        Leaf { chain, key, ends_s: wanted.to_s }
    }

    /// Makes a certificate without names of a site: only with this common name and, if given, this
    /// e-mail address.
    pub fn leaf_without_names(&self, common: &str, email: Option<&str>) -> Leaf {
        let common = [common];
        let wanted = Wanted { email, ..Wanted::leaf(&common, day_s(-1), day_s(90)) };
        self.issue(make_key(Kind::P256), Wanted { names: &[], ..wanted })
    }

    /// Signs this name and key by another authority, valid between these days.
    pub fn signed_by(&self, other: &Authority, from_days: i64, to_days: i64) -> X509 {
        let wanted = Wanted::authority(&self.name, from_days, to_days);
        sign(&wanted, &self.key, Some(other))
    }

    /// Writes a PEM file with this certificate, for a client to trust. The file disappears with the
    /// authority.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    fn of(name: &str, certificate: X509, key: PKey<Private>, sent: Vec<X509>) -> Authority {
        let folder = Temp::new();
        folder.write("ca.pem", certificate.to_pem().unwrap());
        Authority { name: name.to_owned(), certificate, key, sent, folder }
    }
}

/// A server's or client's certificate with its key, and the chain that is sent with it.
#[derive(Clone)]
pub struct Leaf {
    chain: Vec<X509>,
    key: PKey<Private>,
    ends_s: i64,
}

impl Leaf {
    /// Makes a certificate that its own key has signed.
    pub fn self_signed(names: &[&str], from_days: i64, to_days: i64) -> Leaf {
        let key = make_key(Kind::P256);
        let wanted = Wanted::leaf(names, day_s(from_days), day_s(to_days));
        let chain = vec![sign(&wanted, &key, None)];
        Leaf { chain, key, ends_s: wanted.to_s }
    }

    /// Sends the leaf only.
    pub fn alone(&self) -> Leaf {
        let mut leaf = self.clone();
        leaf.chain.truncate(1);
        leaf
    }

    /// Sends this certificate too, after all others.
    pub fn sending(&self, more: &X509) -> Leaf {
        let mut leaf = self.clone();
        leaf.chain.push(more.clone());
        leaf
    }

    /// Returns the certificates to send: the leaf first, then its signers, never the root.
    pub fn chain(&self) -> &[X509] {
        &self.chain
    }

    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// Returns the end of the leaf's validity, in seconds since 1970.
    pub fn ends_s(&self) -> i64 {
        self.ends_s
    }

    /// Writes `NAME.pem` (the chain) and `NAME.key` into a folder, for the program that presents
    /// them. Only the owner can read the key, as most programs demand.
    pub fn write(&self, folder: &Temp, name: &str) -> (PathBuf, PathBuf) {
        let mut pem = Vec::new();
        for certificate in &self.chain {
            pem.extend(certificate.to_pem().unwrap());
        }
        let key = self.key.private_key_to_pem_pkcs8().unwrap();
        let key = folder.write(&format!("{name}.key"), key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        (folder.write(&format!("{name}.pem"), pem), key)
    }
}

/// The certificates of the tests, made once. By default they are for `localhost`, `site.example`,
/// `127.0.0.1` and `::1`, valid from yesterday for 90 days, on P-256, and signed by the root.
pub struct Set {
    /// The root that our clients trust.
    pub authority: Authority,
    /// A root that nobody trusts.
    pub stranger: Authority,
    /// Nothing is wrong.
    pub good: Leaf,
    /// Nothing is wrong; its key is RSA.
    pub good_rsa: Leaf,
    /// Valid for 5 more days.
    pub ending: Leaf,
    /// Ended yesterday.
    pub expired: Leaf,
    /// Begins tomorrow.
    pub not_yet: Leaf,
    /// Signed by itself.
    pub self_signed: Leaf,
    /// For `other.example` only.
    pub wrong_name: Leaf,
    /// Signed by `stranger`.
    pub untrusted: Leaf,
    /// Ended yesterday, and for `other.example` only.
    pub expired_wrong_name: Leaf,
    /// Signed by an intermediate, which is sent.
    pub chained: Leaf,
    /// Signed by an intermediate, which is not sent.
    pub missing_intermediate: Leaf,
    /// Signed by an intermediate that is sent and ended yesterday; the leaf itself is good.
    pub expired_intermediate: Leaf,
    /// Signed by an intermediate that is sent and ends in 5 days; the leaf itself is good.
    pub ending_intermediate: Leaf,
}

static SET: LazyLock<Set> = LazyLock::new(|| {
    let authority = Authority::new("sitewatch tests");
    let stranger = Authority::new("sitewatch stranger");
    let other = &["other.example"];
    let middle = authority.intermediate("sitewatch middle", -365, 365);
    let old = authority.intermediate("sitewatch old middle", -365, -1);
    let short = authority.intermediate("sitewatch short middle", -365, 5);
    let chained = middle.leaf(OURS, -1, 90);
    Set {
        good: authority.leaf(OURS, -1, 90),
        good_rsa: authority.leaf_of(Kind::Rsa2048, OURS, -1, 90),
        ending: authority.leaf(OURS, -30, 5),
        expired: authority.leaf(OURS, -30, -1),
        not_yet: authority.leaf(OURS, 1, 90),
        self_signed: Leaf::self_signed(OURS, -1, 90),
        wrong_name: authority.leaf(other, -1, 90),
        untrusted: stranger.leaf(OURS, -1, 90),
        expired_wrong_name: authority.leaf(other, -30, -1),
        missing_intermediate: chained.alone(),
        chained,
        expired_intermediate: old.leaf(OURS, -1, 90),
        ending_intermediate: short.leaf(OURS, -1, 90),
        authority,
        stranger,
    }
});

/// Returns the certificates of this process.
pub fn set() -> &'static Set {
    &SET
}

/// Returns the file that our clients trust: the certificate of `set().authority`.
pub fn ca_file() -> &'static Path {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| set().authority.ca_file());
    &FILE
}

const DAY_S: i64 = 86_400;

/// Returns the seconds since 1970 at the first call, always the same, so that ends can be compared
/// exactly.
fn now_s() -> i64 {
    static NOW: LazyLock<i64> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    });
    *NOW
}

/// The content of a certificate.
struct Wanted<'a> {
    name: &'a str,
    names: &'a [&'a str],
    email: Option<&'a str>,
    from_s: i64,
    to_s: i64,
    authority: bool,
}

impl<'a> Wanted<'a> {
    fn authority(name: &'a str, from_days: i64, to_days: i64) -> Wanted<'a> {
        let (from_s, to_s) = (day_s(from_days), day_s(to_days));
        Wanted { name, names: &[], email: None, from_s, to_s, authority: true }
    }

    fn leaf(names: &'a [&'a str], from_s: i64, to_s: i64) -> Wanted<'a> {
        Wanted { name: names[0], names, email: None, from_s, to_s, authority: false }
    }
}

/// Makes a certificate for this key, signed by `by` or else by the key itself.
fn sign(wanted: &Wanted<'_>, key: &PKey<Private>, by: Option<&Authority>) -> X509 {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, wanted.name).unwrap();
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();

    let mut made = X509Builder::new().unwrap();
    made.set_version(2).unwrap();
    made.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    made.set_subject_name(&name).unwrap();
    made.set_issuer_name(by.map_or(&*name, |by| by.certificate.subject_name())).unwrap();
    made.set_not_before(&time(wanted.from_s)).unwrap();
    made.set_not_after(&time(wanted.to_s)).unwrap();
    made.set_pubkey(key).unwrap();
    extend(&mut made, wanted, by);
    made.sign(by.map_or(key, |by| &by.key), MessageDigest::sha256()).unwrap();
    made.build()
}

fn extend(made: &mut X509Builder, wanted: &Wanted<'_>, by: Option<&Authority>) {
    if wanted.authority {
        made.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap();
        made.append_extension(usage).unwrap();
    } else {
        made.append_extension(BasicConstraints::new().critical().build().unwrap()).unwrap();
        let usage = ExtendedKeyUsage::new().server_auth().client_auth().build().unwrap();
        made.append_extension(usage).unwrap();
        let mut names = SubjectAlternativeName::new();
        for &name in wanted.names {
            match name.parse::<IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
        }
        wanted.email.map(|email| names.email(email));
        if !wanted.names.is_empty() || wanted.email.is_some() {
            let issuer = by.map(|by| &*by.certificate);
            let names = names.build(&made.x509v3_context(issuer, None)).unwrap();
            made.append_extension(names).unwrap();
        }
    }
    let issuer = by.map(|by| &*by.certificate);
    let own = SubjectKeyIdentifier::new().build(&made.x509v3_context(issuer, None)).unwrap();
    made.append_extension(own).unwrap();
    if issuer.is_some() {
        let mut above = AuthorityKeyIdentifier::new();
        let above = above.keyid(true).build(&made.x509v3_context(issuer, None)).unwrap();
        made.append_extension(above).unwrap();
    }
}

fn time(since_1970_s: i64) -> Asn1Time {
    Asn1Time::from_unix(since_1970_s).unwrap()
}

/// Returns the time this many days from now, less half a day, in seconds since 1970. A text in
/// whole days is then the same however fast the check is.
fn day_s(days: i64) -> i64 {
    now_s() + days * DAY_S - DAY_S / 2
}

fn make_key(kind: Kind) -> PKey<Private> {
    match kind {
        Kind::P256 => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        }
        Kind::Rsa2048 => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
    }
}
