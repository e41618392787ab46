//! Turns an error of libcurl into a fault: a cause, which depends on the phases reached, and a text for
//! people.

use curl_sys::CURLcode;
use rustix::io::Errno;

use super::handshake::Handshake;
use super::kernel_route::is_no_route;
use super::raw;
use crate::model::judge::CheckFault;
use crate::model::outcome::{Cause, Phases};
use crate::model::uplink::Silence;

/// CURLE_TOO_LARGE, not yet in curl-sys.
const TOO_LARGE: CURLcode = 100;

/// Makes the fault of a transfer that ended with the error `code`. For certificate faults the caller finds
/// the exact cause. `why` is libcurl's text, `errno` the system's error number. `has_route` is true if this
/// machine has a route to one of the addresses. `phases` are those that the hop has reached.
pub fn fault(
    code: CURLcode,
    why: &str,
    (errno, has_route): (i32, bool),
    phases: &Phases,
    timeout_ms: u128,
) -> CheckFault {
    let cause = cause(code, errno, has_route, phases);
    let text = match cause {
        Cause::Timeout => timeout_text(phases, timeout_ms),
        _ => text(cause, code, why, errno),
    };
    CheckFault { cause, text }
}

/// Returns the cause that the error `code` stands for.
fn cause(code: CURLcode, errno: i32, has_route: bool, phases: &Phases) -> Cause {
    match code {
        curl_sys::CURLE_COULDNT_RESOLVE_HOST => Cause::Dns,
        // Without a route of this machine the site is not at fault. With one, a router on the path has none,
        // or the site has several addresses and libcurl reports the error of the last.
        curl_sys::CURLE_COULDNT_CONNECT if !has_route && is_no_route(errno) => Cause::Uplink,
        curl_sys::CURLE_COULDNT_CONNECT if is_out_of_resources(errno) => Cause::Overload,
        curl_sys::CURLE_COULDNT_CONNECT if Errno::PERM.raw_os_error() == errno => Cause::Internal,
        curl_sys::CURLE_COULDNT_CONNECT => Cause::Connect,
        curl_sys::CURLE_SSL_CONNECT_ERROR | curl_sys::CURLE_SSL_CIPHER => Cause::Tls,
        curl_sys::CURLE_PEER_FAILED_VERIFICATION => Cause::Certificate,
        curl_sys::CURLE_OPERATION_TIMEDOUT => Cause::Timeout,
        // A reply that libcurl refuses, with any code, is the site's fault. (Replies that we refuse ourselves
        // do not come here.)
        curl_sys::CURLE_FAILED_INIT
        | curl_sys::CURLE_WRITE_ERROR
        | curl_sys::CURLE_BAD_FUNCTION_ARGUMENT
            if phases.transfer_us.is_some() =>
        {
            Cause::Protocol
        }
        curl_sys::CURLE_OUT_OF_MEMORY
        | curl_sys::CURLE_FAILED_INIT
        | curl_sys::CURLE_WRITE_ERROR
        | curl_sys::CURLE_ABORTED_BY_CALLBACK
        | curl_sys::CURLE_BAD_FUNCTION_ARGUMENT
        | curl_sys::CURLE_UNKNOWN_OPTION
        | curl_sys::CURLE_INTERFACE_FAILED
        | curl_sys::CURLE_SSL_ENGINE_NOTFOUND
        | curl_sys::CURLE_SSL_ENGINE_SETFAILED
        | curl_sys::CURLE_SSL_ENGINE_INITFAILED
        | curl_sys::CURLE_SSL_CERTPROBLEM
        | curl_sys::CURLE_SSL_CACERT_BADFILE => Cause::Internal,
        // libcurl may report a reset in the TLS handshake as an error of reading.
        curl_sys::CURLE_RECV_ERROR | curl_sys::CURLE_SEND_ERROR if in_handshake(phases) => {
            Cause::Tls
        }
        _ => Cause::Protocol,
    }
}

/// Returns the text for people: ours where we have a better one, else libcurl's.
fn text(cause: Cause, code: CURLcode, why: &str, errno: i32) -> String {
    match (cause, code) {
        (Cause::Dns, _) => {
            let name = why.rsplit(": ").next().unwrap_or_default();
            format!("cannot find an address of {name}")
        }
        (_, curl_sys::CURLE_COULDNT_CONNECT) => cannot_connect(why, errno),
        (Cause::Tls, _) => format!("TLS handshake failed: {}", tls_words(why)),
        (Cause::Protocol, _) if why.contains("SSL_read") || why.contains("SSL_write") => {
            format!("TLS failed: {}", tls_words(why))
        }
        (_, curl_sys::CURLE_UNSUPPORTED_PROTOCOL) => "the reply is not HTTP".to_owned(),
        (_, curl_sys::CURLE_FTP_WEIRD_SERVER_REPLY) => {
            format!("the reply is not HTTP: {}", plain(why))
        }
        (_, curl_sys::CURLE_GOT_NOTHING) => "the connection was closed without a reply".to_owned(),
        (_, curl_sys::CURLE_PARTIAL_FILE) => format!("the body was cut: {}", plain(why)),
        (_, curl_sys::CURLE_BAD_CONTENT_ENCODING) => {
            format!("cannot decode the body: {}", plain(why.rsplit(": ").next().unwrap_or(why)))
        }
        (_, TOO_LARGE) if why.contains("Too many response headers") => {
            "the header is too large: more than 5000 lines".to_owned()
        }
        (_, TOO_LARGE) => "the header is too large: more than 100 kB in a line".to_owned(),
        (_, curl_sys::CURLE_RECV_ERROR) if why.contains("Too large response headers") => {
            "the header is too large: more than 300 kB, or 6 MB with interim replies".to_owned()
        }
        _ => plain(why),
    }
}

