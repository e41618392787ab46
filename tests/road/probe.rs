//! `probe` as a program before a real Kafka: what it publishes is what the listener has
//! answered, each once, as a stranger reads it; and it finds its topic.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use openssl::base64::encode_block;
use openssl::rand::rand_bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rustix::process::Signal;

use crate::fixtures::published::{Published, RECORD_MAX};
use crate::fixtures::sqlite_rows::Gap;
use crate::harness::admin::{Resource, Right};
use crate::harness::binary::{Output, Running};
use crate::harness::clock::now_ms;
use crate::harness::daemon::random;
use crate::harness::kafka::{Door, GUEST, PASSWORD};
use crate::harness::{Fields, Kafka, Listener, Script, Sitewatch, certs, dead, eventually};

pub const DEADLINE: Duration = Duration::from_secs(60);
/// Targets that are checked every second.
pub const FAST: &str = "[defaults]\ninterval = '1s'\ntimeout = '900ms'\nmatch = 'serial=[0-9]+'\n";

/// `probe` as node `edge`; `more` is what follows in Kafka's table, and all tables after it.
pub fn start(brokers: &str, topic: &str, more: &str) -> Running {
    let mut running = command(brokers, topic, more).spawn();
    running.await_stderr("watching", DEADLINE);
    running
}

/// The same, not started yet.
pub fn command(brokers: &str, topic: &str, more: &str) -> Sitewatch {
    let kafka = format!("[kafka]\nbrokers = ['{brokers}']\ntopic = '{topic}'\n");
    let config = format!("node = 'edge'\n{kafka}{more}");
    Sitewatch::new().file("c.toml", config).args(["probe", "-c", "c.toml"])
}

/// So many targets `/0`, `/1`, … of a listener.
pub fn targets(listener: &Listener, count: usize) -> String {
    let target =
        |i| format!("[[target]]\nname = '{i}'\nurl = '{}'\n", listener.url(&format!("/{i}")));
    (0..count).map(target).collect()
}

/// The serials that were answered whole, of paths that begin so.
pub fn answered(listener: &Listener, path: &str) -> BTreeSet<u64> {
    let log = listener.settled(DEADLINE).into_iter();
    let of = log.filter(|seen| seen.answered && seen.path.starts_with(path));
    of.map(|seen| seen.serial).collect()
}

/// Tells it to stop, and all must have been delivered.
#[track_caller]
pub fn stop(mut running: Running) -> Output {
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("stopped: everything is delivered"), "{done:?}");
    done
}

/// How often the log says so.
pub fn times(log: &str, words: &str) -> usize {
    log.matches(words).count()
}

/// Only the check that hung was open at the stop. The slot of another target may have come due just before, and
/// its check was not started any more.
fn stopped_checks_alone_are_gaps(gaps: &[Gap], stopped_ms: i64) {
    assert_eq!(gaps.iter().filter(|gap| gap.target == "silent").count(), 1, "{gaps:?}");
    for gap in gaps {
        let is_just_due = gap.count == 1 && gap.from_ms >= stopped_ms - 1000;
        assert!(gap.cause == "stop" && (gap.target == "silent" || is_just_due), "{gaps:?}");
    }
}

