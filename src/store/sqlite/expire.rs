//! Keeps a file within its largest size: deletes the oldest checks, and counts them as a loss.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::outcome::LossCause;
use crate::store::columns::signed;

/// Most checks that are deleted at once when the file is too large, unless one moment has more.
const CHECKS_AT_ONCE: i64 = 2000;

/// Deletes the oldest checks, and the gaps among them, until the file's content is within `max_size`; counts
/// them as one loss of the run. Returns how many checks were deleted. The newest moment stays, even if its
/// checks alone are too large.
pub fn expire(
    connection: &Connection,
    max_size: u64,
    node: i64,
    run: u32,
) -> rusqlite::Result<u64> {
    let mut expired = 0;
    while used(connection)? > max_size {
        let Some((from_ms, until_ms)) = oldest(connection)? else { break };
        let count = connection.execute("DELETE FROM outcome WHERE due_ms < ?", [until_ms])? as u64;
        connection.execute("DELETE FROM gap WHERE to_ms < ?", [until_ms])?;
        expired += count;
        let cause = LossCause::Expired.as_str();
        let grown = connection.execute(
            "UPDATE loss SET to_ms = ?, count = count + ? WHERE node_id = ? AND run = ? AND cause = ?",
            params![until_ms - 1, signed(count), node, run, cause],
        )?;
        if grown == 0 {
            connection.execute(
                "INSERT INTO loss (node_id, run, from_ms, cause, to_ms, count)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![node, run, from_ms, cause, until_ms - 1, signed(count)],
            )?;
        }
    }
    Ok(expired)
}

/// Returns the first due time of the oldest checks and the due time up to which to delete: an eighth of all
/// checks, at most [`CHECKS_AT_ONCE`], and at least one moment. None if only one moment is left.
fn oldest(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let rows: i64 = connection.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM outcome LIMIT ?)",
        [8 * CHECKS_AT_ONCE],
        |row| row.get(0),
    )?;
    let due = |query: &str, argument: i64| {
        connection.query_row(query, [argument], |row| row.get::<_, i64>(0)).optional()
    };
    let nth = "SELECT due_ms FROM outcome ORDER BY due_ms LIMIT 1 OFFSET ?";
    let Some(from_ms) = due(nth, 0)? else { return Ok(None) };
    let until_ms = match due(nth, rows / 8)? {
        Some(until_ms) if until_ms > from_ms => Some(until_ms),
        _ => due("SELECT due_ms FROM outcome WHERE due_ms > ? ORDER BY due_ms LIMIT 1", from_ms)?,
    };
    Ok(until_ms.map(|until_ms| (from_ms, until_ms)))
}

/// Returns the bytes of the file that are in use.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma: &str| -> rusqlite::Result<u64> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            .map(|n| n.max(0) as u64)
    };
    Ok((number("page_count")? - number("freelist_count")?) * number("page_size")?)
}
