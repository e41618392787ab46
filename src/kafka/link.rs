//! Tracks if the brokers can be reached. librdkafka reports its troubles again and again; a [`Link`] turns
//! them into one [`Change`] each time the state changes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::diagnose::{self, Explained, shown};
use crate::config::Kafka;
use crate::model::outage::Outage;

/// Time added to the wait that a broker asked for. The next statistics may report another wait only later,
/// if the connection is given up and made again in between.
const THROTTLED: Duration = Duration::from_secs(15);
/// Report a quota again if it has not held us back for so long.
const CALM: Duration = Duration::from_secs(600);

/// librdkafka's words for a broker whose certificate we must not trust.
const UNTRUSTED: &str = "certificate verify failed";

/// State of the connection to the brokers.
#[derive(Debug)]
pub struct Link {
    settings: Kafka,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    is_away: bool,
    /// Outage under way, or over and its end not reported yet; none: neither.
    outage: Option<Outage>,
    /// Latest reason to doubt that the brokers answer; empty if there is none.
    reason: String,
    /// Change that the caller has not taken yet.
    untold: Option<Change>,
    /// The outage was reported, and its end was not yet.
    is_told: bool,
    /// A TLS handshake of our own was made in this outage, to find its reason.
    is_diagnosed: bool,
    /// Time until which brokers may make us wait for a quota, as last reported. The value stays when that
    /// time is over.
    throttled_until: Option<Instant>,
}

/// Change in the connection to the brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The brokers are of no use, for this reason; reported again for another reason.
    Away(String),
    /// The brokers are back, after an outage of this length.
    Back(Duration),
    /// The brokers make us wait for so long, since we send more than a quota of theirs allows.
    Throttled(Duration),
}

impl Link {
    /// Makes a link whose brokers do not count as away.
    pub fn new(settings: &Kafka) -> Link {
        Link { settings: settings.clone(), known: Mutex::default() }
    }

    /// Takes the change since the last call; none if there was none. Of several changes, only the newest.
    pub fn change(&self) -> Option<Change> {
        let mut known = self.known();
        let change = known.untold.take();
        match &change {
            None | Some(Change::Throttled(_)) => {}
            Some(Change::Away(_)) => known.is_told = true,
            Some(Change::Back(_)) => {
                known.is_told = false;
                known.outage = None;
            }
        }
        change
    }

    /// Returns true if the brokers are away, as far as is known.
    pub fn is_away(&self) -> bool {
        self.known().is_away
    }

    /// Notes that a broker has answered.
    pub fn works(&self) {
        let mut known = self.known();
        known.reason.clear();
        known.is_diagnosed = false;
        if !std::mem::replace(&mut known.is_away, false) {
            return;
        }
        if known.is_told {
            let length = known.outage.as_ref().map(|outage| outage.length(Instant::now()));
            known.untold = length.map(Change::Back);
        } else {
            // The brokers were away and came back between two calls of `change`: report nothing.
            known.untold = None;
            known.outage = None;
        }
    }

    /// Notes that a broker makes us wait for so long.
    pub fn throttled(&self, wait: Duration) {
        let (now, mut known) = (Instant::now(), self.known());
        let is_new = known.throttled_until.is_none_or(|until| now > until + CALM);
        known.throttled_until = Some(now + wait + THROTTLED);
        if is_new && known.untold.is_none() {
            known.untold = Some(Change::Throttled(wait));
        }
    }

    /// Returns true while brokers make us wait for a quota: they are slow, and not away.
    pub fn is_throttled(&self) -> bool {
        self.known().is_throttled()
    }

    /// Notes that the brokers are of no use, for a reason that is certain and that the user must mend.
    pub fn fails(&self, why: &str) {
        self.known().fail(why, true);
    }

    /// Returns true if there was a reason to doubt since the last answer. librdkafka itself reports only
    /// sometimes that all brokers are down, so a caller that waits for an answer needs a deadline of its own.
    pub fn is_in_doubt(&self) -> bool {
        !self.known().reason.is_empty()
    }

    /// Notes that no broker has answered. The reason is the latest doubt if there is one, or else `why`.
    pub fn unanswered(&self, why: &str) {
        let reason = self.known().reason.clone();
        if reason.contains(UNTRUSTED) {
            self.refused(&reason);
        }
        self.known().fail(if reason.is_empty() { why } else { &reason }, false);
    }

    /// Notes that the brokers may be away. An earlier reason to doubt stays.
    pub fn suspect(&self, why: &str) {
        let mut known = self.known();
        if known.reason.is_empty() {
            why.clone_into(&mut known.reason);
        }
    }

    /// Sets the latest reason to doubt that the brokers answer.
    fn doubt(&self, why: &str) {
        why.clone_into(&mut self.known().reason);
    }

