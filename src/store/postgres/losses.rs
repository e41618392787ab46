//! Stores gaps and losses: due times without a check, and records that were dropped. Both are stored in the
//! order of their keys.

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;

use super::error::PostgresError;
use super::names::{node_id, target_id};
use super::session::Session;
use crate::model::outcome::{Gap, Loss};
use crate::store::columns::signed;

const GAPS: &str = "INSERT INTO gap
        (from_ms, target_id, node_id, run, to_ms, count, interval_ms, cause)
    SELECT * FROM unnest($1::int8[], $2::int4[], $3::int4[], $4::int4[], $5::int8[], $6::int8[],
        $7::int8[], $8::text[])
    ON CONFLICT DO NOTHING";

const LOSSES: &str = "INSERT INTO loss (node_id, run, from_ms, cause, sequence, to_ms, count)
    SELECT * FROM
        unnest($1::int4[], $2::int4[], $3::int8[], $4::text[], $5::int4[], $6::int8[], $7::int8[])
    ON CONFLICT (node_id, run, from_ms, cause, sequence) DO UPDATE SET
        to_ms = greatest(loss.to_ms, excluded.to_ms),
        count = greatest(loss.count, excluded.count)";

/// Stores gaps.
pub async fn store_gaps(session: &mut Session, gaps: &[&Gap]) -> Result<(), PostgresError> {
    // Key: from, target, node and run.
    let mut rows: BTreeMap<(i64, i32, i32, i32), &Gap> = BTreeMap::new();
    for gap in gaps {
        let target = target_id(session, &gap.target)?;
        let node = node_id(session, &gap.node)?;
        rows.entry((gap.from_ms, target, node, gap.run as i32)).or_insert(*gap);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let from: Vec<i64> = rows.keys().map(|key| key.0).collect();
    let targets: Vec<i32> = rows.keys().map(|key| key.1).collect();
    let nodes: Vec<i32> = rows.keys().map(|key| key.2).collect();
    let runs: Vec<i32> = rows.keys().map(|key| key.3).collect();
    let to: Vec<i64> = rows.values().map(|gap| gap.to_ms).collect();
    let counts: Vec<i64> = rows.values().map(|gap| signed(gap.count)).collect();
    let intervals: Vec<i64> = rows.values().map(|gap| gap.interval_ms).collect();
    let causes: Vec<&str> = rows.values().map(|gap| gap.cause.as_str()).collect();
    let columns: [&(dyn ToSql + Sync); 8] =
        [&from, &targets, &nodes, &runs, &to, &counts, &intervals, &causes];
    session.execute(GAPS, &columns).await?;
    Ok(())
}

/// Stores losses; a loss that is stored already grows.
pub async fn store_losses(session: &mut Session, losses: &[&Loss]) -> Result<(), PostgresError> {
    /// Node, run, start, cause and sequence.
    type Key<'a> = (i32, i32, i64, &'a str, i32);
    let mut rows: BTreeMap<Key<'_>, (i64, i64)> = BTreeMap::new();
    for loss in losses {
        let node = node_id(session, &loss.node)?;
        let cause = loss.cause.as_str();
        let key = (node, loss.run as i32, loss.from_ms, cause, loss.sequence as i32);
        let (to_ms, count) = rows.entry(key).or_insert((loss.to_ms, 0));
        *to_ms = loss.to_ms.max(*to_ms);
        *count = signed(loss.count).max(*count);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let nodes: Vec<i32> = rows.keys().map(|key| key.0).collect();
    let runs: Vec<i32> = rows.keys().map(|key| key.1).collect();
    let from: Vec<i64> = rows.keys().map(|key| key.2).collect();
    let causes: Vec<&str> = rows.keys().map(|key| key.3).collect();
    let sequences: Vec<i32> = rows.keys().map(|key| key.4).collect();
    let (to, counts): (Vec<i64>, Vec<i64>) = rows.values().copied().unzip();
    session.execute(LOSSES, &[&nodes, &runs, &from, &causes, &sequences, &to, &counts]).await?;
    Ok(())
}
