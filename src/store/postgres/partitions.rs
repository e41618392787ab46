//! Makes the partitions of hours before a batch's transaction, each committed at once: while a batch is sent,
//! no lock is held that others may wait for.

use super::error::{ErrorKind, PostgresError};
use super::session::Session;

/// Hours after the present one that get a partition ahead: so at least 6 whole hours have one at any time.
const HOURS_AHEAD: i64 = 7;
const HOUR_MS: i64 = 3_600_000;

/// Creates the missing partitions for the next hours, unless another session has locked the table.
pub async fn create_ahead(session: &mut Session, now_ms: i64) -> Result<(), PostgresError> {
    let this_ms = now_ms - now_ms.rem_euclid(HOUR_MS);
    for hour in (0..=HOURS_AHEAD).map(|hours| this_ms + hours * HOUR_MS) {
        if session.cache.hours.contains(&hour) {
            continue;
        }
        session.client().batch_execute("BEGIN; SET LOCAL lock_timeout = '300ms'").await?;
        match session.execute("SELECT make_hour($1)", &[&hour]).await {
            Ok(_) => session.client().batch_execute("COMMIT").await?,
            Err(error) if error.kind == ErrorKind::ConnectionLost => return Err(error),
            Err(_) => {
                session.client().batch_execute("ROLLBACK").await?;
                break;
            }
        }
        session.cache.hours.insert(hour);
    }
    Ok(())
}

/// Makes sure that these hours have a partition.
pub async fn create(
    session: &mut Session,
    hours: impl Iterator<Item = i64>,
) -> Result<(), PostgresError> {
    for hour in hours {
        if !session.cache.hours.contains(&hour) {
            session.execute("SELECT make_hour($1)", &[&hour]).await?;
            session.cache.hours.insert(hour);
        }
    }
    Ok(())
}
