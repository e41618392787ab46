//! A message that has come: what its offset tells, and where its record goes.

use std::time::{Duration, Instant};

use super::{Payload, Read};
use crate::cmd::write::place::Step;
use crate::model::record::Record;
use crate::model::wire::{Decoded, Refused};
use crate::store::DeadLetter;

/// How often it is asked what was left out in a partition.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is said again that messages cannot be read for a reason.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

impl Read {
    /// Takes what a message holds, or why it holds nothing.
    pub(super) fn message(&mut self, partition: i32, offset: i64, read: Payload) {
        if !self.arrive(partition, offset) {
            return;
        }
        match read {
            Ok(decoded) => self.keep(partition, offset, decoded),
            Err((refused, payload)) => self.bury(partition, offset, refused, payload),
        }
    }

    /// Notes that a message has come; false: it does not count.
    fn arrive(&mut self, partition: i32, offset: i64) -> bool {
        let Some((mark, step)) = self.places.arrive(partition, offset) else { return false };
        self.heard = Instant::now();
        let is_anew = matches!(step, Step::Anew(_));
        self.gather.arrive(partition, mark, offset, is_anew, self.heard);
        match step {
            Step::On => {}
            Step::Anew(next) => {
                log::warn!(
                    "partition {partition} begins anew: no {next} yet, reading from {offset}"
                );
            }
            Step::Ahead(next) => self.left_out(partition, next, offset),
        }
        true
    }

    /// Offsets that did not come are lost if Kafka has let go of them; those of transactions, and
    /// of compaction, never were records.
    fn left_out(&mut self, partition: i32, next: i64, offset: i64) {
        let now = Instant::now();
        let asked = self.asked_left_out.insert(partition, now);
        if asked.is_some_and(|asked| now - asked < ASK_AGAIN) {
            return;
        }
        let Some(earliest) = self.reader.earliest(partition).filter(|earliest| *earliest > next)
        else {
            return;
        };
        let detail = format!("offsets {next} to {} were deleted unread", earliest.min(offset) - 1);
        log::error!("partition {partition}: {detail}");
        let (payload, reason) = (Vec::new(), "missing");
        self.gather.letter(DeadLetter { partition, offset: next, payload, reason, detail });
    }

    fn keep(&mut self, partition: i32, offset: i64, decoded: Decoded) {
        match decoded {
            Decoded::Record(record) => {
                let is_check = matches!(record, Record::Check(_));
                self.gather.record(partition, offset, record);
                self.shared.change(|health| health.checks += u64::from(is_check));
            }
            Decoded::Skipped(kind) => {
                if self.is_news("kind") {
                    log::warn!("records of kind {kind:?} are skipped: this version has none such");
                }
                self.shared.change(|health| health.skipped += 1);
            }
        }
    }

    fn bury(&mut self, partition: i32, offset: i64, refused: Refused, payload: Vec<u8>) {
        let reason = refused.reason.as_str();
        if self.is_news(reason) {
            log::warn!(
                "partition {partition}, offset {offset} cannot be read and goes to dead_letter: \
                 {refused}"
            );
        }
        let detail = refused.detail;
        self.gather.letter(DeadLetter { partition, offset, payload, reason, detail });
        self.shared.change(|health| health.dead_letters += 1);
    }

    /// Whether it is time to say this again.
    fn is_news(&mut self, what: &'static str) -> bool {
        let now = Instant::now();
        let said = self.said.insert(what, now);
        said.is_none_or(|said| now - said >= SAY_AGAIN)
    }
}
