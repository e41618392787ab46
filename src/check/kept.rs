//! Connections that one target keeps from check to check (`reuse`), with what is known of the
//! certificates behind them: a kept connection shows none.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use url::Url;

use super::certificate::Ends;
use super::raw::Pool;

/// Origins that are remembered at most; redirects may lead to ever others.
const ORIGINS_MAX: usize = 16;

/// The connections of one target. Of one thread.
#[derive(Debug)]
pub struct Kept {
    /// The connections themselves.
    pub pool: Pool,
    /// The last check was whole, so that its connection may be there.
    pub is_open: Cell<bool>,
    certificates: RefCell<HashMap<String, Known>>,
}

/// What a handshake has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// When the chain ends.
    pub ends: Ends,
    /// Whose the leaf is.
    pub whose: Option<String>,
}

impl Kept {
    /// None yet. None at all: no memory.
    pub fn new() -> Option<Kept> {
        let (is_open, certificates) = (Cell::new(false), RefCell::default());
        Some(Kept { pool: Pool::new()?, is_open, certificates })
    }

    /// What is known of the certificate there.
    pub fn known(&self, url: &Url) -> Option<Known> {
        self.certificates.borrow().get(&url.origin().ascii_serialization()).cloned()
    }

    /// Takes in what a handshake there has shown.
    pub fn learn(&self, url: &Url, known: Known) {
        let mut certificates = self.certificates.borrow_mut();
        if certificates.len() >= ORIGINS_MAX {
            certificates.clear();
        }
        certificates.insert(url.origin().ascii_serialization(), known);
    }

    /// Whether a certificate has ended since the handshake there: it is time for another.
    pub fn is_over(&self, url: &Url, now_s: i64) -> bool {
        self.known(url).is_some_and(|known| known.ends.chain_s <= now_s)
    }
}
