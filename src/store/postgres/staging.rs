//! Writes checks as rows of PostgreSQL's binary COPY.
//!
//! The stream is a head of 19 bytes (signature, flags, length of an extension), the rows, and a field count
//! of −1 at the end. A row is its field count (2 bytes), then each field: its length (4 bytes; −1 for null),
//! then the value as its type sends it, numbers big-endian. `jsonb` sends its version, 1, before its text.

use std::io::Cursor;
use std::pin::Pin;

use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::error::PostgresError;
use super::session::Session;
use crate::model::outcome::{Cause, Hop, Outcome, tidy};
use crate::model::wire::encode_hops;
use crate::store::columns::signed;

/// Size of the pieces in which rows are sent, about, in bytes; at most three are held at once.
const PIECE: usize = 128 * 1024;

/// The columns, in the order of their values in [`push_row`].
macro_rules! columns {
    () => {
        "due_ms, total_us, lag_us, interval_ms, bytes, target_id, node_id, run, redirects, \
         attempts, status, responded, status_ok, match_ok, reused, dns_us, connect_us, tls_us, \
         first_byte_us, transfer_us, cert_expires_s, chain_expires_s, verdict, cause, address, \
         http, matched, excerpt, error, hops"
    };
}
/// Number of the columns.
const COLUMNS: i16 = 30;

/// Makes the staging table. It holds the rows of a batch until its transaction ends.
const STAGING: &str = "CREATE TEMPORARY TABLE staged (LIKE outcome) ON COMMIT DELETE ROWS";

const COPY: &str = concat!("COPY pg_temp.staged (", columns!(), ") FROM STDIN (FORMAT binary)");

/// Stores the staged checks. This is the quick way, which fails if a check is stored already: to look for
/// each check first takes twice as long, and hardly ever finds one.
pub const INSERT: &str =
    concat!("INSERT INTO outcome (", columns!(), ") SELECT ", columns!(), " FROM pg_temp.staged");

/// Stores the staged checks of which some may be stored already. Returns the keys of the new ones.
pub const INSERT_NEW: &str = concat!(
    "INSERT INTO outcome (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM pg_temp.staged ON CONFLICT (due_ms, target_id, node_id, run) DO NOTHING
    RETURNING due_ms, target_id, node_id, run"
);

/// Key of a check, with its index among the batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckKey {
    /// Due time of the check, in milliseconds since 1970.
    pub due_ms: i64,
    /// Id of the target.
    pub target: i32,
    /// Id of the node.
    pub node: i32,
    /// Run of the check: 31 bits; one of 32 bits would be negative.
    pub run: i32,
    /// Index of the record in the batch.
    pub index: u32,
}

/// Makes the staging table, once for each connection.
pub async fn create_table(session: &mut Session) -> Result<(), PostgresError> {
    if !session.has_staging {
        session.client().batch_execute(STAGING).await?;
        session.has_staging = true;
    }
    Ok(())
}

/// Sends checks into the staging table, in this order.
pub async fn send<'a>(
    session: &mut Session,
    checks: impl Iterator<Item = (CheckKey, &'a Outcome)>,
) -> Result<(), PostgresError> {
    let statement = session.statement(COPY).await?;
    let sink = session.client().copy_in(&statement).await?;
    let mut sink: Pin<Box<CopyInSink<Cursor<Vec<u8>>>>> = Box::pin(sink);
    let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
    piece.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for (key, outcome) in checks {
        push_row(&mut piece, key, outcome);
        if piece.len() >= PIECE {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE + PIECE / 4));
            sink.send(Cursor::new(full)).await?;
        }
    }
    piece.extend_from_slice(&(-1_i16).to_be_bytes());
    sink.send(Cursor::new(piece)).await?;
    sink.as_mut().finish().await?;
    Ok(())
}

fn push_row(to: &mut Vec<u8>, key: CheckKey, o: &Outcome) {
    to.extend_from_slice(&COLUMNS.to_be_bytes());
    for number in [key.due_ms, signed(o.total_us), o.lag_us, o.interval_ms, signed(o.bytes)] {
        push_long(to, Some(number));
    }
    let redirects = count(o.redirects);
    let attempts = count(o.attempts);
    for number in [key.target, key.node, key.run, redirects, attempts] {
        push_field(to, &number.to_be_bytes());
    }
    match o.status {
        Some(status) => push_field(to, &i16::try_from(status).unwrap_or(i16::MAX).to_be_bytes()),
        None => push_null(to),
    }
    for truth in [Some(o.responded), o.status_ok, o.match_ok, o.reused] {
        match truth {
            Some(truth) => push_field(to, &[u8::from(truth)]),
            None => push_null(to),
        }
    }
    for (_, us) in o.phases.named() {
        push_long(to, us.map(signed));
    }
    push_long(to, o.cert_expires_s);
    push_long(to, o.chain_expires_s);
    push_text(to, Some(o.verdict.as_str()));
    push_text(to, o.cause.map(Cause::as_str));
    let texts = [&o.address, &o.matched, &o.excerpt, &o.error].map(|text| text.as_deref());
    let [address, matched, excerpt, error] = texts;
    for each in [address, o.http.as_deref(), matched, excerpt, error] {
        push_text(to, each);
    }
    match hops_json(&o.hops) {
        Some(json) => {
            to.extend_from_slice(&length_bytes(json.len() + 1));
            to.push(1);
            to.extend_from_slice(json.as_bytes());
        }
        None => push_null(to),
    }
}

fn push_null(to: &mut Vec<u8>) {
    to.extend_from_slice(&(-1_i32).to_be_bytes());
}

fn push_field(to: &mut Vec<u8>, value: &[u8]) {
    to.extend_from_slice(&length_bytes(value.len()));
    to.extend_from_slice(value);
}

fn push_long(to: &mut Vec<u8>, number: Option<i64>) {
    match number {
        Some(number) => push_field(to, &number.to_be_bytes()),
        None => push_null(to),
    }
}

/// Writes text without NUL, which a text column cannot hold; decoded records never have one.
fn push_text(to: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) if text.contains('\0') => push_field(to, tidy(text, usize::MAX).as_bytes()),
        Some(text) => push_field(to, text.as_bytes()),
        None => push_null(to),
    }
}

fn length_bytes(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes()
}

/// Returns hops as JSON, without NUL, which `jsonb` refuses even when it is escaped.
fn hops_json(hops: &[Hop]) -> Option<String> {
    if hops.is_empty() {
        return None;
    }
    let mut clean = hops.to_vec();
    for hop in &mut clean {
        hop.url = tidy(&hop.url, usize::MAX);
        hop.address = hop.address.as_deref().map(|address| tidy(address, usize::MAX));
    }
    Some(encode_hops(&clean))
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
