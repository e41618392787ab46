//! Row ids of names, as far as they were needed.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

/// Row ids of targets and nodes, by name. Those made in a transaction are valid only once it is committed.
#[derive(Debug, Default)]
pub struct RowIds {
    targets: HashMap<Arc<str>, i64>,
    nodes: HashMap<Arc<str>, i64>,
}

impl RowIds {
    /// Returns the id of a target; a new name gets an id.
    pub fn target(&mut self, connection: &Connection, name: &Arc<str>) -> rusqlite::Result<i64> {
        id(connection, "target", name, &mut self.targets)
    }

    /// Returns the id of a node; a new name gets an id.
    pub fn node(&mut self, connection: &Connection, name: &Arc<str>) -> rusqlite::Result<i64> {
        id(connection, "node", name, &mut self.nodes)
    }
}

/// Returns the id of a name in a table of names; a new name gets an id.
fn id(
    connection: &Connection,
    table: &'static str,
    name: &Arc<str>,
    known: &mut HashMap<Arc<str>, i64>,
) -> rusqlite::Result<i64> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let insert = format!("INSERT INTO {table} (name) VALUES (?) ON CONFLICT DO NOTHING");
    connection.execute(&insert, [&**name])?;
    let select = format!("SELECT id FROM {table} WHERE name = ?");
    let id = connection.query_row(&select, [&**name], |row| row.get(0))?;
    known.insert(Arc::clone(name), id);
    Ok(id)
}
