//! Stores the records beside the checks: gaps, losses, the states of nodes and targets, and messages that
//! could not be read. Everything is stored in the order of its keys.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;

use super::copy::signed;
use super::fault::Fault;
use super::names::Table;
use super::session::Session;
use crate::model::outcome::{Gap, Loss, tidy};
use crate::model::record::{NodeState, TargetState};
use crate::model::state::AHEAD_MS;
use crate::model::wire::encode_labels;
use crate::store::{DeadLetter, Parcel};

/// Longest payload of a dead letter that is kept, in bytes.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Size of the pieces in which dead letters are sent, about, in bytes.
const PIECE: usize = 1024 * 1024;

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

/// Skips a node that another writer has locked: that writer updates `seen_ms` itself.
const SEEN: &str = "WITH locked AS (
        SELECT id AS locked_id FROM node
        WHERE id = ANY ($1) AND (seen_ms IS NULL OR seen_ms < $2 OR seen_ms > $3)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE node SET seen_ms = $4 FROM locked WHERE id = locked_id";

const DEAD: &str = "INSERT INTO dead_letter
        (cluster, topic, partition, record_offset, received_at, reason, detail, payload, sent_ms)
    SELECT $1, $2, p, o, to_timestamp($3), r, d, b, s FROM
        unnest($4::int4[], $5::int8[], $6::text[], $7::text[], $8::bytea[], $9::int8[])
        AS new (p, o, r, d, b, s)
    ON CONFLICT DO NOTHING";

/// Returns the id of a target whose name was looked up before.
pub fn target_id(session: &Session, name: &str) -> Result<i32, Fault> {
    id(session, Table::Target, name)
}

/// Returns the id of a node whose name was looked up before.
pub fn node_id(session: &Session, name: &str) -> Result<i32, Fault> {
    id(session, Table::Node, name)
}

fn id(session: &Session, table: Table, name: &str) -> Result<i32, Fault> {
    let id = session.names.id(table, name);
    id.ok_or_else(|| Fault::away(format!("the name {name:?} was forgotten")))
}

/// Stores gaps.
pub async fn gaps(session: &mut Session, gaps: &[&Gap]) -> Result<(), Fault> {
    // Key: from, target, node and run.
    let mut rows: BTreeMap<(i64, i32, i32, i32), &Gap> = BTreeMap::new();
    for gap in gaps {
        let (target, node) = (target_id(session, &gap.target)?, node_id(session, &gap.node)?);
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
pub async fn losses(session: &mut Session, losses: &[&Loss]) -> Result<(), Fault> {
    /// Node, run, start, cause and sequence.
    type Key<'a> = (i32, i32, i64, &'a str, i32);
    let mut rows: BTreeMap<Key<'_>, (i64, i64)> = BTreeMap::new();
    for loss in losses {
        let (node, run, cause) =
            (node_id(session, &loss.node)?, loss.run as i32, loss.cause.as_str());
        let key = (node, run, loss.from_ms, cause, loss.sequence as i32);
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

/// Returns the newest state for each id, by `sent_ms`; of two equal ones the later in the batch.
fn newest<'a, T>(
    states: &[&'a T],
    id: impl Fn(&T) -> Result<i32, Fault>,
    sent_ms: impl Fn(&T) -> i64,
) -> Result<BTreeMap<i32, &'a T>, Fault> {
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
pub async fn targets(
    session: &mut Session,
    states: &[&TargetState],
    now_ms: i64,
) -> Result<(), Fault> {
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
pub async fn nodes(session: &mut Session, states: &[&NodeState], now_ms: i64) -> Result<(), Fault> {
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

/// Notes that nodes had something stored just now; within a second.
pub async fn seen(session: &mut Session, nodes: BTreeSet<i32>, now_ms: i64) -> Result<(), Fault> {
    if nodes.is_empty() {
        return Ok(());
    }
    let ids: Vec<i32> = nodes.into_iter().collect();
    let ahead_ms = now_ms.saturating_add(AHEAD_MS);
    session.execute(SEEN, &[&ids, &(now_ms - 1000), &ahead_ms, &now_ms]).await?;
    Ok(())
}

/// Stores messages that could not be read.
pub async fn dead_letters(
    session: &mut Session,
    parcel: &Parcel,
    now_ms: i64,
) -> Result<(), Fault> {
    let mut letters: Vec<&DeadLetter> = parcel.dead.iter().collect();
    letters.sort_by_key(|letter| letter.origin);
    let mut rest = &letters[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|letter| {
            let room = bytes < PIECE;
            bytes += letter.payload.len().min(PAYLOAD_MAX) + letter.detail.len();
            room
        });
        let (piece, after) = rest.split_at(fit.count());
        rest = after;
        let partitions: Vec<i32> = piece.iter().map(|letter| letter.origin.partition).collect();
        let offsets: Vec<i64> = piece.iter().map(|letter| letter.origin.offset).collect();
        let sent: Vec<i64> = piece.iter().map(|letter| letter.origin.sent_ms).collect();
        let reasons: Vec<&str> = piece.iter().map(|letter| letter.reason).collect();
        let details: Vec<String> = piece.iter().map(|l| tidy(&l.detail, PAYLOAD_MAX)).collect();
        let payloads: Vec<&[u8]> =
            piece.iter().map(|l| &l.payload[..l.payload.len().min(PAYLOAD_MAX)]).collect();
        let (cluster, topic, now_s) = (&parcel.cluster, &parcel.topic, now_ms as f64 / 1000.0);
        session
            .execute(
                DEAD,
                &[
                    cluster,
                    topic,
                    &now_s,
                    &partitions,
                    &offsets,
                    &reasons,
                    &details,
                    &payloads,
                    &sent,
                ],
            )
            .await?;
    }
    Ok(())
}