    /// Takes an error that librdkafka reports.
    fn reported(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        log::debug!("Kafka: {reason}");
        let (explained, reason) = (diagnose::explain(reason, &self.settings), shown(reason));
        match (code, explained) {
            (Some(RDKafkaErrorCode::AllBrokersDown), _) => self.unanswered(&reason),
            // We must not trust the broker, or the broker does not trust us: another try will not
            // help, and the broker need not be down.
            (Some(RDKafkaErrorCode::Authentication), _) => self.fails(&reason),
            (_, Some(Explained::Surely(why))) => self.fails(&why),
            (_, Some(Explained::Perhaps(why))) => self.doubt(&why),
            (Some(RDKafkaErrorCode::SSL), None) => self.refused(&reason),
            _ => self.doubt(&reason),
        }
    }

    /// Takes a failed TLS handshake. librdkafka does not give the reason, so we make a handshake of our own,
    /// once for each outage.
    fn refused(&self, reason: &str) {
        if std::mem::replace(&mut self.known().is_diagnosed, true) {
            return;
        }
        let why = self.settings.tls.as_ref().and_then(|tls| {
            let mut brokers = self.settings.brokers.iter();
            brokers.find_map(|broker| diagnose::refusal(broker, tls))
        });
        let why = why.unwrap_or_else(|| reason.to_owned());
        self.doubt(&why);
        self.fails(&why);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_throttled(&self) -> bool {
        self.throttled_until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes that the brokers are away. A reason with `is_sure` is reported even after another reason.
    fn fail(&mut self, why: &str, is_sure: bool) {
        if !is_sure && self.is_throttled() {
            return;
        }
        if !std::mem::replace(&mut self.is_away, true) {
            // The brokers were back and went away between two calls of `change`: the last report holds.
            self.untold = None;
        }
        let outage = self.outage.get_or_insert_with(|| Outage::new(Instant::now()));
        if (is_sure || !outage.is_reported()) && outage.report(why) {
            self.untold = Some(Change::Away(why.to_owned()));
        }
    }
}

impl ClientContext for Link {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log::debug!("librdkafka: {facility}: {message}");
        // `[thrd:…]: ssl://host:9093/1: reason`. Log lines come at once, while errors wait to be polled;
        // and a broker that hangs up is no error for librdkafka.
        if facility == "FAIL"
            && let Some((_, said)) = message.split_once("]: ")
        {
            match diagnose::explain(said, &self.settings) {
                Some(Explained::Surely(why) | Explained::Perhaps(why)) => self.doubt(&why),
                None => self.doubt(&shown(said)),
            }
        }
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
        link.fails("x");
        assert_eq!((link.change(), link.is_away()), (None, true));
        link.works();
        assert!(matches!(link.change(), Some(Change::Back(_))));
        link.fails("x");
        assert!(link.change().is_some());
    }

    #[test]
    fn another_reason_is_told_again_and_silence_is_none() {
        let link = link();
        link.unanswered("silence");
        assert_eq!(link.change(), Some(Change::Away("silence".to_owned())));
        for _ in 0..3 {
            link.fails("no topic");
            link.unanswered("more silence");
            link.fails("no rights");
        }
        // Of two reasons at once, the newer one.
        assert_eq!(link.change(), Some(Change::Away("no rights".to_owned())));
        for i in 0..100 {
            link.fails(&format!("reason {i}"));
        }
        assert_eq!(link.change(), Some(Change::Away("reason 1".to_owned())));
        link.works();
        assert!(matches!(link.change(), Some(Change::Back(_))));
        link.fails("no topic");
        assert_eq!(link.change(), Some(Change::Away("no topic".to_owned())));
    }

    #[test]
    fn what_was_logged_is_the_reason_of_silence() {
        let link = link();
        let said = "[thrd:ssl://b:1/1]: ssl://b:1/1: SSL handshake failed: x: certificate verify \
                    failed: y (after 3ms in state SSL_HANDSHAKE)";
        link.log(RDKafkaLogLevel::Error, "FAIL", said);
        link.unanswered("no broker answers");
        let why = "b:1: SSL handshake failed: x: certificate verify failed: y";
        assert_eq!(link.change(), Some(Change::Away(why.to_owned())));
        link.reported(Some(RDKafkaErrorCode::SSL), said.split_once("]: ").unwrap().1);
        assert_eq!(link.change(), None);
    }

    #[test]
    fn a_quota_is_told_once_and_makes_nobody_away() {
        let link = link();
        for _ in 0..3 {
            link.throttled(Duration::from_secs(2));
            link.unanswered("no answer for 8 s");
        }
        assert_eq!(link.change(), Some(Change::Throttled(Duration::from_secs(2))));
        assert_eq!((link.change(), link.is_away(), link.is_throttled()), (None, false, true));
        link.fails("no rights");
        assert_eq!(link.change(), Some(Change::Away("no rights".to_owned())));
    }

    #[test]
    fn one_broker_of_several_is_no_change() {
        let link = link();
        link.reported(Some(RDKafkaErrorCode::BrokerTransportFailure), "b2: refused");
        assert_eq!((link.change(), link.is_away()), (None, false));
    }
}
