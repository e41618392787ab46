//! Reads rows as the values that the reports are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};

use crate::model::outcome::{Gap, GapCause, Verdict};
use crate::model::report::Series;
use crate::model::standing::NodeStanding;
use crate::model::tally::CheckFacts;
use crate::store::columns::NamesById;
use crate::store::engine::Labels;

/// Returns the newest due time of each target on a node.
pub fn newest(connection: &Connection, node: &str) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut statement = connection.prepare(
        "SELECT target.name, state.last_due_ms FROM state
         JOIN target ON target.id = target_id JOIN node ON node.id = node_id
         WHERE node.name = ?",
    )?;
    statement.query_map([node], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Returns the state of each target on each node.
pub fn states(connection: &Connection) -> rusqlite::Result<BTreeMap<Series, NodeStanding>> {
    let mut statement = connection.prepare(
        "SELECT verdict, since_ms, state.last_due_ms, state.interval_ms, first_due_ms,
                target.name, node.name
         FROM state JOIN target ON target.id = target_id JOIN node ON node.id = node_id",
    )?;
    let rows = statement.query_map([], |row| {
        let series = Series { target: text(row, 5)?, node: text(row, 6)? };
        Ok((series, state(row)?))
    })?;
    rows.collect()
}

/// Reads the columns verdict, since_ms, last_due_ms, interval_ms and first_due_ms of `state`.
pub fn state(row: &Row<'_>) -> rusqlite::Result<NodeStanding> {
    Ok(NodeStanding {
        verdict: verdict(row, 0)?,
        since_ms: row.get(1)?,
        last_due_ms: row.get(2)?,
        interval_ms: row.get(3)?,
        first_due_ms: row.get(4)?,
    })
}

/// Returns every target with its labels.
pub fn targets(connection: &Connection) -> rusqlite::Result<BTreeMap<Arc<str>, Labels>> {
    let mut statement = connection.prepare("SELECT name, labels FROM target")?;
    let rows = statement.query_map([], |row| {
        let labels: Option<String> = row.get(1)?;
        let labels = labels.and_then(|json| miniserde::json::from_str(&json).ok());
        Ok((text(row, 0)?, labels.unwrap_or_default()))
    })?;
    rows.collect()
}

/// Gives `take` the checks of a window, by due time.
pub fn checks(
    connection: &Connection,
    from_ms: i64,
    until_ms: i64,
    take: &mut dyn FnMut(&Series, &CheckFacts),
) -> rusqlite::Result<()> {
    let mut names = self::names(connection)?;
    let mut statement = connection.prepare(
        "SELECT target_id, node_id, due_ms, interval_ms, verdict, responded, status_ok, match_ok,
                total_us
         FROM outcome WHERE due_ms >= ? AND due_ms < ?
         ORDER BY due_ms, target_id, node_id, run",
    )?;
    let mut rows = statement.query([from_ms, until_ms])?;
    while let Some(row) = rows.next()? {
        let check = CheckFacts {
            due_ms: row.get(2)?,
            interval_ms: row.get(3)?,
            verdict: verdict(row, 4)?,
            responded: row.get(5)?,
            status_ok: row.get(6)?,
            match_ok: row.get(7)?,
            total_us: row.get::<_, i64>(8)?.max(0) as u64,
        };
        take(names.series(row.get(0)?, row.get(1)?), &check);
    }
    Ok(())
}

/// Gives `take` the gaps that overlap a window.
pub fn gaps(
    connection: &Connection,
    from_ms: i64,
    until_ms: i64,
    take: &mut dyn FnMut(&Gap),
) -> rusqlite::Result<()> {
    let mut names = self::names(connection)?;
    let mut statement = connection.prepare(
        "SELECT target_id, node_id, run, from_ms, to_ms, count, interval_ms, cause
         FROM gap WHERE from_ms < ?2 AND to_ms >= ?1 ORDER BY from_ms",
    )?;
    let mut rows = statement.query([from_ms, until_ms])?;
    while let Some(row) = rows.next()? {
        let Series { target, node } = names.series(row.get(0)?, row.get(1)?).clone();
        let cause: String = row.get(7)?;
        take(&Gap {
            target,
            node,
            run: row.get(2)?,
            from_ms: row.get(3)?,
            to_ms: row.get(4)?,
            count: row.get::<_, i64>(5)?.max(0) as u64,
            interval_ms: row.get(6)?,
            cause: GapCause::parse(&cause).unwrap_or(GapCause::Other),
        });
    }
    Ok(())
}

/// Returns the number of dropped records by cause, from the losses that overlap a window.
pub fn losses(
    connection: &Connection,
    from_ms: i64,
    until_ms: i64,
) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut statement = connection.prepare(
        "SELECT cause, sum(count) FROM loss WHERE from_ms < ?2 AND to_ms >= ?1 GROUP BY cause",
    )?;
    let rows = statement.query_map([from_ms, until_ms], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64))
    })?;
    rows.collect()
}

fn names(connection: &Connection) -> rusqlite::Result<NamesById> {
    let mut names = NamesById::default();
    let mut statement = connection.prepare("SELECT id, name FROM target")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.add_target(row.get(0)?, text(row, 1)?);
    }
    let mut statement = connection.prepare("SELECT id, name FROM node")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.add_node(row.get(0)?, text(row, 1)?);
    }
    Ok(names)
}

fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<Arc<str>> {
    row.get_ref(index)?.as_str().map(Arc::from).map_err(Into::into)
}

fn verdict(row: &Row<'_>, index: usize) -> rusqlite::Result<Verdict> {
    let word = row.get_ref(index)?.as_str()?;
    Verdict::parse(word).ok_or_else(|| {
        let what = format!("the verdict {word:?} is none that this sitewatch knows");
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, what.into())
    })
}
