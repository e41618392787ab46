//! Writes a batch as rows, in one transaction, in an order that makes no other writer wait for long:
//!
//! 1. names get their ids and hours their partitions, each committed at once;
//! 2. the checks are sent into a temporary table of our own: a writer that is stopped in the middle of
//!    that holds no lock that another writer waits for; the ids are verified again, since a database
//!    that was restored may have given them to other names;
//! 3. the marks are locked: another writer of the same partitions waits here;
//! 4. checks, states, gaps, losses, targets, dead letters, marks and nodes are stored, each in the
//!    order of its keys, so that two batches never wait for one another in a circle.

use std::collections::{BTreeSet, HashSet};

use super::cache::NameTable;
use super::error::PostgresError;
use super::marks::{self, MarkUpdate};
use super::names;
use super::records::{SortedRecords, WriteRequest, is_recent, recent};
use super::session::Session;
use super::staging::{self, CheckKey};
use super::{announcements, dead_letters, losses, partitions, state_table};
use crate::model::record::Record;
use crate::store::batch::{WriteCounts, WriteResult};

const HOUR_MS: i64 = 3_600_000;
/// Most hours that one transaction stores in: partitions of an hour, which an older version made, take two
/// locks each of the thousands that a server has. A batch with more hours, as a stranger may send it, takes
/// several transactions; its marks go with the last.
const HOURS_MAX: usize = 240;

/// Stores a batch: all of it, or nothing but names and partitions. (A batch of more than `HOURS_MAX` hours is
/// stored in parts, and may stop after some.)
pub async fn store(
    session: &mut Session,
    request: &WriteRequest<'_>,
) -> Result<WriteResult, PostgresError> {
    let sorted = SortedRecords::new(request);
    let records = recent(request);
    names::look_up(session, NameTable::Target, records.clone().filter_map(Record::target)).await?;
    names::look_up(session, NameTable::Node, records.map(Record::node)).await?;
    let checks = check_keys(session, &sorted, request.oldest_ms)?;
    let mut written = WriteCounts { expired: checks.expired, ..WriteCounts::default() };
    let keys = &checks.keys[..];
    if !keys.is_empty() {
        let hours: BTreeSet<i64> = keys.iter().map(hour_of).collect();
        partitions::create(session, hours.into_iter()).await?;
        staging::create_table(session).await?;
    }
    let parts = split(keys);
    let (last, before) = parts.split_last().unwrap_or((&keys, &[]));
    for part in before {
        begin(session, &sorted, part, request).await?;
        written.checks += insert(session, &sorted, part, request).await?;
        end(session, request).await?;
    }
    begin(session, &sorted, last, request).await?;
    let marked = match request.batch {
        Some(batch) => marks::lock(session, batch).await?,
        None => MarkUpdate::default(),
    };
    if !marked.older.is_empty() {
        session.client().batch_execute("ROLLBACK").await?;
        return Ok(WriteResult::Older(marked.older));
    }
    written.checks += insert(session, &sorted, last, request).await?;
    written.repeats = checks.count - written.checks;
    losses::store_gaps(session, &sorted.gaps).await?;
    losses::store_losses(session, &sorted.losses).await?;
    announcements::store_targets(session, &sorted.targets, request.now_ms).await?;
    if let Some(batch) = request.batch {
        dead_letters::store_dead_letters(session, batch, request.now_ms).await?;
        marked.advance(session, batch).await?;
    }
    // Nodes come last, since every writer has a record of every node.
    announcements::store_nodes(session, &sorted.nodes, request.now_ms).await?;
    announcements::touch_nodes(session, keys.iter().map(|key| key.node).collect(), request.now_ms)
        .await?;
    end(session, request).await?;
    Ok(WriteResult::Stored(written))
}

/// Checks that are to be stored.
struct CheckKeys {
    /// Each key once, in order; if several checks have one key, the first of the batch.
    keys: Vec<CheckKey>,
    /// Number of checks before repeats were taken out.
    count: u64,
    /// Number of checks that are too old.
    expired: u64,
}

