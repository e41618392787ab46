//! Shape of a record on the wire, in Kafka and in `check --format json`: written here and read here.
//!
//! - One JSON object a record, UTF-8, at most [`RECORD_MAX`] bytes, flat but for `labels` (an
//!   object of texts) and `hops` (an array of objects).
//! - Absent, null and empty text mean the same, and are left out; 0 and false are values and stay.
//! - All times are UTC: `_ms` and `_s` since 1970, `_us` are durations.
//! - Every record has `v` (1), `kind`, `node` and `run`.
//! - A reader skips fields and kinds that it does not know. A higher `v` may mean anything, so it
//!   is refused.
//! - Text never holds NUL (U+FFFD instead) and is cut to its bound, in bytes of UTF-8. Over the
//!   size of a record the `excerpt` is cut first, then `hops`.

mod decode;
mod encode;

use std::ops::RangeInclusive;

use crate::json::ObjectShape;

pub use self::decode::{DecodedMessage, decode};
pub use self::encode::{encode, encode_check, encode_hops, encode_labels};
pub use super::field::{DecodeError, Reason};

/// Version of the record.
pub const VERSION: i64 = 1;
/// Longest record, in bytes.
pub const RECORD_MAX: usize = 64 * 1024;
/// Longest name of a target or node, in characters.
const NAME_MAX: usize = 128;
/// Longest address, version, word or the like, in bytes.
const WORD_MAX: usize = 256;
/// Longest text about a target (its URL, its expressions), in bytes each.
const ABOUT_MAX: usize = 8 * 1024;
/// Oldest time that a record may have: 2024-01-01T00:00:00Z, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_704_067_200_000;
/// Time that a record may be ahead of the reader's clock, in milliseconds.
pub const AHEAD_MS: i64 = 3_600_000;
/// Range of runs: 31 bits.
const RUNS: RangeInclusive<i64> = 0..=0x7fff_ffff;
/// Range of counts and durations: whole numbers that every reader of JSON holds exactly.
const COUNTS: RangeInclusive<i64> = 0..=1 << 53;
/// Range of status codes.
const STATUSES: RangeInclusive<i64> = 100..=999;
/// Range of intervals, in milliseconds: up to 366 days.
const INTERVALS: RangeInclusive<i64> = 1..=366 * 86_400_000;
/// Range of seconds since 1970, from the year 1 to the year 9999.
const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Range of milliseconds since 1970 before they are compared with the clock.
const TIMES: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// Declares the fields, each with its name, in the order in which they are written.
macro_rules! fields {
    ($($field:ident $name:literal)*) => {
        #[derive(Clone, Copy)]
        enum F { $($field,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

fields! {
    V "v" Kind "kind" Node "node" Run "run" Target "target"
    DueMs "due_ms" LagUs "lag_us" IntervalMs "interval_ms" Verdict "verdict" Cause "cause"
    Responded "responded" Status "status" StatusOk "status_ok" MatchOk "match_ok"
    DnsUs "dns_us" ConnectUs "connect_us" TlsUs "tls_us" FirstByteUs "first_byte_us"
    TransferUs "transfer_us" TotalUs "total_us" Address "address" Http "http"
    Redirects "redirects" Bytes "bytes" Attempts "attempts" Matched "matched"
    Excerpt "excerpt" Error "error" CertExpiresS "cert_expires_s"
    ChainExpiresS "chain_expires_s" Reused "reused" Hops "hops"
    FromMs "from_ms" ToMs "to_ms" Count "count" Sequence "sequence"
    SentMs "sent_ms" Version "version" PreviousRun "previous_run" LastDueMs "last_due_ms"
    SpoolCount "spool_count" SpoolOldestMs "spool_oldest_ms" ClockSynced "clock_synced"
    Url "url" Method "method" ExpectedStatus "expected_status" Match "match" Reject "reject"
    Labels "labels"
}

impl F {
    fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

struct RecordShape;

impl ObjectShape for RecordShape {
    const NAMES: &'static [&'static str] = NAMES;

    fn depth(field: usize) -> u8 {
        match field {
            _ if field == F::Hops as usize => 2,
            _ if field == F::Labels as usize => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
