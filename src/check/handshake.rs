//! Notes of a TLS handshake. OpenSSL's callbacks in `raw` write them, and the checks read them.

use std::sync::{Arc, Mutex};

use openssl::x509::X509;

use super::chains::VerifiedChains;

/// Notes of a handshake, shared with OpenSSL's callbacks.
pub type SharedHandshake = Arc<Mutex<Handshake>>;

/// Notes of one handshake.
#[derive(Default)]
pub struct Handshake {
    /// Result of the verification; none if the handshake ended before it.
    pub verification: Option<Verification>,
    /// True if the site asked for a client certificate and the target has none.
    pub lacks_certificate: bool,
    /// Number of the fatal alert that the site sent (RFC 8446, 6).
    pub alert: Option<u8>,
    /// Chains that were verified before with the same roots. If none, OpenSSL verifies every chain.
    pub chains: Option<Arc<VerifiedChains>>,
}

/// Result of OpenSSL's verification of the site's certificates.
pub struct Verification {
    /// Path from the leaf to the root; as far as OpenSSL could follow it. Certificates that the site sent and
    /// that are not on the path are left out.
    pub path: Vec<X509>,
    /// One of OpenSSL's X509_V_ numbers. 0 means that the path is valid; the leaf may still be for another
    /// host.
    pub error: i32,
    /// Index in the path of the certificate with the error; 0 is the leaf.
    pub depth: usize,
}
