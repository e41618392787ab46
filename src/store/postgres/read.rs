//! Reads rows as the values that the reports are made of.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use smol::stream::StreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::error::PostgresError;
use super::session::Session;
use super::state_table;
use crate::model::anchor::Anchors;
use crate::model::outcome::{Gap, GapCause, Verdict};
use crate::model::report::Series;
use crate::model::standing::NodeStanding;
use crate::model::tally::CheckFacts;
use crate::store::batch::Position;
use crate::store::columns::NamesById;
use crate::store::engine::Labels;

const POSITIONS: &str = "SELECT partition, next, anchors FROM kafka_offset
    WHERE cluster = $1 AND topic = $2";

const NEWEST: &str = "SELECT target.name, state.last_due_ms FROM state
    JOIN target ON target.id = target_id JOIN node ON node.id = node_id WHERE node.name = $1";

const STATES: &str = "SELECT target.name AS target, node.name AS node, verdict, since_ms,
        state.last_due_ms, state.interval_ms, first_due_ms
    FROM state JOIN target ON target.id = target_id JOIN node ON node.id = node_id";

const TARGETS: &str = "SELECT name, labels::text FROM target";

const CHECKS: &str = "SELECT target_id, node_id, due_ms, interval_ms, verdict, responded,
        status_ok, match_ok, total_us
    FROM outcome WHERE due_ms >= $1 AND due_ms < $2
    ORDER BY due_ms, target_id, node_id, run";

const GAPS: &str = "SELECT target_id, node_id, run, from_ms, to_ms, count, interval_ms, cause
    FROM gap WHERE from_ms < $2 AND to_ms >= $1 ORDER BY from_ms, target_id, node_id, run";

const LOSSES: &str = "SELECT cause, sum(count)::int8 FROM loss
    WHERE from_ms < $2 AND to_ms >= $1 GROUP BY cause";

/// Returns the position at which each partition goes on.
pub async fn positions(
    session: &mut Session,
    cluster: &str,
    topic: &str,
) -> Result<BTreeMap<i32, Position>, PostgresError> {
    let mut positions = BTreeMap::new();
    for row in session.query(POSITIONS, &[&cluster, &topic]).await? {
        let position = Position { next: get(&row, 1)?, anchors: Anchors::parse(get(&row, 2)?) };
        positions.insert(get(&row, 0)?, position);
    }
    Ok(positions)
}

/// Returns a single value: the first column of the first row.
pub async fn query_value<T: for<'a> FromSql<'a>>(
    session: &mut Session,
    sql: &'static str,
) -> Result<T, PostgresError> {
    let rows = session.query(sql, &[]).await?;
    rows.first().map_or_else(|| Err(PostgresError::away("it gave no answer")), |row| get(row, 0))
}

/// Returns the newest due time of each target on a node.
pub async fn newest(
    session: &mut Session,
    node: &str,
) -> Result<BTreeMap<String, i64>, PostgresError> {
    let mut newest = BTreeMap::new();
    for row in session.query(NEWEST, &[&node]).await? {
        newest.insert(get(&row, 0)?, get(&row, 1)?);
    }
    Ok(newest)
}

/// Returns the state of each target on each node.
pub async fn states(
    session: &mut Session,
) -> Result<BTreeMap<Series, NodeStanding>, PostgresError> {
    let mut states = BTreeMap::new();
    for row in session.query(STATES, &[]).await? {
        let series = Series { target: text(&row, 0)?, node: text(&row, 1)? };
        states.insert(series, state_table::parse_row(&row)?);
    }
    Ok(states)
}

/// Returns every target with its labels.
pub async fn targets(session: &mut Session) -> Result<BTreeMap<Arc<str>, Labels>, PostgresError> {
    let mut targets = BTreeMap::new();
    for row in session.query(TARGETS, &[]).await? {
        let labels: Option<&str> = get(&row, 1)?;
        let labels = labels.and_then(|json| miniserde::json::from_str(json).ok());
        targets.insert(text(&row, 0)?, labels.unwrap_or_default());
    }
    Ok(targets)
}

/// Gives `take` the checks of a window, by due time. Rows are read as they are taken, never many at once.
pub async fn checks(
    session: &mut Session,
    from_ms: i64,
    until_ms: i64,
    take: &mut dyn FnMut(&Series, &CheckFacts),
) -> Result<(), PostgresError> {
    let mut names = self::names(session).await?;
    let statement = session.statement(CHECKS).await?;
    let window: [&(dyn ToSql + Sync); 2] = [&from_ms, &until_ms];
    let mut rows = pin!(session.client().query_raw(&statement, window).await?);
    while let Some(row) = rows.try_next().await? {
        let check = CheckFacts {
            due_ms: get(&row, 2)?,
            interval_ms: get(&row, 3)?,
            verdict: verdict(&row, 4)?,
            responded: get(&row, 5)?,
            status_ok: get(&row, 6)?,
            match_ok: get(&row, 7)?,
            total_us: get::<i64>(&row, 8)?.max(0) as u64,
        };
        take(names.series(get::<i32>(&row, 0)?.into(), get::<i32>(&row, 1)?.into()), &check);
    }
    Ok(())
}

/// Gives `take` the gaps that overlap a window.
pub async fn gaps(
    session: &mut Session,
    from_ms: i64,
    until_ms: i64,
    take: &mut dyn FnMut(&Gap),
) -> Result<(), PostgresError> {
    let mut names = self::names(session).await?;
    for row in session.query(GAPS, &[&from_ms, &until_ms]).await? {
        let Series { target, node } =
            names.series(get::<i32>(&row, 0)?.into(), get::<i32>(&row, 1)?.into()).clone();
        take(&Gap {
            target,
            node,
            run: get::<i32>(&row, 2)? as u32,
            from_ms: get(&row, 3)?,
            to_ms: get(&row, 4)?,
            count: get::<i64>(&row, 5)?.max(0) as u64,
            interval_ms: get(&row, 6)?,
            cause: GapCause::parse(get(&row, 7)?).unwrap_or(GapCause::Other),
        });
    }
    Ok(())
}

/// Returns the number of dropped records by cause, from the losses that overlap a window.
pub async fn losses(
    session: &mut Session,
    from_ms: i64,
    until_ms: i64,
) -> Result<BTreeMap<String, u64>, PostgresError> {
    let mut losses = BTreeMap::new();
    for row in session.query(LOSSES, &[&from_ms, &until_ms]).await? {
        losses.insert(get(&row, 0)?, get::<i64>(&row, 1)?.max(0) as u64);
    }
    Ok(losses)
}

async fn names(session: &mut Session) -> Result<NamesById, PostgresError> {
    let mut names = NamesById::default();
    for row in session.query("SELECT id, name FROM target", &[]).await? {
        names.add_target(get::<i32>(&row, 0)?.into(), text(&row, 1)?);
    }
    for row in session.query("SELECT id, name FROM node", &[]).await? {
        names.add_node(get::<i32>(&row, 0)?.into(), text(&row, 1)?);
    }
    Ok(names)
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, PostgresError> {
    Ok(row.try_get(index)?)
}

fn text(row: &Row, index: usize) -> Result<Arc<str>, PostgresError> {
    Ok(Arc::from(get::<&str>(row, index)?))
}

fn verdict(row: &Row, index: usize) -> Result<Verdict, PostgresError> {
    state_table::parse_verdict(get(row, index)?)
}
