//! Brings the tables of a file up to date.
//!
//! Migrations are numbered files. `user_version` is the number of the last that was applied.

use rusqlite::{Connection, TransactionBehavior};

use crate::clock;

/// `application_id` of our files: "site" in ASCII.
pub const APPLICATION: i32 = 0x7369_7465;
/// Migrations in their order; the first is number 1.
const MIGRATIONS: [&str; 3] =
    [include_str!("001.sql"), include_str!("002.sql"), include_str!("003.sql")];
/// Number of the newest migration.
pub const LATEST: usize = MIGRATIONS.len();

/// Brings the tables up to date, each step and its number in one transaction. If another process starts at
/// the same moment, a step that it has done already is left out.
pub fn migrate(connection: &mut Connection, is_new: bool) -> rusqlite::Result<()> {
    if is_new {
        connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION}"))?;
    }
    let version = |connection: &Connection| -> rusqlite::Result<usize> {
        connection
            .query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))
            .map(|v| v as usize)
    };
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(version(connection)?) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? > index {
            continue;
        }
        transaction.execute_batch(sql)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {}", index + 1))?;
        transaction.execute(
            "INSERT INTO migration (version, applied_ms) VALUES (?, ?)",
            (index as i64 + 1, clock::now_ms()),
        )?;
        transaction.commit()?;
    }
    Ok(())
}
