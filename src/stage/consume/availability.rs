//! Handles a store or brokers that are away: waits for them at the start, asks them again, and logs each
//! change once.

use std::time::{Duration, Instant};

use super::{Consumer, TURN};
use crate::error::Error;
use crate::kafka::{StatusChange, Topic, ensure};

/// Time between two questions to brokers that are away, or about a topic that is missing.
const CHECK_BROKERS_EVERY: Duration = Duration::from_secs(2);
/// Time without a message after which brokers are asked whether they are there.
const CHECK_BROKERS_AFTER: Duration = Duration::from_secs(5);
/// Time over one batch after which a store counts as away.
const STORE_TIMEOUT: Duration = Duration::from_secs(15);

impl Consumer {
    /// Waits until the store, brokers and topic are there, in any order. Returns false if told to stop.
    pub(super) fn wait(&mut self) -> Result<bool, Error> {
        let (mut has_store, mut due) = (false, Instant::now());
        while !self.stop.is_told() {
            has_store |= self.take_replies()?;
            self.idle();
            if self.cluster.is_empty() && Instant::now() >= due {
                due = Instant::now() + CHECK_BROKERS_EVERY;
                if self.check_brokers()
                    && let Some(cluster) = self.group.cluster()
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

    /// Does a turn in which nothing can be read yet. The poll tells what is wrong with the brokers.
    fn idle(&mut self) {
        let _ = self.group.poll(TURN);
        self.log_changes();
    }

    /// Asks whether brokers and topic are there.
    fn check_brokers(&mut self) -> bool {
        self.heard_at = Instant::now();
        match ensure(&self.kafka, self.group.client()) {
            Ok(Topic::Missing(why)) => {
                self.status.note_fault(&why);
                return false;
            }
            Err(error) => {
                if self.cluster.is_empty() {
                    // The poll brings the brokers' own reasons, and no message yet.
                    let _ = self.group.poll(TURN);
                }
                self.status.note_silence(&error.to_string());
                return false;
            }
            Ok(Topic::Made) => log::info!("topic {} is made", self.kafka.topic),
            Ok(Topic::Exists) => {}
        }
        // The configured brokers may answer, and those that have the topic may not.
        if self.status.is_in_doubt() && self.group.bounds(0).is_none() {
            self.status.note_silence("no broker that has the topic answers");
            return false;
        }
        if !self.group.is_refused() {
            self.status.note_answer();
        }
        true
    }

    /// Logs changes of the connection to the brokers, and asks them again while they are away.
    pub(super) fn log_changes(&mut self) {
        match self.status.take_change() {
            None | Some(StatusChange::Throttled(_)) => {}
            Some(StatusChange::Away(why)) => log::error!("Kafka is away: {why}; waiting for it"),
            Some(StatusChange::Back(after)) => {
                log::info!("Kafka is back after {} s", after.as_secs());
            }
        }
        let pause = if self.status.is_away() || self.status.is_in_doubt() {
            CHECK_BROKERS_EVERY
        } else {
            CHECK_BROKERS_AFTER
        };
        if !self.cluster.is_empty() && self.heard_at.elapsed() >= pause {
            self.check_brokers();
        }
        let is_late = !self.store_is_away
            && self.handed_over_at.is_some_and(|busy| busy.elapsed() >= STORE_TIMEOUT);
        if is_late && !self.store_is_late {
            log::error!(
                "PostgreSQL has not answered for {} s: waiting for it",
                STORE_TIMEOUT.as_secs()
            );
        }
        self.store_is_late = is_late;
        let trouble = match (self.store_is_away, self.status.is_away()) {
            (true, _) => Some(self.store_trouble),
            _ if is_late => Some("store_away"),
            (_, true) => Some("kafka_away"),
            _ => self.doubts.first().copied(),
        };
        if trouble != self.trouble {
            self.trouble = trouble;
            self.health.update(|health| health.trouble = trouble);
        }
    }
}
