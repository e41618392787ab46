//! Looks up the ids of names. New names are made before a batch's transaction and committed at once: while a
//! batch is sent, no lock is held that others may wait for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::cache::NameTable;
use super::error::{ErrorKind, PostgresError};
use super::session::Session;
use crate::model::outcome::tidy;

/// Most names of a kind that are remembered; past that all are asked for again.
const KNOWN_MAX: usize = 100_000;

impl NameTable {
    fn select(self) -> &'static str {
        match self {
            NameTable::Target => "SELECT name, id FROM target WHERE name = ANY ($1)",
            NameTable::Node => "SELECT name, id FROM node WHERE name = ANY ($1)",
        }
    }

    /// Returns the query for whether these ids still belong to these names.
    fn verification(self) -> &'static str {
        match self {
            NameTable::Target => {
                "SELECT NOT EXISTS (SELECT FROM unnest($1::int4[], $2::text[]) AS known (i, n)
                    WHERE NOT EXISTS (SELECT FROM target WHERE id = i AND name = n))"
            }
            NameTable::Node => {
                "SELECT NOT EXISTS (SELECT FROM unnest($1::int4[], $2::text[]) AS known (i, n)
                    WHERE NOT EXISTS (SELECT FROM node WHERE id = i AND name = n))"
            }
        }
    }

    /// Returns the statement that adds names. They come sorted, so that two writers of the same names wait in
    /// turn.
    fn insert(self) -> &'static str {
        match self {
            NameTable::Target => {
                "INSERT INTO target (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            }
            NameTable::Node => {
                "INSERT INTO node (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            }
        }
    }
}

/// Returns the id of a target whose name was looked up before.
pub fn target_id(session: &Session, name: &str) -> Result<i32, PostgresError> {
    id(session, NameTable::Target, name)
}

/// Returns the id of a node whose name was looked up before.
pub fn node_id(session: &Session, name: &str) -> Result<i32, PostgresError> {
    id(session, NameTable::Node, name)
}

fn id(session: &Session, table: NameTable, name: &str) -> Result<i32, PostgresError> {
    let id = session.cache.id(table, name);
    id.ok_or_else(|| PostgresError::away(format!("the name {name:?} was forgotten")))
}

/// Looks up the ids of all these names; a new name gets an id.
pub async fn look_up<'a>(
    session: &mut Session,
    table: NameTable,
    names: impl Iterator<Item = &'a Arc<str>> + Clone,
) -> Result<(), PostgresError> {
    let mut unknown = unknown(session, table, names.clone());
    if unknown.is_empty() {
        return Ok(());
    }
    if session.cache.ids(table).len() + unknown.len() > KNOWN_MAX {
        session.cache.ids(table).clear();
        unknown = self::unknown(session, table, names);
    }
    // Select first: an INSERT uses up an id even if the name is there already.
    select_known(session, table, &mut unknown).await?;
    if !unknown.is_empty() {
        let mut new: Vec<String> = unknown.iter().map(|name| column_text(name)).collect();
        new.sort_unstable();
        session.execute(table.insert(), &[&new]).await?;
        select_known(session, table, &mut unknown).await?;
    }
    match unknown.first() {
        None => Ok(()),
        Some(name) => Err(PostgresError::away(format!("the name {name:?} was not kept"))),
    }
}

fn unknown<'a>(
    session: &mut Session,
    table: NameTable,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> BTreeSet<Arc<str>> {
    let known = session.cache.ids(table);
    names.filter(|name| !known.contains_key(*name)).map(Arc::clone).collect()
}

/// Looks up the names that exist, and removes them from `unknown`.
async fn select_known(
    session: &mut Session,
    table: NameTable,
    unknown: &mut BTreeSet<Arc<str>>,
) -> Result<(), PostgresError> {
    let names: Vec<String> = unknown.iter().map(|name| column_text(name)).collect();
    let mut found: HashMap<String, i32> = HashMap::new();
    for row in session.query(table.select(), &[&names]).await? {
        found.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let known = session.cache.ids(table);
    unknown.retain(|name| match found.get(&column_text(name)) {
        Some(id) => {
            known.insert(Arc::clone(name), *id);
            false
        }
        None => true,
    });
    Ok(())
}

/// Verifies, in the transaction that uses them, that the remembered ids still belong to these names: in a
/// database that was restored meanwhile an id may belong to another name.
pub async fn verify<'a>(
    session: &mut Session,
    table: NameTable,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> Result<(), PostgresError> {
    let known = session.cache.ids(table);
    let mut used: Vec<(i32, &Arc<str>)> =
        names.filter_map(|name| Some((*known.get(name)?, name))).collect();
    used.sort_unstable_by_key(|(id, _)| *id);
    used.dedup_by_key(|(id, _)| *id);
    if used.is_empty() {
        return Ok(());
    }
    let (ids, names): (Vec<i32>, Vec<String>) =
        used.into_iter().map(|(id, name)| (id, column_text(name))).unzip();
    for row in session.query(table.verification(), &[&ids, &names]).await? {
        if !row.try_get::<_, bool>(0)? {
            let why = "names have other ids than before";
            return Err(PostgresError { kind: ErrorKind::Conflict, why: why.to_owned() });
        }
    }
    Ok(())
}

/// Returns a name as a text column can hold it.
fn column_text(name: &str) -> String {
    tidy(name, usize::MAX)
}
