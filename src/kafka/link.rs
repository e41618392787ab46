//! Tracks if the brokers can be reached. librdkafka reports its troubles again and again; a [`BrokerStatus`]
//! turns them into one [`StatusChange`] each time the state changes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::diagnose::{self, Explained, shown};
use crate::config::KafkaConfig;
use crate::model::outage::Outage;

/// Time added to the wait that a broker asked for. The next statistics may report another wait only later,
/// if the connection is given up and made again in between.
const THROTTLE_MARGIN: Duration = Duration::from_secs(15);
/// Report a quota again if it has not held us back for so long.
const THROTTLE_REPORT_AFTER: Duration = Duration::from_secs(600);

/// librdkafka's words for a broker whose certificate we must not trust.
const UNTRUSTED: &str = "certificate verify failed";

/// State of the connection to the brokers.
#[derive(Debug)]
pub struct BrokerStatus {
    settings: KafkaConfig,
    state: Mutex<StatusState>,
}

#[derive(Debug, Default)]
struct StatusState {
    is_away: bool,
    /// Outage under way, or over and its end not reported yet; none: neither.
    outage: Option<Outage>,
    /// Latest reason to doubt that the brokers answer; empty if there is none.
    reason: String,
    /// Change that the caller has not taken yet.
    pending: Option<StatusChange>,
    /// The outage was reported, and its end was not yet.
    is_reported: bool,
    /// A TLS handshake of our own was made in this outage, to find its reason.
    is_diagnosed: bool,
    /// Time until which brokers may make us wait for a quota, as last reported. The value stays when that
    /// time is over.
    throttled_until: Option<Instant>,
}

/// Change in the connection to the brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusChange {
    /// The brokers are of no use, for this reason; reported again for another reason.
    Away(String),
    /// The brokers are back, after an outage of this length.
    Back(Duration),
    /// The brokers make us wait for so long, since we send more than a quota of theirs allows.
    Throttled(Duration),
}

impl BrokerStatus {
    /// Makes a status whose brokers do not count as away.
    pub fn new(settings: &KafkaConfig) -> BrokerStatus {
        BrokerStatus { settings: settings.clone(), state: Mutex::default() }
    }

    /// Takes the change since the last call; none if there was none. Of several changes, only the newest.
    pub fn take_change(&self) -> Option<StatusChange> {
        let mut state = self.lock();
        let change = state.pending.take();
        match &change {
            None | Some(StatusChange::Throttled(_)) => {}
            Some(StatusChange::Away(_)) => state.is_reported = true,
            Some(StatusChange::Back(_)) => {
                state.is_reported = false;
                state.outage = None;
            }
        }
        change
    }

    /// Returns true if the brokers are away, as far as is known.
    pub fn is_away(&self) -> bool {
        self.lock().is_away
    }

    /// Notes that a broker has answered.
    pub fn note_answer(&self) {
        let mut state = self.lock();
        state.reason.clear();
        state.is_diagnosed = false;
        if !std::mem::replace(&mut state.is_away, false) {
            return;
        }
        if state.is_reported {
            let length = state.outage.as_ref().map(|outage| outage.length(Instant::now()));
            state.pending = length.map(StatusChange::Back);
        } else {
            // The brokers were away and came back between two calls of `change`: report nothing.
            state.pending = None;
            state.outage = None;
        }
    }

    /// Notes that a broker makes us wait for so long.
    pub fn note_throttle(&self, wait: Duration) {
        let (now, mut state) = (Instant::now(), self.lock());
        let is_new = state.throttled_until.is_none_or(|until| now > until + THROTTLE_REPORT_AFTER);
        state.throttled_until = Some(now + wait + THROTTLE_MARGIN);
        if is_new && state.pending.is_none() {
            state.pending = Some(StatusChange::Throttled(wait));
        }
    }

    /// Returns true while brokers throttle us for a quota: they are slow, but can be reached.
    pub fn is_throttled(&self) -> bool {
        self.lock().is_throttled()
    }

    /// Notes that the brokers are of no use, for a reason that is certain and that the user must mend.
    pub fn note_fault(&self, why: &str) {
        self.lock().fail(why, true);
    }

    /// Returns true if there was a reason to doubt since the last answer. librdkafka itself reports only
    /// sometimes that all brokers are down, so a caller that waits for an answer needs a deadline of its own.
    pub fn is_in_doubt(&self) -> bool {
        !self.lock().reason.is_empty()
    }

    /// Notes that no broker has answered. The reason is the latest doubt if there is one, or else `why`.
    pub fn note_silence(&self, why: &str) {
        let reason = self.lock().reason.clone();
        if reason.contains(UNTRUSTED) {
            self.diagnose_handshake(&reason);
        }
        self.lock().fail(if reason.is_empty() { why } else { &reason }, false);
    }

    /// Notes that the brokers may be away. An earlier reason to doubt stays.
    pub fn suspect(&self, why: &str) {
        let mut state = self.lock();
        if state.reason.is_empty() {
            why.clone_into(&mut state.reason);
        }
    }

    /// Sets the latest reason to doubt that the brokers answer.
    fn doubt(&self, why: &str) {
        why.clone_into(&mut self.lock().reason);
    }

