//! Faults of a hop through a proxy: whether the site or our side is at fault, and the words for it. The
//! site is at fault if the proxy answers that it cannot reach the site. Our side is at fault if the proxy
//! does not answer, or refuses us.

use std::ffi::c_long;

use curl::easy::Easy2;
use curl_sys::CURLcode;
use rustix::io::Errno;

use super::callbacks::Wire;
use super::fault::{is_no_means, system_words};
use super::raw;
use crate::model::connect::Proxy;
use crate::model::judge::Fault;
use crate::model::outcome::{Cause, Phases};

/// CURLE_PROXY, not yet in curl-sys.
const PROXY: CURLcode = 97;

/// Way in which a proxy is asked for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// CONNECT of HTTP: the proxy answers before anything of the site can come.
    Connect,
    /// SOCKS 5 (RFC 1928): a greeting, a login if the proxy wants one, a request.
    Socks,
    /// Request with the whole URL, for `http://` sites: the proxy's answer is the site's reply.
    Forward,
}

/// Signs of how far a hop through a proxy came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signs {
    /// TCP was connected to the proxy.
    pub is_connected: bool,
    /// Bytes that the proxy sent in all; its close may count as one more.
    pub received: u64,
    /// Status of the proxy's answer to CONNECT; 0 if none came.
    pub status: u32,
    /// Error of SOCKS: a `CURLproxycode` of curl/curl.h; 0 if none.
    pub socks: c_long,
    /// Last error of the system (errno); 0 if none.
    pub errno: i32,
}

impl Signs {
    /// Reads the signs from a transfer that has ended.
    pub fn of(easy: &mut Easy2<Wire>) -> Signs {
        let (acknowledged, received) = easy.get_ref().proxy_traffic();
        Signs {
            // libcurl's own connect time is that of the whole way, through the proxy.
            is_connected: acknowledged > 0,
            received,
            status: easy.http_connectcode().unwrap_or_default(),
            socks: raw::proxy_error(easy),
            errno: raw::os_errno(easy),
        }
    }

    /// Returns true if the proxy has sent something. One byte may be no more than its close.
    fn is_answered(&self) -> bool {
        self.received >= 2
    }
}

/// Failed hop through a proxy.
pub struct Failure<'a> {
    /// Proxy of the hop.
    pub proxy: &'a Proxy,
    /// Way in which the proxy was asked.
    pub ask: Ask,
    /// Error code of libcurl.
    pub code: CURLcode,
    /// Signs of how far the hop came.
    pub signs: Signs,
    /// Phases that the hop reached.
    pub phases: &'a Phases,
    /// Timeout of the target, in milliseconds.
    pub timeout_ms: u128,
}

