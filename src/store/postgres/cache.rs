//! Facts that one connection has learned, and need not ask for again: ids of names, and hours that have a
//! partition.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names and hours that are known to exist. Another session may drop a partition; the database then reports
/// that.
#[derive(Default)]
pub struct Names {
    targets: HashMap<Arc<str>, i32>,
    nodes: HashMap<Arc<str>, i32>,
    /// Begins of hours, in milliseconds since 1970.
    pub hours: BTreeSet<i64>,
}

/// Tables of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Names of targets.
    Target,
    /// Names of nodes.
    Node,
}

impl Names {
    /// Returns the id of a name that was looked up before.
    pub fn id(&self, table: Table, name: &str) -> Option<i32> {
        match table {
            Table::Target => self.targets.get(name).copied(),
            Table::Node => self.nodes.get(name).copied(),
        }
    }

    /// Returns the ids of a table, by name.
    pub fn of(&mut self, table: Table) -> &mut HashMap<Arc<str>, i32> {
        match table {
            Table::Target => &mut self.targets,
            Table::Node => &mut self.nodes,
        }
    }
}
