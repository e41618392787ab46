//! Runs kcat, which shares no code with the library, as producer and consumer. Keys and payloads
//! are any bytes. It cannot use SCRAM: Debian 12's kcat has librdkafka 2.0.2, whose nonce Kafka 4
//! refuses (confluentinc/librdkafka#4895).

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use super::daemon::random;

/// A record that kcat has read; null is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    /// Its offset in the partition, from 0.
    pub offset: i64,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A kcat for some brokers.
#[derive(Debug, Clone)]
pub struct Kcat {
    args: Vec<String>,
}

impl Kcat {
    /// Connects without TLS, unless `set` says otherwise.
    pub fn new(brokers: &str) -> Kcat {
        let kcat = Kcat { args: vec!["-b".into(), brokers.into()] };
        kcat.set("message.max.bytes", "4000000").set("fetch.wait.max.ms", "50")
    }

    /// Sets a property of librdkafka.
    pub fn set(mut self, property: &str, value: &str) -> Kcat {
        self.args.extend(["-X".into(), format!("{property}={value}")]);
        self
    }

    /// Appends records, in this order within a partition; the key chooses the partition.
    ///
    /// # Errors
    /// kcat's error text. If the brokers refuse the connection kcat tries again until
    /// `message.timeout.ms` is over.
    pub fn produce<K, P>(&self, topic: &str, records: &[(K, P)]) -> Result<(), String>
    where
        K: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let (middle, end) = (random(), random());
        let mut input = Vec::new();
        for (key, payload) in records {
            input.extend(key.as_ref());
            input.extend(middle.as_bytes());
            input.extend(payload.as_ref());
            input.extend(end.as_bytes());
        }
        self.run(&["-P", "-t", topic, "-K", &middle, "-D", &end], input).map(drop)
    }

    /// Returns all records of a topic, by offset within a partition.
    ///
    /// # Errors
    /// kcat's error text.
    pub fn consume(&self, topic: &str) -> Result<Vec<Record>, String> {
        let shape = "%p %o %K %S\n%k%s";
        let args = ["-C", "-q", "-e", "-o", "beginning", "-t", topic, "-f", shape];
        let output = self.run(&args, Vec::new())?;
        let mut records = Vec::new();
        let mut rest = output.as_slice();
        while let Some(line) = rest.iter().position(|byte| *byte == b'\n') {
            let words = std::str::from_utf8(&rest[..line]).unwrap();
            let words: Vec<i64> = words.split(' ').map(|word| word.parse().unwrap()).collect();
            // Null has the length -1.
            let (key, payload) = (words[2].max(0) as usize, words[3].max(0) as usize);
            let (record, behind) = rest[line + 1..].split_at(key + payload);
            records.push(Record {
                partition: words[0].try_into().unwrap(),
                offset: words[1],
                key: record[..key].to_vec(),
                payload: record[key..].to_vec(),
            });
            rest = behind;
        }
        Ok(records)
    }

    /// Returns the brokers and topics as the brokers list them, within this many seconds.
    ///
    /// # Errors
    /// kcat's error text.
    pub fn list(&self, limit_s: u32) -> Result<String, String> {
        let output = self.run(&["-L", "-m", &limit_s.to_string()], Vec::new())?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn run(&self, args: &[&str], input: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut command = Command::new("kcat");
        command.args(&self.args).args(args).env("KCAT_CONFIG", "/dev/null");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // kcat may end before it has read everything; its error text tells why.
        let writer = thread::spawn(move || drop(pipe.write_all(&input)));
        let done = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(done.stdout) } else { Err(said) }
    }
}
