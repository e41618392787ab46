//! Reads from Kafka: messages of the partitions that the group gives us, from the offsets that the caller
//! names. A partition is taken over only when the caller has named its offset, so that nothing is fetched
//! from another offset before. The group does not wait for that offset: while a member has not answered, no
//! member gets a partition, for up to `max.poll.interval.ms`. So we answer the group at once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use super::link::BrokerStatus;
use super::settings;
use super::topic::describe_code;
use crate::config::KafkaConfig;
use crate::error::Error;
use crate::model::anchor::fingerprint;

/// Longest time for a request to the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a request to the brokers between two messages.
const SHORT_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Member of the consumer group.
pub struct GroupConsumer {
    consumer: BaseConsumer<Callbacks>,
    topic: String,
}

/// Result of a call of [`GroupConsumer::poll`].
pub enum ConsumerEvent<'a> {
    /// Nothing has come.
    Nothing,
    /// Message of a partition.
    Message(Message<'a>),
    /// Partitions that the group gives us; the group does not wait until we [`GroupConsumer::assign`] them.
    Assigned(Vec<i32>),
    /// Partitions that the group has taken away.
    Revoked(Vec<i32>),
}

/// Message as it is in Kafka.
pub struct Message<'a>(BorrowedMessage<'a>);

impl Message<'_> {
    /// Returns the partition of the message.
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Returns the offset of the message in its partition.
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Returns the time at which the message was sent, or arrived, as the topic is set up, in milliseconds
    /// since 1970; 0 if it has none.
    pub fn sent_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(0)
    }

    /// Returns the fingerprint of the message.
    pub fn hash(&self) -> u64 {
        fingerprint(self.0.key().unwrap_or_default(), self.payload(), self.sent_ms())
    }

    /// Returns the bytes of the message; empty for a tombstone.
    pub fn payload(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }
}

impl GroupConsumer {
    /// Makes a member that has not joined the group yet. No broker need be reachable.
    ///
    /// # Errors
    /// The roots cannot be read, librdkafka does not take a setting, or there are no threads for it.
    pub fn new(kafka: &KafkaConfig, status: Arc<BrokerStatus>) -> Result<GroupConsumer, Error> {
        let config = settings::consumer(kafka)?;
        let (group_changes, is_refused, damage_seen, is_topic_remade) = Default::default();
        let is_debugged = kafka.properties.contains_key("debug");
        let callbacks = Callbacks {
            status,
            is_debugged,
            group_changes,
            is_refused,
            damage_seen,
            is_topic_remade,
        };
        let consumer = BaseConsumer::from_config_and_context(&config, callbacks)
            .map_err(|error| settings::refused(&error))?;
        Ok(GroupConsumer { consumer, topic: kafka.topic.clone() })
    }

    /// Joins the group.
    ///
    /// # Errors
    /// librdkafka does not take the topic.
    pub fn join(&self) -> Result<(), Error> {
        self.consumer
            .subscribe(&[&self.topic])
            .map_err(|error| Error::new(format!("cannot read topic {}: {error}", self.topic)))
    }

    /// Waits for a message or for news of the group, at most `wait`. Call this again and again, or the group
    /// takes us for dead.
    pub fn poll(&self, wait: Duration) -> ConsumerEvent<'_> {
        let callbacks = self.consumer.context();
        if let Some(change) = callbacks.group_changes().pop_front() {
            return change.into();
        }
        match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                callbacks.note_message();
                ConsumerEvent::Message(Message(message))
            }
            // Most errors are about the connection to the brokers, and the status has them already. The
            // others (the topic is gone, rights are missing) are looked at here.
            Some(Err(error)) => {
                callbacks.note_error(&error);
                ConsumerEvent::Nothing
            }
            None => {
                callbacks.group_changes().pop_front().map_or(ConsumerEvent::Nothing, Into::into)
            }
        }
    }

    /// Returns true if the group has given or taken partitions that [`GroupConsumer::poll`] has not returned
    /// yet: some partitions may no longer be ours to assign.
    pub fn has_group_changes(&self) -> bool {
        !self.consumer.context().group_changes().is_empty()
    }

    /// Takes partitions over, each from its offset on; 0 stands for the earliest one.
    ///
    /// # Errors
    /// librdkafka does not take them over.
    pub fn assign(&self, offsets: &[(i32, i64)]) -> Result<(), Error> {
        let list = self.list(offsets.iter().copied());
        let assigned = list.and_then(|list| self.consumer.incremental_assign(&list));
        assigned.map_err(|error| Error::new(format!("cannot take partitions over: {error}")))
    }

    /// Moves partitions that we have to other offsets; 0 stands for the earliest one. Returns the partitions
    /// that have moved.
    pub fn seek(&self, offsets: &[(i32, i64)]) -> Vec<i32> {
        let list = self.list(offsets.iter().copied());
        match list.and_then(|list| self.consumer.seek_partitions(list, REQUEST_TIMEOUT)) {
            Ok(result) => {
                let elements = result.elements();
                let went = elements.iter().filter(|element| element.error().is_ok());
                went.map(TopicPartitionListElem::partition).collect()
            }
            Err(error) => {
                log::debug!("Kafka: cannot go back: {error}");
                Vec::new()
            }
        }
    }

    /// Stops fetching from all partitions until [`GroupConsumer::resume`].
    pub fn pause(&self) {
        self.for_all_partitions("pause", Consumer::pause);
    }

    /// Fetches from all partitions again.
    pub fn resume(&self) {
        self.for_all_partitions("resume", Consumer::resume);
    }

    /// Tells Kafka, for each partition, the first offset that is not stored yet. This is for tools that watch
    /// lag; we ourselves do not use these offsets.
    pub fn commit(&self, offsets: &[(i32, i64)]) {
        let committed = self
            .list(offsets.iter().copied())
            .and_then(|list| self.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            log::debug!("Kafka: cannot commit: {error}");
        }
    }

    /// Asks for the id of the cluster; none if no broker answers.
    pub fn cluster(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(REQUEST_TIMEOUT)
    }

    /// Asks for the earliest offset of a partition, and the one after its last message; none if no broker
    /// answers.
    pub fn bounds(&self, partition: i32) -> Option<(i64, i64)> {
        self.consumer.fetch_watermarks(&self.topic, partition, SHORT_REQUEST_TIMEOUT).ok()
    }

    /// Returns true if we have no right to the group or the topic. Then brokers that answer are no recovery.
    pub fn is_refused(&self) -> bool {
        self.consumer.context().is_refused.load(Ordering::Relaxed)
    }

    /// Returns true if the topic was made anew since the last call. librdkafka reads on at the same offsets,
    /// as if the topic was the old one.
    pub fn take_topic_remade(&self) -> bool {
        self.consumer.context().is_topic_remade.swap(false, Ordering::Relaxed)
    }

    /// Returns the time at which the last batch with a wrong checksum came; none if there was none.
    pub fn damage_seen(&self) -> Option<Instant> {
        let seen = &self.consumer.context().damage_seen;
        *seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the client, for questions to the brokers.
    pub fn client(&self) -> &Client<impl ClientContext + use<>> {
        self.consumer.client()
    }

    fn for_all_partitions(
        &self,
        what: &str,
        act: impl Fn(&BaseConsumer<Callbacks>, &TopicPartitionList) -> KafkaResult<()>,
    ) {
        let done = self.consumer.assignment().and_then(|list| act(&self.consumer, &list));
        if let Err(error) = done {
            log::warn!("Kafka: cannot {what}: {error}");
        }
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, i64)>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in offsets {
            let offset = if next > 0 { Offset::Offset(next) } else { Offset::Beginning };
            list.add_partition_offset(&self.topic, partition, offset)?;
        }
        Ok(list)
    }
}

