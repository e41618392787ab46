//! First stage of `write`: reads messages, and gathers them into batches.
//!
//! Takes: messages of the partitions that the group assigns to us, and [`StoreReply`]. Gives:
//! [`StoreRequest`], one batch at a time: the next is gathered while the writer stores. Ends when: a stop is
//! asked for and the last batch is stored or given up. On failure: waits for brokers that are away; while
//! the store is away, partitions are paused and the poll goes on, so that the group keeps us.

mod availability;
mod builder;
mod damage;
mod message;
mod positions;
mod rewind;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

pub use self::builder::BatchBounds;
use self::builder::BatchBuilder;
use self::damage::Damage;
use self::positions::{PartitionPositions, start_offset};
use super::messages::{PositionRequest, StoreReply, StoreRequest};
use crate::clock;
use crate::config::KafkaConfig;
use crate::error::Error;
use crate::kafka::{BrokerStatus, ConsumerEvent, GroupConsumer};
use crate::model::health::SharedHealth;
use crate::model::wire::{DecodeError, DecodedMessage, decode};
use crate::stop::Stop;
use crate::store::{MessageOrigin, Position};

/// Longest wait for a message; a stop, a reply or a full batch is noticed within it.
const TURN: Duration = Duration::from_millis(100);
/// Time that a full batch waits for the writer before fetching is paused. Pausing for less is not worth it:
/// messages already fetched would be fetched again.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before partitions that could not be taken over are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Most bytes that are kept of a message that cannot be read.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Longest wait for the last batch; the writer gives up earlier.
const LAST_STORE_TIMEOUT: Duration = Duration::from_secs(900);

/// Stage that reads messages.
pub struct Consumer {
    kafka: KafkaConfig,
    group: GroupConsumer,
    status: Arc<BrokerStatus>,
    requests: Sender<StoreRequest>,
    replies: Receiver<StoreReply>,
    health: Arc<SharedHealth>,
    stop: Stop,
    cluster: String,
    positions: PartitionPositions,
    builder: BatchBuilder,
    /// Time since which the writer has a batch of ours; none: it has none.
    handed_over_at: Option<Instant>,
    /// The writer holds all that it can, and takes no batch before it has stored some.
    is_writer_full: bool,
    /// Partitions that the group has given us and that we have not taken over yet.
    assigned: BTreeSet<i32>,
    /// Partitions of which the writer was asked where to go on, less those taken away since; none: no
    /// question is open.
    asked: Option<BTreeSet<i32>>,
    /// Earliest time of the next question.
    ask_at: Instant,
    store_is_away: bool,
    /// Word of `/health` for the reason of the store's absence.
    store_trouble: &'static str,
    /// Words of `/health` for the doubts while reading goes on.
    doubts: BTreeSet<&'static str>,
    store_is_late: bool,
    is_paused: bool,
    /// Last time at which brokers gave something, or were asked.
    heard_at: Instant,
    logged: HashMap<&'static str, Instant>,
    /// Earliest time to try again to go back in logs that are other ones.
    back_at: Instant,
    /// Earliest time to ask for the ends of logs that are not recognised.
    look_at: Instant,
    damage: Damage,
    trouble: Option<&'static str>,
}

/// Contents of a message, or the reason that it has none and its bytes.
type Payload = Result<DecodedMessage, (DecodeError, Vec<u8>)>;

/// Event of a turn.
enum Event {
    /// A message and its fingerprint.
    Message(MessageOrigin, u64, Payload),
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

impl Consumer {
    /// Creates the stage; it has not joined the group yet.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(
        kafka: &KafkaConfig,
        limits: BatchBounds,
        requests: Sender<StoreRequest>,
        replies: Receiver<StoreReply>,
        health: Arc<SharedHealth>,
        stop: Stop,
    ) -> Result<Consumer, Error> {
        let status = Arc::new(BrokerStatus::new(kafka));
        Ok(Consumer {
            group: GroupConsumer::new(kafka, Arc::clone(&status))?,
            kafka: kafka.clone(),
            status,
            requests,
            replies,
            health,
            stop,
            cluster: String::new(),
            positions: PartitionPositions::default(),
            builder: BatchBuilder::new(limits),
            handed_over_at: None,
            is_writer_full: false,
            assigned: BTreeSet::new(),
            asked: None,
            ask_at: Instant::now(),
            store_is_away: false,
            store_trouble: "",
            doubts: BTreeSet::new(),
            store_is_late: false,
            is_paused: false,
            heard_at: Instant::now(),
            logged: HashMap::new(),
            back_at: Instant::now(),
            look_at: Instant::now(),
            damage: Damage::default(),
            trouble: None,
        })
    }

