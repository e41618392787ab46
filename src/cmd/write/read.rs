//! The first stage of `write`: reads messages, and gathers them into parcels.
//!
//! Takes: messages of the partitions that the group gives us, and answers of the keeper. Gives:
//! parcels, one at a time: the next is gathered while the keeper stores. Ends when: told to stop,
//! once the last parcel is stored or given up. On failure: brokers that are away are waited for;
//! while the store is away, partitions are paused and the poll goes on, so that the group keeps us.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use super::gather::{Gather, Limits};
use super::{Answer, Question, Then, Work};
use crate::clock;
use crate::cmd::daemon::Shared;
use crate::config::Kafka;
use crate::error::Error;
use crate::kafka::{Change, Link, Reader, Topic, Turn, ensure};
use crate::model::record::Record;
use crate::model::wire::{Decoded, Refused, decode};
use crate::stop::Stop;
use crate::store::DeadLetter;

/// Longest wait for a message: how soon a signal, an answer or a full parcel is seen.
const TURN: Duration = Duration::from_millis(100);
/// How long a full parcel waits for the keeper before fetching is paused. Shorter waits are not
/// worth it: what was fetched already would be fetched again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often something is asked of brokers that are away, or of a topic that is missing.
const KNOCK: Duration = Duration::from_secs(2);
/// After so long without a message brokers are asked whether they are there.
const SILENCE: Duration = Duration::from_secs(5);
/// Of a message that cannot be read, so much is kept.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Longest wait for the last parcel; the keeper gives up before.
const END: Duration = Duration::from_secs(900);
/// How often it is said again that messages cannot be read for a reason.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// The stage.
pub struct Read {
    kafka: Kafka,
    reader: Reader,
    link: Arc<Link>,
    work: Sender<Work>,
    answers: Receiver<Answer>,
    shared: Arc<Shared>,
    stop: Stop,
    cluster: String,
    /// Partitions that are ours.
    places: BTreeMap<i32, Place>,
    gather: Gather,
    /// The keeper has a parcel of ours.
    is_busy: bool,
    /// Partitions that the group has given us and that we have not taken over yet.
    given: BTreeSet<i32>,
    store_is_away: bool,
    is_paused: bool,
    /// When brokers last gave something, or were asked.
    heard: Instant,
    said: HashMap<&'static str, Instant>,
    trouble: Option<&'static str>,
}

/// Where we are in a partition.
struct Place {
    /// What is stored as the next offset, or will be with the parcel that the keeper has.
    mark: i64,
    /// Nothing was read since it was taken over.
    is_fresh: bool,
}

/// What a turn brought.
enum Event {
    /// A message: partition, offset, what it holds, or why it holds nothing and its bytes.
    Message(i32, i64, Result<Decoded, (Refused, Vec<u8>)>),
    Given(Vec<i32>),
    Taken(Vec<i32>),
}

