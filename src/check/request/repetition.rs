//! Repeats a request where [`repeat`] decides so. libcurl may not repeat by itself: each hop is one request
//! over one connection, so that the phases are those of the connection that answered.

use super::ActiveCheck;
use crate::check::callbacks::TransferCallbacks;
use crate::model::attempts::{Repeat, RequestFacts, repeat};
use crate::model::connect::HttpVersion;
use crate::model::judge::CheckFault;
use crate::model::outcome::Cause;

/// Decision about a hop whose request libcurl wanted to repeat.
pub enum RepeatDecision {
    /// The reply that has arrived counts.
    KeepReply,
    /// The hop starts again, in the same attempt.
    StartAgain,
    /// The site has refused the request.
    Refused(CheckFault),
}

impl ActiveCheck {
    /// Decides about a request that libcurl wanted to repeat, and prepares the hop to start again. None if
    /// libcurl did not want to repeat it.
    pub fn decide_repeat(&mut self, callbacks: &TransferCallbacks) -> Option<RepeatDecision> {
        let reason = callbacks.single.repeat_reason()?;
        let request = RequestFacts {
            has_reply: callbacks.header.final_status().is_some(),
            reuses_connection: self.reuses_connection,
            may_use_http_1: !self.needs_http_1 && self.target.connect.http == HttpVersion::Auto,
        };
        Some(match repeat(reason, request) {
            Repeat::KeepReply => RepeatDecision::KeepReply,
            Repeat::NewConnection => self.start_hop_again(),
            Repeat::Http1 => {
                self.needs_http_1 = true;
                self.start_hop_again()
            }
            Repeat::Refused => {
                refused("the site refused the request (HTTP/2: REFUSED_STREAM or GOAWAY)")
            }
            Repeat::RefusedUnlessHttp1 => {
                refused("the site accepts the request only over HTTP/1.1 (HTTP_1_1_REQUIRED)")
            }
        })
    }

    fn start_hop_again(&mut self) -> RepeatDecision {
        self.pool.iter().for_each(|pool| pool.discard(&self.url));
        self.all_reused = false;
        self.begin_hop();
        RepeatDecision::StartAgain
    }
}

fn refused(text: &str) -> RepeatDecision {
    RepeatDecision::Refused(CheckFault { cause: Cause::Protocol, text: text.to_owned() })
}
