//! Batches whose checksum is wrong. A batch that was damaged on its way comes whole the next time. A batch
//! that is damaged in the broker's log never does: its partition stands still, and somebody must be told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Consumer;

/// Word of `/health` for a partition that stands still.
const WORD: &str = "log_damaged";
/// Time after which a partition that stands still, while damaged batches come, will not go on by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time without a damaged batch after which no more are expected.
const CALM: Duration = Duration::from_secs(20);
/// Time between two looks at the partitions.
const DAMAGE_LOOK_EVERY: Duration = Duration::from_secs(2);

/// Partitions of ours, as they stood when damaged batches came.
#[derive(Default)]
pub struct Damage {
    looked: Option<Instant>,
    positions: BTreeMap<i32, Standstill>,
}

/// Partition that has not gone on.
struct Standstill {
    /// Offset that is stored as the next one, or will be soon.
    mark: i64,
    since: Instant,
    is_told: bool,
}

impl Consumer {
    /// Logs partitions that stand still before a damaged batch, and when they go on.
    pub(super) fn look_for_damage(&mut self) {
        let now = Instant::now();
        let Some(seen) = self.group.damage_seen() else { return };
        if self.damage.looked.is_some_and(|looked| now - looked < DAMAGE_LOOK_EVERY) {
            return;
        }
        self.damage.looked = Some(now);
        let marks: BTreeMap<i32, i64> = self.positions.marks().collect();
        let is_calm = now - seen >= CALM;
        let is_waiting = self.is_paused || self.status.is_away();
        for (partition, position) in &mut self.damage.positions {
            let is_same = marks.get(partition) == Some(&position.mark);
            if is_waiting && !position.is_told {
                position.since = now;
            }
            if position.is_told && (!is_same || is_calm && !is_waiting) {
                log::info!("partition {partition}: no damaged batch is in the way any more");
            }
        }
        let positions = &mut self.damage.positions;
        positions.retain(|partition, position| {
            marks.get(partition) == Some(&position.mark) && (!is_calm || is_waiting)
        });
        if !is_calm {
            for (partition, mark) in marks {
                let new = Standstill { mark, since: now, is_told: false };
                positions.entry(partition).or_insert(new);
            }
        }
        for (partition, position) in positions.iter_mut() {
            let is_late = !position.is_told && now - position.since >= PATIENCE;
            let Some((low, high)) = self.group.bounds(*partition).filter(|_| is_late) else {
                continue;
            };
            // This partition may have nothing to be read, and another one the damaged batch.
            if high <= position.mark.max(low) {
                continue;
            }
            position.is_told = true;
            let topic = &self.kafka.topic;
            log::error!(
                "topic {topic}, partition {partition} stands still at offset {}: a batch there is \
                 damaged in the broker's log. Make a replica with an undamaged copy the leader, or \
                 delete the records up to the end of the batch (kafka-dump-log shows it, \
                 kafka-delete-records deletes): dead_letter then has what is lost",
                position.mark
            );
        }
        if positions.values().any(|position| position.is_told) {
            self.doubts.insert(WORD);
        } else {
            self.doubts.remove(WORD);
        }
    }
}
