//! First stage of `write`: reads messages, and gathers them into parcels.
//!
//! Takes: messages of the partitions that the group gives us, and answers of the keeper. Gives:
//! parcels, one at a time: the next is gathered while the keeper stores. Ends when: told to stop,
//! once the last parcel is stored or given up. On failure: brokers that are away are waited for;
//! while the store is away, partitions are paused and the poll goes on, so that the group keeps us.

mod away;
mod damage;
mod gather;
mod message;
mod place;
mod recognise;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use self::damage::Damage;
use self::gather::Gather;
pub use self::gather::Limits;
use self::place::{Places, start};
use super::message::{Question, StoreAnswer as Answer, Work};
use crate::clock;
use crate::cmd::daemon::Shared;
use crate::config::Kafka;
use crate::error::Error;
use crate::kafka::{Link, Reader, Turn};
use crate::model::wire::{Decoded, Refused, decode};
use crate::stop::Stop;
use crate::store::{Origin, Position};

/// Longest wait for a message: a signal, an answer or a full parcel is seen within it.
const TURN: Duration = Duration::from_millis(100);
/// Time that a full parcel waits for the keeper before fetching is paused. Pausing for less is not worth it:
/// messages already fetched would be fetched again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause before partitions that could not be taken over are tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Most bytes that are kept of a message that cannot be read.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Longest wait for the last parcel; the keeper gives up earlier.
const END: Duration = Duration::from_secs(900);

/// Stage that reads messages.
pub struct Read {
    kafka: Kafka,
    reader: Reader,
    link: Arc<Link>,
    work: Sender<Work>,
    answers: Receiver<Answer>,
    shared: Arc<Shared>,
    stop: Stop,
    cluster: String,
    places: Places,
    gather: Gather,
    /// Time since which the keeper has a parcel of ours; none: it has none.
    busy: Option<Instant>,
    /// Partitions that the group has given us and that we have not taken over yet.
    given: BTreeSet<i32>,
    /// Partitions of which the keeper was asked where to go on, less those taken away since; none: no
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
    heard: Instant,
    said: HashMap<&'static str, Instant>,
    /// Earliest time to try again to go back in logs that are other ones.
    back_at: Instant,
    /// Earliest time to ask for the ends of logs that are not recognised.
    look_at: Instant,
    damage: Damage,
    trouble: Option<&'static str>,
}

/// Contents of a message, or the reason that it has none and its bytes.
type Payload = Result<Decoded, (Refused, Vec<u8>)>;

/// Event of a turn.
enum Event {
    /// A message and its fingerprint.
    Message(Origin, u64, Payload),
    Given(Vec<i32>),
    Taken(Vec<i32>),
}

