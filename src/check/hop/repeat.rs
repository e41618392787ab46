//! Requests that libcurl would make once more by itself, which it may not: one attempt is one
//! request over one connection, so that its phases are those of what answered.

use std::time::Instant;

use super::Flight;
use crate::check::raw::Repetition;
use crate::check::wire::Wire;
use crate::model::connect::HttpVersion;
use crate::model::judge::Fault;
use crate::model::outcome::Cause;

/// What becomes of a hop that libcurl would have repeated.
pub enum Repeat {
    /// Its reply is there and stands.
    Stands,
    /// The hop begins anew, over a new connection: what is behind it was no attempt.
    Anew,
    /// The site refused the request.
    Refused(Fault),
}

impl Flight {
    /// Decides about a request that libcurl wanted to make once more; none: it did not.
    pub fn repeat(&mut self, wire: &Wire) -> Option<Repeat> {
        let why = wire.single.repetition()?;
        if wire.head.final_status().is_some() {
            return Some(Repeat::Stands);
        }
        if self.is_kept {
            // It was closed, or takes no more requests: that was said between two checks.
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