impl Read {
    /// A stage that has not joined the group yet.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(
        kafka: &Kafka,
        limits: Limits,
        work: Sender<Work>,
        answers: Receiver<Answer>,
        shared: Arc<Shared>,
        stop: Stop,
    ) -> Result<Read, Error> {
        let link = Arc::new(Link::new(kafka));
        Ok(Read {
            reader: Reader::new(kafka, Arc::clone(&link))?,
            kafka: kafka.clone(),
            link,
            work,
            answers,
            shared,
            stop,
            cluster: String::new(),
            places: BTreeMap::new(),
            gather: Gather::new(limits),
            is_busy: false,
            given: BTreeSet::new(),
            store_is_away: false,
            is_paused: false,
            heard: Instant::now(),
            said: HashMap::new(),
            trouble: None,
        })
    }

    /// Reads until told to stop.
    ///
    /// # Errors
    /// The keeper is gone, or librdkafka refuses the topic.
    pub fn run(mut self) -> Result<(), Error> {
        if self.wait_for_store() && self.wait_for_topic() {
            self.reader.join()?;
            while !self.stop.is_told() {
                self.listen()?;
                self.turn()?;
                self.tell_changes();
            }
        }
        self.end();
        Ok(())
    }

    /// False: told to stop.
    fn wait_for_store(&mut self) -> bool {
        while !self.stop.is_told() {
            if let Ok(Answer::Ready) = self.answers.recv_timeout(TURN) {
                return true;
            }
        }
        false
    }

    /// Waits until brokers and topic are there. False: told to stop.
    fn wait_for_topic(&mut self) -> bool {
        let mut due = Instant::now();
        while !self.stop.is_told() {
            // What is wrong with the brokers is told by the poll.
            let _ = self.reader.poll(TURN);
            self.tell_changes();
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + KNOCK;
            match ensure(&self.kafka, self.reader.client()) {
                Ok(Topic::Missing(why)) => {
                    self.link.fails(&why);
                    continue;
                }
                Ok(Topic::Made) => log::info!("topic {} is made", self.kafka.topic),
                Ok(Topic::Exists) => {}
                Err(error) => {
                    // The brokers' own reasons come by the poll.
                    let _ = self.reader.poll(TURN);
                    self.link.unanswered(&error.to_string());
                    continue;
                }
            }
            if let Some(cluster) = self.reader.cluster() {
                self.link.works();
                self.tell_changes();
                self.cluster = cluster;
                return true;
            }
        }
        false
    }

    /// Takes what the keeper has told.
    fn listen(&mut self) -> Result<(), Error> {
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.take(answer),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Error::new("the keeper is gone")),
            }
        }
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Ready => {}
            Answer::Away => self.store_is_away = true,
            Answer::Back => self.store_is_away = false,
            Answer::Stored(marks) => {
                self.is_busy = false;
                let ours = marks.iter().filter(|mark| self.places.contains_key(&mark.partition));
                let offsets: Vec<_> = ours.map(|mark| (mark.partition, mark.next)).collect();
                if !offsets.is_empty() {
                    self.reader.commit(&offsets);
                }
            }
            Answer::Older => {
                self.is_busy = false;
                log::warn!("the database is older than what was read: going back in Kafka to it");
                self.gather.take();
                let partitions = self.places.keys().copied().collect();
                self.ask(partitions, Then::Seek);
            }
            Answer::Offsets(offsets, then) => self.go_on(&offsets, then),
        }
    }

    fn ask(&self, partitions: Vec<i32>, then: Then) {
        let (cluster, topic) = (self.cluster.clone(), self.kafka.topic.clone());
        // A keeper that is gone is noticed when it is listened to.
        let _ = self.work.send(Work::Offsets(Question { cluster, topic, partitions, then }));
    }

    /// Goes on where the store says.
    fn go_on(&mut self, offsets: &[(i32, i64)], then: Then) {
        let is_ours = |partition: &i32| match then {
            Then::Assign => self.given.contains(partition),
            Then::Seek => self.places.contains_key(partition),
        };
        let ours: Vec<_> = offsets.iter().copied().filter(|(p, _)| is_ours(p)).collect();
        let went = match then {
            Then::Assign => self.reader.assign(&ours),
            Then::Seek => self.reader.seek(&ours),
        };
        if let Err(error) = went {
            log::debug!("{error}");
            if then == Then::Seek {
                let partitions = self.places.keys().copied().collect();
                self.ask(partitions, Then::Seek);
            }
            return;
        }
        log::debug!("reading on at {ours:?}");
        for (partition, mark) in ours {
            self.given.remove(&partition);
            self.places.insert(partition, Place { mark, is_fresh: true });
        }
        if self.is_paused {
            // The new ones are to be as the others.
            self.reader.pause();
        }
    }

    /// One turn: hands over what is due, and waits for something to happen in Kafka.
    fn turn(&mut self) -> Result<(), Error> {
        if !self.is_busy && self.gather.due().is_some_and(|due| due <= Instant::now()) {
            self.hand_over();
        }
        let must_wait = self.store_is_away || self.gather.is_full();
        if must_wait && !self.store_is_away && !self.is_paused && self.wait_for_keeper()? {
            return Ok(());
        }
        if must_wait != self.is_paused {
            if must_wait {
                self.reader.pause();
            } else {
                self.reader.resume();
            }
            self.is_paused = must_wait;
        }
        match self.poll() {
            None => {}
            Some(Event::Message(partition, offset, read)) => self.message(partition, offset, read),
            Some(Event::Given(partitions)) => {
                if !partitions.is_empty() {
                    log::info!("reading partitions {partitions:?}");
                }
                self.given.extend(&partitions);
                self.ask(partitions, Then::Assign);
            }
            Some(Event::Taken(partitions)) => {
                if !partitions.is_empty() {
                    log::info!("no longer reading partitions {partitions:?}");
                }
                for partition in &partitions {
                    self.given.remove(partition);
                    self.places.remove(partition);
                }
                // What was read of them is stored all the same; whoever reads it again repeats it.
                if !self.is_busy {
                    self.hand_over();
                }
            }
        }
        Ok(())
    }

    /// Waits for something to happen in Kafka, and reads it.
    fn poll(&self) -> Option<Event> {
        let now = Instant::now();
        let due = self.gather.due().filter(|_| !self.is_busy);
        let wait = due.map_or(TURN, |due| due.saturating_duration_since(now).min(TURN));
        match self.reader.poll(wait.max(Duration::from_millis(1))) {
            Turn::Nothing => None,
            Turn::Given(partitions) => Some(Event::Given(partitions)),
            Turn::Taken(partitions) => Some(Event::Taken(partitions)),
            Turn::Message(message) => {
                let (partition, offset) = (message.partition(), message.offset());
                let payload = message.payload();
                let read = decode(payload, clock::now_ms()).map_err(|refused| {
                    (refused, payload[..payload.len().min(PAYLOAD_MAX)].to_vec())
                });
                Some(Event::Message(partition, offset, read))
            }
        }
    }

    fn message(&mut self, partition: i32, offset: i64, read: Result<Decoded, (Refused, Vec<u8>)>) {
        if !self.arrive(partition, offset) {
            return;
        }
        match read {
            Ok(decoded) => self.keep(partition, offset, decoded),
            Err((refused, payload)) => self.bury(partition, offset, refused, payload),
        }
    }

    /// Notes that a message has come; false: its partition is no longer ours.
    fn arrive(&mut self, partition: i32, offset: i64) -> bool {
        let Some(place) = self.places.get_mut(&partition) else { return false };
        let (from, is_fresh) = (place.mark, std::mem::take(&mut place.is_fresh));
        let is_anew = is_fresh && offset < from;
        self.heard = Instant::now();
        self.gather.arrive(partition, from, offset, is_anew, self.heard);
        if is_anew {
            log::warn!("partition {partition} begins anew: {from} is gone, reading from {offset}");
        } else if is_fresh
            && from > 0
            && offset > from
            && let Some(earliest) = self.reader.earliest(partition)
            && earliest > from
        {
            let detail = format!("offsets {from} to {} were deleted unread", earliest - 1);
            log::error!("partition {partition}: {detail}");
            let (payload, reason) = (Vec::new(), "missing");
            self.gather.letter(DeadLetter { partition, offset: from, payload, reason, detail });
        }
        true
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

    /// Gives the parcel to the keeper, which must not have another.
    fn hand_over(&mut self) {
        if self.gather.is_empty() {
            return;
        }
        let mut parcel = self.gather.take();
        parcel.cluster.clone_from(&self.cluster);
        parcel.topic.clone_from(&self.kafka.topic);
        for mark in &parcel.marks {
            if let Some(place) = self.places.get_mut(&mark.partition) {
                place.mark = mark.next;
            }
        }
        self.is_busy = self.work.send(Work::Parcel(Box::new(parcel))).is_ok();
    }

    /// Waits a little for the keeper to be done. False: it is not.
    fn wait_for_keeper(&mut self) -> Result<bool, Error> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => {
                self.take(answer);
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(Error::new("the keeper is gone")),
        }
    }

    /// Says how the road to the brokers has changed, and knocks while they are away.
    fn tell_changes(&mut self) {
        match self.link.change() {
            None => {}
            Some(Change::Away(why)) => log::error!("Kafka is away: {why}; waiting for it"),
            Some(Change::Back(after)) => log::info!("Kafka is back after {} s", after.as_secs()),
        }
        let is_away = self.link.is_away();
        let pause = if is_away || self.link.is_in_doubt() { KNOCK } else { SILENCE };
        if !self.cluster.is_empty() && self.heard.elapsed() >= pause {
            if !self.reader.knock() {
                self.link.unanswered("no broker answers");
            }
            self.heard = Instant::now();
        }
        let trouble = match (self.store_is_away, is_away) {
            (true, _) => Some("store_away"),
            (_, true) => Some("kafka_away"),
            _ => None,
        };
        if trouble != self.trouble {
            self.trouble = trouble;
            self.shared.change(|health| health.trouble = trouble);
        }
    }

    /// Has the last parcel stored, if the keeper can still do it.
    fn end(&mut self) {
        let limit = Instant::now() + END;
        while (self.is_busy || !self.gather.is_empty()) && Instant::now() < limit {
            if !self.is_busy {
                self.hand_over();
            }
            if self.wait_for_keeper().is_err() {
                return;
            }
        }
    }
}
