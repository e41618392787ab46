//! Sets the route of a hop: its address, its proxy, and its versions of TLS and HTTP.

use std::net::IpAddr;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use curl::easy::{Easy2, HttpVersion as CurlHttp, IpResolve, List, SslVersion};
use curl_sys::CURLcode;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use url::{Host, Url};

use super::callbacks::TransferCallbacks;
use super::proxy::{ProxyFailure, ProxyMethod, ProxyProgress, wants_login};
use super::raw;
use super::resolve::Resolution;
use crate::model::connect::{Connect, Family, HttpVersion, TlsVersion};
use crate::model::judge::CheckFault;
use crate::model::outcome::{Cause, Phases};
use crate::model::target::{Target, is_name};

/// Route of one hop.
pub struct Route<'a> {
    connect: &'a Connect,
    url: &'a Url,
    /// True if the hop goes to the host of the target's URL: only then `resolve` and `server_name` apply.
    is_its_host: bool,
    /// True if the hop goes to the target's own origin: only then its secrets may be sent.
    is_at_home: bool,
    /// True if the user has set a `Host` header.
    has_host_header: bool,
    /// True for a target without HTTP (`tcp`).
    is_tcp: bool,
    /// True if the hop uses TLS.
    is_tls: bool,
}

impl<'a> Route<'a> {
    /// Makes the route of a hop to `url` in a check of `target`.
    pub fn new(target: &'a Target, url: &'a Url) -> Route<'a> {
        Route {
            connect: &target.connect,
            url,
            is_its_host: url.host() == target.url.host(),
            is_at_home: is_at_home(target, url),
            has_host_header: target.headers.iter().any(|h| h.name.eq_ignore_ascii_case("host")),
            is_tcp: target.is_tcp(),
            is_tls: speaks_tls(target, url),
        }
    }

    /// Returns the address that the user has configured (`resolve`), if it applies to this hop.
    fn fixed_address(&self) -> Option<IpAddr> {
        self.connect.resolve.filter(|_| self.is_its_host)
    }

    /// Returns the address of the hop if no lookup is needed: the user has configured it, or the URL has it.
    pub fn known_address(&self) -> Option<IpAddr> {
        let given = self.fixed_address().filter(|_| self.connect.proxy.is_none());
        given.or_else(|| match self.url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        })
    }

    /// Returns the name that TLS asks for, if the user has configured one and it applies to this hop.
    fn server_name(&self) -> Option<&str> {
        let name = self.connect.server_name.as_deref();
        name.filter(|_| self.is_its_host && self.is_tls)
    }

    /// Returns true if a name has to be looked up before the first socket is opened: the name of the proxy if
    /// there is one, else the name of the site.
    pub fn looks_up(&self) -> bool {
        match &self.connect.proxy {
            Some(proxy) => is_name(&proxy.url),
            None => self.fixed_address().is_none() && is_name(self.url),
        }
    }

    /// Starts the resolution of the site's name. None if there is nothing for us to look up: the URL has an
    /// address; the name always means this host (`localhost`), which libcurl knows; or the proxy looks up the
    /// site's name, as all proxies but `socks5` do. (libcurl looks up the names of proxies.)
    pub fn resolution(&self, timeout: Duration) -> Option<Resolution> {
        let host = self.url.host_str()?;
        let plain = host.trim_end_matches('.');
        let is_own = plain == "localhost" || plain.ends_with(".localhost");
        let proxy = self.connect.proxy.as_ref();
        let is_ours = proxy.is_none_or(|proxy| proxy.url.scheme() == "socks5");
        if !is_ours || self.fixed_address().is_some() || !is_name(self.url) || is_own {
            return None;
        }
        let wanted = match self.connect.family {
            Family::Any if !has_ipv6() => Family::V4,
            family => family,
        };
        // Our own address limits the family of the first connection: with a proxy, that is not the site's.
        let bound = match self.bind_address().filter(|_| proxy.is_none()) {
            Some(IpAddr::V4(_)) => Family::V4,
            Some(IpAddr::V6(_)) => Family::V6,
            None => Family::Any,
        };
        Some(Resolution::new(host.to_owned(), wanted, bound, timeout))
    }

    /// Returns the address to connect from, if the user has configured one (`interface`).
    fn bind_address(&self) -> Option<IpAddr> {
        self.connect.interface.as_ref()?.parse().ok()
    }

    /// Gives libcurl the addresses that the lookup has found.
    pub fn set_addresses(
        &self,
        easy: &mut Easy2<TransferCallbacks>,
        found: &[IpAddr],
    ) -> Result<(), curl::Error> {
        let port = self.url.port_or_known_default().unwrap_or_default();
        // Through a proxy only one address can be tried: the first.
        let tried = if self.connect.proxy.is_some() { 1 } else { found.len() };
        let found: Vec<String> =
            found.iter().take(tried).map(|address| bracketed(*address)).collect();
        let mut list = List::new();
        // Without the plus, libcurl would keep the entry for ever.
        list.append(&format!("+{}:{port}:{}", host(self.url), found.join(",")))?;
        easy.resolve(list)
    }

    /// Sets the URL and the route in `easy`. Adds a `Host` line to `headers` if the URL that libcurl gets has
    /// another host than the site.
    pub fn configure(
        &self,
        easy: &mut Easy2<TransferCallbacks>,
        headers: &mut List,
    ) -> Result<(), curl::Error> {
        let connect = self.connect;
        let own = self.own_url();
        match self.server_name() {
            None => easy.url(own.as_str())?,
            // libcurl takes the name for TLS from the URL: put the name there, and the site's host into
            // `Host`.
            Some(name) => {
                let mut url = own.into_owned();
                // Cannot fail: reading the configuration has checked that the name is a host.
                let _ = url.set_host(Some(name));
                easy.url(url.as_str())?;
                if !self.has_host_header && !self.is_tcp {
                    headers.append(&format!("Host: {}", host_and_port(self.url)))?;
                }
            }
        }
        if self.server_name().is_some() || self.fixed_address().is_some() {
            let host = self.fixed_address().map_or_else(|| host(self.url), bracketed);
            let mut to = List::new();
            to.append(&format!("::{host}:"))?;
            easy.connect_to(to)?;
        }
        easy.ip_resolve(match connect.family {
            Family::Any => IpResolve::Any,
            Family::V4 => IpResolve::V4,
            Family::V6 => IpResolve::V6,
        })?;
        if let Some(from) = &connect.interface {
            let kind = if from.parse::<IpAddr>().is_ok() { "host" } else { "if" };
            easy.interface(&format!("{kind}!{from}"))?;
        }
        self.configure_proxy(easy)?;
        if let Some(identity) = connect.identity.as_ref().filter(|_| self.is_at_home) {
            easy.ssl_cert(&identity.cert_file)?;
            easy.ssl_key(&identity.key_file)?;
            if let Some(password) = &identity.key_password {
                easy.key_password(&password.0)?;
            }
        }
        easy.ssl_version(match connect.tls_min {
            TlsVersion::V1_2 => SslVersion::Tlsv12,
            TlsVersion::V1_3 => SslVersion::Tlsv13,
        })?;
        if self.is_tcp {
            easy.connect_only(true)?;
            raw::disable_alpn(easy);
        }
        easy.http_version(match connect.http {
            HttpVersion::Auto => CurlHttp::V2TLS,
            HttpVersion::V1_1 => CurlHttp::V11,
            HttpVersion::V2 if self.is_tls => CurlHttp::V2TLS,
            HttpVersion::V2 => CurlHttp::V2PriorKnowledge,
        })
    }

    /// Returns the URL for libcurl. A `tcp` target gets an HTTP URL, since libcurl has no scheme for a
    /// connection without a protocol; libcurl then only connects.
    fn own_url(&self) -> Cow<'a, Url> {
        if !self.is_tcp {
            return Cow::Borrowed(self.url);
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        let port = self.url.port().unwrap_or_default();
        let text = format!("{scheme}://{}:{port}/", host(self.url));
        // Cannot fail: reading the configuration has checked host and port.
        Url::parse(&text).map_or(Cow::Borrowed(self.url), Cow::Owned)
    }

    fn configure_proxy(&self, easy: &mut Easy2<TransferCallbacks>) -> Result<(), curl::Error> {
        // An empty text, since with no proxy set libcurl would use the one of the environment.
        let Some(proxy) = &self.connect.proxy else { return easy.proxy("") };
        let port = proxy.url.port_or_known_default().unwrap_or_default();
        easy.proxy(&format!("{}://{}:{port}", proxy.url.scheme(), host(&proxy.url)))?;
        easy.http_proxy_tunnel(self.is_tcp)?;
        // Use the proxy for every host, even if `no_proxy` of the environment names that host.
        easy.noproxy("")?;
        if let Some(login) = &proxy.login {
            easy.proxy_username(&login.user.0)?;
            easy.proxy_password(&login.password.0)?;
        }
        Ok(())
    }

    /// Returns the fault of a site that does not use HTTP/2, though the target demands it (`http = "2"`).
    pub fn http_version_fault(&self, http: Option<&str>) -> Option<CheckFault> {
        let spoken = http.filter(|http| self.connect.http == HttpVersion::V2 && *http != "2")?;
        let text = format!("the site uses HTTP/{spoken} instead of 2");
        Some(CheckFault { cause: Cause::Protocol, text })
    }

    /// Returns the way to ask the proxy for the site; none without a proxy.
    pub fn proxy_method(&self) -> Option<ProxyMethod> {
        let proxy = self.connect.proxy.as_ref()?;
        Some(match proxy.url.scheme() {
            "http" if self.is_tls || self.is_tcp => ProxyMethod::Connect,
            "http" => ProxyMethod::Forward,
            _ => ProxyMethod::Socks,
        })
    }

    /// Returns the fault of an address to connect from that cannot reach the site: all sockets were of the
    /// address family `family`, which is not the family of that address.
    pub fn family_mismatch(&self, code: CURLcode, family: Option<i32>) -> Option<CheckFault> {
        let from = self.bind_address().filter(|_| code == curl_sys::CURLE_COULDNT_CONNECT)?;
        let (own, other) = match from {
            IpAddr::V4(_) => (Domain::IPV4, "IPv6"),
            IpAddr::V6(_) => (Domain::IPV6, "IPv4"),
        };
        let text = format!("cannot send from {from} to an {other} address");
        (Domain::from(family?) != own).then_some(CheckFault { cause: Cause::Internal, text })
    }

    /// Returns the fault of our own interface or of the proxy; none if the hop did not fail there.
    pub fn fault(
        &self,
        code: CURLcode,
        progress: ProxyProgress,
        phases: &Phases,
        timeout_ms: u128,
    ) -> Option<CheckFault> {
        if let (curl_sys::CURLE_INTERFACE_FAILED, Some(from)) = (code, &self.connect.interface) {
            let text = format!("cannot send from the interface {from}");
            return Some(CheckFault { cause: Cause::Internal, text });
        }
        let (proxy, method) = self.connect.proxy.as_ref().zip(self.proxy_method())?;
        ProxyFailure { proxy, method, code, progress, phases, timeout_ms }.fault()
    }

    /// Returns the fault of a reply with status 407, which always comes from the proxy (RFC 9110, 15.5.8).
    pub fn proxy_login_fault(&self, status: Option<u16>) -> Option<CheckFault> {
        let proxy = self
            .connect
            .proxy
            .as_ref()
            .filter(|_| self.proxy_method() == Some(ProxyMethod::Forward))?;
        if status == Some(407) { wants_login(proxy) } else { None }
    }
}

