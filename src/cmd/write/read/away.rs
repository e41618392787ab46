//! Who is away: waited for at the start, knocked at, and told once per change.

use std::time::{Duration, Instant};

use super::{Read, TURN};
use crate::error::Error;
use crate::kafka::{Change, Topic, ensure};

/// How often something is asked of brokers that are away, or of a topic that is missing.
const KNOCK: Duration = Duration::from_secs(2);
/// After so long without a message brokers are asked whether they are there.
const SILENCE: Duration = Duration::from_secs(5);
/// A store that takes longer than this over a parcel counts as away.
const LATE: Duration = Duration::from_secs(15);

impl Read {
    /// Waits until the store, brokers and topic are there, in any order. False: told to stop.
    pub(super) fn wait(&mut self) -> Result<bool, Error> {
        let (mut has_store, mut due) = (false, Instant::now());
        while !self.stop.is_told() {
            has_store |= self.listen()?;
            self.idle();
            if self.cluster.is_empty() && Instant::now() >= due {
                due = Instant::now() + KNOCK;
                if self.knock()
                    && let Some(cluster) = self.reader.cluster()
                {
                    self.cluster = cluster;
                }
            }
            if has_store && !self.cluster.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A turn in which nothing can be read yet. What is wrong with the brokers is told by the poll.
    fn idle(&mut self) {
        let _ = self.reader.poll(TURN);
        self.tell_changes();
    }

    /// Looks whether brokers and topic are there.
    fn knock(&mut self) -> bool {
        self.heard = Instant::now();
        match ensure(&self.kafka, self.reader.client()) {
            Ok(Topic::Missing(why)) => {
                self.link.fails(&why);
                return false;
            }
            Err(error) => {
                if self.cluster.is_empty() {
                    // The brokers' own reasons come by the poll, and no message yet.
                    let _ = self.reader.poll(TURN);
                }
                self.link.unanswered(&error.to_string());
                return false;
            }
            Ok(Topic::Made) => log::info!("topic {} is made", self.kafka.topic),
            Ok(Topic::Exists) => {}
        }
        // Those that we were told of may answer, and not those that have the topic.
        if self.link.is_in_doubt() && self.reader.bounds(0).is_none() {
            self.link.unanswered("no broker that has the topic answers");
            return false;
        }
        if !self.reader.is_refused() {
            self.link.works();
        }
        true
    }

    /// Says how the road to the brokers has changed, and knocks while they are away.
    pub(super) fn tell_changes(&mut self) {
        match self.link.change() {
            None | Some(Change::Throttled(_)) => {}
            Some(Change::Away(why)) => log::error!("Kafka is away: {why}; waiting for it"),
            Some(Change::Back(after)) => log::info!("Kafka is back after {} s", after.as_secs()),
        }
        let pause = if self.link.is_away() || self.link.is_in_doubt() { KNOCK } else { SILENCE };
        if !self.cluster.is_empty() && self.heard.elapsed() >= pause {
            self.knock();
        }
        let is_late = !self.store_is_away && self.busy.is_some_and(|busy| busy.elapsed() >= LATE);
        if is_late && !self.store_is_late {
            log::error!("PostgreSQL has not answered for {} s: waiting for it", LATE.as_secs());
        }
        self.store_is_late = is_late;
        let trouble = match (self.store_is_away, self.link.is_away()) {
            (true, _) => Some(self.store_trouble),
            _ if is_late => Some("store_away"),
            (_, true) => Some("kafka_away"),
            _ => self.doubts.first().copied(),
        };
        if trouble != self.trouble {
            self.trouble = trouble;
            self.shared.change(|health| health.trouble = trouble);
        }
    }
}