impl Failure<'_> {
    /// Returns the fault if the proxy caused it or reported it.
    pub fn fault(&self) -> Option<Fault> {
        let is_asked = self.phases.tls_us.is_some() || self.phases.first_byte_us.is_some();
        match self.ask {
            Ask::Forward if is_asked => self.forward(),
            _ if is_asked => None,
            _ => self.before(),
        }
    }

    /// Returns the fault of a hop that failed before the way through the proxy was open.
    fn before(&self) -> Option<Fault> {
        let Signs { is_connected, status, errno, .. } = self.signs;
        let (place, ms) = (place(self.proxy), self.timeout_ms);
        let no_means = is_no_means(errno) || errno == Errno::PERM.raw_os_error();
        match (self.code, status) {
            (_, 502..=504) => {
                site(format!("the proxy {place} cannot connect to the site: status {status}"))
            }
            (_, 407) => wants_login(self.proxy),
            (_, 300..) => ours(format!("the proxy {place} refuses: status {status}")),
            (curl_sys::CURLE_COULDNT_RESOLVE_PROXY, _) => {
                ours(format!("cannot find an address of the proxy {place}"))
            }
            (curl_sys::CURLE_OPERATION_TIMEDOUT, _) if self.phases.connect_us.is_none() => {
                ours(format!("cannot find an address of the proxy {place} within {ms} ms"))
            }
            (curl_sys::CURLE_OPERATION_TIMEDOUT, _) if !is_connected => {
                ours(format!("cannot connect to the proxy {place} within {ms} ms"))
            }
            (curl_sys::CURLE_OPERATION_TIMEDOUT, _) => Some(self.unanswered()),
            (curl_sys::CURLE_COULDNT_CONNECT, _) if !is_connected && no_means => None,
            (curl_sys::CURLE_COULDNT_CONNECT, _) if !is_connected => {
                let why = system_words(errno).map(|why| format!(": {why}")).unwrap_or_default();
                ours(format!("cannot connect to the proxy {place}{why}"))
            }
            // The proxy reset the connection before we could use it.
            (curl_sys::CURLE_COULDNT_CONNECT, _) if !self.signs.is_answered() => {
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
            ) => Some(self.misspoken()),
            (PROXY, _) => self.refused(),
            _ => None,
        }
    }

    /// Returns the fault of a hop whose proxy was asked for a whole URL. An answer counts as the site's.
    fn forward(&self) -> Option<Fault> {
        let place = place(self.proxy);
        match self.code {
            curl_sys::CURLE_UNSUPPORTED_PROTOCOL => Some(self.misspoken()),
            _ if self.signs.is_answered() => None,
            curl_sys::CURLE_OPERATION_TIMEDOUT => {
                let ms = self.timeout_ms;
                let text = format!(
                    "no reply within {ms} ms: the proxy {place} did not answer the request"
                );
                Some(Fault { cause: Cause::Timeout, text })
            }
            curl_sys::CURLE_RECV_ERROR
            | curl_sys::CURLE_SEND_ERROR
            | curl_sys::CURLE_GOT_NOTHING => Some(self.closed()),
            _ => None,
        }
    }

    /// Returns the fault for a deadline that passed while the proxy was asked. A SOCKS proxy that has
    /// answered our greeting, and the login if there is one, works: then it may be waiting for the site.
    fn unanswered(&self) -> Fault {
        let (place, ms, received) = (place(self.proxy), self.timeout_ms, self.signs.received);
        let text = match (self.ask, &self.proxy.login) {
            (Ask::Socks, _) if received < 2 => {
                format!("the proxy {place} did not answer the SOCKS greeting within {ms} ms")
            }
            (Ask::Socks, Some(_)) if received < 4 => {
                format!("the proxy {place} did not answer the SOCKS login within {ms} ms")
            }
            (Ask::Socks, _) => {
                let text = format!(
                    "no reply within {ms} ms: the proxy {place} did not answer the SOCKS request"
                );
                return Fault { cause: Cause::Timeout, text };
            }
            _ if received < 2 => {
                format!("the proxy {place} did not answer CONNECT within {ms} ms")
            }
            _ => format!("the proxy {place} did not answer CONNECT with HTTP within {ms} ms"),
        };
        Fault { cause: Cause::Uplink, text }
    }

    fn closed(&self) -> Fault {
        let place = place(self.proxy);
        // A SOCKS proxy may have answered the greeting, but it has not answered the request.
        let text = match self.signs.is_answered() && self.ask != Ask::Socks {
            true => format!("the proxy {place} closed the connection in the middle of its answer"),
            false => format!("the proxy {place} closed the connection without an answer"),
        };
        Fault { cause: Cause::Uplink, text }
    }

    fn misspoken(&self) -> Fault {
        let place = place(self.proxy);
        let wanted = if self.ask == Ask::Socks { "SOCKS 5" } else { "HTTP" };
        Fault {
            cause: Cause::Uplink,
            text: format!("the answer of the proxy {place} is not {wanted}"),
        }
    }

    /// Returns the fault that a SOCKS answer stands for. The numbers of such an answer (RFC 1928, 6) are
    /// understood as the common servers use them:
    ///
    /// | number | microsocks (`connect_socks_target`) | Dante (`errno2reply`) | whose fault |
    /// | --- | --- | --- | --- |
    /// | 1 | no address of the name, or any other error | any other error | nobody can tell: ours |
    /// | 2 | before a login | its rules forbid it | ours |
    /// | 3 | `ENETUNREACH`, `ENETDOWN` | the same, or no address to send from | its network's: ours |
    /// | 4 | `EHOSTUNREACH` | `EHOSTUNREACH`, `EHOSTDOWN` | the site's |
    /// | 5 | `ECONNREFUSED` | `ECONNREFUSED`, `ECONNRESET` | the site's |
    /// | 6 | `ETIMEDOUT` | `ETIMEDOUT` | the site's |
    /// | 7 | other commands than CONNECT | not allowed | ours |
    /// | 8 | no such family of addresses there | no such family | ours |
    ///
    /// OpenSSH (`ssh -D`) answers 0 before it has tried to connect, and closes if it cannot: then the site
    /// seems to have closed the connection.
    fn refused(&self) -> Option<Fault> {
        let place = place(self.proxy);
        let cannot =
            |why: &str| site(format!("the proxy {place} cannot connect to the site: {why}"));
        let refuses = |why: &str| ours(format!("the proxy {place} refuses: {why}"));
        // Numbers of libcurl's `CURLproxycode`, not of SOCKS.
        match self.signs.socks {
            21 => cannot("host unreachable (SOCKS 4)"),
            19 => cannot("connection refused (SOCKS 5)"),
            24 => cannot("no answer (SOCKS 6)"),
            20 => refuses("no address of the name, or another error (SOCKS 1)"),
            23 => refuses("not allowed (SOCKS 2)"),
            22 => refuses("network unreachable (SOCKS 3)"),
            18 => refuses("command not supported (SOCKS 7)"),
            17 => refuses("kind of address not supported (SOCKS 8)"),
            25 => refuses("a number that SOCKS does not know"),
            // The proxy takes none of our login methods (12), or not our password (33).
            12 | 33 => wants_login(self.proxy),
            // CURLPX_BAD_ADDRESS_TYPE, _BAD_VERSION, _UNKNOWN_MODE.
            1 | 2 | 32 => Some(self.misspoken()),
            // CURLPX_CLOSED, and failures to read or send at any step.
            3 | 13..=16 | 28..=30 => Some(self.closed()),
            // CURLPX_RESOLVE_HOST: libcurl could not look the site's name up.
            27 => None,
            number => refuses(&format!("error {number} of SOCKS")),
        }
    }
}

/// Returns the fault of a proxy that wants a login, or another one than ours.
pub fn wants_login(proxy: &Proxy) -> Option<Fault> {
    ours(format!("the proxy {} wants another login", place(proxy)))
}

/// Returns the phases of a hop that came no further than its proxy: all time after the lookup counts as
/// the connect phase.
pub fn folded(hop: &Phases) -> Phases {
    let all_us = hop.total_us() - hop.dns_us.unwrap_or_default();
    let connect_us = hop.connect_us.map(|_| all_us);
    match connect_us {
        Some(_) => Phases { dns_us: hop.dns_us, connect_us, ..Phases::default() },
        None => *hop,
    }
}

/// Returns host and port of the proxy.
fn place(proxy: &Proxy) -> String {
    let host = proxy.url.host_str().unwrap_or_default();
    let port = proxy.url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
}

fn ours(text: String) -> Option<Fault> {
    Some(Fault { cause: Cause::Uplink, text })
}

fn site(text: String) -> Option<Fault> {
    Some(Fault { cause: Cause::Connect, text })
}
