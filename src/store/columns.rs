//! Values of columns that both engines have in common.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::report::Series;

/// Converts to a database's signed integers; our numbers never come near the end.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Names of targets and nodes by their row ids. Each pair of a target and a node is made once.
#[derive(Debug, Default)]
pub struct NamesById {
    targets: HashMap<i64, Arc<str>>,
    nodes: HashMap<i64, Arc<str>>,
    pairs: HashMap<(i64, i64), Series>,
}

impl NamesById {
    /// Adds the name of a target.
    pub fn add_target(&mut self, id: i64, name: Arc<str>) {
        self.targets.insert(id, name);
    }

    /// Adds the name of a node.
    pub fn add_node(&mut self, id: i64, name: Arc<str>) {
        self.nodes.insert(id, name);
    }

    /// Returns the names of a target and a node; an id that is not known has an empty name.
    pub fn series(&mut self, target: i64, node: i64) -> &Series {
        self.pairs.entry((target, node)).or_insert_with(|| {
            let name = |of: &HashMap<i64, Arc<str>>, id| {
                of.get(&id).cloned().unwrap_or_else(|| Arc::from(""))
            };
            Series { target: name(&self.targets, target), node: name(&self.nodes, node) }
        })
    }
}
