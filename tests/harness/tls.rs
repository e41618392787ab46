//! The TLS of a listener: its certificate, its versions, and if it demands a client certificate.

use openssl::ssl::{
    AlpnError, SslAcceptor, SslMethod, SslOptions, SslVerifyMode, SslVersion as Version,
    select_next_proto,
};

use super::certs::{Authority, Leaf};

/// A listener's TLS. By default it speaks 1.2 and 1.3, and sends session tickets.
pub struct Tls<'a> {
    leaf: &'a Leaf,
    versions: (Version, Version),
    clients_of: Option<&'a Authority>,
    protocols: &'static [u8],
}

impl<'a> Tls<'a> {
    /// Presents this certificate.
    pub fn new(leaf: &'a Leaf) -> Tls<'a> {
        let versions = (Version::TLS1_2, Version::TLS1_3);
        Tls { leaf, versions, clients_of: None, protocols: b"" }
    }

    /// Speaks only these versions; TLS 1.0 is the oldest.
    pub fn versions(mut self, least: Version, most: Version) -> Tls<'a> {
        self.versions = (least, most);
        self
    }

    /// Refuses clients without a certificate signed by this authority.
    pub fn clients_of(mut self, authority: &'a Authority) -> Tls<'a> {
        self.clients_of = Some(authority);
        self
    }

    /// Selects the first of these protocols that the client offers, and no other (ALPN, encoded as
    /// on the wire: `\x02h2`).
    pub fn speaking(mut self, protocols: &'static [u8]) -> Tls<'a> {
        self.protocols = protocols;
        self
    }

    pub(super) fn leaf(&self) -> &'a Leaf {
        self.leaf
    }

    /// The authority whose clients may connect.
    pub(super) fn authority(&self) -> Option<&'a Authority> {
        self.clients_of
    }

    pub(super) fn acceptor(&self) -> SslAcceptor {
        let mut made = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        // Old versions test that clients refuse them: nothing else here may prevent the handshake.
        made.clear_options(SslOptions::NO_TLSV1 | SslOptions::NO_TLSV1_1);
        made.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        made.set_min_proto_version(Some(self.versions.0)).unwrap();
        made.set_max_proto_version(Some(self.versions.1)).unwrap();
        made.set_session_id_context(b"sitewatch tests").unwrap();
        made.set_private_key(self.leaf.key()).unwrap();
        let (leaf, above) = self.leaf.chain().split_first().unwrap();
        made.set_certificate(leaf).unwrap();
        for certificate in above {
            made.add_extra_chain_cert(certificate.clone()).unwrap();
        }
        if let Some(authority) = self.clients_of {
            made.cert_store_mut().add_cert(authority.certificate().clone()).unwrap();
            made.add_client_ca(authority.certificate()).unwrap();
            made.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        let protocols = self.protocols;
        if !protocols.is_empty() {
            made.set_alpn_select_callback(move |_, offered| {
                select_next_proto(protocols, offered).ok_or(AlpnError::ALERT_FATAL)
            });
        }
        made.build()
    }
}
