//! Compares a batch's marks with the stored marks, and moves those.

use std::collections::BTreeMap;

use super::error::PostgresError;
use super::session::Session;
use crate::model::anchor::{Anchor, Anchors};
use crate::store::batch::{Batch, Mark, Position};

const MARKS: &str = "SELECT partition, next, anchors FROM kafka_offset
    WHERE cluster = $1 AND topic = $2 AND partition = ANY ($3) ORDER BY partition FOR UPDATE";

const UPDATE_MARKS: &str = "UPDATE kafka_offset SET next = new.next, anchors = new.anchors
    FROM unnest($3::int4[], $4::int8[], $5::text[]) AS new (partition, next, anchors)
    WHERE cluster = $1 AND topic = $2 AND kafka_offset.partition = new.partition";

/// Inserts marks of partitions that had none; another writer may just have inserted one.
const INSERT_MARKS: &str = "INSERT INTO kafka_offset (cluster, topic, partition, next, anchors)
    SELECT $1, $2, * FROM unnest($3::int4[], $4::int8[], $5::text[])
    ON CONFLICT (cluster, topic, partition) DO UPDATE
        SET next = excluded.next, anchors = excluded.anchors
        WHERE kafka_offset.next < excluded.next";

/// Marks of a batch, compared with the stored marks.
#[derive(Default)]
pub struct MarkUpdate {
    /// Partitions whose stored mark is below the start of the batch, and that mark.
    pub older: Vec<(i32, i64)>,
    /// Partitions whose mark is locked, and their new position.
    locked: Vec<(i32, Position)>,
    /// Partitions that have no mark yet, and their first position.
    absent: Vec<(i32, Position)>,
}

/// Compares the marks of a batch with the stored marks, which are locked: another writer of the same
/// partitions waits here.
pub async fn lock(session: &mut Session, batch: &Batch) -> Result<MarkUpdate, PostgresError> {
    let mut marked = MarkUpdate::default();
    if batch.marks.is_empty() {
        return Ok(marked);
    }
    let partitions: Vec<i32> = batch.marks.iter().map(|mark| mark.partition).collect();
    let rows = session.query(MARKS, &[&batch.cluster, &batch.topic, &partitions]).await?;
    let mut stored = BTreeMap::new();
    for row in rows {
        let position = Position { next: row.try_get(1)?, anchors: Anchors::parse(row.try_get(2)?) };
        stored.insert(row.try_get::<_, i32>(0)?, position);
    }
    for mark in &batch.marks {
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

/// Returns the position after a batch with this mark. A batch that comes late changes nothing.
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

impl MarkUpdate {
    /// Moves the stored marks to those of the batch.
    pub async fn advance(&self, session: &mut Session, batch: &Batch) -> Result<(), PostgresError> {
        for (sql, marks) in [(UPDATE_MARKS, &self.locked), (INSERT_MARKS, &self.absent)] {
            if marks.is_empty() {
                continue;
            }
            let partitions: Vec<i32> = marks.iter().map(|(partition, _)| *partition).collect();
            let next: Vec<i64> = marks.iter().map(|(_, position)| position.next).collect();
            let anchors: Vec<String> =
                marks.iter().map(|(_, position)| position.anchors.to_string()).collect();
            session
                .execute(sql, &[&batch.cluster, &batch.topic, &partitions, &next, &anchors])
                .await?;
        }
        Ok(())
    }
}
