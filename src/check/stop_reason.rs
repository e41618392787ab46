//! Reasons to stop reading a reply. They have a file of their own, since header, body and decoder all may
//! stop.

use crate::model::judge::CheckFault;
use crate::model::outcome::Cause;

/// Reason to stop reading a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// `max_body` bytes of the body have been read.
    Full,
    /// The reply is a redirect that will be followed: its body is not needed.
    Redirect,
    /// The reply has ended: another protocol begins (status 101).
    Switched,
    /// All checks together hold `bodies_max` bytes of bodies.
    NoRoom,
    /// The body cannot be decoded, for this reason (a text for people).
    Undecodable(String),
}

impl StopReason {
    /// Returns the fault of the reply; none if all bytes that were needed have arrived.
    pub fn fault(&self) -> Option<CheckFault> {
        let (cause, text) = match self {
            StopReason::Full | StopReason::Redirect | StopReason::Switched => return None,
            StopReason::NoRoom => (
                Cause::Overload,
                "no memory for the body: all checks together hold bodies_max bytes".to_owned(),
            ),
            StopReason::Undecodable(why) => (Cause::Protocol, why.clone()),
        };
        Some(CheckFault { cause, text })
    }
}
