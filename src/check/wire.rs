//! What libcurl calls back while a hop is under way: the times that it does not keep for a hop
//! that fails, the header lines that we read, and the body within its bounds.

use std::ffi::c_void;
use std::ops::ControlFlow;
use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use curl::easy::{Handler, WriteError};
use rustix::io::Errno;
use socket2::Socket;
use url::Url;

use super::body::Body;
use super::certificate::{Handshake, SharedHandshake};
use super::raw::{self, Pool, SingleRequest};
use super::room::Held;
use super::stopped::Stopped;
use super::trust::Roots;
use crate::model::target::Target;

/// Values of `Set-Cookie` that are read of one reply at most, and how long each may be in bytes.
const COOKIES_MAX: usize = 64;
const COOKIE_BYTES_MAX: usize = 8 * 1024;

/// The receiving end of one hop.
pub struct Wire {
    /// When the hop was started; set anew just before libcurl begins with it.
    pub started: Instant,
    /// How long the name was looked up before libcurl began.
    pub looked: Duration,
    /// When the first socket was opened: the name is looked up.
    pub socket_after: Option<Duration>,
    /// Every socket was of the same family of addresses.
    pub one_family: bool,
    /// Of the first socket: AF_INET or AF_INET6.
    pub family: Option<i32>,
    /// When the TLS context was made: TCP is connected.
    pub tls_after: Option<Duration>,
    /// Of one that was only to connect: when it was connected, its proxy and TLS included.
    pub connected_after: Option<Duration>,
    /// Something of a reply has arrived.
    pub spoke: bool,
    /// Of a greeting: when its first byte came, and when it was over.
    pub greeted_after: Option<Duration>,
    pub over_after: Option<Duration>,
    /// What has arrived of the header.
    pub head: Head,
    /// What has arrived of the body.
    pub body: Body,
    /// Why we stopped reading, if we did.
    pub stopped: Option<Stopped>,
    /// Why no socket could be opened: trouble of this machine.
    pub no_socket: Option<std::io::Error>,
    /// More handles of the sockets to a proxy, which outlast libcurl's.
    to_proxy: Vec<Socket>,
    limits: Limits,
    roots: Option<Roots>,
    /// Notes of the handshake.
    handshake: SharedHandshake,
    /// Has the handle's connection, and outlives the handle that this belongs to.
    pub pool: Option<Rc<Pool>>,
    /// Lets the handle make one request, and outlives it likewise.
    pub single: Rc<SingleRequest>,
}

/// What is read of a reply.
#[derive(Debug, Clone)]
pub struct Limits {
    /// At most this much, decoded, in bytes.
    pub max_body: usize,
    /// Whether it is kept for the judge.
    pub keep: bool,
    /// Whose headers are asked for.
    pub target: Arc<Target>,
    /// The URL asked for, if a redirect from it is to be followed: its body is of no interest.
    pub follow: Option<Url>,
}

/// The header of a reply; of the last one, where interim ones (1xx) came before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: Option<u16>,
    /// Version of HTTP.
    pub http: Option<&'static str>,
    /// Where a redirect leads.
    pub location: Option<Vec<u8>>,
    /// What was done to the body (`Content-Encoding`): all values, with commas between them.
    pub codings: Vec<u8>,
    /// What a redirect sets: each value of `Set-Cookie`.
    pub cookies: Vec<Vec<u8>>,
    /// Name and value of those that an expression asks for.
    pub asked: Vec<(String, String)>,
    /// The empty line behind it has arrived.
    pub complete: bool,
}

impl Wire {
    /// For one hop. `roots`: what TLS verifies against; `pool`: keeps its connection; `single`:
    /// says whether it may make one.
    pub fn new(
        limits: Limits,
        roots: Option<Roots>,
        pool: Option<Rc<Pool>>,
        single: Rc<SingleRequest>,
        held: Held,
    ) -> Wire {
        let body = Body::new(limits.max_body, limits.keep, held);
        Wire {
            started: Instant::now(),
            looked: Duration::ZERO,
            socket_after: None,
            one_family: true,
            family: None,
            tls_after: None,
            connected_after: None,
            spoke: false,
            greeted_after: None,
            over_after: None,
            head: Head::default(),
            body,
            stopped: None,
            no_socket: None,
            to_proxy: Vec::new(),
            limits,
            roots,
            handshake: SharedHandshake::default(),
            pool,
            single,
        }
    }

