//! Why a reply is read no further: apart, as all that reads it may stop.

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
