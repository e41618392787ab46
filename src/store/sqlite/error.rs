//! Errors of SQLite and of the system, as errors of the store.

use std::path::Path;

use rusqlite::ErrorCode;

use super::files;
use crate::store::error::StoreError;

/// Advice for a place that cannot be used.
pub const ELSEWHERE: &str = "state_dir names another place";

/// Makes the error for a file that is ours.
pub fn store_error(verb: &str, path: &Path, error: &rusqlite::Error) -> StoreError {
    let text = format!("cannot {verb} {}: {}", path.display(), error_text(path, error));
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged { text },
        _ => StoreError::Away { text },
    }
}

/// Returns SQLite's error about this file for people, in the system's words if the system does not let us
/// write.
pub fn error_text(path: &Path, error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has locked it".to_owned()
        }
        Some(ErrorCode::NotADatabase) => "it is not an SQLite file".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged".to_owned(),
        Some(ErrorCode::ReadOnly) => read_only_reason(path),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure) => {
            write_refusal(path).unwrap_or_else(|| error.to_string())
        }
        _ => error.to_string(),
    }
}

/// Returns the reason for which the file may not be written.
pub fn read_only_reason(path: &Path) -> String {
    write_refusal(path).unwrap_or_else(|| "it may not be written".to_owned())
}

/// Returns the system's objection to our writing there, if there is one, and the advice.
fn write_refusal(path: &Path) -> Option<String> {
    files::write_refusal(path).map(|refusal| format!("{refusal}; {ELSEWHERE}"))
}

/// Makes the error for a file that cannot be opened. Only files of ours count as damaged.
pub fn open_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let text = format!("cannot open {}: {}", path.display(), error_text(path, error));
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) if files::is_ours(path) => {
            StoreError::Damaged { text }
        }
        _ => StoreError::Unfit { text },
    }
}

/// Makes the error for a file of another program.
pub fn foreign_file(path: &Path, why: &str) -> StoreError {
    let text = format!("cannot use {}: {why}; it was not touched", path.display());
    StoreError::Unfit { text }
}
