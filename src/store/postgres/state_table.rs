//! Updates the state of each target from the checks of a batch.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use super::error::PostgresError;
use super::records::SortedRecords;
use super::session::Session;
use super::staging::CheckKey;
use crate::model::outcome::Verdict;
use crate::model::standing::{NodeStanding, Observation};

const STATES: &str = "SELECT state.* FROM unnest($1::int4[], $2::int4[]) AS wanted (t, n)
    JOIN state ON target_id = t AND node_id = n
    ORDER BY target_id, node_id FOR NO KEY UPDATE OF state";

const UPDATE_STATES: &str = "UPDATE state SET verdict = new.verdict, since_ms = new.since_ms,
        last_due_ms = new.last_due_ms, interval_ms = new.interval_ms,
        first_due_ms = new.first_due_ms
    FROM unnest($1::int4[], $2::int4[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])
        AS new (t, n, verdict, since_ms, last_due_ms, interval_ms, first_due_ms)
    WHERE target_id = t AND node_id = n";

const INSERT_STATES: &str = "INSERT INTO state
        (target_id, node_id, verdict, since_ms, last_due_ms, interval_ms, first_due_ms)
    SELECT * FROM
        unnest($1::int4[], $2::int4[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])
    ON CONFLICT DO NOTHING RETURNING target_id, node_id";

/// Ids of a target and of a node that checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SeriesIds {
    target: i32,
    node: i32,
}

impl SeriesIds {
    fn of(key: &CheckKey) -> SeriesIds {
        SeriesIds { target: key.target, node: key.node }
    }

    /// Reads the ids from the first two columns.
    fn from_row(row: &Row) -> Result<SeriesIds, PostgresError> {
        Ok(SeriesIds { target: row.try_get(0)?, node: row.try_get(1)? })
    }
}

/// Updates the states of targets from their new checks.
pub async fn update_states(
    session: &mut Session,
    mut new: Vec<CheckKey>,
    sorted: &SortedRecords<'_>,
    now_ms: i64,
) -> Result<(), PostgresError> {
    // Each target and node in turn, with its checks in the order of the batch.
    new.sort_unstable_by_key(|key| (key.target, key.node, key.index));
    let mut groups: Vec<&[CheckKey]> =
        new.chunk_by(|a, b| SeriesIds::of(a) == SeriesIds::of(b)).collect();
    while !groups.is_empty() {
        let targets: Vec<i32> = groups.iter().map(|group| group[0].target).collect();
        let nodes: Vec<i32> = groups.iter().map(|group| group[0].node).collect();
        let mut stored = BTreeMap::new();
        for row in session.query(STATES, &[&targets, &nodes]).await? {
            stored.insert(SeriesIds::from_row(&row)?, parse_row(&row)?);
        }
        let mut changed = StateColumns::default();
        let mut new_states = StateColumns::default();
        for group in &groups {
            let ids = SeriesIds::of(&group[0]);
            let before = stored.get(&ids).copied();
            let checks = group.iter().filter_map(|key| sorted.check(key.index));
            let after = checks.fold(before, |state, outcome| {
                Some(NodeStanding::advance(state, Observation::from(outcome), now_ms).0)
            });
            match (before, after) {
                (None, Some(after)) => new_states.push(ids, &after),
                (Some(before), Some(after)) if before != after => changed.push(ids, &after),
                _ => {}
            }
        }
        changed.write(session, UPDATE_STATES).await?;
        let mut made = BTreeSet::new();
        for row in new_states.write(session, INSERT_STATES).await? {
            made.insert(SeriesIds::from_row(&row)?);
        }
        // Repeat for states that another writer made meanwhile: that writer has committed, so they can be
        // read now.
        groups.retain(|group| {
            let ids = SeriesIds::of(&group[0]);
            !stored.contains_key(&ids) && !made.contains(&ids)
        });
    }
    Ok(())
}

/// Reads a row of `state`.
pub fn parse_row(row: &Row) -> Result<NodeStanding, PostgresError> {
    Ok(NodeStanding {
        verdict: parse_verdict(row.try_get("verdict")?)?,
        since_ms: row.try_get("since_ms")?,
        last_due_ms: row.try_get("last_due_ms")?,
        interval_ms: row.try_get("interval_ms")?,
        first_due_ms: row.try_get("first_due_ms")?,
    })
}

/// Reads the verdict from its word in a table.
pub fn parse_verdict(word: &str) -> Result<Verdict, PostgresError> {
    Verdict::parse(word).ok_or_else(|| {
        PostgresError::unfit(format!("the verdict {word:?} is none that this sitewatch knows"))
    })
}

/// Rows of `state`, as one list for each column.
#[derive(Default)]
struct StateColumns {
    targets: Vec<i32>,
    nodes: Vec<i32>,
    verdicts: Vec<&'static str>,
    since: Vec<i64>,
    last_due: Vec<i64>,
    intervals: Vec<i64>,
    first_due: Vec<i64>,
}

impl StateColumns {
    fn push(&mut self, ids: SeriesIds, state: &NodeStanding) {
        self.targets.push(ids.target);
        self.nodes.push(ids.node);
        self.verdicts.push(state.verdict.as_str());
        self.since.push(state.since_ms);
        self.last_due.push(state.last_due_ms);
        self.intervals.push(state.interval_ms);
        self.first_due.push(state.first_due_ms);
    }

    async fn write(
        &self,
        session: &mut Session,
        sql: &'static str,
    ) -> Result<Vec<Row>, PostgresError> {
        if self.targets.is_empty() {
            return Ok(Vec::new());
        }
        let StateColumns { targets, nodes, verdicts, since, last_due, intervals, first_due } = self;
        session.query(sql, &[targets, nodes, verdicts, since, last_due, intervals, first_due]).await
    }
}
