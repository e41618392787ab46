//! Checks as rows of PostgreSQL's binary COPY.
//!
//! The stream is a head of 19 bytes (signature, flags, length of an extension), the rows, and a
//! field count of −1 at the end. A row is its field count (2 bytes), then each field: its length
//! (4 bytes; −1 for null), then the value as its type sends it, numbers big-endian. `jsonb` sends
//! its version, 1, before its text.

use std::io::Cursor;
use std::pin::Pin;

use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::fault::Fault;
use super::session::Session;
use crate::model::outcome::{Cause, Hop, Outcome, tidy};
use crate::model::wire::encode_hops;

/// Rows are sent in pieces of about this size, in bytes; three at most are held at once.
const PIECE: usize = 128 * 1024;

/// The columns, in the order of their values in [`row`].
macro_rules! columns {
    () => {
        "due_ms, total_us, lag_us, interval_ms, bytes, target_id, node_id, run, redirects, \
         attempts, status, responded, status_ok, match_ok, reused, dns_us, connect_us, tls_us, \
         first_byte_us, transfer_us, cert_expires_s, chain_expires_s, verdict, cause, address, \
         http, matched, excerpt, error, hops"
    };
}
/// How many they are.
const COLUMNS: i16 = 30;

/// Takes the rows of a batch, until it ends.
const STAGING: &str = "CREATE TEMPORARY TABLE staged (LIKE outcome) ON COMMIT DELETE ROWS";

const COPY: &str = concat!("COPY pg_temp.staged (", columns!(), ") FROM STDIN (FORMAT binary)");

/// Stores what was staged. The quick way, which fails if a check is stored already: looking for
/// each first takes twice as long, and hardly ever finds one.
pub const MOVE: &str =
    concat!("INSERT INTO outcome (", columns!(), ") SELECT ", columns!(), " FROM pg_temp.staged");

/// The same where some may be stored already; tells which were not.
pub const MOVE_NEW: &str = concat!(
    "INSERT INTO outcome (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM pg_temp.staged ON CONFLICT (due_ms, target_id, node_id, run) DO NOTHING
    RETURNING due_ms, target_id, node_id, run"
);

/// A check's key, and which of a batch's records it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When it was due, in milliseconds since 1970.
    pub due_ms: i64,
    /// Ids of its names.
    pub target: i32,
    /// See `target`.
    pub node: i32,
    /// Its run; those of 32 bits are negative.
    pub run: i32,
    /// Its place in the batch.
    pub index: u32,
}

/// Makes the table that takes the rows, once a connection.
pub async fn prepare(session: &mut Session) -> Result<(), Fault> {
    if !session.has_staging {
        session.client().batch_execute(STAGING).await?;
        session.has_staging = true;
    }
    Ok(())
}

/// Sends checks into the staging table, in this order.
pub async fn stage<'a>(
    session: &mut Session,
    checks: impl Iterator<Item = (Key, &'a Outcome)>,
) -> Result<(), Fault> {
    let statement = session.statement(COPY).await?;
    let sink = session.client().copy_in(&statement).await?;
    let mut sink: Pin<Box<CopyInSink<Cursor<Vec<u8>>>>> = Box::pin(sink);
    let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
    piece.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for (key, outcome) in checks {
        row(&mut piece, key, outcome);
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

fn row(to: &mut Vec<u8>, key: Key, o: &Outcome) {
    to.extend_from_slice(&COLUMNS.to_be_bytes());
    for number in [key.due_ms, signed(o.total_us), o.lag_us, o.interval_ms, signed(o.bytes)] {
        long(to, Some(number));
    }
    let (redirects, attempts) = (count(o.redirects), count(o.attempts));
    for number in [key.target, key.node, key.run, redirects, attempts] {
        field(to, &number.to_be_bytes());
    }
    match o.status {
        Some(status) => field(to, &i16::try_from(status).unwrap_or(i16::MAX).to_be_bytes()),
        None => null(to),
    }
    for truth in [Some(o.responded), o.status_ok, o.match_ok, o.reused] {
        match truth {
            Some(truth) => field(to, &[u8::from(truth)]),
            None => null(to),
        }
    }
    for (_, us) in o.phases.named() {
        long(to, us.map(signed));
    }
    long(to, o.cert_expires_s);
    long(to, o.chain_expires_s);
    text(to, Some(o.verdict.as_str()));
    text(to, o.cause.map(Cause::as_str));
    let texts = [&o.address, &o.matched, &o.excerpt, &o.error].map(|text| text.as_deref());
    let [address, matched, excerpt, error] = texts;
    for each in [address, o.http.as_deref(), matched, excerpt, error] {
        text(to, each);
    }
    match hops(&o.hops) {
        Some(json) => {
            to.extend_from_slice(&length(json.len() + 1));
            to.push(1);
            to.extend_from_slice(json.as_bytes());
        }
        None => null(to),
    }
}

fn null(to: &mut Vec<u8>) {
    to.extend_from_slice(&(-1_i32).to_be_bytes());
}

fn field(to: &mut Vec<u8>, value: &[u8]) {
    to.extend_from_slice(&length(value.len()));
    to.extend_from_slice(value);
}

fn long(to: &mut Vec<u8>, number: Option<i64>) {
    match number {
        Some(number) => field(to, &number.to_be_bytes()),
        None => null(to),
    }
}

/// Text cannot hold NUL there; what was decoded never does.
fn text(to: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) if text.contains('\0') => field(to, tidy(text, usize::MAX).as_bytes()),
        Some(text) => field(to, text.as_bytes()),
        None => null(to),
    }
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes()
}

/// Hops as JSON, without NUL, which `jsonb` refuses even when it is escaped.
fn hops(hops: &[Hop]) -> Option<String> {
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

/// PostgreSQL's integers are signed; ours never come near the end.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
