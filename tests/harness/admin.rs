//! What kcat cannot ask of a broker: topics made and removed, rights granted. Each is one request
//! in Kafka's own words, in the oldest version that Kafka 4 still takes, since those are the
//! plainest: big-endian integers, strings and arrays with their count before them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a broker may take over one answer.
const ANSWERING: Duration = Duration::from_secs(10);

/// What somebody may have rights to.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// A topic of this name.
    Topic(&'a str),
    /// A consumer group of this name.
    Group(&'a str),
}

impl<'a> Resource<'a> {
    /// The protocol's number of its kind, and its name.
    fn words(self) -> (u8, &'a str) {
        match self {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
        }
    }
}

/// What somebody may do there, the numbers being the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Consume a topic; be a member of a group.
    Read = 3,
    /// Produce to a topic.
    Write = 4,
    /// Make a topic.
    Create = 5,
}

/// How many brokers one of them knows of, itself included.
///
/// # Errors
/// Where nobody answers.
pub fn count(broker: &str) -> io::Result<i32> {
    // Metadata, of no topic.
    let answer = ask(broker, 3, 1, &Words::new().int(0))?;
    Ok(i32::from_be_bytes(answer[..4].try_into().unwrap()))
}

/// Makes a topic, one copy of it.
///
/// # Errors
/// The broker's number for what is wrong; 36: there is one of this name.
pub fn create(broker: &str, topic: &str, partitions: i32) -> Result<(), i16> {
    let wanted = Words::new().int(1).text(topic).int(partitions).short(1).int(0).int(0);
    let answer = ask(broker, 19, 2, &wanted.int(10_000).byte(0)).unwrap();
    // Time to wait, number of topics, name; then the number.
    failure(&answer, 4 + 4 + 2 + topic.len())
}

/// Removes a topic.
///
/// # Errors
/// The broker's number for what is wrong; 3: there is none of this name.
pub fn delete(broker: &str, topic: &str) -> Result<(), i16> {
    let answer = ask(broker, 20, 1, &Words::new().int(1).text(topic).int(10_000)).unwrap();
    failure(&answer, 4 + 4 + 2 + topic.len())
}

/// Removes the records of a partition before an offset, as their retention would.
///
/// # Errors
/// The broker's number for what is wrong.
pub fn delete_records(broker: &str, topic: &str, partition: i32, before: i64) -> Result<(), i16> {
    let wanted = Words::new().int(1).text(topic).int(1).int(partition).long(before).int(10_000);
    let answer = ask(broker, 21, 0, &wanted).unwrap();
    // Time to wait, number of topics, name, number of partitions, partition, its new beginning.
    failure(&answer, 4 + 4 + 2 + topic.len() + 4 + 4 + 8)
}

/// Gives a user a right, from wherever he comes.
///
/// # Errors
/// The broker's number for what is wrong.
pub fn allow(broker: &str, user: &str, what: Resource<'_>, right: Right) -> Result<(), i16> {
    let (kind, name) = what.words();
    // 3: this very name. The last one, 3: allow.
    let rule = Words::new().int(1).byte(kind).text(name).byte(3).text(&format!("User:{user}"));
    let answer = ask(broker, 30, 1, &rule.text("*").byte(right as u8).byte(3)).unwrap();
    failure(&answer, 4 + 4)
}

/// Makes a controller forget a broker's registration, as if its session had ended.
///
/// # Errors
/// Where nobody answers yet, or the controller is not ready.
pub fn unregister(controller: &str, broker: i32) -> io::Result<()> {
    // This request has tagged fields at the end of its header and body: none of them here.
    let answer = ask(controller, 64, 0, &Words::new().byte(0).int(broker).byte(0))?;
    match failure(&answer, 1 + 4) {
        Ok(()) => Ok(()),
        // There is no such registration.
        Err(102) => Ok(()),
        Err(number) => Err(io::Error::other(number.to_string())),
    }
}

/// Takes every right to something from a user.
///
/// # Errors
/// The broker's number for what is wrong.
pub fn forbid(broker: &str, user: &str, what: Resource<'_>) -> Result<(), i16> {
    let (kind, name) = what.words();
    // This very name, from anywhere, whatever it was (1) and of either kind (1).
    let filter = Words::new().int(1).byte(kind).text(name).byte(3).text(&format!("User:{user}"));
    let answer = ask(broker, 31, 1, &filter.text("*").byte(1).byte(1)).unwrap();
    failure(&answer, 4 + 4)
}

/// Lets a client of this name send so many bytes a second; none: as many as it likes.
///
/// # Errors
/// The broker's number for what is wrong.
pub fn limit(broker: &str, client: &str, rate: Option<f64>) -> Result<(), i16> {
    let entity = Words::new().int(1).int(1).text("client-id").text(client);
    let rate_bits = rate.unwrap_or(0.0).to_bits().cast_signed();
    let what = entity.int(1).text("producer_byte_rate").long(rate_bits);
    let answer = ask(broker, 49, 0, &what.byte(u8::from(rate.is_none())).byte(0)).unwrap();
    failure(&answer, 4 + 4)
}

/// One request of a kind and version, and the answer's body.
fn ask(broker: &str, kind: i16, version: i16, body: &Words) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(broker)?;
    stream.set_read_timeout(Some(ANSWERING))?;
    let mut request = Words::new().short(kind).short(version).int(1).text("sitewatch tests");
    request.0.extend(&body.0);
    stream.write_all(&Words::new().int(request.0.len().try_into().unwrap()).0)?;
    stream.write_all(&request.0)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    // The request's number, which was ours.
    Ok(answer.split_off(4))
}

fn failure(answer: &[u8], at: usize) -> Result<(), i16> {
    match i16::from_be_bytes([answer[at], answer[at + 1]]) {
        0 => Ok(()),
        number => Err(number),
    }
}

/// Bytes of a request, put together.
struct Words(Vec<u8>);

impl Words {
    fn new() -> Words {
        Words(Vec::new())
    }

    fn byte(mut self, value: u8) -> Words {
        self.0.push(value);
        self
    }

    fn short(mut self, value: i16) -> Words {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn int(mut self, value: i32) -> Words {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(mut self, value: i64) -> Words {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn text(self, value: &str) -> Words {
        let mut words = self.short(value.len().try_into().unwrap());
        words.0.extend(value.as_bytes());
        words
    }
}
