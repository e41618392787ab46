//! Handles requests that libcurl would repeat by itself. It may not: one attempt is one request over one
//! connection, so that the phases are those of the connection that answered.

use super::ActiveCheck;
use crate::check::callbacks::Callbacks;
use crate::check::raw::RepeatReason;
use crate::model::connect::HttpVersion;
use crate::model::judge::CheckFault;
use crate::model::outcome::Cause;

/// Decision about a hop that libcurl would have repeated.
pub enum RepeatDecision {
    /// The reply has arrived and counts.
    KeepReply,
    /// The hop begins anew, over a new connection: the first try does not count as an attempt.
    StartAgain,
    /// The site refused the request.
    Refused(CheckFault),
}

impl ActiveCheck {
    /// Decides about a request that libcurl wanted to repeat; none if it did not.
    pub fn decide_repeat(&mut self, callbacks: &Callbacks) -> Option<RepeatDecision> {
        let why = callbacks.single.repeat_reason()?;
        if callbacks.header.final_status().is_some() {
            return Some(RepeatDecision::KeepReply);
        }
        if self.reuses_connection {
            // The site has closed the kept connection, or takes no more requests on it: that happened
            // between two checks.
            self.start_hop_again();
            return Some(RepeatDecision::StartAgain);
        }
        if why == RepeatReason::Refused {
            let text = "the site refused the request (HTTP/2: REFUSED_STREAM or GOAWAY)";
            return Some(refused(text));
        }
        if self.needs_http_1 || self.target.connect.http != HttpVersion::Auto {
            return Some(refused("the site takes it over HTTP/1.1 alone (HTTP_1_1_REQUIRED)"));
        }
        self.needs_http_1 = true;
        self.start_hop_again();
        Some(RepeatDecision::StartAgain)
    }

    fn start_hop_again(&mut self) {
        self.pool.iter().for_each(|pool| pool.discard(&self.url));
        self.all_reused = false;
        self.begin_hop();
    }
}

fn refused(text: &str) -> RepeatDecision {
    RepeatDecision::Refused(CheckFault { cause: Cause::Protocol, text: text.to_owned() })
}