impl Read {
    /// Creates the stage; it has not joined the group yet.
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
            places: Places::default(),
            gather: Gather::new(limits),
            busy: None,
            given: BTreeSet::new(),
            asked: None,
            ask_at: Instant::now(),
            store_is_away: false,
            store_trouble: "",
            doubts: BTreeSet::new(),
            store_is_late: false,
            is_paused: false,
            heard: Instant::now(),
            said: HashMap::new(),
            back_at: Instant::now(),
            look_at: Instant::now(),
            damage: Damage::default(),
            trouble: None,
        })
    }

    /// Reads until told to stop, and has the last parcel stored.
    ///
    /// # Errors
    /// The keeper is gone, or librdkafka refuses the topic.
    pub fn run(mut self) -> Result<(), Error> {
        let read = self.read();
        self.end();
        read
    }

    fn read(&mut self) -> Result<(), Error> {
        if self.wait()? {
            self.reader.join()?;
            while !self.stop.is_told() {
                self.listen()?;
                self.turn()?;
                self.look_for_damage();
                self.tell_changes();
            }
        }
        Ok(())
    }

    /// Takes the messages of the keeper. Returns true if the store is ready.
    fn listen(&mut self) -> Result<bool, Error> {
        let mut is_ready = false;
        loop {
            match self.answers.try_recv() {
                Ok(Answer::Ready) => is_ready = true,
                Ok(answer) => self.take(answer),
                Err(TryRecvError::Empty) => return Ok(is_ready),
                // The keeper is told to stop too, and may be the first to have ended.
                Err(TryRecvError::Disconnected) if self.stop.is_told() => return Ok(false),
                Err(TryRecvError::Disconnected) => return Err(Error::new("the keeper is gone")),
            }
        }
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Ready => {}
            Answer::Away(word) => (self.store_is_away, self.store_trouble) = (true, word),
            Answer::Doubt(word, is_so) => {
                self.doubts.remove(word);
                self.doubts.extend(is_so.then_some(word));
            }
            Answer::Held => self.busy = None,
            Answer::Back => {
                self.store_is_away = false;
                // The topic may be another one now, which would not be seen while no message comes.
                self.places.lose();
            }
            // The database may be another one, or older: the same.
            Answer::Reconnected => self.places.lose(),
            Answer::Stored(marks) => {
                self.busy = None;
                let ours = marks.iter().filter(|mark| self.places.has(mark.partition));
                let offsets: Vec<_> = ours.map(|mark| (mark.partition, mark.next)).collect();
                if !offsets.is_empty() {
                    self.reader.commit(&offsets);
                }
            }
            Answer::Older => {
                self.busy = None;
                log::warn!("the database is older than what was read: going back in Kafka to it");
                self.gather.unmark();
                self.hand_over();
                self.places.lose();
            }
            Answer::Positions(mut positions) => {
                // Another reader that had a partition in between may have stored more of it.
                let asked = self.asked.take().unwrap_or_default();
                positions.retain(|(partition, _)| asked.contains(partition));
                self.take_over(&positions);
                self.go_back(&positions);
            }
        }
    }

    /// Asks the keeper where to go on, if any partition waits for that.
    fn ask(&mut self) {
        let mut partitions: BTreeSet<i32> = self.places.adrift().collect();
        partitions.extend(&self.given);
        if self.asked.is_some() || partitions.is_empty() || Instant::now() < self.ask_at {
            return;
        }
        let (cluster, topic) = (self.cluster.clone(), self.kafka.topic.clone());
        let wanted = partitions.iter().copied().collect();
        // A keeper that is gone is noticed when it is listened to.
        let question = Work::Positions(Question { cluster, topic, partitions: wanted });
        self.asked = self.work.send(question).is_ok().then_some(partitions);
    }

    /// Takes over the partitions that the group has given us, now that their offsets are known.
    fn take_over(&mut self, positions: &[(i32, Position)]) {
        let ours: Vec<&(i32, Position)> =
            positions.iter().filter(|(p, _)| self.given.contains(p)).collect();
        // Partitions given or taken that we have not heard of yet come first; the keeper is asked again after
        // that.
        if ours.is_empty() || self.reader.has_turns() {
            return;
        }
        let starts: Vec<(i32, i64)> = ours.iter().map(|(p, at)| (*p, start(at))).collect();
        if let Err(error) = self.reader.assign(&starts) {
            log::warn!("{error}");
            self.ask_at = Instant::now() + AGAIN;
            return;
        }
        log::debug!("reading from {starts:?}");
        for (partition, position) in ours {
            self.given.remove(partition);
            self.places.take(*partition, position.clone());
        }
        self.look_later();
        // The new partitions are to be paused as the others are. One that we had before, and that was taken
        // away while it was paused, would be paused still.
        if self.is_paused {
            self.reader.pause();
        } else {
            self.reader.resume();
        }
    }

    /// Does one turn: hands over the parcel that is due, and waits for something to happen in Kafka.
    fn turn(&mut self) -> Result<(), Error> {
        if self.busy.is_none() && self.gather.due().is_some_and(|due| due <= Instant::now()) {
            self.hand_over();
        }
        if self.reader.takes_another() {
            self.places.lose();
        }
        self.ask();
        self.recognise();
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
            Some(Event::Message(came, hash, read)) => self.message(came, hash, read),
            Some(Event::Given(partitions)) => {
                if !partitions.is_empty() {
                    log::info!("reading partitions {partitions:?}");
                }
                self.given.extend(&partitions);
            }
            Some(Event::Taken(partitions)) => {
                if !partitions.is_empty() {
                    log::info!("no longer reading partitions {partitions:?}");
                }
                for partition in &partitions {
                    self.given.remove(partition);
                    if let Some(asked) = &mut self.asked {
                        asked.remove(partition);
                    }
                    self.places.leave(*partition);
                }
                // Messages that were read of these partitions are stored all the same; the next reader of
                // them repeats them.
                if self.busy.is_none() {
                    self.hand_over();
                }
            }
        }
        Ok(())
    }

    /// Waits for something to happen in Kafka, and returns it.
    fn poll(&self) -> Option<Event> {
        let now = Instant::now();
        let due = self.gather.due().filter(|_| self.busy.is_none());
        let wait = due.map_or(TURN, |due| due.saturating_duration_since(now).min(TURN));
        match self.reader.poll(wait.max(Duration::from_millis(1))) {
            Turn::Nothing => None,
            Turn::Given(partitions) => Some(Event::Given(partitions)),
            Turn::Taken(partitions) => Some(Event::Taken(partitions)),
            Turn::Message(message) => {
                let (partition, offset) = (message.partition(), message.offset());
                let came = Origin { partition, offset, sent_ms: message.sent_ms() };
                let (hash, payload) = (message.hash(), message.payload());
                let read = decode(payload, clock::now_ms()).map_err(|refused| {
                    (refused, payload[..payload.len().min(PAYLOAD_MAX)].to_vec())
                });
                Some(Event::Message(came, hash, read))
            }
        }
    }

    /// Gives the parcel to the keeper, which must not have another one.
    fn hand_over(&mut self) {
        if self.gather.is_empty() {
            return;
        }
        self.tell_holes();
        let mut parcel = self.gather.take();
        parcel.cluster.clone_from(&self.cluster);
        parcel.topic.clone_from(&self.kafka.topic);
        self.places.hand_over(&parcel.marks);
        let is_sent = self.work.send(Work::Parcel(Box::new(parcel))).is_ok();
        self.busy = is_sent.then(Instant::now);
    }

    /// Waits a little for a message of the keeper. Returns false if none came.
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

    /// Has the last parcel stored, if the keeper can still do that.
    fn end(&mut self) {
        let limit = Instant::now() + END;
        while (self.busy.is_some() || !self.gather.is_empty()) && Instant::now() < limit {
            if self.busy.is_none() {
                self.hand_over();
            }
            if self.wait_for_keeper().is_err() {
                break;
            }
        }
    }
}
