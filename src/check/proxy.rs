//! Finds the fault of a hop through a proxy, and the text for it. The site is at fault if the proxy answers
//! that it cannot reach the site. Our side is at fault if the proxy does not answer, or refuses us.

use std::ffi::c_long;

use curl::easy::Easy2;
use curl_sys::CURLcode;
use rustix::io::Errno;

use super::callbacks::TransferCallbacks;
use super::fault::{is_out_of_resources, system_words};
use super::raw;
use crate::model::connect::Proxy;
use crate::model::judge::CheckFault;
use crate::model::outcome::{Cause, Phases};

/// CURLE_PROXY, not yet in curl-sys.
const PROXY: CURLcode = 97;

/// Way to ask a proxy for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMethod {
    /// HTTP's CONNECT: the proxy answers before the site can send a byte.
    Connect,
    /// SOCKS 5 (RFC 1928): a greeting, a login if the proxy wants one, then the request.
    Socks,
    /// A request with the whole URL, for `http://` sites: the proxy passes the site's reply on.
    Forward,
}

/// Measures how far a hop through a proxy came.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProxyProgress {
    /// TCP was connected to the proxy.
    pub is_connected: bool,
    /// Number of bytes that the proxy has sent; its close may count as one more.
    pub received: u64,
    /// Status of the proxy's answer to CONNECT; 0 without an answer.
    pub status: u32,
    /// Error of SOCKS, as a `CURLproxycode` of curl/curl.h; 0 if none.
    pub socks: c_long,
    /// Last error number of the system; 0 if none.
    pub errno: i32,
}

impl ProxyProgress {
    /// Reads the progress of a transfer that has ended.
    pub fn of(easy: &mut Easy2<TransferCallbacks>) -> ProxyProgress {
        let (acknowledged, received) = easy.get_ref().proxy_traffic();
        ProxyProgress {
            // Not from libcurl's connect time, which includes the path from the proxy to the site.
            is_connected: acknowledged > 0,
            received,
            status: easy.http_connectcode().unwrap_or_default(),
            socks: raw::proxy_error(easy),
            errno: raw::os_errno(easy),
        }
    }

    /// Returns true if the proxy has sent a byte. A count of one may be only its close.
    fn is_answered(&self) -> bool {
        self.received >= 2
    }
}

/// Failed hop through a proxy.
pub struct ProxyFailure<'a> {
    /// Proxy of the hop.
    pub proxy: &'a Proxy,
    /// Way in which the proxy was asked for the site.
    pub method: ProxyMethod,
    /// Error code of libcurl.
    pub code: CURLcode,
    /// Last step that the hop has taken.
    pub progress: ProxyProgress,
    /// Phases that the hop has reached.
    pub phases: &'a Phases,
    /// Timeout of the target, in milliseconds.
    pub timeout_ms: u128,
}

