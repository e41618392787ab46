//! Settings that all requests of a check share: the way to the target, and our identity there.

use core::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::secret::{Login, Secret};
use crate::words::words;

/// Settings of a target's connections. By default any way is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// Family of addresses that are tried.
    pub family: Family,
    /// Address to use for the URL's host, instead of a look-up of its name.
    pub resolve: Option<IpAddr>,
    /// Address of this host, or name of an interface, from which the connection is made.
    pub interface: Option<String>,
    /// Proxy to connect through; shared by the targets that have it from `[defaults]`.
    pub proxy: Option<Arc<Proxy>>,
    /// Certificate shown to the target's own origin if the origin asks; shared likewise.
    pub identity: Option<Arc<Identity>>,
    /// Name that TLS asks for and verifies, instead of the URL's host.
    pub server_name: Option<String>,
    /// Oldest TLS version that is spoken.
    pub tls_min: TlsVersion,
    /// Accept sites that do not know secure renegotiation (RFC 5746).
    pub tls_legacy: bool,
    /// HTTP version that is spoken.
    pub http: HttpVersion,
    /// For `tcp` alone: speak TLS from the first byte on.
    pub tls: bool,
    /// Keep the connection from check to check.
    pub reuse: bool,
}

words! {
    /// Families of addresses.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub enum Family {
        /// Both, IPv6 with a head start (RFC 8305).
        #[default]
        Any = "any",
        /// IPv4 alone.
        V4 = "4",
        /// IPv6 alone.
        V6 = "6",
    }
}

impl Family {
    /// Returns true if the address is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

words! {
    /// Versions of TLS.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum TlsVersion {
        /// RFC 5246.
        #[default]
        V1_2 = "1.2",
        /// RFC 8446.
        V1_3 = "1.3",
    }
}

words! {
    /// Versions of HTTP.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum HttpVersion {
        /// The site's choice: with TLS 2 or 1.1, without TLS 1.1.
        #[default]
        Auto = "auto",
        /// 1.1 alone.
        V1_1 = "1.1",
        /// 2 alone; without TLS too, by prior knowledge (RFC 9113, 3.3).
        V2 = "2",
    }
}

/// A proxy that forwards our requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// URL with the scheme `http`, `socks5` (we look names up) or `socks5h` (the proxy does), host and
    /// port; never holds a user or a password.
    pub url: Url,
    /// User and password for the proxy.
    pub login: Option<Login>,
}

/// A certificate of ours, to identify us to a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// File in PEM with the certificate, followed by its chain.
    pub cert_file: PathBuf,
    /// File in PEM with the key.
    pub key_file: PathBuf,
    /// Password that opens the key.
    pub key_password: Option<Secret>,
}
