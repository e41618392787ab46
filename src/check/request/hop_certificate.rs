//! Picks the certificate that a check reports: of those that its hops have shown, the one that expires first.

use url::Url;

use super::ActiveCheck;
use crate::check::callbacks::TransferCallbacks;
use crate::check::certificate::CertificateSummary;
use crate::check::handshake::Handshake;
use crate::check::pool::IdleConnection;
use crate::check::raw;
use crate::model::judge::Reply;
use crate::model::outcome::Cause;

use curl::easy::Easy2;

/// Certificate of a hop, and the host that showed it.
#[derive(Debug, Clone)]
pub struct HopCertificate {
    summary: CertificateSummary,
    host: String,
}

impl HopCertificate {
    pub fn new(url: &Url, summary: CertificateSummary) -> HopCertificate {
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        HopCertificate { summary, host }
    }

    /// Returns the certificate whose path expires first.
    pub fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).min_by_key(|of| of.summary.ends.chain_s)
    }
}

impl ActiveCheck {
    /// Returns the certificate of this hop: from its handshake, or from the handshake of the earlier check
    /// whose connection it uses.
    pub fn certificate(&self, handshake: &Handshake) -> Option<HopCertificate> {
        let path = handshake.verification.as_ref().map(|verification| &verification.path[..]);
        let known =
            || self.pool.as_ref().filter(|_| self.reuses_connection)?.certificate(&self.url);
        let summary = path.and_then(CertificateSummary::of).or_else(known)?;
        Some(HopCertificate::new(&self.url, summary))
    }

    /// Adds a certificate to the reply: the one that caused the fault, else the one that expires first.
    /// `last` is the certificate of the last hop.
    pub fn report_certificate(&self, reply: &mut Reply, last: Option<HopCertificate>) {
        let is_fault = reply.fault.as_ref().is_some_and(|fault| {
            matches!(
                fault.cause,
                Cause::CertificateExpired
                    | Cause::CertificateUntrusted
                    | Cause::CertificateName
                    | Cause::Certificate
            )
        });
        let earlier = self.earliest.clone().filter(|_| !is_fault);
        let Some(HopCertificate { summary, host }) = HopCertificate::earlier(earlier, last) else {
            return;
        };
        reply.cert_expires_s = Some(summary.ends.leaf_s);
        reply.chain_expires_s = Some(summary.ends.chain_s);
        reply.certificate = summary.names;
        reply.certificate_host = (self.redirects > 0).then_some(host);
    }

    /// Stores the connection that this hop has left open, for the next check (`reuse`).
    pub fn keep_connection(
        &self,
        easy: &Easy2<TransferCallbacks>,
        certificate: Option<&HopCertificate>,
    ) {
        let Some(pool) = &self.pool else { return };
        let Some(socket) = raw::idle_socket(easy) else { return pool.discard(&self.url) };
        let has_frames = easy.get_ref().header.http == Some("2");
        let certificate = certificate.map(|of| of.summary.clone());
        pool.keep(&self.url, IdleConnection { socket, has_frames, certificate });
    }
}
