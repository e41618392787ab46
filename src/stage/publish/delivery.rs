//! The fate of records that were sent: delivered, held to be sent again, or given up.

use std::time::Instant;

use super::{ONE_BY_ONE_FOR, Publisher, REFUSED_EVERY};
use crate::clock;
use crate::kafka::{Batching, Delivery};

impl Publisher {
    /// Takes the result of one record's delivery.
    pub(super) fn settle(&mut self, id: u64, delivery: Delivery) {
        if delivery != Delivery::Returned {
            self.answered_at = Instant::now();
        }
        match delivery {
            Delivery::Done => {
                self.outbox.done(id);
                self.retry_at = None;
                self.backoff.reset();
                (self.failure, self.failing, self.takes_none) = (None, None, false);
                self.update_health(|health| {
                    health.counters.stored += 1;
                    health.counters.stored_ms = clock::now_ms();
                });
                self.report_loss();
            }
            Delivery::Refused(why) => self.refuse(id, &why),
            Delivery::Failed(why) => {
                self.outbox.failed(id);
                self.fail(why);
            }
            Delivery::Returned => self.outbox.failed(id),
        }
    }

    /// Sets a pause before the next try, and looks for the topic, which may have been deleted.
    pub(super) fn fail(&mut self, why: String) {
        self.failure = Some(why);
        if self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + self.backoff.pause());
        }
        if self.has_topic {
            self.look_for_topic();
        }
    }

    /// Handles a record that Kafka refuses: sends it again one by one, or drops it if it was already sent
    /// alone.
    pub(super) fn refuse(&mut self, id: u64, why: &str) {
        let Some(lost) = self.outbox.refused(id) else {
            log::debug!("Kafka: refused, perhaps for others: {why}");
            if self.one_by_one_until.is_none() {
                self.one_by_one_until = Some(Instant::now() + ONE_BY_ONE_FOR);
                self.outbox.send_singly(true);
                self.finder.set_batching(Batching::Single);
            }
            return;
        };
        self.update_health(|health| health.counters.lost += lost);
        if self.refused_logged_at.is_none_or(|said| said.elapsed() >= REFUSED_EVERY) {
            log::error!("a record is lost, since Kafka will never take it: {why}");
            self.refused_logged_at = Some(Instant::now());
        }
    }
}