    /// Takes the notes of the handshake; empty ones if there was none.
    pub fn take_handshake(&mut self) -> Handshake {
        std::mem::take(&mut self.handshake.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes that a proxy has acknowledged and sent, as in [`raw::traffic`]; 0 also where nobody can
    /// tell.
    pub fn proxy_traffic(&self) -> (u64, u64) {
        self.to_proxy.iter().filter_map(raw::traffic).max().unwrap_or_default()
    }

    /// Takes what was said first; false: no more is read of it.
    pub fn greeted(&mut self, bytes: &[u8]) -> bool {
        let after = self.started.elapsed();
        self.greeted_after.get_or_insert(after);
        self.spoke = true;
        self.write(bytes).is_ok_and(|taken| taken == bytes.len())
    }

    /// Drops what came: it was no reply of the site's.
    pub fn forget_reply(&mut self) {
        let held = self.body.take_held();
        self.body = Body::new(self.limits.max_body, self.limits.keep, held);
        self.head = Head::default();
    }
}

impl Head {
    /// Takes one line, with its end.
    fn line(&mut self, line: &[u8], target: &Target) {
        let line = line.trim_ascii_end();
        if self.complete && !self.is_interim() {
            // A trailer behind the body.
            return;
        }
        if line.starts_with(b"HTTP/") {
            *self = Head::default();
            let mut words = line.splitn(3, |byte| *byte == b' ');
            self.http = match words.next() {
                Some(b"HTTP/1.0") => Some("1.0"),
                Some(b"HTTP/1.1") => Some("1.1"),
                Some(b"HTTP/2") => Some("2"),
                _ => None,
            };
            self.status = words.next().and_then(status);
        } else if line.is_empty() {
            self.complete = true;
        } else if let Some((name, value)) = split(line) {
            let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
            // An empty one names no place: the reply is none that leads on.
            if is("location") && self.location.is_none() && !value.is_empty() {
                self.location = Some(value.to_vec());
            }
            let is_taken = self.cookies.len() < COOKIES_MAX && value.len() <= COOKIE_BYTES_MAX;
            if is("set-cookie") && self.is_redirect() && is_taken {
                self.cookies.push(value.to_vec());
            }
            if is("content-encoding") {
                self.codings.extend_from_slice(b",");
                self.codings.extend_from_slice(value);
            }
            if target.asks_for(name) {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                self.asked.push((text(name), text(value)));
            }
        }
    }

    fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status) && status != 101)
    }

    /// The status, once the whole header of a final reply has arrived.
    pub fn final_status(&self) -> Option<u16> {
        self.status.filter(|_| self.complete && !self.is_interim())
    }

    /// Whether its status is one of redirects that are followed.
    fn is_redirect(&self) -> bool {
        matches!(self.status, Some(301 | 302 | 303 | 307 | 308))
    }

    /// Where it leads from `here`, if it is a redirect; or why that is nowhere.
    pub fn leads(&self, here: &Url) -> Option<Result<Url, String>> {
        let location = self.location.as_deref()?;
        if !self.is_redirect() || self.final_status().is_none() {
            return None;
        }
        Some(match here.join(&ascii(location)) {
            Err(error) => Err(format!("redirect to a URL that is none: {error}")),
            Ok(next) if matches!(next.scheme(), "http" | "https") => Ok(next),
            Ok(next) => {
                Err(format!("redirect to {}: only http and https are followed", next.scheme()))
            }
        })
    }
}

/// A URL with every byte beyond ASCII percent-encoded, be it UTF-8 or not: the same bytes are asked
/// for as were sent.
fn ascii(url: &[u8]) -> String {
    use std::fmt::Write;
    url.iter().fold(String::with_capacity(url.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = match byte.is_ascii() {
            true => text.write_char(char::from(*byte)),
            false => write!(text, "%{byte:02X}"),
        };
        text
    })
}

