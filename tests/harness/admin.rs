//! Asks of a broker what kcat cannot: make and remove topics, grant rights. Each is one request in
//! Kafka's protocol, in the oldest version that Kafka 4 accepts, since that is the simplest:
//! big-endian integers, and strings and arrays with their length before them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A broker may take this long to answer.
const ANSWERING: Duration = Duration::from_secs(10);

/// The object of a right.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// A topic of this name.
    Topic(&'a str),
    /// A consumer group of this name.
    Group(&'a str),
}

impl<'a> Resource<'a> {
    /// Returns the protocol's number of its kind, and its name.
    fn words(self) -> (u8, &'a str) {
        match self {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
        }
    }
}

/// A right, with the protocol's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Consume a topic, or be a member of a group.
    Read = 3,
    /// Produce to a topic.
    Write = 4,
    /// Make a topic.
    Create = 5,
}

/// Asks a broker for the number of brokers it knows, itself included.
///
/// # Errors
/// The broker does not answer.
pub fn count(broker: &str) -> io::Result<i32> {
    // A Metadata request, of no topic.
    let answer = ask(broker, 3, 1, &Words::new().int(0))?;
    Ok(i32::from_be_bytes(answer[..4].try_into().unwrap()))
}

/// Makes a topic with one replica.
///
/// # Errors
/// Kafka's error number; 36: a topic of this name exists.
pub fn create(broker: &str, topic: &str, partitions: i32) -> Result<(), i16> {
    let wanted = Words::new().int(1).text(topic).int(partitions).short(1).int(0).int(0);
    let answer = ask(broker, 19, 2, &wanted.int(10_000).byte(0)).unwrap();
    // Fields: timeout, number of topics, name. Then the error number.
    failure(&answer, 4 + 4 + 2 + topic.len())
}

/// Removes a topic.
///
/// # Errors
/// Kafka's error number; 3: no topic has this name.
pub fn delete(broker: &str, topic: &str) -> Result<(), i16> {
    let answer = ask(broker, 20, 1, &Words::new().int(1).text(topic).int(10_000)).unwrap();
    failure(&answer, 4 + 4 + 2 + topic.len())
}

/// Removes the records of a partition before an offset, as their retention would.
///
/// # Errors
/// Kafka's error number.
pub fn delete_records(broker: &str, topic: &str, partition: i32, before: i64) -> Result<(), i16> {
    let wanted = Words::new().int(1).text(topic).int(1).int(partition).long(before).int(10_000);
    let answer = ask(broker, 21, 0, &wanted).unwrap();
    // Fields: timeout, number of topics, name, number of partitions, partition, new first offset.
    failure(&answer, 4 + 4 + 2 + topic.len() + 4 + 4 + 8)
}

/// Grants a right to a user, from any host.
///
/// # Errors
/// Kafka's error number.
pub fn allow(broker: &str, user: &str, what: Resource<'_>, right: Right) -> Result<(), i16> {
    let (kind, name) = what.words();
    // 3 matches this exact name; the last 3 is `allow`.
    let rule = Words::new().int(1).byte(kind).text(name).byte(3).text(&format!("User:{user}"));
    let answer = ask(broker, 30, 1, &rule.text("*").byte(right as u8).byte(3)).unwrap();
    failure(&answer, 4 + 4)
}

/// Makes a controller forget a broker's registration, as if its session had ended.
///
/// # Errors
/// Nobody answers yet, or the controller is not ready.
pub fn unregister(controller: &str, broker: i32) -> io::Result<()> {
    // This request ends its header and its body with tagged fields: none here.
    let answer = ask(controller, 64, 0, &Words::new().byte(0).int(broker).byte(0))?;
    match failure(&answer, 1 + 4) {
        Ok(()) => Ok(()),
        // The broker is not registered.
        Err(102) => Ok(()),
        Err(number) => Err(io::Error::other(number.to_string())),
    }
}

/// Revokes every right of a user to an object.
///
/// # Errors
/// Kafka's error number.
pub fn forbid(broker: &str, user: &str, what: Resource<'_>) -> Result<(), i16> {
    let (kind, name) = what.words();
    // Matches this exact name, any host, any operation (1) and any permission (1).
    let filter = Words::new().int(1).byte(kind).text(name).byte(3).text(&format!("User:{user}"));
    let answer = ask(broker, 31, 1, &filter.text("*").byte(1).byte(1)).unwrap();
    failure(&answer, 4 + 4)
}

/// Limits the clients of this name to so many bytes a second; `None` removes the limit.
///
/// # Errors
/// Kafka's error number.
pub fn limit(broker: &str, client: &str, rate: Option<f64>) -> Result<(), i16> {
    let entity = Words::new().int(1).int(1).text("client-id").text(client);
    let rate_bits = rate.unwrap_or(0.0).to_bits().cast_signed();
    let what = entity.int(1).text("producer_byte_rate").long(rate_bits);
    let answer = ask(broker, 49, 0, &what.byte(u8::from(rate.is_none())).byte(0)).unwrap();
    failure(&answer, 4 + 4)
}

/// Sends one request of a kind and version, and returns the body of the answer.
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
    // Skip the correlation number, which we have chosen.
    Ok(answer.split_off(4))
}

fn failure(answer: &[u8], at: usize) -> Result<(), i16> {
    match i16::from_be_bytes([answer[at], answer[at + 1]]) {
        0 => Ok(()),
        number => Err(number),
    }
}

/// Builds the bytes of a request.
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
