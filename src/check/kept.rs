//! Connections that one target keeps from check to check (`reuse`), one for each origin, with what
//! is known of the certificate behind it: a kept connection shows none.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use curl_sys::curl_socket_t;
use url::Url;

use super::certificate::Summary;
use super::raw::{self, Idle, Pool};

/// Origins that are remembered at most; redirects may lead to ever others. Past it all go.
const ORIGINS_MAX: usize = 16;

/// The connections of one target. Of one thread.
#[derive(Debug, Default)]
pub struct Kept {
    origins: RefCell<HashMap<String, Origin>>,
}

/// The one connection of an origin.
#[derive(Debug)]
struct Origin {
    pool: Rc<Pool>,
    /// None: it was never made, or a hop is under way that makes it.
    connection: Option<Connection>,
}

/// A connection on which nothing is under way.
#[derive(Debug)]
pub struct Connection {
    /// Its socket, which is libcurl's.
    pub socket: curl_socket_t,
    /// Whether it is one of HTTP/2, on which a site may say something unasked.
    pub has_frames: bool,
    /// The certificate of its handshake.
    pub certificate: Option<Summary>,
}

impl Kept {
    /// Whether a request may go over the connection to there. One that may not is closed: its
    /// certificate has ended, the site has closed it, or has said something that nobody asked for,
    /// which would be taken for the answer to the next request.
    pub fn is_ready(&self, url: &Url, now_s: i64) -> bool {
        let is_ready = self.origins.borrow().get(&key(url)).is_some_and(|origin| {
            origin.connection.as_ref().is_some_and(|connection| connection.is_ready(now_s))
        });
        if !is_ready {
            self.discard(url);
        }
        is_ready
    }

    /// The pool in which the connection to there lies, or is to lie. None: no memory.
    pub fn pool(&self, url: &Url) -> Option<Rc<Pool>> {
        let mut origins = self.origins.borrow_mut();
        let key = key(url);
        if let Some(origin) = origins.get(&key) {
            return Some(Rc::clone(&origin.pool));
        }
        if origins.len() >= ORIGINS_MAX {
            origins.clear();
        }
        let pool = Rc::new(Pool::new()?);
        origins.insert(key, Origin { pool: Rc::clone(&pool), connection: None });
        Some(pool)
    }

    /// What is known of the certificate there.
    pub fn certificate(&self, url: &Url) -> Option<Summary> {
        let origins = self.origins.borrow();
        origins.get(&key(url))?.connection.as_ref()?.certificate.clone()
    }

    /// Remembers a connection that a hop has left open.
    pub fn keep(&self, url: &Url, connection: Connection) {
        if let Some(origin) = self.origins.borrow_mut().get_mut(&key(url)) {
            origin.connection = Some(connection);
        }
    }

    /// Closes the connection to there.
    pub fn discard(&self, url: &Url) {
        self.origins.borrow_mut().remove(&key(url));
    }
}

impl Connection {
    fn is_ready(&self, now_s: i64) -> bool {
        let is_over = self.certificate.as_ref().is_some_and(|of| of.ends.chain_s <= now_s);
        !is_over
            && match raw::look_at(self.socket) {
                Idle::Quiet => true,
                // Frames are read by libcurl, and a connection that takes no requests any more
                // refuses the next one.
                Idle::Talking => self.has_frames,
                Idle::Over => false,
            }
    }
}

fn key(url: &Url) -> String {
    url.origin().ascii_serialization()
}
