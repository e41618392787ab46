//! Where a redirect leads, and how the request changes on the way.

use std::time::Instant;

use url::Url;

use super::Flight;
use crate::model::judge::Fault;
use crate::model::outcome::Cause;
use crate::model::target::Method;

impl Flight {
    /// Moves on to where a redirect leads.
    ///
    /// # Errors
    /// It leads to another origin with our body, which may hold secrets: it is not followed.
    pub(super) fn follow(&mut self, next: Url, status: Option<u16>) -> Result<(), Fault> {
        // RFC 9110, 15.4: 303 always, 301 and 302 for POST as all clients do.
        let changes = match status {
            Some(303) => self.method != Method::Head,
            Some(301 | 302) => self.method == Method::Post,
            _ => false,
        };
        if changes {
            self.method = Method::Get;
            self.sends_body = false;
        }
        if self.sends_body && next.origin() != self.target.url.origin() {
            let text = "redirect to another origin: the body of the request is not sent there";
            return Err(Fault { cause: Cause::Protocol, text: text.to_owned() });
        }
        self.url = next;
        self.redirects += 1;
        self.needs_http_1 = false;
        (self.began, self.found) = (Instant::now(), None);
        Ok(())
    }
}
