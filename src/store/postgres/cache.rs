//! Facts that one connection has learned, and need not ask for again: ids of names, and hours that have a
//! partition.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names and hours that are known to exist. Another session may drop a partition; the database then reports
/// that.
#[derive(Default)]
pub struct IdCache {
    targets: HashMap<Arc<str>, i32>,
    nodes: HashMap<Arc<str>, i32>,
    /// Starts of hours, in milliseconds since 1970.
    pub hours: BTreeSet<i64>,
}

/// Tables of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameTable {
    /// Names of targets.
    Target,
    /// Names of nodes.
    Node,
}

impl IdCache {
    /// Returns the id of a name that was looked up before.
    pub fn id(&self, table: NameTable, name: &str) -> Option<i32> {
        match table {
            NameTable::Target => self.targets.get(name).copied(),
            NameTable::Node => self.nodes.get(name).copied(),
        }
    }

    /// Returns the ids of a table, by name.
    pub fn ids(&mut self, table: NameTable) -> &mut HashMap<Arc<str>, i32> {
        match table {
            NameTable::Target => &mut self.targets,
            NameTable::Node => &mut self.nodes,
        }
    }
}