#[test]
fn what_was_answered_is_published_once_and_for_strangers() {
    let set = certs::set();
    let (http, tls) = (Listener::http(), Listener::https(&set.good));
    let (refused, topic) = (dead::refused(), Kafka::topic(3));
    let text = || Script::ok("all is well").serial();
    let late = text().delay_first_byte(Duration::from_millis(150));
    http.on("/up", text()).on("/slow", late).on("/body", text()).on("/secret", text());
    http.on("/status", Script::status(500).body("x").serial());
    http.on("/moved", Script::redirect(302, "/to?token=querysecret")).on("/to", text());
    http.on("/big", Script::ok([1; 16 << 10]).serial()).on("/silent", Script::silence());
    tls.on("/tls", text());
    let secret = format!("http://amy:hunter2pw@{}/secret?token=querysecret", http.address());
    let known = format!("http://{}/secret", http.address());
    let tls_url = tls.url_at("localhost", "/tls");
    let sites = [
        ("up", http.url("/up"), "labels = { team = 'a' }", ("up", ""), Some((&http, "/up"))),
        (&*known, secret, "", ("up", ""), Some((&http, "/secret"))),
        ("status", http.url("/status"), "status = 204", DOWN("status"), Some((&http, "/status"))),
        ("slow", http.url("/slow"), "slow_after = '100ms'", ("slow", ""), Some((&http, "/slow"))),
        ("body", http.url("/body"), "reject = 'all'", DOWN("body"), Some((&http, "/body"))),
        ("moved", http.url("/moved"), "", ("up", ""), Some((&http, "/to"))),
        ("big", http.url("/big"), "excerpt = '16KiB'", ("up", ""), Some((&http, "/big"))),
        ("tls", tls_url, "", ("up", ""), Some((&tls, "/tls"))),
        ("refused", refused.url("/"), "", DOWN("connect"), None),
        ("silent", http.url("/silent"), "interval = '7s'\ntimeout = '7s'", DOWN("timeout"), None),
    ];
    let mut config = format!(
        "[probe]\nstop_timeout = '2s'\n{FAST}ca_file = '{}'\nheaders = {{ X-Key = 'headersecret' }}\n",
        certs::ca_file().display()
    );
    for (name, url, keys, ..) in &sites {
        let name = if name.contains(':') { String::new() } else { format!("name = '{name}'\n") };
        config += &format!("[[target]]\n{name}url = '{url}'\n{keys}\n");
    }
    let running = start(topic.brokers(), topic.name(), &config);
    eventually(DEADLINE, "some checks, and one that hangs", || {
        let log = http.log();
        let hangs = log.iter().rfind(|seen| seen.path == "/silent").is_some_and(|seen| {
            SystemTime::now().duration_since(seen.at).is_ok_and(|age| age.as_secs() < 4)
        });
        hangs && log.iter().filter(|seen| seen.path == "/up").count() >= 4
    });
    let (stopped_ms, done) = (now_ms(), stop(running));

    let published = Published::read(&topic.kcat(), topic.name());
    let rows = published.rows();
    rows.is_whole("edge");
    assert_eq!((published.repeats, rows.losses.len()), (0, 0));
    stopped_checks_alone_are_gaps(&rows.gaps, stopped_ms);
    for (name, _, _, want, truth) in &sites {
        for row in rows.of(name) {
            assert_eq!((&*row.verdict, &*row.cause), *want, "{row:?}");
        }
        if let Some((listener, path)) = truth {
            assert_eq!(published.serials(name), answered(listener, path), "{name}");
        }
    }
    let silent = http.log().iter().filter(|seen| seen.path == "/silent").count();
    assert_eq!(rows.of("silent").len() + 1, silent);
    assert!(rows.of("refused").len() >= 3);

    assert_eq!(published.targets.len(), sites.len());
    assert_is_for_strangers(&published, &http, &known);
    for secret in ["hunter2pw", "querysecret", "headersecret", "amy"] {
        assert!(
            !published.text.contains(secret) && !done.stderr.contains(secret),
            "{secret} is told"
        );
    }
}

/// Asserts that hops, bounds and announcements say what a stranger has to know.
fn assert_is_for_strangers(published: &Published, http: &Listener, known: &str) {
    let moved = published.of("moved");
    let hops: Vec<_> =
        moved[0].list("hops").iter().map(|hop| (hop.text("url"), hop.int("status"))).collect();
    assert_eq!(hops, [(&*http.url("/moved"), 302), (&*http.url("/to"), 200)]);
    assert_eq!(moved[0].int("redirects"), 1);
    let cut = published.longest;
    assert!((RECORD_MAX - 100..=RECORD_MAX).contains(&cut), "not cut to the bound: {cut}");

    assert_eq!((published.nodes.len(), published.nodes[0].has("version")), (1, true));
    assert!(published.first.values().all(|kind| kind == "target" || kind == "node"));
    let target = |name: &str| published.targets.iter().find(|t| t.text("target") == name).unwrap();
    assert_eq!(target(known).text("url"), known);
    assert_eq!(target("up").field("labels").unwrap().text("team"), "a");
    assert_eq!(
        (target("status").text("expected_status"), target("up").text("method")),
        ("204", "GET")
    );
    assert_eq!(
        (target("body").text("match"), target("body").text("reject")),
        ("serial=[0-9]+", "all")
    );
}

