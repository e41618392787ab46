//! Secrets of the configuration, which no log, error or page shows.

use std::fmt;

/// User and password of a target or a proxy, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: Secret,
    /// Password; may be empty.
    pub password: Secret,
}

/// Text that must never be shown: `Debug` prints stars.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}
