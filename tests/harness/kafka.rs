//! Runs a real Apache Kafka: one broker from its jars, on the loopback interface only, with a
//! listener of every kind.
//!
//! A test that needs a topic calls `Kafka::topic(partitions)`: all of a process share one broker,
//! or that of `KAFKA_BROKERS` (no TLS, no password). A test that stops its broker, or uses another
//! listener than the plain one, starts a broker of its own, whatever that variable says.
//!
//! ```
//! let topic = Kafka::topic(3);
//! topic.produce(b"key", b"payload");
//! assert_eq!(topic.consume()[0].payload, b"payload");
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use openssl::base64::encode_block;
use openssl::rand::rand_bytes;
use rustix::process::Signal;

use super::admin::{self, Resource, Right};
use super::certs;
use super::daemon::{Daemon, Guard, free_port, random};
use super::kcat::{Kcat, Record};
use super::temp::Temp;

/// The user with all rights, by password or by certificate.
pub const USER: &str = "sitewatch";
/// The user without rights until `Kafka::allow` grants some.
pub const GUEST: &str = "guest";
/// The password of both users. It must never appear in a log.
pub const PASSWORD: &str = "hush-kafka";

/// A broker may take this long to start: 3 s alone, up to 70 s beside 30 busy processes.
const STARTING: Duration = Duration::from_secs(180);

/// A listener of a broker, on a port of its own. Certificates are those of `certs::set()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Neither TLS nor a password; every client has all rights.
    Plain,
    /// TLS with the good certificate; every client has all rights.
    Tls,
    /// TLS with a client certificate of `set().authority`, whose common name is the user.
    Mutual,
    /// TLS and a password: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    Sasl,
    /// As before, with a server certificate for another name.
    Misnamed,
}

/// The `node.id` of the broker, which is its own controller.
const NODE: i32 = 1;

const DOORS: [Door; 5] = [Door::Plain, Door::Tls, Door::Mutual, Door::Sasl, Door::Misnamed];

/// The settings of every broker, besides its addresses and folders. Its session with its own
/// controller is longer than any pause in a test and than the delays of a busy machine: with a
/// session of one second a broker that only waited for the processor was shut out, and no client
/// found a leader.
const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=4000000
broker.session.timeout.ms=60000
broker.heartbeat.interval.ms=200
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=1
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:sitewatch
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_SSL,MISNAMED:SASL_SSL
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
";

/// A broker with its own data. It stops when dropped, and when the test process ends before that.
pub struct Kafka {
    daemon: Option<Daemon>,
    ports: Vec<u16>,
    folder: Temp,
}

impl Kafka {
    /// Starts a broker: takes about 3 s and 250 MB of memory.
    #[track_caller]
    pub fn start() -> Kafka {
        Kafka::with_settings("")
    }

    /// Starts one with further lines in its properties, such as `broker.session.timeout.ms=1000`.
    #[track_caller]
    pub fn with_settings(settings: &str) -> Kafka {
        let folder = Temp::new();
        let data = folder.join("data");
        run(Command::new("/bin/cp").arg("-r").arg(TEMPLATE.0.join("data")).arg(&data));
        // The template has one cluster, but the brokers of a process have different ones.
        let marks = fs::read_to_string(data.join("meta.properties")).unwrap();
        let marks = marks.lines().filter(|line| !line.starts_with("cluster.id="));
        let marks = marks.fold(String::new(), |text, line| text + line + "\n");
        folder.write("data/meta.properties", format!("{marks}cluster.id={}\n", cluster()));

        let ports: Vec<u16> = (0..=DOORS.len()).map(|_| free_port()).collect();
        folder.write("properties", properties(&folder, &ports) + settings + "\n");
        let mut made = Kafka { daemon: None, ports, folder };
        made.run(false);
        made
    }