const DOWN: fn(&'static str) -> (&'static str, &'static str) = |cause| ("down", cause);

#[test]
fn the_topic_is_made_as_configured() {
    let (broker, listener) = (Kafka::shared(), Listener::http());
    listener.always(Script::ok("").serial());
    let topic = format!("made-{}", random());
    let config = format!("partitions = 5\n{FAST}{}", targets(&listener, 3));
    // Two at once: one of them is late, and that is no error.
    let probes = [(); 2].map(|()| start(&broker.brokers(), &topic, &config));
    eventually(DEADLINE, "some checks", || answered(&listener, "/").len() > 12);
    let logs = probes.map(|running| stop(running).stderr).concat();
    assert_eq!(times(&logs, &format!("topic {topic} is made")), 1, "{logs}");
    assert_eq!((times(&logs, "ERROR"), times(&logs, "Kafka is")), (0, 0), "{logs}");
    let list = broker.kcat().list(10).unwrap();
    assert!(list.contains(&format!("topic \"{topic}\" with 5 partitions")), "{list}");
    let published = Published::read(&broker.kcat(), &topic);
    assert_eq!(published.all_serials(), answered(&listener, "/"));
}

#[test]
fn a_topic_that_it_may_not_make_is_asked_for_once() {
    let (broker, listener) = (Kafka::shared(), Listener::http());
    listener.always(Script::ok("").serial());
    let topic = format!("asked-{}", random());
    let more = format!("create_topic = false\n{FAST}{}", targets(&listener, 3));
    let mut running = start(&broker.brokers(), &topic, &more);
    let words = format!(
        "topic {topic} does not exist; make it with `kafka-topics.sh --bootstrap-server {} \
         --create --topic {topic} --partitions 12`",
        broker.brokers()
    );
    running.await_stderr(&words, DEADLINE);
    eventually(DEADLINE, "checks meanwhile", || answered(&listener, "/").len() > 12);
    assert_eq!(broker.create_topic(&topic, 2), Ok(()));
    running.await_stderr("Kafka is back", DEADLINE);
    let log = stop(running).stderr;
    for words in [&*words, "Kafka is away", "Kafka is back"] {
        assert_eq!(times(&log, words), 1, "{words}: {log}");
    }
    assert_eq!(Published::read(&broker.kcat(), &topic).all_serials(), answered(&listener, "/"));
}

#[test]
fn without_rights_it_says_which_and_waits_for_them() {
    let (broker, listener) = (Kafka::shared(), Listener::http());
    listener.always(Script::ok("").serial());
    let tables = format!(
        "[kafka.tls]\nca_file = '{}'\n[kafka.sasl]\nmechanism = 'PLAIN'\nusername = '{GUEST}'\n\
         password = '{PASSWORD}'\n{FAST}",
        certs::ca_file().display(),
    );
    let [unseen, unmade, unwritten] =
        ["unseen", "unmade", "unwritten"].map(|name| format!("{name}-{}", random()));
    let allow = |topic: &str, right| broker.allow(GUEST, Resource::Topic(topic), right);
    let create = |topic: &str| broker.create_topic(topic, 1).unwrap();
    // Write and Read imply Describe.
    allow(&unmade, Right::Write);
    allow(&unwritten, Right::Read);
    create(&unwritten);
    let mut probes = [&unseen, &unmade, &unwritten].map(|topic| {
        let target = listener.url(&format!("/{topic}"));
        let target = format!("[[target]]\nname = '{topic}'\nurl = '{target}'\n");
        start(&broker.door(Door::Sasl), topic, &(tables.clone() + &target))
    });
    let failed = "Topic authorization failed";
    for (probe, words) in probes.iter_mut().zip([
        format!("topic {unseen} cannot be seen: {failed}; make it with"),
        format!("topic {unmade} does not exist, and we cannot make it: {failed}; make it with"),
        format!("{failed}: give our user the right to write to the topic"),
    ]) {
        probe.await_stderr(&format!("Kafka is away: {words}"), DEADLINE);
    }
    create(&unseen);
    for (topic, right) in
        [(&unseen, Right::Write), (&unmade, Right::Create), (&unwritten, Right::Write)]
    {
        allow(topic, right);
    }
    for (mut probe, topic) in probes.into_iter().zip([unseen, unmade, unwritten]) {
        probe.await_stderr("Kafka is back", DEADLINE);
        let log = stop(probe).stderr;
        assert_eq!((times(&log, "Kafka is away"), times(&log, "Kafka is back")), (1, 1), "{log}");
        let serials = Published::read(&broker.kcat(), &topic).all_serials();
        assert_eq!(serials, answered(&listener, &format!("/{topic}")), "{log}");
    }
}

#[test]
fn a_topic_that_is_deleted_and_made_again_is_found_again() {
    let (broker, listener) = (Kafka::shared(), Listener::http());
    listener.always(Script::ok("").serial());
    let topic = format!("again-{}", random());
    broker.create_topic(&topic, 2).unwrap();
    let more = format!("create_topic = false\n{FAST}{}", targets(&listener, 5));
    let mut running = start(&broker.brokers(), &topic, &more);
    eventually(DEADLINE, "some checks", || answered(&listener, "/").len() > 10);
    broker.delete_topic(&topic).unwrap();
    let deleted = SystemTime::now() + Duration::from_secs(1);
    running.await_stderr(&format!("Kafka is away: topic {topic} does not exist"), DEADLINE);
    eventually(DEADLINE, "more checks", || {
        listener.log().iter().rfind(|s| s.at > deleted).is_some()
    });
    broker.create_topic(&topic, 2).unwrap();
    running.await_stderr("Kafka is back", DEADLINE);
    let log = stop(running).stderr;
    assert_eq!((times(&log, "Kafka is away"), times(&log, "Kafka is back")), (1, 1), "{log}");
    let serials = Published::read(&broker.kcat(), &topic).all_serials();
    for seen in listener.settled(DEADLINE).iter().filter(|seen| seen.at > deleted) {
        assert!(serials.contains(&seen.serial), "lost: {seen:?}");
    }
}

#[test]
fn a_record_too_large_for_the_topic_goes_alone() {
    let (broker, listener) = (Kafka::shared(), Listener::http());
    let topic = format!("narrow-{}", random());
    let config = ClientConfig::from_iter([("bootstrap.servers".to_owned(), broker.brokers())]);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let narrow =
        NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "4096");
    smol::block_on(admin.create_topics([&narrow], &AdminOptions::new())).unwrap();
    let mut noise = vec![0; 9000];
    rand_bytes(&mut noise).unwrap();
    listener.always(Script::ok("").serial());
    listener.on("/big", Script::ok(encode_block(&noise)).serial());
    let url = listener.url("/big");
    let big =
        format!("[[target]]\nname = 'big'\nurl = '{url}'\nexcerpt = '16KiB'\ninterval = '4s'");
    // What is sent together with it is refused together with it.
    let more = format!("{FAST}{}{big}", targets(&listener, 5));
    let running = start(&broker.brokers(), &topic, &more);
    eventually(DEADLINE, "two large ones", || answered(&listener, "/big").len() >= 2);
    let log = stop(running).stderr;
    let words = "a record is lost, since Kafka will never take it: Message size too large";
    assert_eq!((times(&log, words), times(&log, "ERROR")), (1, 1), "{log}");
    let published = Published::read(&broker.kcat(), &topic);
    let big = answered(&listener, "/big");
    let others: BTreeSet<u64> = answered(&listener, "/").difference(&big).copied().collect();
    assert_eq!(published.all_serials(), others);
    assert_eq!(published.rows().losses, [("damaged".to_owned(), big.len() as i64)].into());
}

