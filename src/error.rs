//! An error for people: one sentence, with the place, and what to do last if they can do
//! something. Modules that a caller must tell apart have enums of their own; everything that
//! only ends in a line on stderr is this.

use std::fmt;

/// `cannot <verb> <thing>: <cause>`, lower case, no full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error of these words.
    pub fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Says on the way up what could not be done.
pub trait Context<T> {
    /// `cannot <what>: <cause>`.
    ///
    /// # Errors
    /// The error it was called on, with those words in front.
    fn cannot(self, what: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn cannot(self, what: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|cause| Error(format!("cannot {what}: {cause}")))
    }
}
