//! Handles requests that libcurl would repeat by itself. It may not: one attempt is one request over one
//! connection, so that the phases are those of the connection that answered.

use std::time::Instant;

use super::Flight;
use crate::check::callbacks::Wire;
use crate::check::raw::Repetition;
use crate::model::connect::HttpVersion;
use crate::model::judge::Fault;
use crate::model::outcome::Cause;

/// Decision about a hop that libcurl would have repeated.
pub enum Repeat {
    /// The reply has arrived and counts.
    Stands,
    /// The hop begins anew, over a new connection: the first try does not count as an attempt.
    Anew,
    /// The site refused the request.
    Refused(Fault),
}

impl Flight {
    /// Decides about a request that libcurl wanted to repeat; none if it did not.
    pub fn repeat(&mut self, wire: &Wire) -> Option<Repeat> {
        let why = wire.single.repetition()?;
        if wire.head.final_status().is_some() {
            return Some(Repeat::Stands);
        }
        if self.is_kept {
            // The site has closed the kept connection, or takes no more requests on it: that happened
            // between two checks.
            self.begin_anew();
            return Some(Repeat::Anew);
        }
        if why == Repetition::Refused {
            let text = "the site refused the request (HTTP/2: REFUSED_STREAM or GOAWAY)";
            return Some(refused(text));
        }
        if self.needs_http_1 || self.target.connect.http != HttpVersion::Auto {
            return Some(refused("the site takes it over HTTP/1.1 alone (HTTP_1_1_REQUIRED)"));
        }
        self.needs_http_1 = true;
        self.begin_anew();
        Some(Repeat::Anew)
    }

    fn begin_anew(&mut self) {
        self.kept.iter().for_each(|kept| kept.discard(&self.url));
        self.reused = false;
        (self.began, self.found) = (Instant::now(), None);
    }
}

fn refused(text: &str) -> Repeat {
    Repeat::Refused(Fault { cause: Cause::Protocol, text: text.to_owned() })
}
