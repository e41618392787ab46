//! Notes of a TLS handshake, as OpenSSL's callbacks take them: one type for the callbacks, which write the notes,
//! and for the checks, which read them.

use std::sync::{Arc, Mutex};

use openssl::x509::X509;

use super::chains::VerifiedChains;

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