/// A status code: three digits, 100 at least.
fn status(word: &[u8]) -> Option<u16> {
    match word {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => std::str::from_utf8(word).ok()?.parse().ok(),
        _ => None,
    }
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

impl Handler for Wire {
    fn header(&mut self, line: &[u8]) -> bool {
        self.spoke = true;
        self.head.line(line, &self.limits.target);
        if self.head.complete
            && let Some(here) = &self.limits.follow
            && let Some(Ok(_)) = self.head.leads(here)
        {
            self.stopped = Some(Stopped::Redirect);
        }
        // In HTTP/2 nothing can be switched to: libcurl refuses it.
        if self.head.final_status() == Some(101) && self.head.http != Some("2") {
            self.stopped = Some(Stopped::Switched);
        }
        self.stopped.is_none()
    }

    fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.spoke = true;
        let headers = &self.limits.target.headers;
        let own = headers.iter().find(|h| h.name.eq_ignore_ascii_case("accept-encoding"));
        let asked = own.map_or("", |own| own.value.0.as_str());
        if let ControlFlow::Break(why) = self.body.take(data, &self.head.codings, asked) {
            self.stopped = Some(why);
            return Ok(0);
        }
        Ok(data.len())
    }

    fn ssl_ctx(&mut self, context: *mut c_void) -> Result<(), curl::Error> {
        self.tls_after.get_or_insert_with(|| self.started.elapsed());
        let roots = self.roots.as_ref().map(|Roots(store)| store);
        if self.limits.target.connect.tls_legacy {
            raw::let_legacy_in(context);
        }
        let is_lent = roots.is_none_or(|store| raw::lend_store(context, store));
        match is_lent && raw::note_handshake(context, &self.handshake) {
            true => Ok(()),
            false => Err(curl::Error::new(curl_sys::CURLE_OUT_OF_MEMORY)),
        }
    }

    fn open_socket(
        &mut self,
        family: i32,
        socktype: i32,
        protocol: i32,
    ) -> Option<curl_sys::curl_socket_t> {
        if !self.single.permits_connection() {
            return None;
        }
        self.socket_after.get_or_insert_with(|| self.started.elapsed());
        self.one_family &= *self.family.get_or_insert(family) == family;
        match Socket::new(family.into(), socktype.into(), Some(protocol.into())) {
            Ok(socket) => {
                if self.limits.target.connect.proxy.is_some() {
                    // One that cannot be had is missed in a text alone.
                    self.to_proxy.extend(socket.try_clone());
                }
                Some(socket.into_raw_fd())
            }
            // A kind of address that this host does not know; it may have others.
            Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => None,
            Err(error) => {
                self.no_socket.get_or_insert(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[&str]) -> Head {
        let target = Target::new("t", Url::parse("http://here/").unwrap());
        let mut head = Head::default();
        for line in lines {
            head.line(line.as_bytes(), &target);
        }
        head
    }

    #[test]
    fn interim_replies_and_trailers_do_not_count() {
        let head = head(&[
            "HTTP/1.1 103 Early Hints\r\n",
            "Location: /wrong\r\n",
            "\r\n",
            "HTTP/1.1 302 Found\r\n",
            "location:  /right \r\n",
            "\r\n",
            "Location: /trailer\r\n",
        ]);
        assert_eq!(head.final_status(), Some(302));
        assert_eq!(head.location.as_deref(), Some(&b"/right"[..]));
        let here = Url::parse("http://here/").unwrap();
        assert_eq!(head.leads(&here).unwrap().unwrap().as_str(), "http://here/right");
    }

    #[test]
    fn a_location_is_taken_as_its_bytes() {
        let here = Url::parse("http://here/a/b").unwrap();
        let leads = |location: &[u8]| {
            let target = Target::new("t", here.clone());
            let mut head = Head::default();
            for line in [b"HTTP/1.1 301 Moved", &[b"Location: ", location].concat()[..], b""] {
                head.line(line, &target);
            }
            head.leads(&here).and_then(Result::ok).map(String::from)
        };
        for (location, want) in [
            (&b"/caf\xe9"[..], "http://here/caf%E9"),
            ("/café".as_bytes(), "http://here/caf%C3%A9"),
            (b"c\xff/\xc3?q=\xe9&\xc3\xa9", "http://here/a/c%FF/%C3?q=%E9&%C3%A9"),
            (b"/%E9\xe9%", "http://here/%E9%E9%"),
            ("http://bücher.test/ü#ü".as_bytes(), "http://xn--bcher-kva.test/%C3%BC#%C3%BC"),
        ] {
            assert_eq!(leads(location).as_deref(), Some(want), "{location:?}");
        }
        assert_eq!(leads(b"http://b\xfccher.test/"), None);
        assert_eq!(leads(b""), None);
    }

    #[test]
    fn a_header_that_is_cut_has_no_status() {
        assert_eq!(head(&["HTTP/2 200\r\n"]).final_status(), None);
        assert_eq!(head(&["HTTP/1.1 100 Continue\r\n", "\r\n"]).final_status(), None);
        assert_eq!(head(&["garbage\r\n", "\r\n"]).final_status(), None);
        for word in ["099", "20", "2000", "2x0", "+20", ""] {
            let line = format!("HTTP/1.1 {word} OK\r\n");
            assert_eq!(head(&[&line, "\r\n"]).final_status(), None, "{word}");
        }
    }
}
