//! Stores the announcements of targets and nodes, of which the newest wins, in the order of their ids.

use std::collections::{BTreeMap, BTreeSet};

use super::error::PostgresError;
use super::names::{node_id, target_id};
use super::session::Session;
use crate::model::outcome::tidy;
use crate::model::record::{NodeState, TargetState};
use crate::model::standing::AHEAD_MS;
use crate::model::wire::encode_labels;
use crate::store::columns::signed;

const TARGETS: &str = "WITH locked AS (
        SELECT id AS locked_id FROM target WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE target SET url = new.url, method = new.method, expected_status = new.expected_status,
        \"match\" = new.matches, reject = new.rejects, interval_ms = new.interval_ms,
        labels = new.labels::jsonb, sent_ms = new.sent_ms
    FROM locked, unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::int8[], $8::text[], $9::int8[])
        AS new (id, url, method, expected_status, matches, rejects, interval_ms, labels, sent_ms)
    WHERE target.id = locked_id AND target.id = new.id AND (target.sent_ms IS NULL
        OR target.sent_ms <= new.sent_ms OR target.sent_ms > $10)";

const NODES: &str = "WITH locked AS (
        SELECT id AS locked_id FROM node WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE node SET run = new.run, version = new.version, sent_ms = new.sent_ms, seen_ms = $9,
        previous_run = new.previous_run, last_due_ms = new.last_due_ms,
        spool_count = new.spool_count, spool_oldest_ms = new.spool_oldest_ms,
        clock_synced = new.clock_synced
    FROM locked, unnest($1::int4[], $2::int4[], $3::text[], $4::int8[], $5::int4[], $6::int8[],
        $7::int8[], $8::int8[], $11::bool[])
        AS new (id, run, version, sent_ms, previous_run, last_due_ms, spool_count,
            spool_oldest_ms, clock_synced)
    WHERE node.id = locked_id AND node.id = new.id AND (node.sent_ms IS NULL
        OR node.sent_ms <= new.sent_ms OR node.sent_ms > $10)";

/// Updates `seen_ms` of nodes, but not of one that another writer has locked: that writer updates it itself.
const SEEN: &str = "WITH locked AS (
        SELECT id AS locked_id FROM node
        WHERE id = ANY ($1) AND (seen_ms IS NULL OR seen_ms < $2 OR seen_ms > $3)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE node SET seen_ms = $4 FROM locked WHERE id = locked_id";

/// Returns the newest announcement for each id by `sent_ms`; of two equally new ones, the later in the batch.
fn newest<'a, T>(
    states: &[&'a T],
    id: impl Fn(&T) -> Result<i32, PostgresError>,
    sent_ms: impl Fn(&T) -> i64,
) -> Result<BTreeMap<i32, &'a T>, PostgresError> {
    let mut rows: BTreeMap<i32, &T> = BTreeMap::new();
    for state in states {
        let row = rows.entry(id(state)?).or_insert(*state);
        if sent_ms(row) <= sent_ms(state) {
            *row = *state;
        }
    }
    Ok(rows)
}

/// Stores the settings of targets.
pub async fn store_targets(
    session: &mut Session,
    states: &[&TargetState],
    now_ms: i64,
) -> Result<(), PostgresError> {
    let rows = newest(states, |state| target_id(session, &state.target), |state| state.sent_ms)?;
    if rows.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&TargetState) -> &str| {
        rows.values().map(|state| tidy(of(state), usize::MAX)).collect::<Vec<_>>()
    };
    let number = |of: fn(&TargetState) -> i64| rows.values().map(|s| of(s)).collect::<Vec<_>>();
    let ids: Vec<i32> = rows.keys().copied().collect();
    let labels = rows.values().map(|state| {
        let clean = |text: &String| tidy(text, usize::MAX);
        encode_labels(&state.labels.iter().map(|(k, v)| (clean(k), clean(v))).collect())
    });
    let labels: Vec<String> = labels.collect();
    session
        .execute(
            TARGETS,
            &[
                &ids,
                &column(|state| &state.url),
                &column(|state| &state.method),
                &column(|state| &state.expected_status),
                &column(|state| &state.matches),
                &column(|state| &state.rejects),
                &number(|state| state.interval_ms),
                &labels,
                &number(|state| state.sent_ms),
                &now_ms.saturating_add(AHEAD_MS),
            ],
        )
        .await?;
    Ok(())
}

/// Stores the states of nodes.
pub async fn store_nodes(
    session: &mut Session,
    states: &[&NodeState],
    now_ms: i64,
) -> Result<(), PostgresError> {
    let rows = newest(states, |state| node_id(session, &state.node), |state| state.sent_ms)?;
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<i32> = rows.keys().copied().collect();
    let rows: Vec<&NodeState> = rows.into_values().collect();
    let number = |of: fn(&NodeState) -> Option<i64>| rows.iter().map(|s| of(s)).collect::<Vec<_>>();
    let runs: Vec<i32> = rows.iter().map(|state| state.run as i32).collect();
    let versions: Vec<String> = rows.iter().map(|s| tidy(&s.version, usize::MAX)).collect();
    let previous: Vec<Option<i32>> =
        rows.iter().map(|s| s.previous_run.map(|run| run as i32)).collect();
    let synced: Vec<Option<bool>> = rows.iter().map(|state| state.clock_synced).collect();
    session
        .execute(
            NODES,
            &[
                &ids,
                &runs,
                &versions,
                &number(|state| Some(state.sent_ms)),
                &previous,
                &number(|state| state.last_due_ms),
                &number(|state| state.spool_count.map(signed)),
                &number(|state| state.spool_oldest_ms),
                &now_ms,
                &now_ms.saturating_add(AHEAD_MS),
                &synced,
            ],
        )
        .await?;
    Ok(())
}

/// Updates the time at which nodes last had something stored, at most once a second for each node.
pub async fn touch_nodes(
    session: &mut Session,
    nodes: BTreeSet<i32>,
    now_ms: i64,
) -> Result<(), PostgresError> {
    if nodes.is_empty() {
        return Ok(());
    }
    let ids: Vec<i32> = nodes.into_iter().collect();
    let ahead_ms = now_ms.saturating_add(AHEAD_MS);
    session.execute(SEEN, &[&ids, &(now_ms - 1000), &ahead_ms, &now_ms]).await?;
    Ok(())
}
