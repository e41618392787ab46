//! Whether the brokers can be reached: what librdkafka reports again and again, told once per
//! change.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::diagnose;
use crate::config::Kafka;

/// The road to the brokers.
#[derive(Debug)]
pub struct Link {
    settings: Kafka,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Since when they are away.
    away: Option<Instant>,
    /// What was said of a broker last.
    reason: String,
    /// What nobody has been told yet.
    untold: Option<Change>,
}

/// A change of the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// No broker can be reached, and why.
    Away(String),
    /// One can, after so long.
    Back(Duration),
}

impl Link {
    /// One of which nothing is known.
    pub fn new(settings: &Kafka) -> Link {
        Link { settings: settings.clone(), known: Mutex::default() }
    }

    /// What has changed since it was last asked.
    pub fn change(&self) -> Option<Change> {
        self.known().untold.take()
    }

    /// Whether no broker can be reached, as far as is known.
    pub fn is_away(&self) -> bool {
        self.known().away.is_some()
    }

    /// A broker has answered.
    pub fn works(&self) {
        let mut known = self.known();
        known.reason.clear();
        if let Some(since) = known.away.take() {
            // Away and back before anybody asked: nothing to tell.
            known.untold = match known.untold.take() {
                Some(Change::Away(_)) => None,
                _ => Some(Change::Back(since.elapsed())),
            };
        }
    }

    /// Nothing goes, and why.
    pub fn fails(&self, why: &str) {
        let mut known = self.known();
        if known.away.is_none() {
            known.away = Some(Instant::now());
            known.untold = match known.untold.take() {
                Some(Change::Back(_)) => None,
                _ => Some(Change::Away(why.to_owned())),
            };
        }
    }

    /// Whether a broker has given a reason to doubt since the last answer. librdkafka itself tells
    /// that all are down only sometimes, so whoever waits for an answer has to look at the time.
    pub fn is_in_doubt(&self) -> bool {
        !self.known().reason.is_empty()
    }

    /// No broker has answered a question. Says why, as far as brokers have given a reason.
    pub fn unanswered(&self, why: &str) {
        let reason = self.known().reason.clone();
        self.fails(if reason.is_empty() { why } else { &reason });
    }

    /// What librdkafka reports.
    fn reported(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        log::debug!("Kafka: {reason}");
        // What follows is for librdkafka's developers.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.unanswered(reason);
            }
            // Whom we must not trust, or who does not trust us: trying again will not help, and
            // no broker need be down for it.
            Some(RDKafkaErrorCode::Authentication) => self.fails(reason),
            Some(RDKafkaErrorCode::SSL) => {
                let why = self.settings.tls.as_ref().and_then(|tls| {
                    let brokers = &self.settings.brokers;
                    brokers.iter().find_map(|broker| diagnose::refusal(broker, tls))
                });
                let why = why.unwrap_or_else(|| reason.to_owned());
                self.known().reason.clone_from(&why);
                self.fails(&why);
            }
            _ => reason.clone_into(&mut self.known().reason),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Link {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log::debug!("librdkafka: {facility}: {message}");
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reported(error.rdkafka_error_code(), reason);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn link() -> Link {
        Link::new(&Kafka {
            brokers: vec!["127.0.0.1:1".to_owned()],
            topic: "t".to_owned(),
            group: "g".to_owned(),
            partitions: 1,
            replicas: -1,
            create_topic: true,
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        })
    }

    #[test]
    fn a_change_is_told_once_and_with_the_brokers_own_reason() {
        let link = link();
        link.works();
        assert_eq!(link.change(), None);
        for _ in 0..3 {
            link.reported(Some(RDKafkaErrorCode::BrokerTransportFailure), "refused");
            link.reported(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        }
        assert_eq!(link.change(), Some(Change::Away("refused".to_owned())));
        assert_eq!((link.change(), link.is_away()), (None, true));
        link.works();
        assert!(matches!(link.change(), Some(Change::Back(_))));
        assert_eq!((link.change(), link.is_away()), (None, false));
    }

    #[test]
    fn what_passed_unseen_is_not_told() {
        let link = link();
        link.fails("x");
        link.works();
        assert_eq!(link.change(), None);
        link.fails("x");
        assert!(link.change().is_some());
        link.works();
        link.fails("y");
        assert_eq!((link.change(), link.is_away()), (None, true));
    }

    #[test]
    fn one_broker_of_several_is_no_change() {
        let link = link();
        link.reported(Some(RDKafkaErrorCode::BrokerTransportFailure), "b2: refused");
        assert_eq!((link.change(), link.is_away()), (None, false));
    }
}
