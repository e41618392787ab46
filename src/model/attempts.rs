//! Decides when something is tried again, in two places. A check is attempted again if it was down and has
//! attempts left. Inside one attempt, a request is made a second time only if the first one cannot count as
//! an answer of the site.

use std::sync::Arc;

use super::outcome::Verdict;
use super::target::Target;

/// One attempt of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Node that makes the check.
    pub node: Arc<str>,
    /// As in [`Outcome::run`](super::outcome::Outcome::run).
    pub run: u32,
    /// Due time of the check, in milliseconds since 1970.
    pub due_ms: i64,
    /// Delay of the first attempt's real start after `due_ms`, in microseconds.
    pub lag_us: i64,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// Number of jumps of the clock, counted when the first attempt began.
    pub jumps: u32,
}

impl Attempt {
    /// Returns true if another attempt may follow this one.
    pub fn may_repeat(&self, target: &Target) -> bool {
        self.number < target.attempts
    }

    /// Returns the attempt that follows this one, which ended with `verdict`. None if the check is over: only
    /// a check that is down is attempted again, since an `unknown` one says nothing about the site.
    pub fn next(&self, target: &Target, verdict: Verdict) -> Option<Attempt> {
        let is_tried_again = verdict == Verdict::Down && self.may_repeat(target);
        is_tried_again.then(|| Attempt { number: self.number + 1, ..self.clone() })
    }
}

/// Reason for which libcurl wants to make a request once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatReason {
    /// The site wants the request over HTTP/1.1 (RFC 9113, 7).
    WantsHttp1,
    /// The connection died, or the site refused the stream.
    Refused,
}

/// Facts about a request that libcurl wants to make once more.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts {
    /// The header of a final reply has arrived.
    pub has_reply: bool,
    /// The request went over a connection of an earlier check.
    pub reuses_connection: bool,
    /// HTTP/1.1 is allowed, and was not asked for yet.
    pub may_use_http_1: bool,
}

/// Decision about a request that libcurl wants to make once more. A second request is part of the same
/// attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Use the reply that has arrived.
    KeepReply,
    /// Make the request again over a new connection. The site has closed the old one, or takes no more
    /// requests on it: that happened between two checks, and is no fault.
    NewConnection,
    /// Make the request again over HTTP/1.1.
    Http1,
    /// End the attempt: the site has refused the request.
    Refused,
    /// End the attempt: the site takes the request only over HTTP/1.1, which is not allowed or did not help.
    RefusedUnlessHttp1,
}

/// Decides whether a request is made once more. Each kind of repeat happens at most once for a request: the
/// second request uses a new connection and, after `Http1`, is HTTP/1.1 already.
pub fn repeat(reason: RepeatReason, request: RequestFacts) -> Repeat {
    match reason {
        _ if request.has_reply => Repeat::KeepReply,
        _ if request.reuses_connection => Repeat::NewConnection,
        RepeatReason::Refused => Repeat::Refused,
        RepeatReason::WantsHttp1 if request.may_use_http_1 => Repeat::Http1,
        RepeatReason::WantsHttp1 => Repeat::RefusedUnlessHttp1,
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn attempt(number: u32) -> Attempt {
        Attempt { node: "n".into(), run: 1, due_ms: 2, lag_us: 3, number, jumps: 4 }
    }

    #[test]
    fn only_a_check_that_is_down_is_attempted_again() {
        let mut target = Target::new("t", Url::parse("http://a.example/").unwrap());
        for (attempts, number, verdict, want) in [
            (1, 1, Verdict::Down, None),
            (3, 1, Verdict::Down, Some(2)),
            (3, 2, Verdict::Down, Some(3)),
            (3, 3, Verdict::Down, None),
            (3, 1, Verdict::Up, None),
            (3, 1, Verdict::Slow, None),
            (3, 1, Verdict::Unknown, None),
        ] {
            target.attempts = attempts;
            let next = attempt(number).next(&target, verdict);
            assert_eq!(next, want.map(attempt), "{attempts} {number} {verdict:?}");
        }
    }

    #[test]
    fn a_request_is_repeated_only_if_the_first_one_is_no_answer() {
        use RepeatReason::{Refused, WantsHttp1};
        for (reason, has_reply, reuses_connection, may_use_http_1, want) in [
            (Refused, true, true, true, Repeat::KeepReply),
            (WantsHttp1, true, false, true, Repeat::KeepReply),
            (Refused, false, true, true, Repeat::NewConnection),
            (WantsHttp1, false, true, true, Repeat::NewConnection),
            (Refused, false, false, true, Repeat::Refused),
            (WantsHttp1, false, false, true, Repeat::Http1),
            (WantsHttp1, false, false, false, Repeat::RefusedUnlessHttp1),
        ] {
            let request = RequestFacts { has_reply, reuses_connection, may_use_http_1 };
            assert_eq!(repeat(reason, request), want, "{reason:?} {request:?}");
        }
    }
}