#[test]
fn only_targets_for_its_node_are_checked() {
    let (listener, topic) = (Listener::http(), Kafka::topic(1));
    listener.always(Script::ok("").serial());
    let mut config = FAST.to_owned();
    let all = [("all", "[]"), ("this", "['x', 'edge']"), ("like", "['e*e']"), ("other", "['e']")];
    for (name, nodes) in all {
        let url = listener.url(&format!("/{name}"));
        config += &format!("[[target]]\nname = '{name}'\nurl = '{url}'\nnodes = {nodes}\n");
    }
    let running = start(topic.brokers(), topic.name(), &config);
    eventually(DEADLINE, "some checks", || answered(&listener, "/").len() > 6);
    let log = stop(running).stderr;
    assert!(log.contains("1 target for other nodes") && log.contains("watching 3 targets as edge"));
    let published = Published::read(&topic.kcat(), topic.name());
    let told: BTreeSet<&str> = published.targets.iter().map(|t| t.text("target")).collect();
    assert_eq!(told, ["all", "like", "this"].into());
    assert_eq!(published.rows().targets(), told);
    assert!(answered(&listener, "/other").is_empty());
}

#[test]
fn what_it_cannot_work_with_it_refuses_at_the_start() {
    let target = "targets = ['a.example']\n";
    let kafka = "[kafka]\nbrokers = ['127.0.0.1:1']\n";
    let with = |more: &str| format!("node = 'edge'\n{target}{kafka}[kafka.properties]\n{more}\n");
    for (config, words) in [
        (format!("{target}{kafka}"), "c.toml:1:1: no node: add node = "),
        (format!("node = 'edge'\n{target}"), "c.toml:1:1: no [kafka]"),
        (format!("node = 'edge'\n{kafka}"), "no target"),
        (
            format!("node = 'edge'\n{kafka}[[target]]\nurl = 'a.example'\nnodes = ['b*']"),
            "none of 1 target has \"edge\" among its nodes",
        ),
        (
            with("'no.such.token' = 'hush-value'"),
            "librdkafka knows no no.such.token, which [kafka.pr",
        ),
        (with("'linger.ms' = 'hush-value'"), "does not take the value of linger.ms in [kafka.prop"),
        (with("'linger.ms' = 9999999"), "linger.ms in [kafka.properties], allowed range 0..900000"),
    ] {
        let done = Sitewatch::new().file("c.toml", &config).args(["probe", "-c", "c.toml"]).run();
        assert_eq!((done.code, done.stderr.contains(words)), (Some(2), true), "{words}: {done:?}");
        assert!(!done.stderr.contains("hush") && done.stderr.lines().count() == 1, "{done:?}");
    }
}