    /// Reads until told to stop, and has the last batch stored.
    ///
    /// # Errors
    /// The writer is gone, or librdkafka refuses the topic.
    pub fn run(mut self) -> Result<(), Error> {
        let read = self.read();
        self.finish();
        read
    }

    fn read(&mut self) -> Result<(), Error> {
        if self.wait()? {
            self.group.join()?;
            while !self.stop.is_told() {
                self.take_replies()?;
                self.turn()?;
                self.look_for_damage();
                self.log_changes();
            }
        }
        Ok(())
    }

    /// Takes the messages of the writer. Returns true if the store is ready.
    fn take_replies(&mut self) -> Result<bool, Error> {
        let mut is_ready = false;
        loop {
            match self.replies.try_recv() {
                Ok(StoreReply::Ready) => is_ready = true,
                Ok(answer) => self.take_reply(answer),
                Err(TryRecvError::Empty) => return Ok(is_ready),
                // The writer is told to stop too, and may be the first to have ended.
                Err(TryRecvError::Disconnected) if self.stop.is_told() => return Ok(false),
                Err(TryRecvError::Disconnected) => return Err(Error::new("the writer is gone")),
            }
        }
    }

    fn take_reply(&mut self, reply: StoreReply) {
        match reply {
            StoreReply::Ready => {}
            StoreReply::Away(word) => (self.store_is_away, self.store_trouble) = (true, word),
            StoreReply::Doubt(word, is_so) => {
                self.doubts.remove(word);
                self.doubts.extend(is_so.then_some(word));
            }
            StoreReply::Deferred { takes_more } => {
                self.handed_over_at = None;
                self.is_writer_full = !takes_more;
            }
            StoreReply::Back => {
                self.store_is_away = false;
                // The topic may be another one now, which would not be seen while no message comes.
                self.positions.invalidate();
            }
            // The database may be another one, or older: the same.
            StoreReply::Reconnected => self.positions.invalidate(),
            StoreReply::Stored(marks) => {
                self.handed_over_at = None;
                self.is_writer_full = false;
                let ours = marks.iter().filter(|mark| self.positions.has(mark.partition));
                let offsets: Vec<_> = ours.map(|mark| (mark.partition, mark.next)).collect();
                if !offsets.is_empty() {
                    self.group.commit(&offsets);
                }
            }
            StoreReply::Outdated => {
                self.handed_over_at = None;
                self.is_writer_full = false;
                log::warn!(
                    "the database lacks records that were read before: reading them from Kafka again"
                );
                self.builder.unmark();
                self.send_batch();
                self.positions.invalidate();
            }
            StoreReply::Positions(mut positions) => {
                // Go to the stored offsets: another writer may have had a partition meanwhile, and stored
                // more of it.
                let asked = self.asked.take().unwrap_or_default();
                positions.retain(|(partition, _)| asked.contains(partition));
                self.take_over(&positions);
                self.go_back(&positions);
            }
        }
    }

    /// Asks the writer where to go on, if any partition waits for that.
    fn request_positions(&mut self) {
        let mut partitions: BTreeSet<i32> = self.positions.invalid().collect();
        partitions.extend(&self.assigned);
        if self.asked.is_some() || partitions.is_empty() || Instant::now() < self.ask_at {
            return;
        }
        let (cluster, topic) = (self.cluster.clone(), self.kafka.topic.clone());
        let wanted = partitions.iter().copied().collect();
        // A writer that is gone is noticed when it is listened to.
        let question =
            StoreRequest::Positions(PositionRequest { cluster, topic, partitions: wanted });
        self.asked = self.requests.send(question).is_ok().then_some(partitions);
    }

    /// Takes over the partitions that the group has given us, now that their offsets are known.
    fn take_over(&mut self, positions: &[(i32, Position)]) {
        let ours: Vec<&(i32, Position)> =
            positions.iter().filter(|(p, _)| self.assigned.contains(p)).collect();
        // Partitions given or taken that we have not heard of yet come first; the writer is asked again after
        // that.
        if ours.is_empty() || self.group.has_group_changes() {
            return;
        }
        let starts: Vec<(i32, i64)> = ours.iter().map(|(p, at)| (*p, start_offset(at))).collect();
        if let Err(error) = self.group.assign(&starts) {
            log::warn!("{error}");
            self.ask_at = Instant::now() + RETRY_AFTER;
            return;
        }
        log::debug!("reading from {starts:?}");
        for (partition, position) in ours {
            self.assigned.remove(partition);
            self.positions.assign(*partition, position.clone());
        }
        self.postpone_look();
        // The new partitions are to be paused as the others are. One that we had before, and that was taken
        // away while it was paused, would be paused still.
        if self.is_paused {
            self.group.pause();
        } else {
            self.group.resume();
        }
    }

