//! Retention: which rows were kept for long enough, and how many of them were deleted.

use std::time::Duration;

/// Numbers of rows and hours deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionCounts {
    /// Hours of checks that were dropped.
    pub hours: u64,
    /// Hours of checks that are past their time too, but left for the next call: a session holds them, or
    /// they are many.
    pub hours_left: u64,
    /// Dead letters deleted because they were too old.
    pub letters_old: u64,
    /// Oldest dead letters deleted because there was no room left.
    pub letters_over: u64,
    /// More dead letters are over the limit than could be deleted in a moment: call again soon.
    pub has_more: bool,
}

/// Returns the time that lies `ago` before `now_ms`.
pub fn time_before(now_ms: i64, ago: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}
