//! Reasons to read a reply no further. They live apart, since every reader of a reply may stop.

use crate::model::judge::CheckFault;
use crate::model::outcome::Cause;

/// Reason to read a reply no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The part of the body that is to be read has been read.
    Full,
    /// The reply is a redirect that can be followed: its body does not count.
    Redirect,
    /// Another protocol begins (status 101): the reply has ended.
    Switched,
    /// All checks together hold `bodies_max` bytes of bodies.
    NoRoom,
    /// The body cannot be decoded, for this reason (a text for people).
    Undecodable(String),
}

impl StopReason {
    /// Returns the fault of a reply that stopped for this reason; none if all of it that counts has come.
    pub fn fault(&self) -> Option<CheckFault> {
        let (cause, text) = match self {
            StopReason::Full | StopReason::Redirect | StopReason::Switched => return None,
            StopReason::NoRoom => {
                (Cause::Overload, "no room for the body: all checks hold bodies_max".to_owned())
            }
            StopReason::Undecodable(why) => (Cause::Protocol, why.clone()),
        };
        Some(CheckFault { cause, text })
    }
}
