//! Faults of PostgreSQL: their text for people, and their consequence for us.

use std::error::Error as _;
use std::io;

use openssl::error::ErrorStack;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::error::StoreError;

/// A fault with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Consequence of the fault.
    pub kind: Kind,
    /// Reason; follows `cannot <verb> <place>: `.
    pub why: String,
}

/// Consequences of a fault for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Time may heal the fault.
    Away,
    /// Time will not heal the fault.
    Unfit,
    /// The data cannot be stored, here or elsewhere.
    Refused,
    /// The connection ended.
    Lost,
    /// Another session was in the way: the same work, done again at once, may succeed.
    Crossed,
    /// The hour's partition is gone.
    NoHour,
    /// The check is stored already.
    Repeat,
}

impl Fault {
    /// Makes a fault that time may heal.
    pub fn away(why: impl Into<String>) -> Fault {
        Fault { kind: Kind::Away, why: why.into() }
    }

    /// Makes a fault that time will not heal.
    pub fn unfit(why: impl Into<String>) -> Fault {
        Fault { kind: Kind::Unfit, why: why.into() }
    }

    /// Returns the error for the caller of the store.
    pub fn told(self, verb: &str, place: &str) -> StoreError {
        let text = format!("cannot {verb} {place}: {}", self.why);
        match self.kind {
            Kind::Unfit => StoreError::Unfit { text },
            Kind::Refused => StoreError::Refused { text },
            _ => StoreError::Away { text },
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        if let Some(error) = error.as_db_error() {
            return Fault { kind: kind(error), why: said(error) };
        }
        let is_broken = error.is_closed() || source::<io::Error>(&error).is_some();
        let kind = if is_broken { Kind::Lost } else { Kind::Away };
        Fault { kind, why: words(&error) }
    }
}

/// Returns the consequence of a server's error.
fn kind(error: &DbError) -> Kind {
    let code = error.code();
    let constraint = error.constraint().unwrap_or_default();
    // Only the primary key shows a repeat; a unique index that an administrator added refuses records.
    if *code == SqlState::UNIQUE_VIOLATION && of_outcome(error) && constraint.ends_with("_pkey") {
        return Kind::Repeat;
    }
    // A row that fits no partition breaks a constraint without a name.
    if *code == SqlState::CHECK_VIOLATION && of_outcome(error) && constraint.is_empty() {
        return Kind::NoHour;
    }
    let crossed = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    // A target or node that we know was deleted: the next connection makes it again. Checks have no foreign
    // keys but those that an administrator added.
    let is_gone = *code == SqlState::FOREIGN_KEY_VIOLATION && !of_outcome(error);
    if crossed.contains(code) || is_gone {
        return Kind::Crossed;
    }
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    if ended.contains(code) {
        return Kind::Lost;
    }
    match &code.code()[..2] {
        // Data exceptions, broken constraints, values too large for an index or a type, and objections of a
        // trigger.
        "22" | "23" | "54" | "P0" => Kind::Refused,
        _ => Kind::Away,
    }
}

/// Returns true if the error is about the checks: their table, or one of its partitions.
fn of_outcome(error: &DbError) -> bool {
    error.table().is_some_and(|table| table.starts_with("outcome"))
}

/// Returns the server's message, with advice where there is some.
fn said(error: &DbError) -> String {
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
fn words(error: &Error) -> String {
    if error.is_closed() {
        return "the connection was closed".to_owned();
    }
    if let Some(error) = source::<openssl::ssl::Error>(error) {
        if let Some(reason) = error.ssl_error().and_then(reason) {
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

/// Returns OpenSSL's own word for the last error.
fn reason(stack: &ErrorStack) -> Option<&'static str> {
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
