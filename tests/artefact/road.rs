//! The whole road: each artefact as `probe` at the edge, a real Kafka, and behind it two writers
//! before a real PostgreSQL, the host's build and the artefact itself. Both must store what the
//! listener has answered.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::{DEADLINE, each};
use crate::harness::binary::Running;
use crate::harness::postgres::Database;
use crate::harness::{Kafka, Listener, Postgres, Script, Sitewatch, certs, eventually};
use crate::probe::{answered, stop};

/// The numbers of the answers that are stored, each once.
#[track_caller]
fn stored(database: &Database) -> BTreeSet<u64> {
    let sql = "SELECT matched, verdict FROM sitewatch.checks WHERE target = 'site'";
    let rows = database.client().query(sql, &[]).unwrap();
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

#[test]
#[ignore = "make test runs it over the artefacts"]
fn what_was_answered_arrives_once() {
    each(|artefact| {
        let topic = Kafka::topic(2);
        let road = |group: &str| {
            let (brokers, name) = (topic.brokers(), topic.name());
            format!(
                "[kafka]\nbrokers = ['{brokers}']\ntopic = '{name}'\ngroup = '{name}-{group}'\n"
            )
        };
        let listener = Listener::https(&certs::set().good);
        listener.always(Script::ok("fine").serial());
        let edge = format!(
            "node = 'edge'\n{}[defaults]\nca_file = '{}'\n[[target]]\nname = 'site'\nurl = '{}'\n\
             interval = '3s'\nmatch = 'serial=[0-9]+'\n",
            road("edge"),
            certs::ca_file().display(),
            listener.url("/")
        );
        let writer = |program: Sitewatch, group: &str| {
            let database = Postgres::database();
            let config = format!("{}[postgres]\nurl = '{}'\n", road(group), database.url());
            let running = program.file("c.toml", config).args(["write", "-c", "c.toml"]).spawn();
            (database, running)
        };
        let probe = artefact.sitewatch().file("c.toml", edge).args(["probe", "-c", "c.toml"]);
        let mut probe = probe.spawn();
        let writers = [writer(Sitewatch::new(), "host"), writer(artefact.sitewatch(), "own")];
        probe.await_stderr("watching", DEADLINE);
        eventually(DEADLINE, "some checks", || listener.log().len() >= 4);
        stop(probe);
        let want = answered(&listener, "/");
        for (database, running) in writers {
            eventually(DEADLINE, "all of them stored", || {
                let sql = "SELECT count(*) FROM sitewatch.checks";
                let count = database.client().query_one(sql, &[]);
                count.is_ok_and(|row| row.get::<_, i64>(0) as usize >= want.len())
            });
            end(running);
            assert_eq!(stored(&database), want);
        }
    });
}