    /// Does one turn: hands over the batch that is due, and waits for something to happen in Kafka.
    fn turn(&mut self) -> Result<(), Error> {
        if self.may_hand_over() && self.builder.due().is_some_and(|due| due <= Instant::now()) {
            self.send_batch();
        }
        if self.group.take_topic_remade() {
            self.positions.invalidate();
        }
        self.request_positions();
        self.recognise();
        let must_wait = self.store_is_away || self.builder.is_full();
        if must_wait && !self.store_is_away && !self.is_paused && self.wait_for_reply()? {
            return Ok(());
        }
        if must_wait != self.is_paused {
            if must_wait {
                self.group.pause();
            } else {
                self.group.resume();
            }
            self.is_paused = must_wait;
        }
        match self.poll() {
            None => {}
            Some(Event::Message(came, hash, read)) => self.take_message(came, hash, read),
            Some(Event::Assigned(partitions)) => {
                if !partitions.is_empty() {
                    log::info!("reading partitions {partitions:?}");
                }
                self.assigned.extend(&partitions);
            }
            Some(Event::Revoked(partitions)) => {
                if !partitions.is_empty() {
                    log::info!("no longer reading partitions {partitions:?}");
                }
                for partition in &partitions {
                    self.assigned.remove(partition);
                    if let Some(asked) = &mut self.asked {
                        asked.remove(partition);
                    }
                    self.positions.revoke(*partition);
                }
                // Messages that were read of these partitions are stored all the same; the next reader of
                // them repeats them.
                if self.may_hand_over() {
                    self.send_batch();
                }
            }
        }
        Ok(())
    }

    /// Waits for something to happen in Kafka, and returns it.
    fn poll(&self) -> Option<Event> {
        let now = Instant::now();
        let due = self.builder.due().filter(|_| self.may_hand_over());
        let wait = due.map_or(TURN, |due| due.saturating_duration_since(now).min(TURN));
        match self.group.poll(wait.max(Duration::from_millis(1))) {
            ConsumerEvent::Nothing => None,
            ConsumerEvent::Assigned(partitions) => Some(Event::Assigned(partitions)),
            ConsumerEvent::Revoked(partitions) => Some(Event::Revoked(partitions)),
            ConsumerEvent::Message(message) => {
                let (partition, offset) = (message.partition(), message.offset());
                let came = MessageOrigin { partition, offset, sent_ms: message.sent_ms() };
                let (hash, payload) = (message.hash(), message.payload());
                let read = decode(payload, clock::now_ms()).map_err(|refused| {
                    (refused, payload[..payload.len().min(PAYLOAD_MAX)].to_vec())
                });
                Some(Event::Message(came, hash, read))
            }
        }
    }

    fn may_hand_over(&self) -> bool {
        self.handed_over_at.is_none() && !self.is_writer_full
    }

    /// Gives the batch to the writer, which must not have another one.
    fn send_batch(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        self.report_offset_gaps();
        let mut batch = self.builder.take();
        batch.cluster.clone_from(&self.cluster);
        batch.topic.clone_from(&self.kafka.topic);
        self.positions.hand_over(&batch.marks);
        let is_sent = self.requests.send(StoreRequest::Batch(Box::new(batch))).is_ok();
        self.handed_over_at = is_sent.then(Instant::now);
    }

    /// Waits a little for a message of the writer. Returns false if none came.
    fn wait_for_reply(&mut self) -> Result<bool, Error> {
        match self.replies.recv_timeout(REPLY_TIMEOUT) {
            Ok(answer) => {
                self.take_reply(answer);
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(Error::new("the writer is gone")),
        }
    }

    /// Has the last batch stored, if the writer can still do that: a full one takes it too.
    fn finish(&mut self) {
        let limit = Instant::now() + LAST_STORE_TIMEOUT;
        while (self.handed_over_at.is_some() || !self.builder.is_empty()) && Instant::now() < limit
        {
            if self.handed_over_at.is_none() {
                self.send_batch();
            }
            if self.wait_for_reply().is_err() {
                break;
            }
        }
    }
}
