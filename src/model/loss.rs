//! Counts dropped records until they can be sent as losses: one loss for each node, run and cause.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outcome::{Loss, LossCause};

/// Node, run and cause: losses with the same three are counted as one.
type LossGroup = (Arc<str>, u32, LossCause);

/// Losses that are not sent yet, and for each group the number of losses sent before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LossCounter {
    open: BTreeMap<LossGroup, Loss>,
    /// Groups are few: those of the node's runs whose records were still held.
    sent: BTreeMap<LossGroup, u32>,
}

impl LossCounter {
    /// Adds a loss to the count of its group.
    pub fn add(&mut self, more: &Loss) {
        let group = (Arc::clone(&more.node), more.run, more.cause);
        match self.open.get_mut(&group) {
            Some(loss) => merge_loss(loss, more),
            None => {
                let sequence = self.sent.get(&group).copied().unwrap_or(0);
                self.open.insert(group, Loss { sequence, ..more.clone() });
            }
        }
    }

    /// Returns the losses that are not sent yet, each with the sequence number that it will be sent with.
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.open.values()
    }

    /// Returns true if no loss waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes the losses out, to be sent; counting begins anew, with the next sequence numbers.
    pub fn take(&mut self) -> Vec<Loss> {
        for group in self.open.keys() {
            *self.sent.entry(group.clone()).or_default() += 1;
        }
        std::mem::take(&mut self.open).into_values().collect()
    }
}

/// Adds a loss to another of the same group.
pub fn merge_loss(loss: &mut Loss, more: &Loss) {
    loss.from_ms = loss.from_ms.min(more.from_ms);
    loss.to_ms = loss.to_ms.max(more.to_ms);
    loss.count += more.count;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(run: u32, cause: LossCause, from_ms: i64, count: u64, sequence: u32) -> Loss {
        let (node, to_ms) = (Arc::from("a"), from_ms + 5);
        Loss { node, run, from_ms, to_ms, count, cause, sequence }
    }

    #[test]
    fn each_run_and_cause_is_a_loss_of_its_own() {
        use LossCause::{Damaged, MemoryFull};
        let mut lost = LossCounter::default();
        assert!(lost.is_empty());
        for (run, cause, from_ms, count) in [
            (7, MemoryFull, 300, 1),
            (7, MemoryFull, 100, 2),
            (7, Damaged, 200, 4),
            (8, MemoryFull, 100, 8),
        ] {
            lost.add(&loss(run, cause, from_ms, count, 99));
        }
        let memory = Loss { to_ms: 305, ..loss(7, MemoryFull, 100, 3, 0) };
        let mut sent = lost.take();
        sent.sort_by_key(|loss| (loss.run, loss.count));
        let want = [memory, loss(7, Damaged, 200, 4, 0), loss(8, MemoryFull, 100, 8, 0)];
        assert_eq!(sent, want);
        // A loss counted after that is a second one, though it begins at the same time.
        lost.add(&loss(7, MemoryFull, 100, 1, 0));
        assert_eq!(lost.losses().collect::<Vec<_>>(), [&loss(7, MemoryFull, 100, 1, 1)]);
        assert_eq!((lost.take().len(), lost.take().len()), (1, 0));
    }
}
