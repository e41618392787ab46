//! Writers that are started before what they need, in any order: each starts, waits, says so once,
//! and goes on by itself.

use std::thread;
use std::time::Duration;

use super::centre::{Centre, Writer, await_all};
use super::flow::Flow;
use crate::harness::daemon::random;
use crate::harness::postgres::psql;
use crate::harness::{Kafka, Postgres, Sitewatch};

/// Long enough for several tries.
const WHILE: Duration = Duration::from_secs(7);

/// The lines of its log that say that something is away, or back.
fn changes(writer: &Writer) -> Vec<String> {
    let log = writer.log();
    let lines = log.lines().filter(|line| line.contains(" is away: ") || line.contains(" is back"));
    // Without the time, and without the level.
    lines.map(|line| line.split_once(' ').unwrap().1.trim_start()[6..].to_owned()).collect()
}

#[track_caller]
fn changed(writer: &Writer, want: &[&str]) {
    let changes = changes(writer);
    let fits = |(said, want): (&String, &&str)| said.trim_start().starts_with(want);
    assert_eq!(changes.len(), want.len(), "{}", writer.log());
    assert!(changes.iter().zip(want).all(fits), "{}", writer.log());
}

#[test]
fn a_writer_waits_for_kafka_and_the_database_and_makes_the_topic() {
    let (mut kafka, mut database, topic) = (Kafka::start(), Postgres::start(), random());
    kafka.stop_hard();
    database.stop_hard();
    let centre = Centre::new(&kafka.brokers(), &topic, &database);
    let one = centre.writer("one");
    one.await_health("store_away");
    thread::sleep(WHILE);
    changed(&one, &["PostgreSQL is away: ", "Kafka is away: "]);
    database.restart();
    one.await_health("kafka_away");
    thread::sleep(WHILE);
    let both = ["PostgreSQL is away: ", "Kafka is away: ", "PostgreSQL is back"];
    changed(&one, &both);

    kafka.restart();
    one.await_health("ok");
    let mut flow = Flow::new(&kafka.brokers(), &topic);
    one.until("given", super::centre::DEADLINE, || one.partitions().len() == 12);
    flow.send(100);
    await_all(&centre, &database, &one);
    changed(&one, &[&both[..], &["Kafka is back"]].concat());
    assert_eq!(one.said(&format!("topic {topic} is made")), 1, "{}", one.log());

    // Killed, and stopped where it stands.
    kafka.stop_hard();
    one.await_health("kafka_away");
    thread::sleep(WHILE);
    kafka.restart();
    flow.send(100);
    await_all(&centre, &database, &one);
    one.await_health("ok");
    kafka.pause();
    one.await_health("kafka_away");
    thread::sleep(WHILE);
    kafka.resume();
    flow.send(100);
    await_all(&centre, &database, &one);
    one.await_health("ok");
    let (away, back) = ("Kafka is away: ", "Kafka is back");
    changed(&one, &[&both[..], &[back, away, back, away, back]].concat());
    flow.judge(&database);
    one.stop();
}

#[test]
fn a_writer_waits_for_a_topic_that_it_is_not_to_make() {
    let (kafka, database, topic) = (Kafka::shared(), Postgres::database(), random());
    let mut centre = Centre::new(&kafka.brokers(), &topic, &database);
    centre.kafka = "create_topic = false\n".to_owned();
    let one = centre.writer("one");
    one.await_health("kafka_away");
    thread::sleep(WHILE);
    let away = format!("Kafka is away: topic {topic} does not exist; make it with");
    changed(&one, &[&away]);
    kafka.create_topic(&topic, 3).unwrap();
    one.await_health("ok");
    let mut flow = Flow::new(&kafka.brokers(), &topic);
    flow.send(50);
    await_all(&centre, &database, &one);
    changed(&one, &[&away, "Kafka is back"]);

    // Taken away for a while, it comes again.
    kafka.delete_topic(&topic).unwrap();
    one.await_health("kafka_away");
    thread::sleep(WHILE);
    kafka.create_topic(&topic, 3).unwrap();
    one.await_health("ok");
    flow.send(50);
    await_all(&centre, &database, &one);
    changed(&one, &[&away, "Kafka is back", &away, "Kafka is back"]);
    flow.judge(&database);
    one.stop();
}