    /// Returns the shared broker of this process, and starts it at the first call.
    pub fn shared() -> &'static Kafka {
        static SHARED: LazyLock<Kafka> = LazyLock::new(Kafka::start);
        &SHARED
    }

    /// Makes a new, empty topic on the shared broker, or on those of `KAFKA_BROKERS`.
    #[track_caller]
    pub fn topic(partitions: i32) -> Topic {
        let brokers = std::env::var("KAFKA_BROKERS");
        let brokers = brokers.unwrap_or_else(|_| Kafka::shared().brokers());
        let name = format!("sitewatch-{}", random());
        let topic = Topic { name, brokers };
        admin::create(topic.broker(), &topic.name, partitions).unwrap();
        topic
    }

    /// Returns the address of its plain listener: `127.0.0.1:PORT`.
    pub fn brokers(&self) -> String {
        self.door(Door::Plain)
    }

    /// Returns the address of a listener.
    pub fn door(&self, door: Door) -> String {
        format!("127.0.0.1:{}", self.ports[door as usize])
    }

    /// Returns kcat for its plain listener.
    pub fn kcat(&self) -> Kcat {
        Kcat::new(&self.brokers())
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// Kafka's error number; 36: a topic of this name exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), i16> {
        admin::create(&self.brokers(), name, partitions)
    }

    /// Limits the clients of this name to so many bytes a second; `None` removes the limit.
    #[track_caller]
    pub fn limit(&self, client: &str, rate: Option<f64>) {
        admin::limit(&self.brokers(), client, rate).unwrap();
    }

    /// Revokes every right of a user to an object.
    #[track_caller]
    pub fn forbid(&self, user: &str, what: Resource<'_>) {
        admin::forbid(&self.brokers(), user, what).unwrap();
    }

    /// Removes a topic.
    ///
    /// # Errors
    /// Kafka's error number; 3: no topic has this name.
    pub fn delete_topic(&self, name: &str) -> Result<(), i16> {
        admin::delete(&self.brokers(), name)
    }

    /// Grants a right to a user (`GUEST`, or the common name of a certificate).
    #[track_caller]
    pub fn allow(&self, user: &str, what: Resource<'_>, right: Right) {
        admin::allow(&self.brokers(), user, what, right).unwrap();
    }

    /// Kills it. Records that it has acknowledged are there after `restart`.
    pub fn stop_hard(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// Starts it again on the same ports and data; kills it first if it still runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon = None;
        self.run(true);
    }

    /// Pauses it: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.daemon.as_ref().unwrap().pause();
    }

    /// Continues it.
    pub fn resume(&self) {
        self.daemon.as_ref().unwrap().resume();
    }

    /// Returns the file that holds the records of a partition.
    pub fn log_file(&self, topic: &str, partition: i32) -> PathBuf {
        self.folder.join("data").join(format!("{topic}-{partition}/{:020}.log", 0))
    }

    /// Kills it, and removes the last batch of a partition from its log, as a power cut may.
    #[track_caller]
    pub fn cut_log(&mut self, topic: &str, partition: i32) {
        self.stop_hard();
        // A batch that is not complete is removed.
        let file = fs::OpenOptions::new().write(true).open(self.log_file(topic, partition));
        let file = file.unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        self.restart();
    }

    /// Returns its log until now: warnings and errors.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Starts it, and waits until it answers. `again` says that it was killed before: then its
    /// controller must forget the old session, or it refuses the new one until the old one times
    /// out.
    #[track_caller]
    fn run(&mut self, again: bool) {
        let mut command = java("kafka.Kafka", &self.folder);
        command.arg(self.folder.join("properties"));
        let log = self.folder.join("log");
        let mut daemon = Daemon::start(command, Signal::KILL, &log, self.folder.path());
        if again {
            let controller = format!("127.0.0.1:{}", self.ports[DOORS.len()]);
            daemon.await_answer(STARTING, || admin::unregister(&controller, NODE).is_ok());
        }
        let broker = self.brokers();
        daemon.await_answer(STARTING, || admin::count(&broker).is_ok_and(|count| count == 1));
        self.daemon = Some(daemon);
    }
}

/// A topic of one test; dropping it removes it.
pub struct Topic {
    name: String,
    brokers: String,
}

impl Topic {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its brokers, separated by commas.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Appends one record.
    #[track_caller]
    pub fn produce(&self, key: &[u8], payload: &[u8]) {
        self.kcat().produce(&self.name, &[(key, payload)]).unwrap();
    }

    /// Returns all of its records, by offset within a partition.
    #[track_caller]
    pub fn consume(&self) -> Vec<Record> {
        self.kcat().consume(&self.name).unwrap()
    }

    /// Returns kcat for its brokers.
    pub fn kcat(&self) -> Kcat {
        Kcat::new(&self.brokers)
    }

