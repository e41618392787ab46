//! Deletes rows that were kept for long enough, one whole hour of rows at a time.

use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::config::RetentionConfig;
use crate::store::retention::{RetentionCounts, time_before};

const HOUR_MS: i64 = 3_600_000;
/// Time after which no further hour is begun: the writer waits for that long.
const STEPS_MAX: Duration = Duration::from_millis(50);

/// Deletes the hours of checks that lie before the retention, the oldest first and each in a transaction of
/// its own, then the gaps and losses of that time.
pub fn retain(
    connection: &mut Connection,
    retention: &RetentionConfig,
    now_ms: i64,
) -> rusqlite::Result<RetentionCounts> {
    let mut retained = RetentionCounts::default();
    let oldest_ms = time_before(now_ms, retention.checks);
    let began = Instant::now();
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(hour_ms) = oldest_hour(&transaction)? else { break };
        let end_ms = hour_ms.saturating_add(HOUR_MS);
        if end_ms > oldest_ms {
            break;
        }
        if began.elapsed() >= STEPS_MAX {
            retained.hours_left = hours_between(&transaction, hour_ms, oldest_ms)?;
            break;
        }
        transaction.execute("DELETE FROM outcome WHERE due_ms < ?", [end_ms])?;
        transaction.commit()?;
        retained.hours += 1;
    }
    let gaps = "DELETE FROM gap WHERE from_ms < ?1 AND to_ms < ?1";
    connection.execute(gaps, [oldest_ms])?;
    connection.execute("DELETE FROM loss WHERE to_ms < ?", [oldest_ms])?;
    Ok(retained)
}

/// Returns the start of the hour of the oldest check; none if there is no check.
fn oldest_hour(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let due_ms: Option<i64> =
        connection.query_row("SELECT min(due_ms) FROM outcome", [], |row| row.get(0))?;
    Ok(due_ms.map(|due_ms| due_ms - due_ms.rem_euclid(HOUR_MS)))
}

/// Returns the number of hours with checks that end within [from, until).
fn hours_between(connection: &Connection, from_ms: i64, until_ms: i64) -> rusqlite::Result<u64> {
    let hours: i64 = connection.query_row(
        "SELECT count(DISTINCT due_ms / ?3) FROM outcome WHERE due_ms >= ?1 AND due_ms < ?2",
        params![from_ms, until_ms - until_ms.rem_euclid(HOUR_MS), HOUR_MS],
        |row| row.get(0),
    )?;
    Ok(hours.max(0) as u64)
}
