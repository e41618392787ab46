//! Why a reply is read no further: apart, as all that reads it may stop.

use crate::model::judge::Fault;
use crate::model::outcome::Cause;

/// Why we stopped reading a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// All that is to be read of the body has been read.
    Full,
    /// A redirect that leads somewhere: what comes after its header does not count.
    Redirect,
    /// Another protocol begins (status 101): the reply has ended.
    Switched,
    /// No room for more.
    NoRoom,
    /// The body cannot be decoded: why, for people.
    Undecodable(String),
}

impl Stopped {
    /// Why the reply is not whole for that; none: all that counts of it has come.
    pub fn fault(&self) -> Option<Fault> {
        let (cause, text) = match self {
            Stopped::Full | Stopped::Redirect | Stopped::Switched => return None,
            Stopped::NoRoom => {
                (Cause::Overload, "no room for the body: all checks hold bodies_max".to_owned())
            }
            Stopped::Undecodable(why) => (Cause::Protocol, why.clone()),
        };
        Some(Fault { cause, text })
    }
}