/// Returns true if the kernel of this host knows IPv6.
fn has_ipv6() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    let unknown = Some(Errno::AFNOSUPPORT.raw_os_error());
    *HAS.get_or_init(|| {
        let tried = Socket::new(Domain::IPV6, Type::STREAM, None);
        tried.err().and_then(|error| error.raw_os_error()) != unknown
    })
}

/// Returns true if a hop to `url` goes to the target's own origin. Only then may the target's secrets be
/// sent.
pub fn is_at_home(target: &Target, url: &Url) -> bool {
    // The same as to compare `Url::origin` of both, but without copies.
    let home = &target.url;
    let is_origin = url.scheme() == home.scheme()
        && url.host() == home.host()
        && url.port_or_known_default() == home.port_or_known_default();
    is_origin || target.is_tcp()
}

/// Returns true if a hop to `url` uses TLS.
pub fn speaks_tls(target: &Target, url: &Url) -> bool {
    url.scheme() == "https" || target.is_tcp() && target.connect.tls
}

/// Returns the host as in the URL: an IPv6 address has brackets.
fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Returns the host, with the port if that is not the default of the scheme.
fn host_and_port(url: &Url) -> String {
    match url.port() {
        Some(port) => format!("{}:{port}", host(url)),
        None => host(url),
    }
}
