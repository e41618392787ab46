//! Deletes rows that were kept for long enough: partitions of checks, gaps and losses, and dead letters. Other
//! sessions wait only shortly meanwhile: work that would take longer is left for the next call.

use std::time::{Duration, Instant};

use super::error::PostgresError;
use super::session::Session;
use crate::config::RetentionConfig;
use crate::store::retention::{RetentionCounts, time_before};

/// Most partitions that one transaction drops: each makes all other sessions wait for some milliseconds.
const HOURS_AT_ONCE: i32 = 24;
/// Most rows that one statement deletes.
const ROWS_AT_ONCE: i64 = 10_000;
/// Time after which no further step is begun.
const STEPS_MAX: Duration = Duration::from_millis(500);

const DROP_HOURS: &str = "SELECT dropped, remaining FROM drop_hours($1, $2)";

const GAPS: &str = "DELETE FROM gap WHERE from_ms < $1 AND to_ms < $1";

const LOSSES: &str = "DELETE FROM loss WHERE to_ms < $1";

const OLD_LETTERS: &str = "DELETE FROM dead_letter WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM dead_letter WHERE received_at < to_timestamp($1)
    ORDER BY received_at LIMIT $2))";

/// Bytes by which dead letters are over the limit. They are added up only if the table's size on disk is over
/// the limit: payloads are stored uncompressed, so the size on disk is not less.
const TOO_MUCH: &str = "SELECT CASE WHEN pg_table_size('dead_letter') > $1
    THEN (SELECT coalesce(sum(length(payload) + length(detail) + 200), 0) FROM dead_letter)::int8 - $1
    ELSE 0 END";

/// Deletes the oldest dead letters, as many as needed.
const LETTERS_OVER: &str = "DELETE FROM dead_letter WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM (
        SELECT ctid, sum(bytes) OVER (ORDER BY received_at, ctid) - bytes AS older_bytes
        FROM (
            SELECT ctid, received_at, length(payload) + length(detail) + 200 AS bytes
            FROM dead_letter
            ORDER BY received_at, ctid LIMIT $2
        ) AS oldest
    ) AS counted
    WHERE older_bytes < $1))";

/// Deletes the rows that are too old, or too many.
pub async fn retain(
    session: &mut Session,
    retention: &RetentionConfig,
    dead_letter_max: u64,
    now_ms: i64,
) -> Result<RetentionCounts, PostgresError> {
    let mut retained = RetentionCounts::default();
    let began = Instant::now();
    let from_ms = time_before(now_ms, retention.checks);
    loop {
        let rows = session.query(DROP_HOURS, &[&from_ms, &HOURS_AT_ONCE]).await?;
        let Some(row) = rows.first() else { break };
        let dropped: i32 = row.try_get(0)?;
        let remaining: i32 = row.try_get(1)?;
        retained.hours += dropped.max(0) as u64;
        retained.hours_left = remaining.max(0) as u64;
        if dropped == 0 || remaining == 0 || began.elapsed() >= STEPS_MAX {
            break;
        }
    }
    session.execute(GAPS, &[&from_ms]).await?;
    session.execute(LOSSES, &[&from_ms]).await?;
    let oldest_s = time_before(now_ms, retention.dead_letters) as f64 / 1000.0;
    loop {
        let gone = session.execute(OLD_LETTERS, &[&oldest_s, &ROWS_AT_ONCE]).await?;
        retained.letters_old += gone;
        if gone == 0 || began.elapsed() >= STEPS_MAX {
            break;
        }
    }
    let room = i64::try_from(dead_letter_max).unwrap_or(i64::MAX);
    loop {
        let rows = session.query(TOO_MUCH, &[&room]).await?;
        let too_much: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        if too_much <= 0 {
            break;
        }
        let gone = session.execute(LETTERS_OVER, &[&too_much, &ROWS_AT_ONCE]).await?;
        retained.letters_over += gone;
        retained.has_more = gone > 0;
        if gone == 0 || began.elapsed() >= STEPS_MAX {
            break;
        }
        retained.has_more = false;
    }
    Ok(retained)
}
