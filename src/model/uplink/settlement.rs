//! Makes the final outcome of a check that was in doubt.

use crate::model::outcome::{Cause, ERROR_MAX, Outcome, Verdict, tidy};

/// Reason in the error of a check that our own network has failed.
pub const NOTHING_ELSE_ANSWERS: &str = "nothing else answers";
/// Reason in the error of a check that its proxy has failed.
pub const PROXY_IS_SILENT: &str = "the proxy does not answer another request either";

/// Check with its final outcome.
#[derive(Debug)]
pub struct SettledCheck {
    /// Final outcome of the check.
    pub outcome: Outcome,
    /// True if the log line about the uplink covers this check.
    pub is_logged: bool,
}

/// Settles a check with the outcome that it had.
pub fn plain(outcome: Outcome) -> SettledCheck {
    SettledCheck { outcome, is_logged: false }
}

/// Settles a check as unknown, since our own network has failed; appends `because` to its error.
pub fn unknown(outcome: Outcome, because: &str) -> SettledCheck {
    let why = outcome.error.as_deref().unwrap_or_default();
    let error = Some(tidy(&format!("{why}; {because}"), ERROR_MAX));
    let (verdict, cause) = (Verdict::Unknown, Some(Cause::Uplink));
    SettledCheck { outcome: Outcome { verdict, cause, error, ..outcome }, is_logged: true }
}
