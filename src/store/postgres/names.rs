//! Looks up the ids of names. New names are made before a batch's transaction and committed at once: while a
//! batch is sent, no lock is held that others may wait for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::cache::Table;
use super::error::{Fault, Kind};
use super::session::Session;
use crate::model::outcome::tidy;

/// Most names of a kind that are remembered; past that all are asked for again.
const KNOWN_MAX: usize = 100_000;

impl Table {
    fn select(self) -> &'static str {
        match self {
            Table::Target => "SELECT name, id FROM target WHERE name = ANY ($1)",
            Table::Node => "SELECT name, id FROM node WHERE name = ANY ($1)",
        }
    }

    /// Returns the query that tells whether these ids still belong to these names.
    fn hold(self) -> &'static str {
        match self {
            Table::Target => {
                "SELECT NOT EXISTS (SELECT FROM unnest($1::int4[], $2::text[]) AS known (i, n)
                    WHERE NOT EXISTS (SELECT FROM target WHERE id = i AND name = n))"
            }
            Table::Node => {
                "SELECT NOT EXISTS (SELECT FROM unnest($1::int4[], $2::text[]) AS known (i, n)
                    WHERE NOT EXISTS (SELECT FROM node WHERE id = i AND name = n))"
            }
        }
    }

    /// Returns the statement that adds names. They come sorted, so that two writers of the same names wait
    /// in turn.
    fn insert(self) -> &'static str {
        match self {
            Table::Target => {
                "INSERT INTO target (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            }
            Table::Node => {
                "INSERT INTO node (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            }
        }
    }
}

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

/// Looks up the ids of all these names; a new name gets an id.
pub async fn learn<'a>(
    session: &mut Session,
    table: Table,
    names: impl Iterator<Item = &'a Arc<str>> + Clone,
) -> Result<(), Fault> {
    let mut unknown = unknown(session, table, names.clone());
    if unknown.is_empty() {
        return Ok(());
    }
    if session.names.of(table).len() + unknown.len() > KNOWN_MAX {
        session.names.of(table).clear();
        unknown = self::unknown(session, table, names);
    }
    // Select first: an insert that finds the name would use up an id all the same.
    ask(session, table, &mut unknown).await?;
    if !unknown.is_empty() {
        let mut new: Vec<String> = unknown.iter().map(|name| stored(name)).collect();
        new.sort_unstable();
        session.execute(table.insert(), &[&new]).await?;
        ask(session, table, &mut unknown).await?;
    }
    match unknown.first() {
        None => Ok(()),
        Some(name) => Err(Fault::away(format!("the name {name:?} was not kept"))),
    }
}

fn unknown<'a>(
    session: &mut Session,
    table: Table,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> BTreeSet<Arc<str>> {
    let known = session.names.of(table);
    names.filter(|name| !known.contains_key(*name)).map(Arc::clone).collect()
}

/// Looks up the names that exist, and removes them from `unknown`.
async fn ask(
    session: &mut Session,
    table: Table,
    unknown: &mut BTreeSet<Arc<str>>,
) -> Result<(), Fault> {
    let names: Vec<String> = unknown.iter().map(|name| stored(name)).collect();
    let mut found: HashMap<String, i32> = HashMap::new();
    for row in session.query(table.select(), &[&names]).await? {
        found.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let known = session.names.of(table);
    unknown.retain(|name| match found.get(&stored(name)) {
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
pub async fn hold<'a>(
    session: &mut Session,
    table: Table,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> Result<(), Fault> {
    let known = session.names.of(table);
    let mut used: Vec<(i32, &Arc<str>)> =
        names.filter_map(|name| Some((*known.get(name)?, name))).collect();
    used.sort_unstable_by_key(|(id, _)| *id);
    used.dedup_by_key(|(id, _)| *id);
    if used.is_empty() {
        return Ok(());
    }
    let (ids, names): (Vec<i32>, Vec<String>) =
        used.into_iter().map(|(id, name)| (id, stored(name))).unzip();
    for row in session.query(table.hold(), &[&ids, &names]).await? {
        if !row.try_get::<_, bool>(0)? {
            let why = "names have other ids than before";
            return Err(Fault { kind: Kind::Crossed, why: why.to_owned() });
        }
    }
    Ok(())
}

/// Returns a name as a text column can hold it.
fn stored(name: &str) -> String {
    tidy(name, usize::MAX)
}
