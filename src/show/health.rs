//! What `/health` tells: whether the program does its work, and its counters.

use super::http::Response;

/// The counters of a daemon since its start. Names are those of the JSON.
#[derive(Debug, Clone, Default, miniserde::Serialize)]
pub struct Health {
    /// `ok`, or what is wrong: `store_away`.
    pub status: String,
    /// Version of the program.
    pub version: String,
    /// Name of this node.
    pub node: String,
    /// Targets that are watched.
    pub targets: u64,
    /// Checks made.
    pub checks: u64,
    /// Checks stored.
    pub stored: u64,
    /// Records that wait to be stored.
    pub waiting: u64,
    /// Slots that were not checked.
    pub missed: u64,
    /// Records that were dropped because the store was away for too long.
    pub lost: u64,
    /// Stored checks that went, to stay within the largest size.
    pub expired: u64,
    /// When something was stored last, in milliseconds since 1970; 0: not yet.
    pub stored_ms: i64,
}

impl Health {
    /// The answer to `/health`: 200 if all is well, else 503.
    pub fn response(&self) -> Response {
        let status = if self.status == "ok" { 200 } else { 503 };
        Response::json(status, miniserde::json::to_string(self) + "\n")
    }
}
