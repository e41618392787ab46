//! Settings of a target's connections: addresses, proxy, TLS, version of HTTP.

use core::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::secret::{Login, Secret};
use crate::words::words;

/// Settings of a target's connections. By default nothing is restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// Address family to use.
    pub family: Family,
    /// Address to use for the URL's host, instead of looking up its name.
    pub resolve: Option<IpAddr>,
    /// Address of this host, or name of an interface, to connect from.
    pub interface: Option<String>,
    /// Proxy to connect through. Targets share the one of `[defaults]`.
    pub proxy: Option<Arc<Proxy>>,
    /// Client certificate, shown only to the target's own origin, and only if the origin asks for one.
    /// Targets share the one of `[defaults]`.
    pub identity: Option<Arc<Identity>>,
    /// Name that TLS asks for and verifies, instead of the URL's host.
    pub server_name: Option<String>,
    /// Oldest version of TLS that is accepted.
    pub tls_min: TlsVersion,
    /// Accept sites that do not know secure renegotiation (RFC 5746).
    pub tls_legacy: bool,
    /// Version of HTTP to use.
    pub http: HttpVersion,
    /// Use TLS from the first byte on; only for `tcp`.
    pub tls: bool,
    /// Keep the connection open for the next check.
    pub reuse: bool,
}

words! {
    /// Address families.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub enum Family {
        /// Both; IPv6 has a head start (RFC 8305).
        #[default]
        Any = "any",
        /// Only IPv4.
        V4 = "4",
        /// Only IPv6.
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
        /// With TLS, 2 or 1.1 as the site chooses; without TLS, 1.1.
        #[default]
        Auto = "auto",
        /// Only 1.1.
        V1_1 = "1.1",
        /// Only 2; without TLS by prior knowledge (RFC 9113, section 3.3).
        V2 = "2",
    }
}

/// A proxy that forwards our requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// URL with host and port; never with a user or a password. The scheme is `http`, `socks5` (we look up
    /// the names of sites) or `socks5h` (the proxy does).
    pub url: Url,
    /// User and password for the proxy.
    pub login: Option<Login>,
}

/// Client certificate, which identifies us to a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with the certificate, followed by its chain.
    pub cert_file: PathBuf,
    /// PEM file with the key.
    pub key_file: PathBuf,
    /// Password of the key file; none if the key is not encrypted.
    pub key_password: Option<Secret>,
}
