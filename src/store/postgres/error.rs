//! Errors of PostgreSQL: their text for people, and their consequence for the caller.

use std::error::Error as _;
use std::io;

use openssl::error::ErrorStack;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::error::StoreError;

/// An error with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresError {
    /// Consequence of the error.
    pub kind: ErrorKind,
    /// Reason; follows `cannot <verb> <place>: `.
    pub why: String,
}

/// Consequences of an error for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A later try may succeed.
    Away,
    /// No later try will succeed.
    Unfit,
    /// The tables refuse the data: the same try will be refused again.
    Refused,
    /// The connection has ended.
    ConnectionLost,
    /// Another session was in the way: another try at once may succeed.
    Conflict,
    /// The partition of a check's hour is missing.
    NoPartition,
    /// The check is stored already.
    Duplicate,
}

impl PostgresError {
    /// Makes an error for which a later try may succeed.
    pub fn away(why: impl Into<String>) -> PostgresError {
        PostgresError { kind: ErrorKind::Away, why: why.into() }
    }

    /// Makes an error for which no later try will succeed.
    pub fn unfit(why: impl Into<String>) -> PostgresError {
        PostgresError { kind: ErrorKind::Unfit, why: why.into() }
    }

    /// Returns the error for the caller of the store.
    pub fn into_store_error(self, verb: &str, database: &str) -> StoreError {
        let text = format!("cannot {verb} {database}: {}", self.why);
        match self.kind {
            ErrorKind::Unfit => StoreError::Unfit { text },
            ErrorKind::Refused => StoreError::Refused { text },
            _ => StoreError::Away { text },
        }
    }
}

impl From<Error> for PostgresError {
    fn from(error: Error) -> PostgresError {
        if let Some(error) = error.as_db_error() {
            return PostgresError { kind: kind_of(error), why: server_text(error) };
        }
        let is_lost = error.is_closed() || source::<io::Error>(&error).is_some();
        let kind = if is_lost { ErrorKind::ConnectionLost } else { ErrorKind::Away };
        PostgresError { kind, why: client_text(&error) }
    }
}

/// Returns the consequence of a server's error.
fn kind_of(error: &DbError) -> ErrorKind {
    let code = error.code();
    let constraint = error.constraint().unwrap_or_default();
    // Only the primary key shows a repeat; a unique index that an administrator added refuses records.
    if *code == SqlState::UNIQUE_VIOLATION
        && is_about_outcomes(error)
        && constraint.ends_with("_pkey")
    {
        return ErrorKind::Duplicate;
    }
    // A row that fits no partition breaks a constraint without a name.
    if *code == SqlState::CHECK_VIOLATION && is_about_outcomes(error) && constraint.is_empty() {
        return ErrorKind::NoPartition;
    }
    let conflicts = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    // A target or node that we know was deleted: the next connection makes it again. Checks have no foreign
    // keys but those that an administrator added.
    let is_gone = *code == SqlState::FOREIGN_KEY_VIOLATION && !is_about_outcomes(error);
    if conflicts.contains(code) || is_gone {
        return ErrorKind::Conflict;
    }
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    if ended.contains(code) {
        return ErrorKind::ConnectionLost;
    }
    match &code.code()[..2] {
        // Data exceptions, broken constraints, values too large for an index or a type, and objections of a
        // trigger.
        "22" | "23" | "54" | "P0" => ErrorKind::Refused,
        _ => ErrorKind::Away,
    }
}

/// Returns true if the error is about the checks: their table, or one of its partitions.
fn is_about_outcomes(error: &DbError) -> bool {
    error.table().is_some_and(|table| table.starts_with("outcome"))
}

/// Returns the server's message, with advice where there is some.
fn server_text(error: &DbError) -> String {
    let message = error.message();
    let code = error.code();
    let lacks_table =
        [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME];
    // Prepared statements and settings belong to one connection, and a pooler gave us another.
    let pooled = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        format!("{message}; `sitewatch write --setup` grants what is needed")
    } else if lacks_table.contains(code) {
        format!("{message}; `sitewatch write --setup` makes what is missing")
    } else if *code == SqlState::LOCK_NOT_AVAILABLE {
        "another session holds a lock for too long".to_owned()
    } else if pooled.contains(code) {
        format!("{message}; behind pgbouncer its pool_mode must be session")
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        format!("{message}; is it a standby?")
    } else {
        message.to_owned()
    }
}

/// Returns the text of an error on our own side.
fn client_text(error: &Error) -> String {
    if error.is_closed() {
        return "the connection was closed".to_owned();
    }
    if let Some(error) = source::<openssl::ssl::Error>(error) {
        if let Some(reason) = error.ssl_error().and_then(openssl_reason) {
            return format!("TLS failed: {reason}");
        }
        if error.ssl_error().is_none() && error.io_error().is_none() {
            return "TLS failed: the connection was closed".to_owned();
        }
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if source::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof) {
        return "the connection was closed".to_owned();
    }
    inner.to_string()
}

/// Returns OpenSSL's own words for the last error.
fn openssl_reason(stack: &ErrorStack) -> Option<&'static str> {
    stack.errors().last().and_then(openssl::error::Error::reason)
}

/// Returns the error of that type among the causes.
fn source<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
