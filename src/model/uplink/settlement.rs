//! Checks about which there is no doubt any more.

use super::UplinkAction;
use crate::model::outcome::{Cause, ERROR_MAX, Outcome, Verdict, tidy};

/// Reason given for a check that is taken for our own network's fault.
pub const NOTHING_ELSE_ANSWERS: &str = "nothing else answers";
/// Reason given for a check that is taken for its proxy's fault.
pub const PROXY_IS_SILENT: &str = "nor does it answer otherwise";

/// Check about which there is no doubt any more.
#[derive(Debug)]
pub struct SettledCheck {
    /// Final outcome of the check.
    pub outcome: Outcome,
    /// The log line about the uplink covers this check already.
    pub is_logged: bool,
}

impl From<SettledCheck> for UplinkAction {
    fn from(settled: SettledCheck) -> UplinkAction {
        UplinkAction::Settle(settled)
    }
}

/// Returns the check as it was judged.
pub fn plain(outcome: Outcome) -> SettledCheck {
    SettledCheck { outcome, is_logged: false }
}

/// Returns the check as unknown, as our own network's fault; `because` is added to its error.
pub fn unknown(outcome: Outcome, because: &str) -> SettledCheck {
    let why = outcome.error.as_deref().unwrap_or_default();
    let error = Some(tidy(&format!("{why}; {because}"), ERROR_MAX));
    let (verdict, cause) = (Verdict::Unknown, Some(Cause::Uplink));
    SettledCheck { outcome: Outcome { verdict, cause, error, ..outcome }, is_logged: true }
}
