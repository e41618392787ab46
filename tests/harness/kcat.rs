//! kcat, a stranger to our library, as producer and consumer. Keys and payloads are bytes of any
//! kind. SCRAM is not for it: Debian 12's stands on librdkafka 2.0.2, whose nonce Kafka 4 refuses
//! (confluentinc/librdkafka#4895).

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use super::daemon::random;

/// A record as kcat has read it; what was null is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition, from 0.
    pub partition: i32,
    /// Its place there, from 0.
    pub offset: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// kcat towards some brokers.
#[derive(Debug, Clone)]
pub struct Kcat {
    args: Vec<String>,
}

impl Kcat {
    /// Without TLS, unless `set` says otherwise.
    pub fn new(brokers: &str) -> Kcat {
        let kcat = Kcat { args: vec!["-b".into(), brokers.into()] };
        kcat.set("message.max.bytes", "4000000").set("fetch.wait.max.ms", "50")
    }

    /// Sets one of librdkafka's properties.
    pub fn set(mut self, property: &str, value: &str) -> Kcat {
        self.args.extend(["-X".into(), format!("{property}={value}")]);
        self
    }

    /// Appends records, in this order within a partition; the key chooses the partition.
    ///
    /// # Errors
    /// What kcat says. Where the brokers refuse the connection it goes on trying, so that
    /// `message.timeout.ms` says when it gives up.
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

    /// All that a topic holds now: by offset within a partition.
    ///
    /// # Errors
    /// What kcat says.
    pub fn consume(&self, topic: &str) -> Result<Vec<Record>, String> {
        let shape = "%p %o %K %S\n%k%s";
        let args = ["-C", "-q", "-e", "-o", "beginning", "-t", topic, "-f", shape];
        let output = self.run(&args, Vec::new())?;
        let mut records = Vec::new();
        let mut rest = output.as_slice();
        while let Some(line) = rest.iter().position(|byte| *byte == b'\n') {
            let words = std::str::from_utf8(&rest[..line]).unwrap();
            let words: Vec<i64> = words.split(' ').map(|word| word.parse().unwrap()).collect();
            // A null's length is -1.
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

    /// Brokers and topics as the brokers tell them, asked for within so many seconds.
    ///
    /// # Errors
    /// What kcat says.
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
        // It may end before it has read all; its words tell why.
        let writer = thread::spawn(move || drop(pipe.write_all(&input)));
        let done = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(done.stdout) } else { Err(said) }
    }
}
