//! `write --setup`: an administrator makes what is needed, and everybody else does with the least
//! rights.

use std::time::Duration;

use rustix::process::Signal;
use sitewatch::model::outcome::Verdict;
use sitewatch::model::wire::encode;

use crate::fixtures::records::check;
use crate::harness::daemon::random;
use crate::harness::postgres::{Database, psql};
use crate::harness::{Kafka, Postgres, Sitewatch, eventually};

const DEADLINE: Duration = Duration::from_secs(40);

#[test]
fn with_the_least_rights_a_writer_writes_and_a_reader_reads() {
    let (broker, database) = (Kafka::shared(), Postgres::database());
    let word = random();
    let (schema, topic) = (format!("s_{word}"), format!("setup-{word}"));
    let (app, grafana) = (format!("app_{word}"), format!("grafana_{word}"));
    for role in [&app, &grafana] {
        database.psql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'hush-{role}'"));
    }
    let config = |url: &str| {
        format!(
            "[kafka]\nbrokers = [\"{}\"]\ntopic = \"{topic}\"\npartitions = 3\ngroup = \"{topic}\"\n\
             [postgres]\nurl = \"{url}\"\nschema = \"{schema}\"\n",
            broker.brokers()
        )
    };
    let as_app = config(&database.url_for(&app, &format!("hush-{app}")));

    // Before anybody has made anything it waits, and says what to do. The topic too is left to
    // the administrator, or it would make that itself.
    let writing = || Sitewatch::new().file("c.toml", &as_app).args(["write", "-c", "c.toml"]);
    let left = as_app.replace("partitions = 3\n", "partitions = 3\ncreate_topic = false\n");
    let waiting = Sitewatch::new().file("c.toml", left).args(["write", "-c", "c.toml"]);
    let mut write = waiting.spawn();
    write.await_stderr("sitewatch write --setup", DEADLINE);

    let refused = writing().args(["--setup"]).run();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let wrong = database.url_for("sitewatch", "hush-wrong");
    let refused = writing().args(["--setup", "--admin-url", &wrong]).run();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("password authentication failed"), "{refused:?}");
    assert!(!refused.stderr.contains("hush"), "{refused:?}");

    set_up(&writing, &database, &schema, &topic);

    // As soon as it may, it goes on by itself.
    database.psql(&format!("GRANT {schema}_writer TO {app}; GRANT {schema}_reader TO {grafana}"));
    let due_ms = sitewatch::clock::now_ms() - 60_000;
    let record = encode(&check("site", "a", due_ms, Verdict::Up));
    broker.kcat().produce(&topic, &[("site", record)]).unwrap();
    let count = format!("SELECT count(*) FROM {schema}.outcome");
    eventually(DEADLINE, "the check to be stored", || {
        assert!(!write.ended(), "{}", write.stderr());
        database.psql(&count) == "1"
    });
    write.signal(Signal::TERM);
    let done = write.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.stderr.matches("there is no schema").count(), 1, "{}", done.stderr);
    assert!(done.stderr.matches("has no rights").count() <= 1, "{}", done.stderr);

    let url = database.url_for(&grafana, &format!("hush-{grafana}"));
    assert_reads(&config(&url), &url, &schema);
    let evil = format!("DELETE FROM {schema}.outcome");
    for role in [&app, &grafana] {
        let url = database.url_for(role, &format!("hush-{role}"));
        let refused = psql(&url, &evil).unwrap_err();
        assert!(refused.contains("permission denied"), "{refused}");
    }
    drop_roles(&database, &[&app, &grafana], &schema);
}

/// Sets everything up as the administrator, twice: the second time it is there.
fn set_up(writing: &dyn Fn() -> Sitewatch, database: &Database, schema: &str, topic: &str) {
    for made in ["is made", "is there"] {
        let done = writing().args(["--setup", "--admin-url", &database.url()]).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains(&format!("schema {schema} is ready")), "{done:?}");
        assert!(done.stdout.contains(&format!("topic {topic} {made}")), "{done:?}");
        assert!(!done.stdout.contains("hush"), "{done:?}");
    }
    let roles = database.psql(&format!(
        "SELECT string_agg(rolname || ' ' || rolcanlogin, ' ' ORDER BY rolname) FROM pg_roles
         WHERE rolname LIKE '{schema}%'"
    ));
    assert_eq!(roles, format!("{schema}_reader false {schema}_writer false"));
}

/// Asserts that a reader gets reports, from `status` and in a panel.
fn assert_reads(config: &str, url: &str, schema: &str) {
    let status = Sitewatch::new()
        .file("c.toml", config)
        .args(["status", "-c", "c.toml", "--format", "csv"])
        .run();
    assert!(status.stdout.contains("\nsite,"), "{status:?}");
    let panel = "SELECT target, checks FROM SCHEMA.report_now WHERE node IS NULL";
    let panel = panel.replace("SCHEMA", schema);
    assert_eq!(psql(url, &panel), Ok("site|1".to_owned()));
}

/// Roles belong to the server, which other tests use too.
fn drop_roles(database: &Database, roles: &[&str], schema: &str) {
    database.psql(&format!("DROP SCHEMA {schema} CASCADE"));
    for role in roles {
        database.psql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    }
    for role in ["writer", "reader"] {
        let role = format!("{schema}_{role}");
        database.psql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    }
}
