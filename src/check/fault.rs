//! What libcurl's error means for the site: the cause, by phase, and why, for people.

use curl_sys::CURLcode;

use crate::model::judge::Fault;
use crate::model::outcome::{Cause, Phases};

/// The fault of a transfer that ended with `code`; certificate faults are told apart by the
/// caller. `why` is libcurl's text, `phases` what the check has behind it.
pub fn fault(code: CURLcode, why: &str, errno: i32, phases: &Phases, timeout_ms: u128) -> Fault {
    let cause = match code {
        curl_sys::CURLE_COULDNT_RESOLVE_HOST => Cause::Dns,
        curl_sys::CURLE_COULDNT_CONNECT => Cause::Connect,
        curl_sys::CURLE_SSL_CONNECT_ERROR | curl_sys::CURLE_SSL_CIPHER => Cause::Tls,
        curl_sys::CURLE_PEER_FAILED_VERIFICATION => Cause::Certificate,
        curl_sys::CURLE_OPERATION_TIMEDOUT => return timeout(phases, timeout_ms),
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
        | curl_sys::CURLE_SSL_CACERT_BADFILE => Cause::Internal,
        // A reset in the handshake may come as an error of reading.
        curl_sys::CURLE_RECV_ERROR | curl_sys::CURLE_SEND_ERROR if in_handshake(phases) => {
            Cause::Tls
        }
        _ => Cause::Protocol,
    };
    let text = match cause {
        Cause::Connect => cannot_connect(why, errno),
        _ => why.trim().trim_end_matches('.').to_owned(),
    };
    Fault { cause, text }
}

/// libcurl's `Failed to connect to HOST:PORT after N ms: Could not connect to server`, with what
/// the system says instead of the last part.
fn cannot_connect(why: &str, errno: i32) -> String {
    let place = why.strip_prefix("Failed to connect to ").and_then(|rest| {
        let (place, _) = rest.split_once(" after ")?;
        Some(place.replace(" port ", ":"))
    });
    let system = std::io::Error::from_raw_os_error(errno).to_string();
    let system = system.split(" (os error").next().unwrap_or_default().to_lowercase();
    match place {
        Some(place) if errno != 0 => format!("cannot connect to {place}: {system}"),
        Some(place) => format!("cannot connect to {place}"),
        None => why.trim().to_owned(),
    }
}

/// Our deadline came; the last phase that was begun tells in what.
fn timeout(phases: &Phases, timeout_ms: u128) -> Fault {
    let doing = match phases.named().iter().rfind(|(_, us)| us.is_some()) {
        Some(("dns", _)) => "looking up the name",
        Some(("connect", _)) => "connecting",
        Some(("tls", _)) => "in the TLS handshake",
        Some(("first byte", _)) => "waiting for the first byte",
        Some(("transfer", _)) => "reading the reply",
        _ => "starting",
    };
    Fault { cause: Cause::Timeout, text: format!("no reply within {timeout_ms} ms: {doing}") }
}

fn in_handshake(phases: &Phases) -> bool {
    phases.tls_us.is_some() && phases.first_byte_us.is_none()
}