fn check_keys(
    session: &Session,
    sorted: &SortedRecords<'_>,
    oldest_ms: i64,
) -> Result<CheckKeys, PostgresError> {
    let mut keys = Vec::with_capacity(sorted.records.len());
    let mut expired = 0;
    for (index, record) in (0..).zip(sorted.records) {
        let Record::Check(outcome) = record else { continue };
        if !is_recent(record, oldest_ms) {
            expired += 1;
            continue;
        }
        keys.push(CheckKey {
            due_ms: outcome.due_ms,
            target: names::target_id(session, &outcome.target)?,
            node: names::node_id(session, &outcome.node)?,
            run: outcome.run as i32,
            index,
        });
    }
    let count = keys.len() as u64;
    keys.sort_unstable();
    keys.dedup_by_key(|key| (key.due_ms, key.target, key.node, key.run));
    Ok(CheckKeys { keys, count, expired })
}

/// Splits the keys into parts of at most [`HOURS_MAX`] hours.
fn split(keys: &[CheckKey]) -> Vec<&[CheckKey]> {
    let mut hours: Vec<&[CheckKey]> = keys.chunk_by(|a, b| hour_of(a) == hour_of(b)).collect();
    let mut parts = Vec::new();
    let mut rest = keys;
    while !hours.is_empty() {
        let count = hours.drain(..hours.len().min(HOURS_MAX)).map(<[CheckKey]>::len).sum();
        let (part, after) = rest.split_at(count);
        parts.push(part);
        rest = after;
    }
    parts
}

fn hour_of(key: &CheckKey) -> i64 {
    key.due_ms - key.due_ms.rem_euclid(HOUR_MS)
}

/// Begins a transaction: sends the checks into the staging table, which no other session waits for, and
/// verifies the ids.
async fn begin(
    session: &mut Session,
    sorted: &SortedRecords<'_>,
    keys: &[CheckKey],
    request: &WriteRequest<'_>,
) -> Result<(), PostgresError> {
    // A trial is rolled back, so deferred constraints would never be checked at its end.
    let begin = if request.is_trial { "BEGIN; SET CONSTRAINTS ALL IMMEDIATE" } else { "BEGIN" };
    session.client().batch_execute(begin).await?;
    if !keys.is_empty() {
        let rows = keys.iter().filter_map(|key| Some((*key, sorted.check(key.index)?)));
        staging::send(session, rows).await?;
    }
    names::verify(session, NameTable::Target, recent(request).filter_map(Record::target)).await?;
    names::verify(session, NameTable::Node, recent(request).map(Record::node)).await
}

/// Ends a transaction.
async fn end(session: &mut Session, request: &WriteRequest<'_>) -> Result<(), PostgresError> {
    let end = if request.is_trial { "ROLLBACK" } else { "COMMIT" };
    Ok(session.client().batch_execute(end).await?)
}

/// Moves the staged checks into their table, and updates the states from them; returns how many checks are
/// new.
async fn insert(
    session: &mut Session,
    sorted: &SortedRecords<'_>,
    keys: &[CheckKey],
    request: &WriteRequest<'_>,
) -> Result<u64, PostgresError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let new = if request.expects_duplicates {
        let mut new: HashSet<(i64, i32, i32, i32)> = HashSet::new();
        for row in session.query(staging::INSERT_NEW, &[]).await? {
            new.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        }
        let is_new = |key: &&CheckKey| new.contains(&(key.due_ms, key.target, key.node, key.run));
        keys.iter().filter(is_new).copied().collect()
    } else {
        session.execute(staging::INSERT, &[]).await?;
        keys.to_vec()
    };
    let count = new.len() as u64;
    state_table::update_states(session, new, sorted, request.now_ms).await?;
    Ok(count)
}