impl ProxyFailure<'_> {
    /// Returns the fault; none if the proxy neither caused nor reported it.
    pub fn fault(&self) -> Option<CheckFault> {
        let is_asked = self.phases.tls_us.is_some() || self.phases.first_byte_us.is_some();
        match self.method {
            ProxyMethod::Forward if is_asked => self.of_forwarding(),
            _ if is_asked => None,
            _ => self.before_tunnel(),
        }
    }

    /// Returns the fault of a hop that failed before the proxy had connected it to the site.
    fn before_tunnel(&self) -> Option<CheckFault> {
        let ProxyProgress { is_connected, status, errno, .. } = self.progress;
        let (host_port, ms) = (host_port(self.proxy), self.timeout_ms);
        let no_resources = is_out_of_resources(errno) || errno == Errno::PERM.raw_os_error();
        match (self.code, status) {
            (_, 502..=504) => site_fault(format!(
                "the proxy {host_port} cannot connect to the site: status {status}"
            )),
            (_, 407) => wants_login(self.proxy),
            (_, 300..) => our_fault(format!("the proxy {host_port} refuses: status {status}")),
            (curl_sys::CURLE_COULDNT_RESOLVE_PROXY, _) => {
                our_fault(format!("cannot find an address of the proxy {host_port}"))
            }
            (curl_sys::CURLE_OPERATION_TIMEDOUT, _) if self.phases.connect_us.is_none() => {
                our_fault(format!("cannot find an address of the proxy {host_port} within {ms} ms"))
            }
            (curl_sys::CURLE_OPERATION_TIMEDOUT, _) if !is_connected => {
                our_fault(format!("cannot connect to the proxy {host_port} within {ms} ms"))
            }
            (curl_sys::CURLE_OPERATION_TIMEDOUT, _) => Some(self.unanswered()),
            (curl_sys::CURLE_COULDNT_CONNECT, _) if !is_connected && no_resources => None,
            (curl_sys::CURLE_COULDNT_CONNECT, _) if !is_connected => {
                let why = system_words(errno).map(|why| format!(": {why}")).unwrap_or_default();
                our_fault(format!("cannot connect to the proxy {host_port}{why}"))
            }
            // The proxy reset the connection before we could use it.
            (curl_sys::CURLE_COULDNT_CONNECT, _) if !self.progress.is_answered() => {
                Some(self.closed())
            }
            (
                curl_sys::CURLE_RECV_ERROR
                | curl_sys::CURLE_SEND_ERROR
                | curl_sys::CURLE_GOT_NOTHING,
                _,
            ) => Some(self.closed()),
            (
                curl_sys::CURLE_COULDNT_CONNECT
                | curl_sys::CURLE_UNSUPPORTED_PROTOCOL
                | curl_sys::CURLE_FTP_WEIRD_SERVER_REPLY,
                _,
            ) => Some(self.wrong_protocol()),
            (PROXY, _) => self.socks_fault(),
            _ => None,
        }
    }

    /// Returns the fault of a hop that asked the proxy for a whole URL. Any answer counts as the site's.
    fn of_forwarding(&self) -> Option<CheckFault> {
        let host_port = host_port(self.proxy);
        match self.code {
            curl_sys::CURLE_UNSUPPORTED_PROTOCOL => Some(self.wrong_protocol()),
            _ if self.progress.is_answered() => None,
            curl_sys::CURLE_OPERATION_TIMEDOUT => {
                let ms = self.timeout_ms;
                let text = format!(
                    "no reply within {ms} ms: the proxy {host_port} did not answer the request"
                );
                Some(CheckFault { cause: Cause::Timeout, text })
            }
            curl_sys::CURLE_RECV_ERROR
            | curl_sys::CURLE_SEND_ERROR
            | curl_sys::CURLE_GOT_NOTHING => Some(self.closed()),
            _ => None,
        }
    }

    /// Returns the fault of a deadline that passed before the proxy had answered. A SOCKS proxy that has
    /// answered our greeting, and our login if there is one, works: it may be waiting for the site, which is
    /// then at fault.
    fn unanswered(&self) -> CheckFault {
        let (host_port, ms, received) =
            (host_port(self.proxy), self.timeout_ms, self.progress.received);
        let text = match (self.method, &self.proxy.login) {
            (ProxyMethod::Socks, _) if received < 2 => {
                format!("the proxy {host_port} did not answer the SOCKS greeting within {ms} ms")
            }
            (ProxyMethod::Socks, Some(_)) if received < 4 => {
                format!("the proxy {host_port} did not answer the SOCKS login within {ms} ms")
            }
            (ProxyMethod::Socks, _) => {
                let text = format!(
                    "no reply within {ms} ms: the proxy {host_port} did not answer the SOCKS request"
                );
                return CheckFault { cause: Cause::Timeout, text };
            }
            _ if received < 2 => {
                format!("the proxy {host_port} did not answer CONNECT within {ms} ms")
            }
            _ => format!("the proxy {host_port} did not answer CONNECT with HTTP within {ms} ms"),
        };
        CheckFault { cause: Cause::Uplink, text }
    }

    fn closed(&self) -> CheckFault {
        let host_port = host_port(self.proxy);
        // The bytes of a SOCKS proxy may be its answers to the greeting and the login.
        let text = match self.progress.is_answered() && self.method != ProxyMethod::Socks {
            true => {
                format!("the proxy {host_port} closed the connection in the middle of its answer")
            }
            false => format!("the proxy {host_port} closed the connection without an answer"),
        };
        CheckFault { cause: Cause::Uplink, text }
    }

    fn wrong_protocol(&self) -> CheckFault {
        let host_port = host_port(self.proxy);
        let wanted = if self.method == ProxyMethod::Socks { "SOCKS 5" } else { "HTTP" };
        CheckFault {
            cause: Cause::Uplink,
            text: format!("the answer of the proxy {host_port} is not {wanted}"),
        }
    }

    /// Returns the fault that the proxy's SOCKS answer stands for. RFC 1928, section 6, has the numbers of
    /// such an answer; they are read as the common servers use them:
    ///
    /// | number | microsocks (`connect_socks_target`) | Dante (`errno2reply`) | at fault |
    /// | --- | --- | --- | --- |
    /// | 1 | no address of the name, or any other error | any other error | unknown: our side |
    /// | 2 | no login yet | forbidden by its rules | our side |
    /// | 3 | `ENETUNREACH`, `ENETDOWN` | the same, or no address to send from | the proxy's network: our side |
    /// | 4 | `EHOSTUNREACH` | `EHOSTUNREACH`, `EHOSTDOWN` | the site |
    /// | 5 | `ECONNREFUSED` | `ECONNREFUSED`, `ECONNRESET` | the site |
    /// | 6 | `ETIMEDOUT` | `ETIMEDOUT` | the site |
    /// | 7 | a command other than CONNECT | not allowed | our side |
    /// | 8 | no such address family there | no such address family | our side |
    ///
    /// OpenSSH (`ssh -D`) answers 0 before it tries to connect, and closes if it cannot: that looks as if the
    /// site had closed the connection.
    fn socks_fault(&self) -> Option<CheckFault> {
        let host_port = host_port(self.proxy);
        let cannot = |why: &str| {
            site_fault(format!("the proxy {host_port} cannot connect to the site: {why}"))
        };
        let refuses = |why: &str| our_fault(format!("the proxy {host_port} refuses: {why}"));
        // These are numbers of libcurl's `CURLproxycode`, not of SOCKS.
        match self.progress.socks {
            21 => cannot("host unreachable (SOCKS 4)"),
            19 => cannot("connection refused (SOCKS 5)"),
            24 => cannot("no answer (SOCKS 6)"),
            20 => refuses("no address of the name, or another error (SOCKS 1)"),
            23 => refuses("not allowed (SOCKS 2)"),
            22 => refuses("network unreachable (SOCKS 3)"),
            18 => refuses("command not supported (SOCKS 7)"),
            17 => refuses("kind of address not supported (SOCKS 8)"),
            25 => refuses("a number that SOCKS does not know"),
            // 12: the proxy accepts none of our login methods. 33: it refuses our password.
            12 | 33 => wants_login(self.proxy),
            // CURLPX_BAD_ADDRESS_TYPE, _BAD_VERSION, _UNKNOWN_MODE.
            1 | 2 | 32 => Some(self.wrong_protocol()),
            // CURLPX_CLOSED, and errors of reading or sending at any step.
            3 | 13..=16 | 28..=30 => Some(self.closed()),
            // CURLPX_RESOLVE_HOST: libcurl could not look up the site's name.
            27 => None,
            number => refuses(&format!("error {number} of SOCKS")),
        }
    }
}

/// Returns the fault of a proxy that wants a login, or another login than ours.
pub fn wants_login(proxy: &Proxy) -> Option<CheckFault> {
    our_fault(format!("the proxy {} wants another login", host_port(proxy)))
}

/// Returns the phases of a hop that came no further than its proxy. All the time after the lookup becomes the
/// connect phase.
pub fn fold_into_connect(hop: &Phases) -> Phases {
    let all_us = hop.total_us() - hop.dns_us.unwrap_or_default();
    let connect_us = hop.connect_us.map(|_| all_us);
    match connect_us {
        Some(_) => Phases { dns_us: hop.dns_us, connect_us, ..Phases::default() },
        None => *hop,
    }
}

/// Returns the host and the port of the proxy.
fn host_port(proxy: &Proxy) -> String {
    let host = proxy.url.host_str().unwrap_or_default();
    let port = proxy.url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
}

fn our_fault(text: String) -> Option<CheckFault> {
    Some(CheckFault { cause: Cause::Uplink, text })
}

fn site_fault(text: String) -> Option<CheckFault> {
    Some(CheckFault { cause: Cause::Connect, text })
}
