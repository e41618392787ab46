//! Callbacks that libcurl makes during a hop. They note the times that libcurl does not keep for a hop that
//! fails, and take the header and the body as they arrive.

use std::ffi::c_void;
use std::ops::ControlFlow;
use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use curl::easy::{Handler, WriteError};
use rustix::io::Errno;
use socket2::Socket;
use url::Url;

use super::body::Body;
use super::budget::Permit;
use super::handshake::{Handshake, SharedHandshake};
use super::header::ReplyHeader;
use super::raw::{self, ConnectionShare, SingleRequest};
use super::stop_reason::StopReason;
use super::trust::Roots;
use crate::model::judge::CheckFault;
use crate::model::outcome::Cause;
use crate::model::target::Target;

/// Callbacks of one hop, with their notes.
pub struct TransferCallbacks {
    /// Start of the hop; set once more just before libcurl begins. libcurl's own clock starts after that:
    /// much later, if this thread loses its processor in between.
    pub started: Instant,
    /// Time that our lookup of the name took, before libcurl began.
    pub lookup_time: Duration,
    /// Time at which the first socket was opened: by then the name has been looked up.
    pub socket_at: Option<Instant>,
    /// True if all sockets so far have the same address family.
    pub has_one_family: bool,
    /// Address family of the first socket: AF_INET or AF_INET6.
    pub family: Option<i32>,
    /// Time at which the TLS context was made: by then TCP is connected.
    pub tls_at: Option<Instant>,
    /// Time at which a hop without HTTP (`tcp`) was connected, through its proxy and with TLS.
    pub connected_at: Option<Instant>,
    /// True once a byte of the reply has arrived.
    pub has_bytes: bool,
    /// Time at which the first byte of a greeting arrived.
    pub greeting_began_at: Option<Instant>,
    /// Time at which the greeting was over.
    pub greeting_ended_at: Option<Instant>,
    /// The part of the header that has arrived.
    pub header: ReplyHeader,
    /// The part of the body that has arrived.
    pub body: Body,
    /// Reason why we stopped reading the reply; none if we did not.
    pub stop_reason: Option<StopReason>,
    /// First error of a socket that could not be opened: a fault of this machine.
    pub no_socket: Option<std::io::Error>,
    /// Duplicates of the sockets to a proxy. They stay open after libcurl has closed its own, so that the
    /// bytes on them can be counted.
    to_proxy: Vec<Socket>,
    limits: ReadLimits,
    roots: Option<Roots>,
    /// Notes of the handshake.
    handshake: SharedHandshake,
    /// Share that keeps the connection open for the next check. It outlives the handle that owns this value.
    pub share: Option<Rc<ConnectionShare>>,
    /// Limit of the handle to one request. It outlives the handle too.
    pub single: Rc<SingleRequest>,
}

/// Bounds and rules for reading a reply.
#[derive(Debug, Clone)]
pub struct ReadLimits {
    /// Most bytes of the body to read, counted after decoding.
    pub max_body: usize,
    /// Store the body for the judge.
    pub stores_body: bool,
    /// Target of the check; its expressions say which headers to keep.
    pub target: Arc<Target>,
    /// URL of the request, if a redirect will be followed: the body of the redirect is then not read. None if
    /// no redirect will be followed.
    pub redirect_base: Option<Url>,
}

impl TransferCallbacks {
    /// Makes the callbacks of one hop. TLS verifies the site with `roots`. `share` keeps the connection open,
    /// and `single` says whether the hop may open a new one.
    pub fn new(
        limits: ReadLimits,
        roots: Option<Roots>,
        share: Option<Rc<ConnectionShare>>,
        single: Rc<SingleRequest>,
        permit: Permit,
    ) -> TransferCallbacks {
        let body = Body::new(limits.max_body, limits.stores_body, permit);
        let chains = roots.as_ref().map(|roots| Arc::clone(&roots.chains));
        let handshake = Handshake { chains, ..Handshake::default() };
        TransferCallbacks {
            started: Instant::now(),
            lookup_time: Duration::ZERO,
            socket_at: None,
            has_one_family: true,
            family: None,
            tls_at: None,
            connected_at: None,
            has_bytes: false,
            greeting_began_at: None,
            greeting_ended_at: None,
            header: ReplyHeader::default(),
            body,
            stop_reason: None,
            no_socket: None,
            to_proxy: Vec::new(),
            limits,
            roots,
            handshake: Arc::new(Mutex::new(handshake)),
            share,
            single,
        }
    }