#[test]
fn a_writer_waits_for_the_database() {
    let (topic, mut postgres) = (Kafka::topic(3), Postgres::start());
    postgres.stop_hard();
    let centre = Centre::new(topic.brokers(), topic.name(), &postgres);
    let one = centre.writer("one");
    one.await_health("store_away");
    let mut flow = Flow::new(topic.brokers(), topic.name());
    flow.send(50);
    thread::sleep(WHILE);
    changed(&one, &["PostgreSQL is away: cannot connect to the database"]);
    postgres.restart();
    one.await_health("ok");
    await_all(&centre, &postgres, &one);
    flow.judge(&postgres);
    let log = one.log();
    assert_eq!(one.said("PostgreSQL is back"), 1, "{log}");
    assert_eq!(one.said("refused"), 1, "{log}");
    one.stop();
}

#[test]
fn a_writer_without_rights_waits_for_the_setup() {
    let (topic, database) = (Kafka::topic(3), Postgres::database());
    // Roles are the server's, and so have names of their own.
    let (role, schema) = (format!("w_{}", random()), format!("s_{}", random()));
    database.psql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'hush-writer'"));
    let mut centre = Centre::new(topic.brokers(), topic.name(), &database);
    centre.url = database.url_for(&role, "hush-writer");
    centre.postgres = format!("schema = '{schema}'\n");
    let one = centre.writer("one");
    one.await_health("store_away");
    thread::sleep(WHILE);
    let away =
        format!("PostgreSQL is away: there is no schema {schema}, and {role} may not make one");
    changed(&one, &[&away]);
    assert_eq!(one.said("`sitewatch write --setup`"), 1, "{}", one.log());

    let setup = Sitewatch::new().file("c.toml", centre.config("setup", 1));
    let admin = database.url();
    let done = setup.args(["write", "-c", "c.toml", "--setup", "--admin-url", &admin]).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    database.psql(&format!("GRANT {schema}_writer TO {role}"));
    one.await_health("ok");
    let mut flow = Flow::new(topic.brokers(), topic.name());
    flow.send(50);
    let count = || psql(&admin, &format!("SELECT count(*) FROM {schema}.outcome")).unwrap();
    one.until("all", super::centre::DEADLINE, || count() == "50");
    assert_eq!(one.said("PostgreSQL is back"), 1, "{}", one.log());
    let done = one.stop();
    assert!(!done.stderr.contains("hush-writer"), "{done:?}");
    drop(topic);
    let tidy = format!(
        "DROP SCHEMA {schema} CASCADE; DROP ROLE {schema}_writer, {schema}_reader; \
                        DROP OWNED BY {role}; DROP ROLE {role}"
    );
    database.psql(&tidy);
}

#[test]
fn a_database_that_is_made_again_empty_is_filled_without_anybodys_help() {
    let (topic, server, name) = (Kafka::topic(2), Postgres::start(), "again");
    server.psql("CREATE DATABASE again");
    let mut centre = Centre::new(topic.brokers(), topic.name(), &server);
    centre.url = centre.url.replace("/postgres?", "/again?");
    let count = || {
        let rows = psql(&centre.url, "SELECT count(*), max(total_us) FROM sitewatch.outcome");
        rows.unwrap_or_default()
    };
    let mut flow = Flow::new(topic.brokers(), topic.name());
    let one = centre.writer("one");
    flow.send(200);
    one.until("stored", super::centre::DEADLINE, || count() == "200|199");
    // While it rests, and while there is something to be stored.
    for (more, all) in [(0, "200|199"), (50, "250|249")] {
        server.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
        server.psql(&format!("CREATE DATABASE {name}"));
        if more > 0 {
            flow.send(more);
        }
        one.until("filled again", super::centre::DEADLINE, || count() == all);
        one.await_health("ok");
    }
    // The schema alone.
    psql(&centre.url, "DROP SCHEMA sitewatch CASCADE").unwrap();
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'again'");
    one.until("filled again", super::centre::DEADLINE, || count() == "250|249");
    one.stop();
}
