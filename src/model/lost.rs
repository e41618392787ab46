//! Records that had to be dropped, counted until that can be told: all of them are one loss.

use std::sync::Arc;

use super::outcome::{Loss, LossCause};
use super::record::Record;

/// A loss that grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost(Option<Loss>);

impl Lost {
    /// Counts a record that was dropped. States are told anew, and count nothing; what a loss
    /// has counted goes on to be counted. Gives how many were lost with it.
    pub fn drop(&mut self, record: &Record, cause: LossCause) -> u64 {
        if let Record::Loss(loss) = record {
            self.add(loss);
            return 0;
        }
        let Some((run, from_ms, to_ms)) = record.span() else { return 0 };
        let node = Arc::clone(record.node());
        self.add(&Loss { node, run, from_ms, to_ms, count: 1, cause });
        1
    }

    /// Counts what is lost already.
    pub fn add(&mut self, more: &Loss) {
        match &mut self.0 {
            None => self.0 = Some(more.clone()),
            Some(loss) => {
                loss.from_ms = loss.from_ms.min(more.from_ms);
                loss.to_ms = loss.to_ms.max(more.to_ms);
                loss.count += more.count;
            }
        }
    }

    /// What was lost, if anything.
    pub fn loss(&self) -> Option<&Loss> {
        self.0.as_ref()
    }

    /// The same, to be told; counting begins anew.
    pub fn take(&mut self) -> Option<Loss> {
        self.0.take()
    }
}