    /// Takes the notes of the handshake; they are empty without a handshake.
    pub fn take_handshake(&mut self) -> Handshake {
        std::mem::take(&mut self.handshake.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of bytes that the proxy has acknowledged, and of those that the proxy has sent, as
    /// [`raw::traffic`] counts them; 0 for both if the kernel does not count.
    pub fn proxy_traffic(&self) -> (u64, u64) {
        self.to_proxy.iter().filter_map(raw::traffic).max().unwrap_or_default()
    }

    /// Takes bytes of the greeting. Returns false once enough of the greeting has been read.
    pub fn take_greeting(&mut self, bytes: &[u8]) -> bool {
        self.greeting_began_at.get_or_insert_with(Instant::now);
        self.has_bytes = true;
        self.write(bytes).is_ok_and(|taken| taken == bytes.len())
    }

    /// Returns the fault of a reply whose compressed body was cut; none if the body is whole.
    pub fn cut_fault(&self) -> Option<CheckFault> {
        // A 206 carries a part of the body: the stream may end anywhere.
        if !self.body.is_cut() || self.header.status == Some(206) {
            return None;
        }
        let text = "the body was cut: it ends in the middle of its compressed stream";
        Some(CheckFault { cause: Cause::Protocol, text: text.to_owned() })
    }

    /// Drops the header and the body that have arrived, since they came from the proxy and not from the site.
    pub fn forget_reply(&mut self) {
        let permit = self.body.take_permit();
        self.body = Body::new(self.limits.max_body, self.limits.stores_body, permit);
        self.header = ReplyHeader::default();
    }
}

impl Handler for TransferCallbacks {
    fn header(&mut self, line: &[u8]) -> bool {
        self.has_bytes = true;
        self.header.read_line(line, &self.limits.target);
        if self.header.complete
            && let Some(here) = &self.limits.redirect_base
            && let Some(Ok(_)) = self.header.redirect_url(here)
        {
            self.stop_reason = Some(StopReason::Redirect);
        }
        // Not in HTTP/2, which cannot switch to another protocol: there libcurl refuses a 101.
        if self.header.final_status() == Some(101) && self.header.http != Some("2") {
            self.stop_reason = Some(StopReason::Switched);
        }
        self.stop_reason.is_none()
    }

    fn write(&mut self, data: &[u8]) -> Result<usize, WriteError> {
        self.has_bytes = true;
        let headers = &self.limits.target.headers;
        let own = headers.iter().find(|h| h.name.eq_ignore_ascii_case("accept-encoding"));
        let asked = own.map_or("", |own| own.value.0.as_str());
        if let ControlFlow::Break(why) = self.body.take(data, &self.header.codings, asked) {
            self.stop_reason = Some(why);
            return Ok(0);
        }
        Ok(data.len())
    }

    fn ssl_ctx(&mut self, context: *mut c_void) -> Result<(), curl::Error> {
        self.tls_at.get_or_insert_with(Instant::now);
        let roots = self.roots.as_ref().map(|roots| &roots.store);
        if self.limits.target.connect.tls_legacy {
            raw::allow_legacy_renegotiation(context);
        }
        let is_lent = roots.is_none_or(|store| raw::set_roots(context, store));
        match is_lent && raw::record_handshake(context, &self.handshake) {
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
        self.socket_at.get_or_insert_with(Instant::now);
        self.has_one_family &= *self.family.get_or_insert(family) == family;
        match Socket::new(family.into(), socktype.into(), Some(protocol.into())) {
            Ok(socket) => {
                if self.limits.target.connect.proxy.is_some() {
                    // A socket that cannot be duplicated only makes the text of a fault less exact.
                    self.to_proxy.extend(socket.try_clone());
                }
                Some(socket.into_raw_fd())
            }
            // The kernel does not know this address family: libcurl tries the site's other addresses.
            Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => None,
            Err(error) => {
                self.no_socket.get_or_insert(error);
                None
            }
        }
    }
}
