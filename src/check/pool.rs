//! Keeps the connections of one target from check to check (`reuse`), one for each origin, with a summary
//! of its certificate: a kept connection shows none.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use curl_sys::curl_socket_t;
use url::Url;

use super::certificate::Summary;
use super::raw::{self, ConnectionShare, IdleState};

/// Most origins that are remembered, since redirects may lead to ever new ones. When full, all are
/// forgotten.
const ORIGINS_MAX: usize = 16;

/// Connections of one target, for use on one thread.
#[derive(Debug, Default)]
pub struct ConnectionPool {
    origins: RefCell<HashMap<String, PooledOrigin>>,
}

/// Origin with its one connection.
#[derive(Debug)]
struct PooledOrigin {
    share: Rc<ConnectionShare>,
    /// Connection; none if no hop has made one yet.
    connection: Option<IdleConnection>,
}

/// Connection on which nothing is under way.
#[derive(Debug)]
pub struct IdleConnection {
    /// Socket of the connection; libcurl owns it.
    pub socket: curl_socket_t,
    /// The connection speaks HTTP/2, on which a site may send frames without a request.
    pub has_frames: bool,
    /// Certificate of the connection's handshake.
    pub certificate: Option<Summary>,
}

impl ConnectionPool {
    /// Returns true if a request to `url` may go over the kept connection. Any other connection is closed:
    /// its certificate has ended, the site has closed it, or the site has sent something without a request,
    /// which would be taken for the answer to the next one.
    pub fn is_ready(&self, url: &Url, now_s: i64) -> bool {
        let is_ready = self.origins.borrow().get(&key(url)).is_some_and(|origin| {
            origin.connection.as_ref().is_some_and(|connection| connection.is_ready(now_s))
        });
        if !is_ready {
            self.discard(url);
        }
        is_ready
    }

    /// Returns the pool for the connection to the origin of `url`; none if there is no memory.
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
        Some(pool)
    }

    /// Returns the certificate of the kept connection to the origin of `url`.
    pub fn certificate(&self, url: &Url) -> Option<Summary> {
        let origins = self.origins.borrow();
        origins.get(&key(url))?.connection.as_ref()?.certificate.clone()
    }

    /// Remembers a connection that a hop has left open.
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
                IdleState::Quiet => true,
                // libcurl reads the frames itself. A connection that takes no more requests refuses the next
                // one, and the hop begins anew.
                IdleState::Talking => self.has_frames,
                IdleState::Over => false,
            }
    }
}

fn key(url: &Url) -> String {
    url.origin().ascii_serialization()
}