/// News of the group.
enum GroupChange {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

impl From<GroupChange> for ConsumerEvent<'_> {
    fn from(change: GroupChange) -> Self {
        match change {
            GroupChange::Assigned(partitions) => ConsumerEvent::Assigned(partitions),
            GroupChange::Revoked(partitions) => ConsumerEvent::Revoked(partitions),
        }
    }
}

/// Callbacks of librdkafka; all run on the thread that polls.
struct Callbacks {
    status: Arc<BrokerStatus>,
    /// The user asks for librdkafka's own log.
    is_debugged: bool,
    group_changes: Mutex<VecDeque<GroupChange>>,
    is_refused: AtomicBool,
    /// Time at which the last batch with a wrong checksum came.
    damage_seen: Mutex<Option<Instant>>,
    /// The topic was made anew, and the caller has not asked since.
    is_topic_remade: AtomicBool,
}

impl Callbacks {
    fn group_changes(&self) -> MutexGuard<'_, VecDeque<GroupChange>> {
        self.group_changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the group has let us in, or a message has come.
    fn note_message(&self) {
        self.is_refused.store(false, Ordering::Relaxed);
        self.status.note_answer();
    }

    /// Adds partitions that the group takes away, and removes them from those that wait to be taken over.
    fn taken(&self, partitions: Vec<i32>) {
        let mut group_changes = self.group_changes();
        let gone: BTreeSet<i32> = partitions.iter().copied().collect();
        for told in group_changes.iter_mut() {
            if let GroupChange::Assigned(given) = told {
                given.retain(|partition| !gone.contains(partition));
            }
        }
        group_changes.push_back(GroupChange::Revoked(partitions));
    }

    fn note_error(&self, error: &KafkaError) {
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
        if let Some(code @ (GroupAuthorizationFailed | TopicAuthorizationFailed)) =
            error.rdkafka_error_code()
        {
            self.is_refused.store(true, Ordering::Relaxed);
            let what = if code == TopicAuthorizationFailed { "topic" } else { "group" };
            let text = describe_code(code);
            self.status.note_fault(&format!("{text}: give our user the right to read the {what}"));
        }
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if message.contains(" changed id from ") {
            self.is_topic_remade.store(true, Ordering::Relaxed);
        }
        if !matches!(level, RDKafkaLogLevel::Debug) || self.is_debugged {
            self.status.log(level, facility, message);
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // A batch that was damaged on its way comes whole the next time. A batch that is damaged in the
        // broker's own log never does, and its partition stands still.
        if reason.contains(" failed CRC32") {
            let mut seen = self.damage_seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.replace(Instant::now()).is_none() {
                log::error!("received a damaged batch of records, fetching it again: {reason}");
            }
            return;
        }
        self.status.error(error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = list.elements().iter().map(TopicPartitionListElem::partition).collect();
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.note_message();
            // An empty answer frees the group. The partitions stay ours, and are taken over once the
            // caller knows their offsets: the store may be away for hours.
            if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
                log::debug!("Kafka: cannot answer the group: {error}");
            }
            self.group_changes().push_back(GroupChange::Assigned(partitions));
            return;
        }
        // If one partition of the list was not taken over, librdkafka refuses the whole list and waits on.
        let given_back = assigned(consumer, list);
        if let Err(error) = given_back.and_then(|list| consumer.incremental_unassign(&list)) {
            log::warn!("Kafka: cannot release partitions: {error}");
        }
        self.taken(partitions);
    }
}

/// Returns the partitions of a list that have been taken over.
fn assigned<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let ours = consumer.assignment()?;
    let mut both = TopicPartitionList::new();
    for element in list.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        if ours.find_partition(topic, partition).is_some() {
            both.add_partition(topic, partition);
        }
    }
    Ok(both)
}
