//! What libcurl calls back while a hop is under way: the times that it does not keep for a hop
//! that fails, and the header and the body as they arrive.

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
use super::certificate::{Handshake, SharedHandshake};
use super::head::Head;
use super::raw::{self, Pool, SingleRequest};
use super::room::Held;
use super::stopped::Stopped;
use super::trust::Roots;
use crate::model::judge::Fault;
use crate::model::outcome::Cause;
use crate::model::target::Target;

/// The receiving end of one hop.
pub struct Wire {
    /// When the hop was started; set anew just before libcurl begins with it. Its own clock begins
    /// later, and much later where this thread loses its processor in between.
    pub started: Instant,
    /// How long the name was looked up before libcurl began.
    pub looked: Duration,
    /// When the first socket was opened: the name is looked up.
    pub socket_at: Option<Instant>,
    /// Every socket was of the same family of addresses.
    pub one_family: bool,
    /// Of the first socket: AF_INET or AF_INET6.
    pub family: Option<i32>,
    /// When the TLS context was made: TCP is connected.
    pub tls_at: Option<Instant>,
    /// Of one that was only to connect: when it was connected, its proxy and TLS included.
    pub connected_at: Option<Instant>,
    /// Something of a reply has arrived.
    pub spoke: bool,
    /// Of a greeting: when its first byte came, and when it was over.
    pub greeted_at: Option<Instant>,
    pub over_at: Option<Instant>,
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
        let chains = roots.as_ref().map(|roots| Arc::clone(&roots.chains));
        let handshake = Handshake { chains, ..Handshake::default() };
        Wire {
            started: Instant::now(),
            looked: Duration::ZERO,
            socket_at: None,
            one_family: true,
            family: None,
            tls_at: None,
            connected_at: None,
            spoke: false,
            greeted_at: None,
            over_at: None,
            head: Head::default(),
            body,
            stopped: None,
            no_socket: None,
            to_proxy: Vec::new(),
            limits,
            roots,
            handshake: Arc::new(Mutex::new(handshake)),
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
        self.greeted_at.get_or_insert_with(Instant::now);
        self.spoke = true;
        self.write(bytes).is_ok_and(|taken| taken == bytes.len())
    }

    /// Why a reply that came to its end is not whole, if it is not.
    pub fn cut(&self) -> Option<Fault> {
        // Of a part that was asked for (206) the stream's end may be missing.
        if !self.body.is_cut() || self.head.status == Some(206) {
            return None;
        }
        let text = "the body was cut: it ends in the middle of its compressed stream";
        Some(Fault { cause: Cause::Protocol, text: text.to_owned() })
    }

    /// Drops what came: it was no reply of the site's.
    pub fn forget_reply(&mut self) {
        let held = self.body.take_held();
        self.body = Body::new(self.limits.max_body, self.limits.keep, held);
        self.head = Head::default();
    }
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
        self.tls_at.get_or_insert_with(Instant::now);
        let roots = self.roots.as_ref().map(|roots| &roots.store);
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
        self.socket_at.get_or_insert_with(Instant::now);
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