    /// Takes an error that librdkafka reports.
    fn note_error(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        log::debug!("Kafka: {reason}");
        let (explained, reason) = (diagnose::explain(reason, &self.settings), shown(reason));
        match (code, explained) {
            (Some(RDKafkaErrorCode::AllBrokersDown), _) => self.note_silence(&reason),
            // We must not trust the broker, or the broker does not trust us: another try will not
            // help, and the broker need not be down.
            (Some(RDKafkaErrorCode::Authentication), _) => self.note_fault(&reason),
            (_, Some(Explained::Surely(why))) => self.note_fault(&why),
            (_, Some(Explained::Perhaps(why))) => self.doubt(&why),
            (Some(RDKafkaErrorCode::SSL), None) => self.diagnose_handshake(&reason),
            _ => self.doubt(&reason),
        }
    }

    /// Finds out why a TLS handshake failed: makes one of our own, once for each outage, since librdkafka does
    /// not give the reason.
    fn diagnose_handshake(&self, reason: &str) {
        if std::mem::replace(&mut self.lock().is_diagnosed, true) {
            return;
        }
        let why = self.settings.tls.as_ref().and_then(|tls| {
            let mut brokers = self.settings.brokers.iter();
            brokers.find_map(|broker| diagnose::refusal(broker, tls))
        });
        let why = why.unwrap_or_else(|| reason.to_owned());
        self.doubt(&why);
        self.note_fault(&why);
    }

    fn lock(&self) -> MutexGuard<'_, StatusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatusState {
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
            self.pending = None;
        }
        let outage = self.outage.get_or_insert_with(|| Outage::new(Instant::now()));
        if (is_sure || !outage.is_reported()) && outage.report(why) {
            self.pending = Some(StatusChange::Away(why.to_owned()));
        }
    }
}

impl ClientContext for BrokerStatus {
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
        self.note_error(error.rdkafka_error_code(), reason);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn status() -> BrokerStatus {
        BrokerStatus::new(&KafkaConfig {
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
        let status = status();
        status.note_answer();
        assert_eq!(status.take_change(), None);
        for _ in 0..3 {
            status.note_error(Some(RDKafkaErrorCode::BrokerTransportFailure), "refused");
            status.note_error(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        }
        assert_eq!(status.take_change(), Some(StatusChange::Away("refused".to_owned())));
        assert_eq!((status.take_change(), status.is_away()), (None, true));
        status.note_answer();
        assert!(matches!(status.take_change(), Some(StatusChange::Back(_))));
        assert_eq!((status.take_change(), status.is_away()), (None, false));
    }

    #[test]
    fn what_passed_unseen_is_not_told() {
        let status = status();
        status.note_fault("x");
        status.note_answer();
        assert_eq!(status.take_change(), None);
        status.note_fault("x");
        assert!(status.take_change().is_some());
        status.note_answer();
        status.note_fault("x");
        assert_eq!((status.take_change(), status.is_away()), (None, true));
        status.note_answer();
        assert!(matches!(status.take_change(), Some(StatusChange::Back(_))));
        status.note_fault("x");
        assert!(status.take_change().is_some());
    }

    #[test]
    fn another_reason_is_told_again_and_silence_is_none() {
        let status = status();
        status.note_silence("silence");
        assert_eq!(status.take_change(), Some(StatusChange::Away("silence".to_owned())));
        for _ in 0..3 {
            status.note_fault("no topic");
            status.note_silence("more silence");
            status.note_fault("no rights");
        }
        // Of two reasons at once, the newer one.
        assert_eq!(status.take_change(), Some(StatusChange::Away("no rights".to_owned())));
        for i in 0..100 {
            status.note_fault(&format!("reason {i}"));
        }
        assert_eq!(status.take_change(), Some(StatusChange::Away("reason 1".to_owned())));
        status.note_answer();
        assert!(matches!(status.take_change(), Some(StatusChange::Back(_))));
        status.note_fault("no topic");
        assert_eq!(status.take_change(), Some(StatusChange::Away("no topic".to_owned())));
    }

    #[test]
    fn what_was_logged_is_the_reason_of_silence() {
        let status = status();
        let said = "[thrd:ssl://b:1/1]: ssl://b:1/1: SSL handshake failed: x: certificate verify \
                    failed: y (after 3ms in state SSL_HANDSHAKE)";
        status.log(RDKafkaLogLevel::Error, "FAIL", said);
        status.note_silence("no broker answers");
        let why = "b:1: SSL handshake failed: x: certificate verify failed: y";
        assert_eq!(status.take_change(), Some(StatusChange::Away(why.to_owned())));
        status.note_error(Some(RDKafkaErrorCode::SSL), said.split_once("]: ").unwrap().1);
        assert_eq!(status.take_change(), None);
    }

    #[test]
    fn a_quota_is_told_once_and_makes_nobody_away() {
        let status = status();
        for _ in 0..3 {
            status.note_throttle(Duration::from_secs(2));
            status.note_silence("no answer for 8 s");
        }
        assert_eq!(status.take_change(), Some(StatusChange::Throttled(Duration::from_secs(2))));
        assert_eq!(
            (status.take_change(), status.is_away(), status.is_throttled()),
            (None, false, true)
        );
        status.note_fault("no rights");
        assert_eq!(status.take_change(), Some(StatusChange::Away("no rights".to_owned())));
    }

    #[test]
    fn one_broker_of_several_is_no_change() {
        let status = status();
        status.note_error(Some(RDKafkaErrorCode::BrokerTransportFailure), "b2: refused");
        assert_eq!((status.take_change(), status.is_away()), (None, false));
    }
}
