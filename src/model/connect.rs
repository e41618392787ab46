//! How a target is reached, and who we are to it: what each request of a check has in common,
//! whatever it asks for.

use core::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::target::{Login, Secret};
use crate::words::words;

/// The way to a target. By default whatever way there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// Which addresses of a name are tried.
    pub family: Family,
    /// The address of the URL's host, instead of looking its name up.
    pub resolve: Option<IpAddr>,
    /// From where: one of this host's addresses, or an interface's name.
    pub interface: Option<String>,
    /// Through whom; shared by those that have it from `[defaults]`.
    pub proxy: Option<Arc<Proxy>>,
    /// Shown to the target's own origin if it asks; shared likewise.
    pub identity: Option<Arc<Identity>>,
    /// The name that TLS asks for and verifies, instead of the URL's host.
    pub server_name: Option<String>,
    /// The oldest TLS that is spoken.
    pub tls_min: TlsVersion,
    /// Sites are let in that do not know secure renegotiation (RFC 5746).
    pub tls_legacy: bool,
    /// Which HTTP is spoken.
    pub http: HttpVersion,
    /// Of `tcp` alone: TLS is spoken from the first byte on.
    pub tls: bool,
    /// The connection is kept from check to check.
    pub reuse: bool,
}

words! {
    /// Kinds of addresses.
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
    /// Whether that address is one of them.
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
        /// What the site chooses: over TLS 2 or 1.1, without 1.1.
        #[default]
        Auto = "auto",
        /// 1.1 alone.
        V1_1 = "1.1",
        /// 2 alone; without TLS too, by prior knowledge (RFC 9113, 3.3).
        V2 = "2",
    }
}

/// Who forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http`, `socks5` (we look names up) or `socks5h` (it does), with host and port; never holds
    /// a user or a password.
    pub url: Url,
    /// Who we are to it.
    pub login: Option<Login>,
}

/// A certificate of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// In PEM, its chain behind it.
    pub cert_file: PathBuf,
    /// In PEM.
    pub key_file: PathBuf,
    /// Opens the key.
    pub key_password: Option<Secret>,
}