/// Makes the fault of a socket that this machine could not open.
pub fn socket_fault(error: &std::io::Error) -> CheckFault {
    let errno = error.raw_os_error().unwrap_or_default();
    let cause = if is_out_of_resources(errno) { Cause::Overload } else { Cause::Internal };
    CheckFault { cause, text: format!("cannot open a socket: {error}") }
}

/// Returns the fault of a site that refused us with a TLS alert before it has replied. The alert may come
/// after the handshake: in TLS 1.3 our side has finished before the site looks at the client certificate.
pub fn alert_fault(handshake: &Handshake, phases: &Phases) -> Option<CheckFault> {
    /// Alerts for a missing client certificate before TLS 1.3: handshake failure, bad certificate.
    const MISSES: [u8; 2] = [40, 42];
    /// Alert for a missing client certificate in TLS 1.3: certificate required (RFC 8446, 6.2).
    const REQUIRES: u8 = 116;
    /// Alert about the protocol version; [`tls_words`] has a better text for it.
    const VERSION: u8 = 70;
    let alert = handshake.alert.filter(|alert| *alert != VERSION && is_unanswered(phases))?;
    let misses = handshake.lacks_certificate && MISSES.contains(&alert);
    let why = match misses || alert == REQUIRES {
        true => "the site asks for a client certificate".to_owned(),
        false => format!("the site refused: {}", raw::alert_words(alert)),
    };
    Some(CheckFault { cause: Cause::Tls, text: format!("TLS handshake failed: {why}") })
}

/// Returns who did not answer: the name servers, or the path to the site. None if somebody answered; a
/// refusal or a reset is an answer. Our own network may be the reason for a silence.
pub fn silence(code: CURLcode, errno: i32, phases: &Phases) -> Option<Silence> {
    match code {
        curl_sys::CURLE_COULDNT_RESOLVE_HOST => Some(Silence::NameServers),
        curl_sys::CURLE_COULDNT_CONNECT if errno != Errno::CONNREFUSED.raw_os_error() => {
            Some(Silence::Path)
        }
        curl_sys::CURLE_OPERATION_TIMEDOUT
            if phases.dns_us.is_some() && phases.connect_us.is_none() =>
        {
            Some(Silence::NameServers)
        }
        curl_sys::CURLE_OPERATION_TIMEDOUT => Some(Silence::Path),
        _ => None,
    }
}

