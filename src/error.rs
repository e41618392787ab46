//! Error for people, which ends as a line on stderr or in the log. Errors that a caller must tell apart are enums
//! of the modules that make them.

use std::fmt;

/// Text of an error: `cannot <verb> <thing>: <cause>`, lower case, no full stop; if the user can act, advice last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// Creates an error with this text.
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

/// Adds the failed action to an error on its way up.
pub trait Context<T> {
    /// Returns the value, or the error as `cannot <what>: <cause>`.
    ///
    /// # Errors
    /// `self` is an error.
    fn cannot(self, what: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn cannot(self, what: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|cause| Error(format!("cannot {what}: {cause}")))
    }
}
