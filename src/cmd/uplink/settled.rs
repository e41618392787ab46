//! Checks about which there is no doubt any more.

use crate::model::outcome::{Cause, ERROR_MAX, Outcome, Verdict, tidy};

/// Why a check is taken for our own network's fault.
pub const ELSE: &str = "nothing else answers";
/// Why it is taken for its proxy's.
pub const PROXY: &str = "nor does it answer otherwise";

/// A check about which there is no doubt any more.
pub struct Settled {
    /// What holds of it.
    pub outcome: Outcome,
    /// The line about the uplink tells of it already.
    pub is_told: bool,
}

/// The check as it was judged.
pub fn plain(outcome: Outcome) -> Settled {
    Settled { outcome, is_told: false }
}

/// The same as our own network's fault.
pub fn unknown(outcome: Outcome, because: &str) -> Settled {
    let why = outcome.error.as_deref().unwrap_or_default();
    let error = Some(tidy(&format!("{why}; {because}"), ERROR_MAX));
    let (verdict, cause) = (Verdict::Unknown, Some(Cause::Uplink));
    Settled { outcome: Outcome { verdict, cause, error, ..outcome }, is_told: true }
}
