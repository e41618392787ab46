//! The whole road: each artefact as `probe` at the edge, a real Kafka, and behind it two writers
//! before a real PostgreSQL, the host's build and the artefact itself. Both must store what the
//! listener has answered: over plain connections, and over TLS on a host without certificates.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::targets::{DEADLINE, each};
use crate::harness::binary::Running;
use crate::harness::daemon::random;
use crate::harness::kafka::Door;
use crate::harness::postgres::Database;
use crate::harness::{
    Artefact, Kafka, Listener, Postgres, Script, Sitewatch, Tls, certs, eventually,
};
use crate::road::probe::{answered, stop};

/// How the parts reach one another.
struct Road<'a> {
    door: Door,
    /// The server of PostgreSQL, and the URL's parameters.
    postgres: (&'a Database, &'a str),
    /// Lines of `[kafka]`.
    tables: &'a str,
    /// The host's part in a call.
    host: fn(Sitewatch) -> Sitewatch,
}

/// The numbers of the answers that are stored, each once.
#[track_caller]
fn stored(database: &Database, schema: &str) -> BTreeSet<u64> {
    let sql = format!("SELECT matched, verdict FROM {schema}.checks WHERE target = 'site'");
    let rows = database.client().query(&sql, &[]).unwrap();
    let mut serials = BTreeSet::new();
    for row in rows {
        let (matched, verdict): (String, String) = (row.get(0), row.get(1));
        let serial = matched.strip_prefix("serial=").unwrap().parse().unwrap();
        assert_eq!(verdict, "up", "{matched}");
        assert!(serials.insert(serial), "{matched} is stored twice");
    }
    serials
}

#[track_caller]
fn end(mut writer: Running) {
    writer.signal(Signal::TERM);
    let done = writer.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stderr.contains("ERROR"), "{}", done.stderr);
}

/// Checks, publishes and stores; all that was answered must be in PostgreSQL, each once.
#[track_caller]
fn arrives(artefact: &Artefact, road: &Road<'_>) {
    let topic = format!("road-{}", random());
    Kafka::shared().create_topic(&topic, 2).unwrap();
    let kafka = |group: &str| {
        let broker = Kafka::shared().door(road.door);
        let tables = road.tables;
        format!("[kafka]\nbrokers = ['{broker}']\ntopic = '{topic}'\ngroup = '{group}'\n{tables}")
    };
    let listener = Listener::https(&certs::set().good);
    listener.always(Script::ok("fine").serial());
    let edge = format!(
        "node = 'edge'\n{}[probe]\nclock_wait = '0s'\n[[target]]\nname = 'site'\nurl = '{}'\ninterval = '3s'\n\
         match = 'serial=[0-9]+'\n",
        kafka("edge"),
        listener.url("/")
    );
    let (database, parameters) = road.postgres;
    let writer = |program: Sitewatch| {
        let schema = format!("s_{}", random());
        let config = format!(
            "{}[postgres]\nurl = '{}'\nschema = '{schema}'\n",
            kafka(&schema),
            database.url_with(parameters)
        );
        let program = program.file("c.toml", config).args(["write", "-c", "c.toml"]);
        (schema, (road.host)(program).spawn())
    };
    let probe = artefact.sitewatch().file("c.toml", edge).args(["probe", "-c", "c.toml"]);
    let mut probe = (road.host)(probe).spawn();
    let writers = [writer(Sitewatch::new()), writer(artefact.sitewatch())];
    probe.await_stderr("watching", DEADLINE);
    eventually(DEADLINE, "some checks", || listener.log().len() >= 4);
    stop(probe);
    let want = answered(&listener, "/");
    for (schema, running) in writers {
        eventually(DEADLINE, "all of them stored", || {
            let sql = format!("SELECT count(*) FROM {schema}.checks");
            let count = database.client().query_one(&sql, &[]);
            count.is_ok_and(|row| row.get::<_, i64>(0) as usize >= want.len())
        });
        end(running);
        assert_eq!(stored(database, &schema), want);
    }
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn what_was_answered_arrives_once() {
    let database = Postgres::database();
    each(|artefact| {
        let host = |program: Sitewatch| program.env("SSL_CERT_FILE", certs::ca_file());
        let postgres = (&database, "sslmode=disable");
        // A level of lz4 that the static files do not have.
        let tables = "[kafka.properties]\n'compression.level' = '9'\n";
        arrives(artefact, &Road { door: Door::Plain, postgres, tables, host });
    });
}

/// The three doors, each over TLS, ask one search whom to trust; the host has nobody to offer but
/// the file that its user names.
#[test]
#[ignore = "make test runs it over the artefacts"]
fn so_it_does_over_tls_where_no_certificates_are() {
    let server = Postgres::with_tls(&Tls::new(&certs::set().good));
    each(|artefact| {
        let host = |program: Sitewatch| program.env("SSL_CERT_FILE", certs::ca_file()).bare();
        let postgres = (&*server, "sslmode=verify-full");
        arrives(artefact, &Road { door: Door::Tls, postgres, tables: "[kafka.tls]\n", host });
    });
}
