//! Writes a batch as rows, in one transaction, in an order that makes no other writer wait for long:
//!
//! 1. names get their ids and hours their partitions, each committed at once;
//! 2. the checks are sent into a temporary table of our own: a writer that is stopped in the middle of
//!    that holds no lock that another writer waits for; the ids are verified again, since a database
//!    that was restored may have given them to other names;
//! 3. the marks are locked: another writer of the same partitions waits here;
//! 4. checks, states, gaps, losses, targets, dead letters, marks and nodes are stored, each in the
//!    order of its keys, so that two batches never wait for one another in a circle.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::beside;
use super::copy::{self, Key};
use super::fault::Fault;
use super::names::{self, Table};
use super::session::Session;
use super::states;
use crate::model::anchor::{Anchor, Anchors};
use crate::model::outcome::{Gap, Loss, Outcome};
use crate::model::record::{NodeState, Record, TargetState};
use crate::store::{Mark, Parcel, Position, Stored, Written};

/// Records to store, and the conditions.
pub struct Batch<'a> {
    /// The records, in the order in which they came.
    pub records: &'a [&'a Record],
    /// Parcel that the records came in, if they came from Kafka.
    pub parcel: Option<&'a Parcel>,
    /// Time of storing, in milliseconds since 1970.
    pub now_ms: i64,
    /// Due time before which checks are not kept, in milliseconds since 1970.
    pub keep_from_ms: i64,
    /// Some checks are probably stored already.
    pub careful: bool,
    /// Roll each transaction back: the batch only tries whether the tables accept the records.
    pub is_trial: bool,
}

const HOUR_MS: i64 = 3_600_000;
/// Most hours that one transaction stores in: partitions of an hour, which an older version made, take two
/// locks each of the thousands that a server has. A batch with more hours, as a stranger may send it, takes
/// several transactions; its marks go with the last.
const HOURS_MAX: usize = 240;

const MARKS: &str = "SELECT partition, next, anchors FROM kafka_offset
    WHERE cluster = $1 AND topic = $2 AND partition = ANY ($3) ORDER BY partition FOR UPDATE";

const MOVE_MARKS: &str = "UPDATE kafka_offset SET next = new.next, anchors = new.anchors
    FROM unnest($3::int4[], $4::int8[], $5::text[]) AS new (partition, next, anchors)
    WHERE cluster = $1 AND topic = $2 AND kafka_offset.partition = new.partition";

/// For partitions that had no mark; another writer may just have made one.
const NEW_MARKS: &str = "INSERT INTO kafka_offset (cluster, topic, partition, next, anchors)
    SELECT $1, $2, * FROM unnest($3::int4[], $4::int8[], $5::text[])
    ON CONFLICT (cluster, topic, partition) DO UPDATE
        SET next = excluded.next, anchors = excluded.anchors
        WHERE kafka_offset.next < excluded.next";

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
        names::open_hours(session, hours.into_iter()).await?;
        copy::prepare(session).await?;
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
        Some(parcel) => lock(session, parcel).await?,
        None => Marked::default(),
    };
    if !marked.older.is_empty() {
        session.client().batch_execute("ROLLBACK").await?;
        return Ok(Stored::Older(marked.older));
    }
    written.checks += insert(session, &given, last, batch).await?;
    written.repeats = checks.count - written.checks;
    beside::gaps(session, &given.gaps).await?;
    beside::losses(session, &given.losses).await?;
    beside::targets(session, &given.targets, batch.now_ms).await?;
    if let Some(parcel) = batch.parcel {
        beside::dead_letters(session, parcel, batch.now_ms).await?;
        marked.advance(session, parcel).await?;
    }
    // Nodes come last, since every writer has a record of every node.
    beside::nodes(session, &given.nodes, batch.now_ms).await?;
    beside::seen(session, keys.iter().map(|key| key.node).collect(), batch.now_ms).await?;
    end(session, batch).await?;
    Ok(Stored::Whole(written))
}

/// Records of a batch, by their kind.
pub struct Given<'a> {
    records: &'a [&'a Record],
    gaps: Vec<&'a Gap>,
    losses: Vec<&'a Loss>,
    nodes: Vec<&'a NodeState>,
    targets: Vec<&'a TargetState>,
}

