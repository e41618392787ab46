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

use super::cache::Table;
use super::error::Fault;
use super::marks::{self, Marked};
use super::names;
use super::records::{Batch, Given, is_kept, kept};
use super::session::Session;
use super::staging::{self, Key};
use super::{announcements, dead_letters, losses, partitions, state_table};
use crate::model::record::Record;
use crate::store::batch::{Stored, Written};

const HOUR_MS: i64 = 3_600_000;
/// Most hours that one transaction stores in: partitions of an hour, which an older version made, take two
/// locks each of the thousands that a server has. A batch with more hours, as a stranger may send it, takes
/// several transactions; its marks go with the last.
const HOURS_MAX: usize = 240;

/// Stores a batch: all of it, or nothing but names and partitions. (A batch of more than `HOURS_MAX`
/// hours is stored in parts, and may stop after some.)
pub async fn store(session: &mut Session, batch: &Batch<'_>) -> Result<Stored, Fault> {
    let given = Given::new(batch);
    let kept = kept(batch);
    names::learn(session, Table::Target, kept.clone().filter_map(Record::target)).await?;
    names::learn(session, Table::Node, kept.map(Record::node)).await?;
    let checks = keys(session, &given, batch.keep_from_ms)?;
    let mut written = Written { expired: checks.expired, ..Written::default() };
    let keys = &checks.keys[..];
    if !keys.is_empty() {
        let hours: BTreeSet<i64> = keys.iter().map(hour).collect();
        partitions::open_hours(session, hours.into_iter()).await?;
        staging::prepare(session).await?;
    }
    let parts = parts(keys);
    let (last, before) = parts.split_last().unwrap_or((&keys, &[]));
    for part in before {
        begin(session, &given, part, batch).await?;
        written.checks += insert(session, &given, part, batch).await?;
        end(session, batch).await?;
    }
    begin(session, &given, last, batch).await?;
    let marked = match batch.parcel {
        Some(parcel) => marks::lock(session, parcel).await?,
        None => Marked::default(),
    };
    if !marked.older.is_empty() {
        session.client().batch_execute("ROLLBACK").await?;
        return Ok(Stored::Older(marked.older));
    }
    written.checks += insert(session, &given, last, batch).await?;
    written.repeats = checks.count - written.checks;
    losses::gaps(session, &given.gaps).await?;
    losses::losses(session, &given.losses).await?;
    announcements::targets(session, &given.targets, batch.now_ms).await?;
    if let Some(parcel) = batch.parcel {
        dead_letters::dead_letters(session, parcel, batch.now_ms).await?;
        marked.advance(session, parcel).await?;
    }
    // Nodes come last, since every writer has a record of every node.
    announcements::nodes(session, &given.nodes, batch.now_ms).await?;
    announcements::seen(session, keys.iter().map(|key| key.node).collect(), batch.now_ms).await?;
    end(session, batch).await?;
    Ok(Stored::Whole(written))
}

/// Checks that are to be stored.
struct Keys {
    /// Each key once, in order; if several checks have one key, the first of the batch.
    keys: Vec<Key>,
    /// Number of checks before repeats were taken out.
    count: u64,
    /// Number of checks that are too old.
    expired: u64,
}

fn keys(session: &Session, given: &Given<'_>, keep_from_ms: i64) -> Result<Keys, Fault> {
    let (mut keys, mut expired) = (Vec::with_capacity(given.records.len()), 0);
    for (index, record) in (0..).zip(given.records) {
        let Record::Check(outcome) = record else { continue };
        if !is_kept(record, keep_from_ms) {
            expired += 1;
            continue;
        }
        keys.push(Key {
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
    Ok(Keys { keys, count, expired })
}

/// Splits the keys into parts of at most [`HOURS_MAX`] hours.
fn parts(keys: &[Key]) -> Vec<&[Key]> {
    let mut hours: Vec<&[Key]> = keys.chunk_by(|a, b| hour(a) == hour(b)).collect();
    let mut parts = Vec::new();
    let mut rest = keys;
    while !hours.is_empty() {
        let count = hours.drain(..hours.len().min(HOURS_MAX)).map(<[Key]>::len).sum();
        let (part, after) = rest.split_at(count);
        parts.push(part);
        rest = after;
    }
    parts
}

fn hour(key: &Key) -> i64 {
    key.due_ms - key.due_ms.rem_euclid(HOUR_MS)
}

/// Begins a transaction: sends the checks into the staging table, which no other session waits for, and
/// verifies the ids.
async fn begin(
    session: &mut Session,
    given: &Given<'_>,
    keys: &[Key],
    batch: &Batch<'_>,
) -> Result<(), Fault> {
    // A trial is rolled back, so deferred constraints would never be checked at its end.
    let begin = if batch.is_trial { "BEGIN; SET CONSTRAINTS ALL IMMEDIATE" } else { "BEGIN" };
    session.client().batch_execute(begin).await?;
    if !keys.is_empty() {
        let rows = keys.iter().filter_map(|key| Some((*key, given.check(key.index)?)));
        staging::stage(session, rows).await?;
    }
    names::hold(session, Table::Target, kept(batch).filter_map(Record::target)).await?;
    names::hold(session, Table::Node, kept(batch).map(Record::node)).await
}

/// Ends a transaction.
async fn end(session: &mut Session, batch: &Batch<'_>) -> Result<(), Fault> {
    let end = if batch.is_trial { "ROLLBACK" } else { "COMMIT" };
    Ok(session.client().batch_execute(end).await?)
}

/// Moves the staged checks into their table, and updates the states from them; returns how many checks are
/// new.
async fn insert(
    session: &mut Session,
    given: &Given<'_>,
    keys: &[Key],
    batch: &Batch<'_>,
) -> Result<u64, Fault> {
    if keys.is_empty() {
        return Ok(0);
    }
    let new = if batch.careful {
        let mut new: HashSet<(i64, i32, i32, i32)> = HashSet::new();
        for row in session.query(staging::MOVE_NEW, &[]).await? {
            new.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        }
        let is_new = |key: &&Key| new.contains(&(key.due_ms, key.target, key.node, key.run));
        keys.iter().filter(is_new).copied().collect()
    } else {
        session.execute(staging::MOVE, &[]).await?;
        keys.to_vec()
    };
    let count = new.len() as u64;
    state_table::states(session, new, given, batch.now_ms).await?;
    Ok(count)
}
