//! What has been kept for long enough goes: hours of checks, gaps and losses, and dead letters.

use super::fault::Fault;
use super::session::Session;
use crate::config::Retention;

/// Hours that one transaction drops: each makes everybody wait for some milliseconds.
const HOURS_AT_ONCE: i32 = 24;
/// Rows that one statement deletes.
const ROWS_AT_ONCE: i64 = 10_000;

const DROP_HOURS: &str = "SELECT dropped, remaining FROM drop_hours($1, $2)";

const GAPS: &str = "DELETE FROM gap WHERE from_ms < $1 AND to_ms < $1";

const LOSSES: &str = "DELETE FROM loss WHERE to_ms < $1";

const OLD_LETTERS: &str = "WITH gone AS (
        SELECT cluster, topic, partition, record_offset FROM dead_letter
        WHERE received_at < to_timestamp($1) ORDER BY received_at LIMIT $2
    )
    DELETE FROM dead_letter USING gone WHERE dead_letter.cluster = gone.cluster
        AND dead_letter.topic = gone.topic AND dead_letter.partition = gone.partition
        AND dead_letter.record_offset = gone.record_offset";

/// From the newest on they are kept while there is room; the newest always is.
const LETTERS_OVER: &str = "WITH counted AS (
        SELECT cluster, topic, partition, record_offset,
            sum(length(payload)) OVER newest AS bytes, row_number() OVER newest AS number
        FROM dead_letter
        WINDOW newest AS (ORDER BY received_at DESC, cluster DESC, topic DESC, partition DESC,
            record_offset DESC ROWS UNBOUNDED PRECEDING)
    ), gone AS (
        SELECT * FROM counted WHERE bytes > $1 AND number > 1
    )
    DELETE FROM dead_letter USING gone WHERE dead_letter.cluster = gone.cluster
        AND dead_letter.topic = gone.topic AND dead_letter.partition = gone.partition
        AND dead_letter.record_offset = gone.record_offset";

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Hours of checks.
    pub hours: u64,
    /// Hours whose time has come and that somebody held; the next time may find them free.
    pub held: u64,
    /// Dead letters that were too old.
    pub letters_old: u64,
    /// The oldest dead letters, for which there was no room any more.
    pub letters_over: u64,
}

/// Lets go of what is too old, or too much.
pub async fn retain(
    session: &mut Session,
    retention: &Retention,
    dead_letter_max: u64,
    now_ms: i64,
) -> Result<Retained, Fault> {
    let mut retained = Retained::default();
    let from_ms = before(now_ms, retention.checks);
    loop {
        let rows = session.query(DROP_HOURS, &[&from_ms, &HOURS_AT_ONCE]).await?;
        let Some(row) = rows.first() else { break };
        let (dropped, remaining): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
        retained.hours += dropped.max(0) as u64;
        retained.held = remaining.max(0) as u64;
        if dropped == 0 || remaining == 0 {
            break;
        }
    }
    session.execute(GAPS, &[&from_ms]).await?;
    session.execute(LOSSES, &[&from_ms]).await?;
    let oldest_s = before(now_ms, retention.dead_letters) as f64 / 1000.0;
    loop {
        let gone = session.execute(OLD_LETTERS, &[&oldest_s, &ROWS_AT_ONCE]).await?;
        retained.letters_old += gone;
        if gone < ROWS_AT_ONCE as u64 {
            break;
        }
    }
    let room = i64::try_from(dead_letter_max).unwrap_or(i64::MAX);
    retained.letters_over = session.execute(LETTERS_OVER, &[&room]).await?;
    Ok(retained)
}

/// The time that was so long before.
pub fn before(now_ms: i64, ago: std::time::Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}