impl<'a> Given<'a> {
    fn new(batch: &Batch<'a>) -> Given<'a> {
        let mut given = Given {
            records: batch.records,
            gaps: Vec::new(),
            losses: Vec::new(),
            nodes: Vec::new(),
            targets: Vec::new(),
        };
        for record in kept(batch) {
            match record {
                Record::Check(_) => {}
                Record::Gap(gap) => given.gaps.push(gap),
                Record::Loss(loss) => given.losses.push(loss),
                Record::Node(state) => given.nodes.push(state),
                Record::Target(state) => given.targets.push(state),
            }
        }
        given
    }

    /// Returns the check at that index of the batch.
    pub fn check(&self, index: u32) -> Option<&'a Outcome> {
        match self.records.get(index as usize)? {
            Record::Check(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// Returns the records that are not too old.
fn kept<'a>(batch: &Batch<'a>) -> impl Iterator<Item = &'a Record> + Clone {
    let keep_from_ms = batch.keep_from_ms;
    batch.records.iter().copied().filter(move |record| is_kept(record, keep_from_ms))
}

/// Returns true if a record is not too old; states never are.
fn is_kept(record: &Record, keep_from_ms: i64) -> bool {
    match record {
        Record::Check(outcome) => outcome.due_ms >= keep_from_ms,
        Record::Gap(gap) => gap.to_ms >= keep_from_ms,
        Record::Loss(loss) => loss.to_ms >= keep_from_ms,
        Record::Node(_) | Record::Target(_) => true,
    }
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
            target: beside::target_id(session, &outcome.target)?,
            node: beside::node_id(session, &outcome.node)?,
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
        copy::stage(session, rows).await?;
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
        for row in session.query(copy::MOVE_NEW, &[]).await? {
            new.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        }
        let is_new = |key: &&Key| new.contains(&(key.due_ms, key.target, key.node, key.run));
        keys.iter().filter(is_new).copied().collect()
    } else {
        session.execute(copy::MOVE, &[]).await?;
        keys.to_vec()
    };
    let count = new.len() as u64;
    states::states(session, new, given, batch.now_ms).await?;
    Ok(count)
}

/// Marks of a parcel, compared with the stored marks.
#[derive(Default)]
struct Marked {
    /// Partitions whose stored mark is below the start of the parcel, and that mark.
    older: Vec<(i32, i64)>,
    /// Partitions whose mark is locked, and their new position.
    locked: Vec<(i32, Position)>,
    /// Partitions that have no mark yet, and their first position.
    absent: Vec<(i32, Position)>,
}

async fn lock(session: &mut Session, parcel: &Parcel) -> Result<Marked, Fault> {
    let mut marked = Marked::default();
    if parcel.marks.is_empty() {
        return Ok(marked);
    }
    let partitions: Vec<i32> = parcel.marks.iter().map(|mark| mark.partition).collect();
    let rows = session.query(MARKS, &[&parcel.cluster, &parcel.topic, &partitions]).await?;
    let mut stored = BTreeMap::new();
    for row in rows {
        let (next, anchors) = (row.try_get(1)?, Anchors::parse(row.try_get(2)?));
        stored.insert(row.try_get::<_, i32>(0)?, Position { next, anchors });
    }
    for mark in &parcel.marks {
        match stored.remove(&mark.partition) {
            Some(stored) if stored.next < mark.from => {
                marked.older.push((mark.partition, stored.next));
            }
            None if mark.from > 0 => marked.older.push((mark.partition, 0)),
            Some(stored) => marked.locked.push((mark.partition, advanced(stored, mark))),
            None => marked.absent.push((mark.partition, advanced(Position::default(), mark))),
        }
    }
    Ok(marked)
}

/// Returns the position after a parcel with this mark. A parcel that comes late changes nothing.
fn advanced(stored: Position, mark: &Mark) -> Position {
    let Position { mut next, mut anchors } = stored;
    if let Some(reset) = mark.reset {
        next = reset;
        anchors.cut(reset);
    }
    if mark.next > next {
        next = mark.next;
        if let Some(hash) = mark.hash {
            anchors.add(Anchor { offset: next - 1, hash });
        }
    }
    Position { next, anchors }
}

impl Marked {
    async fn advance(&self, session: &mut Session, parcel: &Parcel) -> Result<(), Fault> {
        for (sql, marks) in [(MOVE_MARKS, &self.locked), (NEW_MARKS, &self.absent)] {
            if marks.is_empty() {
                continue;
            }
            let partitions: Vec<i32> = marks.iter().map(|(partition, _)| *partition).collect();
            let next: Vec<i64> = marks.iter().map(|(_, position)| position.next).collect();
            let anchors: Vec<String> =
                marks.iter().map(|(_, position)| position.anchors.to_string()).collect();
            let (cluster, topic) = (&parcel.cluster, &parcel.topic);
            session.execute(sql, &[cluster, topic, &partitions, &next, &anchors]).await?;
        }
        Ok(())
    }
}