    fn broker(&self) -> &str {
        self.brokers.split(',').next().unwrap()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if std::env::var_os("KAFKA_BROKERS").is_some() {
            let _ = admin::delete(self.broker(), &self.name);
        }
    }
}

/// Returns the settings of a broker; the last port is the controller's.
fn properties(folder: &Temp, ports: &[u16]) -> String {
    let set = certs::set();
    let server = |name: &str, leaf: &certs::Leaf| {
        let (chain, key) = leaf.write(folder, name);
        let both = [fs::read(key).unwrap(), fs::read(chain).unwrap()].concat();
        folder.write(&format!("{name}.both"), both).display().to_string()
    };
    let (good, misnamed) = (server("good", &set.good), server("misnamed", &set.wrong_name));
    let place = |(door, port): (Door, &u16)| {
        format!("{}://127.0.0.1:{port}", format!("{door:?}").to_uppercase())
    };
    let places: Vec<String> = DOORS.into_iter().zip(ports).map(place).collect();
    let (places, controller) = (places.join(","), ports[DOORS.len()]);
    let login = "org.apache.kafka.common.security";
    let mut text = format!(
        "{SETTINGS}\
        log.dirs={}\n\
        controller.quorum.voters=1@127.0.0.1:{controller}\n\
        listeners={places},CONTROLLER://127.0.0.1:{controller}\n\
        advertised.listeners={places}\n\
        ssl.keystore.type=PEM\n\
        ssl.keystore.location={good}\n\
        listener.name.misnamed.ssl.keystore.type=PEM\n\
        listener.name.misnamed.ssl.keystore.location={misnamed}\n\
        ssl.truststore.type=PEM\n\
        ssl.truststore.location={}\n",
        folder.join("data").display(),
        certs::ca_file().display(),
    );
    for door in ["sasl", "misnamed"] {
        let words = format!("user_{USER}=\"{PASSWORD}\" user_{GUEST}=\"{PASSWORD}\"");
        let plain = format!("{login}.plain.PlainLoginModule required {words};");
        text += &format!("listener.name.{door}.plain.sasl.jaas.config={plain}\n");
        for strength in ["256", "512"] {
            let scram = format!("{login}.scram.ScramLoginModule required;");
            text +=
                &format!("listener.name.{door}.scram-sha-{strength}.sasl.jaas.config={scram}\n");
        }
    }
    text
}

/// Returns the folder with formatted data and the users, from which every broker starts. It is made
/// once in a process, since it takes a start of Java.
static TEMPLATE: LazyLock<(Temp, Guard)> = LazyLock::new(|| {
    let folder = Temp::new();
    let ports: Vec<u16> = (1..=DOORS.len() as u16 + 1).collect();
    let settings = folder.write("properties", properties(&folder, &ports));
    let mut command = java("kafka.tools.StorageTool", &folder);
    command.args(["format", "-t", &cluster(), "-c"]).arg(settings);
    for user in [USER, GUEST] {
        for strength in ["256", "512"] {
            let words = format!("SCRAM-SHA-{strength}=[name={user},password={PASSWORD}]");
            command.args(["--add-scram", &words]);
        }
    }
    run(&mut command);
    let guard = Guard::folder(folder.path());
    (folder, guard)
});

/// Returns a random cluster name: 22 letters of base64.
fn cluster() -> String {
    let mut bytes = [0; 16];
    rand_bytes(&mut bytes).unwrap();
    // Java would take a leading `-` for an option.
    bytes[0] = 0;
    encode_block(&bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}

/// Runs Java with Kafka's jars, small and fast to start. It unpacks libraries, and leaves them when
/// killed: they go into this folder.
fn java(class: &str, folder: &Temp) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
    command.arg(format!("-Djava.io.tmpdir={}", folder.path().display()));
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    command.arg(format!("{}/*", *JARS)).arg(class);
    command
}

/// Returns the folder of Kafka's jars.
static JARS: LazyLock<String> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/kafka");
    let done = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "no Kafka; `.ci/with test` gets it: {said}");
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
});

#[track_caller]
fn run(command: &mut Command) {
    let done = command.output();
    assert!(done.as_ref().is_ok_and(|done| done.status.success()), "{command:?}: {done:?}");
}
