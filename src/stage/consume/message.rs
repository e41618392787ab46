//! Messages that have come: the meaning of the offset, and the way of the record.

use std::time::{Duration, Instant};

use super::builder::OffsetGap;
use super::positions::LogRestart;
use super::{Consumer, Payload};
use crate::model::record::Record;
use crate::model::wire::{DecodeError, DecodedMessage, Reason};
use crate::store::{DeadLetter, MessageOrigin};

/// Most gaps of a partition in one batch that are told one by one if no broker says what they were; more
/// are told as one. Deletion leaves few gaps, transactions many.
const OFFSET_GAPS_MAX: usize = 10;
/// Time after which the log says again that messages cannot be read for a reason.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(3600);

impl Consumer {
    /// Takes a message: its contents, or the reason that it has none.
    pub(super) fn take_message(&mut self, came: MessageOrigin, hash: u64, read: Payload) {
        self.heard_at = Instant::now();
        let Some(arrived) = self.positions.arrive(came.partition, came.offset, hash) else {
            return;
        };
        self.builder.arrive(came, hash, &arrived, self.heard_at);
        if let Some(restart) = arrived.restart {
            self.report_restart(came, restart);
        }
        match read {
            Ok(decoded) => self.add_record(came, decoded),
            Err((refused, payload)) => self.add_dead_letter(came, refused, payload),
        }
    }

    /// Tells that the log of a partition is another than the one that was read. Nobody can know whether that
    /// one held more.
    fn report_restart(&mut self, came: MessageOrigin, LogRestart { was, at }: LogRestart) {
        let partition = came.partition;
        let what = if at > 0 { "was cut" } else { "was begun anew" };
        let detail = format!(
            "the log {what}: offsets {was} and on, as far as there were any, are gone unread; \
             reading on from {at}"
        );
        log::warn!("partition {partition}: {detail}");
        self.add_missing(MessageOrigin { offset: was, ..came }, detail);
    }

    /// Tells, before the batch goes, of offsets that did not come. They are lost if Kafka has let go of
    /// them; those of transactions, and of compaction, never were records.
    pub(super) fn report_offset_gaps(&mut self) {
        for (partition, gaps) in self.builder.take_holes() {
            let mut lost = gaps;
            let unsure = match self.group.bounds(partition) {
                Some((earliest, _)) => {
                    lost.retain(|gap| gap.from < earliest);
                    ""
                }
                None => ", or never were records: no broker says which",
            };
            if !unsure.is_empty() && lost.len() > OFFSET_GAPS_MAX {
                let came = lost[lost.len() - 1].came;
                lost = vec![OffsetGap { from: lost[0].from, came }];
            }
            for OffsetGap { from, came } in lost {
                let until = came.offset - 1;
                let detail = format!("offsets {from} to {until} were deleted unread{unsure}");
                log::error!("partition {partition}: {detail}");
                self.add_missing(MessageOrigin { offset: from, ..came }, detail);
            }
        }
    }

    /// Adds a dead letter for messages that cannot be had any more.
    fn add_missing(&mut self, origin: MessageOrigin, detail: String) {
        let (payload, reason) = (Vec::new(), "missing");
        self.builder.letter(DeadLetter { origin, payload, reason, detail });
        self.health.count(|counters| counters.dead_letters += 1);
    }

    fn add_record(&mut self, origin: MessageOrigin, decoded: DecodedMessage) {
        match decoded {
            DecodedMessage::Record(record) => {
                let is_check = matches!(record, Record::Check(_));
                self.builder.record(origin, record);
                self.health.count(|counters| counters.checks += u64::from(is_check));
            }
            DecodedMessage::UnknownKind(kind) => {
                if self.should_log("kind") {
                    log::warn!("skipping records of kind {kind:?}: this version does not know it");
                }
                self.health.count(|counters| counters.skipped += 1);
            }
        }
    }

    fn add_dead_letter(&mut self, origin: MessageOrigin, refused: DecodeError, payload: Vec<u8>) {
        let MessageOrigin { partition, offset, .. } = origin;
        let reason = refused.reason.as_str();
        // Times are judged again by the store's clock: the log tells of them then.
        let is_sure = refused.reason != Reason::Time;
        if is_sure && self.should_log(reason) {
            log::warn!(
                "partition {partition}, offset {offset} cannot be read and goes to dead_letter: \
                 {refused}"
            );
        }
        let detail = refused.detail;
        self.builder.letter(DeadLetter { origin, payload, reason, detail });
        self.health.count(|counters| counters.dead_letters += u64::from(is_sure));
    }

    /// Returns true, and notes the time, if the log has not said this for `LOG_AGAIN_AFTER`.
    fn should_log(&mut self, what: &'static str) -> bool {
        let now = Instant::now();
        let is_news = self.logged.get(what).is_none_or(|said| now - *said >= LOG_AGAIN_AFTER);
        if is_news {
            self.logged.insert(what, now);
        }
        is_news
    }
}