/// Returns true if the error number means that this machine is out of ports, descriptors or memory.
pub fn is_out_of_resources(errno: i32) -> bool {
    let all = [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    all.iter().any(|of| of.raw_os_error() == errno)
}

/// Adapts libcurl's text to our style: `Recv failure: Connection reset by peer.` becomes `connection reset by
/// peer`. A first word in capitals stays: `HTTP/2 stream 1 was reset`.
fn plain(why: &str) -> String {
    let why = why.trim().trim_end_matches('.');
    let why = ["Recv failure: ", "Send failure: "]
        .iter()
        .find_map(|p| why.strip_prefix(p))
        .unwrap_or(why);
    let mut chars = why.chars();
    let first = chars.next();
    let is_proper = chars.clone().next().is_some_and(|second| second.is_ascii_uppercase());
    let first = if is_proper { first } else { first.map(|first| first.to_ascii_lowercase()) };
    first.into_iter().chain(chars).collect()
}

/// Makes a text for people from OpenSSL's reason, the last part of a text of libcurl like `TLS connect error:
/// error:0A000126:SSL routines::unexpected eof while reading, errno 0`.
fn tls_words(why: &str) -> String {
    let Some((_, reason)) = why.rsplit_once("::") else { return plain(why) };
    let reason = reason.split(", errno").next().unwrap_or_default().trim();
    let ours = [
        ("unexpected eof", "the connection was closed"),
        ("wrong version number", "the answer is not TLS"),
        ("packet length too long", "the answer is not TLS"),
        ("unsupported protocol", "no version in common: only TLS 1.2 and 1.3 are supported"),
        ("alert protocol version", "no version in common: only TLS 1.2 and 1.3 are supported"),
        (
            "unsafe legacy renegotiation disabled",
            "the site knows no secure renegotiation (RFC 5746): set tls_legacy to allow it",
        ),
    ];
    if let Some((_, words)) = ours.iter().find(|(theirs, _)| reason.contains(theirs)) {
        return (*words).to_owned();
    }
    // For example `tlsv1 alert internal error`, `tlsv1 unrecognized name`.
    let alert = ["ssl/tls alert ", "sslv3 alert ", "tlsv1 alert ", "tlsv13 alert ", "tlsv1 "];
    match alert.iter().find_map(|prefix| reason.strip_prefix(prefix)) {
        Some(alert) => format!("the site refused: {alert}"),
        None => plain(reason),
    }
}

/// Rewrites libcurl's `Failed to connect to HOST:PORT after N ms: Could not connect to server`: the system's
/// words take the place of the last part.
fn cannot_connect(why: &str, errno: i32) -> String {
    let place = why.strip_prefix("Failed to connect to ").and_then(|rest| {
        let (place, _) = rest.split_once(" after ")?;
        Some(place.replace(" port ", ":"))
    });
    match (place, system_words(errno)) {
        (Some(place), Some(system)) => format!("cannot connect to {place}: {system}"),
        (Some(place), None) => format!("cannot connect to {place}"),
        (None, _) => plain(why),
    }
}

/// Returns the system's words for an error, such as `connection refused`; none for 0.
pub fn system_words(errno: i32) -> Option<String> {
    let system = std::io::Error::from_raw_os_error(errno).to_string();
    let words = system.split(" (os error").next().unwrap_or_default().to_lowercase();
    (errno != 0).then_some(words)
}

/// Returns the text for a deadline that has passed; names the phase in which that happened.
fn timeout_text(phases: &Phases, timeout_ms: u128) -> String {
    let doing = match phases.named().iter().rfind(|(_, us)| us.is_some()) {
        Some(("dns", _)) => "looking up the name",
        Some(("connect", _)) => "connecting",
        Some(("tls", _)) => "in the TLS handshake",
        Some(("first byte", _)) => "waiting for the first byte",
        Some(("transfer", _)) => "reading the reply",
        _ => "starting",
    };
    format!("no reply within {timeout_ms} ms: {doing}")
}

fn in_handshake(phases: &Phases) -> bool {
    phases.tls_us.is_some() && phases.first_byte_us.is_none()
}

fn is_unanswered(phases: &Phases) -> bool {
    phases.tls_us.is_some() && phases.transfer_us.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: CURLcode, why: &str) -> String {
        let phases = Phases { transfer_us: Some(1), ..Phases::default() };
        fault(code, why, (0, true), &phases, 1).text
    }

    #[test]
    fn texts_begin_with_a_small_letter_unless_the_word_has_capitals() {
        let http2 = "HTTP/2 stream 1 was not closed cleanly: REFUSED_STREAM (err 7)";
        assert_eq!(text(curl_sys::CURLE_HTTP2, http2), http2);
        let tls = "TLS cert problem: no such file.";
        assert_eq!(text(curl_sys::CURLE_HTTP2, tls), "TLS cert problem: no such file");
        for (why, want) in [
            ("Recv failure: Connection reset by peer", "connection reset by peer"),
            ("Send failure: Broken pipe", "broken pipe"),
            ("A header is odd.", "a header is odd"),
            ("", ""),
        ] {
            assert_eq!(text(curl_sys::CURLE_RECV_ERROR, why), want);
        }
    }

    #[test]
    fn a_header_that_is_too_large_says_in_which_way() {
        for (code, why, want) in [
            (TOO_LARGE, "", "more than 100 kB in a line"),
            (TOO_LARGE, "Too many response headers, 5000 is max", "more than 5000 lines"),
            (curl_sys::CURLE_RECV_ERROR, "Too large response headers: 307258 > 307200", "300 kB"),
        ] {
            let text = text(code, why);
            assert!(text.starts_with("the header is too large: ") && text.contains(want), "{text}");
        }
    }

    #[test]
    fn a_reply_that_libcurl_refuses_is_the_sites_fault() {
        let answered = Phases { transfer_us: Some(1), ..Phases::default() };
        for code in [
            curl_sys::CURLE_WRITE_ERROR,
            curl_sys::CURLE_BAD_FUNCTION_ARGUMENT,
            curl_sys::CURLE_FAILED_INIT,
            curl_sys::CURLE_BAD_CONTENT_ENCODING,
        ] {
            let cause = fault(code, "Odd", (0, true), &answered, 1).cause;
            assert_eq!(cause, Cause::Protocol, "{code}");
        }
        let unanswered = Phases::default();
        let cause = fault(curl_sys::CURLE_FAILED_INIT, "Odd", (0, true), &unanswered, 1).cause;
        assert_eq!(cause, Cause::Internal);
    }
}
