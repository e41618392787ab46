//! Keeps the connections of one target open between its checks (`reuse`): one for each origin, with the
//! summary of its certificate, since a site shows its certificate only in the handshake.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use curl_sys::curl_socket_t;
use url::Url;

use super::certificate::CertificateSummary;
use super::raw::{self, ConnectionShare, IdleState};

/// Most origins in a pool: redirects may lead to new ones at each check. A full pool forgets all of them.
const ORIGINS_MAX: usize = 16;

/// Open connections of one target, for use on one thread.
#[derive(Debug, Default)]
pub struct ConnectionPool {
    origins: RefCell<HashMap<String, PooledOrigin>>,
}

/// An origin with its one connection.
#[derive(Debug)]
struct PooledOrigin {
    share: Rc<ConnectionShare>,
    /// Open connection; none until a hop has left one open.
    connection: Option<IdleConnection>,
}

/// Open connection without a request on it.
#[derive(Debug)]
pub struct IdleConnection {
    /// Socket of the connection; libcurl owns it.
    pub socket: curl_socket_t,
    /// True for HTTP/2, where a site may send frames without a request.
    pub has_frames: bool,
    /// Certificate of the connection's handshake.
    pub certificate: Option<CertificateSummary>,
}

impl ConnectionPool {
    /// Returns true if a request to `url` can use the open connection to its origin. Otherwise closes that
    /// connection, for one of three reasons: its certificate has expired; the site has closed it; or the site
    /// has sent bytes without a request, which would be taken for the reply to the next request.
    pub fn is_ready(&self, url: &Url, now_s: i64) -> bool {
        let is_ready = self.origins.borrow().get(&key(url)).is_some_and(|origin| {
            origin.connection.as_ref().is_some_and(|connection| connection.is_ready(now_s))
        });
        if !is_ready {
            self.discard(url);
        }
        is_ready
    }

    /// Returns libcurl's share for the connection to the origin of `url`; none without memory.
    pub fn share(&self, url: &Url) -> Option<Rc<ConnectionShare>> {
        let mut origins = self.origins.borrow_mut();
        let key = key(url);
        if let Some(origin) = origins.get(&key) {
            return Some(Rc::clone(&origin.share));
        }
        if origins.len() >= ORIGINS_MAX {
            origins.clear();
        }
        let share = Rc::new(ConnectionShare::new()?);
        origins.insert(key, PooledOrigin { share: Rc::clone(&share), connection: None });
        Some(share)
    }

    /// Returns the certificate of the open connection to the origin of `url`.
    pub fn certificate(&self, url: &Url) -> Option<CertificateSummary> {
        let origins = self.origins.borrow();
        origins.get(&key(url))?.connection.as_ref()?.certificate.clone()
    }

    /// Stores the connection that a hop has left open, in place of an older one.
    pub fn keep(&self, url: &Url, connection: IdleConnection) {
        if let Some(origin) = self.origins.borrow_mut().get_mut(&key(url)) {
            origin.connection = Some(connection);
        }
    }

    /// Closes the connection to the origin of `url`.
    pub fn discard(&self, url: &Url) {
        self.origins.borrow_mut().remove(&key(url));
    }
}

impl IdleConnection {
    fn is_ready(&self, now_s: i64) -> bool {
        let is_over = self.certificate.as_ref().is_some_and(|of| of.ends.chain_s <= now_s);
        !is_over
            && match raw::idle_state(self.socket) {
                IdleState::Silent => true,
                // libcurl reads the frames. If the site takes no more requests on this connection, it refuses
                // the next one, and the hop starts again over a new connection.
                IdleState::HasBytes => self.has_frames,
                IdleState::Closed => false,
            }
    }
}

fn key(url: &Url) -> String {
    url.origin().ascii_serialization()
}
