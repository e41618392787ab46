//! Who may do what: the schema as it is found, the two roles, and what is said where something is
//! missing.

use std::thread;
use std::time::Duration;

use sitewatch::config::{self, RetentionConfig};
use sitewatch::model::outcome::Verdict;
use sitewatch::store::{Batch, Mark, Postgres, Readiness, Store, StoreError, WriteResult};

use super::scratch::{Fresh, settings};
use crate::fixtures::records::{check, gap, loss, now, put, target};
use crate::harness;
use crate::harness::daemon::random;
use crate::harness::postgres::{Database, psql};

/// A schema of its own on the shared server, since roles are the server's; and people who log in.
struct Office {
    database: Database,
    schema: String,
}

impl Office {
    fn new() -> Office {
        Office { database: harness::Postgres::database(), schema: format!("s_{}", random()) }
    }

    fn as_owner(&self) -> config::PostgresConfig {
        config::PostgresConfig { schema: self.schema.clone(), ..settings(&self.database.url()) }
    }

    /// Makes somebody who may do what these words say, and gives how they connect.
    fn hire(&self, name: &str, words: &str) -> (String, config::PostgresConfig) {
        let name = format!("{name}_{}", self.schema);
        let sql = format!("CREATE ROLE {name} LOGIN PASSWORD 'hush-{name}'; {words}");
        self.database.psql(&sql.replace("NAME", &name).replace("OURS", &self.schema));
        let url = self.database.url_for(&name, &format!("hush-{name}"));
        (url.clone(), config::PostgresConfig { schema: self.schema.clone(), ..settings(&url) })
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let sql = "SELECT string_agg(format('DROP OWNED BY %I CASCADE; DROP ROLE %I', rolname, \
            rolname), ';') FROM pg_roles WHERE rolname LIKE '%SCHEMA%'";
        let gone = self.database.psql(&sql.replace("SCHEMA", &self.schema));
        self.database.psql(&gone);
    }
}

#[track_caller]
fn missing(store: &mut Postgres, words: &[&str]) {
    let Ok(Readiness::Missing(text)) = store.prepare() else { panic!("nothing is missing") };
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(text.contains("`sitewatch write --setup`") && !text.contains("hush"), "{text}");
}

#[test]
fn the_least_rights_are_enough() {
    let office = Office::new();
    Postgres::connect(&office.as_owner()).unwrap().setup().unwrap();
    let (url, app) = office.hire("app", "GRANT OURS_writer TO NAME");
    let mut store = Postgres::connect(&app).unwrap();
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    let mark = Mark { partition: 0, from: 0, next: 5, ..Mark::default() };
    let records = vec![
        check("site", "a", now(), Verdict::Up),
        check("site", "a", now() - 3 * 86_400_000, Verdict::Up),
        target("site", "a", now(), &[("team", "web")]),
        sitewatch::model::record::Record::Gap(gap("site", "a", now(), 2)),
        loss("a", 1, now(), now(), 1),
        sitewatch::model::record::Record::Node(sitewatch::model::record::NodeState::new(
            &"a".into(),
            1,
            now(),
        )),
    ];
    let batch = Batch { records, marks: vec![mark], ..Batch::default() };
    assert!(matches!(store.write(&batch, now()), Ok(WriteResult::Stored(_))));
    assert_eq!(store.positions("", "").unwrap()[&0].next, 5);
    let two = Duration::from_secs(2 * 86_400);
    let gone =
        store.retain(&RetentionConfig { checks: two, dead_letters: two }, 1000, now()).unwrap();
    assert_eq!(gone.hours, 24);
    assert_eq!(store.newest("a").unwrap()["site"], now());

    // And nothing beyond.
    let is_denied = |url: &str, sql: &str| {
        let sql = sql.replace("SCHEMA", &office.schema);
        let refused = psql(url, &sql).unwrap_err();
        let owns = refused.contains("permission denied") || refused.contains("must be owner");
        assert!(owns, "{sql}: {refused}");
    };
    for sql in [
        "DELETE FROM SCHEMA.outcome",
        "UPDATE SCHEMA.outcome SET verdict = 'up'",
        "DROP TABLE SCHEMA.outcome",
        "DELETE FROM SCHEMA.kafka_offset",
        "CREATE TABLE SCHEMA.mine (a int)",
        "INSERT INTO SCHEMA.migration VALUES (99, 0)",
    ] {
        is_denied(&url, sql);
    }
    let (url, reader) = office.hire("reader", "GRANT OURS_reader TO NAME");
    for sql in [
        "INSERT INTO SCHEMA.node (name) VALUES ('x')",
        "SELECT SCHEMA.make_hour(0)",
        "SELECT SCHEMA.drop_hours(99999999999999, 99)",
        "DELETE FROM SCHEMA.gap",
    ] {
        is_denied(&url, sql);
    }
    let mut open = Postgres::open(&reader).unwrap();
    assert_eq!(open.targets().unwrap()["site"]["team"], "web");
    for view in ["checks", "report_hour", "report_day", "report_now", "dead_letter"] {
        psql(&url, &format!("SELECT * FROM {}.{view}", office.schema)).unwrap();
    }
    missing(&mut Postgres::connect(&reader).unwrap(), &["INSERT on outcome", "_writer has"]);
}

#[test]
fn what_is_missing_is_said() {
    let office = Office::new();
    office.database.psql(
        "REVOKE ALL ON DATABASE CURRENT FROM PUBLIC"
            .replace("CURRENT", &office.database.psql("SELECT current_database()"))
            .as_str(),
    );
    let (_, app) = office.hire("app", "");
    let refused = Postgres::connect(&app).err().unwrap().to_string();
    assert!(refused.contains("permission denied for database"), "{refused}");
    let database = office.database.psql("SELECT current_database()");
    let app_role = format!("app_{}", office.schema);
    office.database.psql(&format!("GRANT CONNECT ON DATABASE {database} TO {app_role}"));

    let mut store = Postgres::connect(&app).unwrap();
    missing(&mut store, &["there is no schema", "may not make one"]);
    let none = Postgres::open(&app).err().unwrap();
    assert!(matches!(&none, StoreError::Unfit { text } if text.contains("there is no schema")));
    Postgres::connect(&office.as_owner()).unwrap().setup().unwrap();
    missing(&mut store, &["has no rights in the schema"]);
    let none = Postgres::open(&app).err().unwrap();
    assert!(matches!(&none, StoreError::Unfit { text } if text.contains("_reader TO")), "{none:?}");
    // `setup` has seen to the temporary tables that everybody may usually have.
    office.database.psql(&format!("GRANT {}_writer TO {app_role}", office.schema));
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    put(&mut store, &[check("site", "a", now(), Verdict::Up)]).unwrap();
    office
        .database
        .psql(&format!("REVOKE TEMPORARY ON DATABASE {database} FROM {}_writer", office.schema));
    missing(&mut store, &["TEMPORARY on the database"]);
    // A connection that has made its table goes on with it; a new one says what it lacks.
    let denied =
        put(&mut Postgres::connect(&app).unwrap(), &[check("site", "a", now(), Verdict::Up)]);
    let StoreError::Away { text } = denied.unwrap_err() else { panic!() };
    assert!(text.contains("permission denied") && text.contains("--setup"), "{text}");
}

#[test]
fn a_schema_is_made_once_by_many() {
    let office = Office::new();
    thread::scope(|scope| {
        for number in 0..6 {
            let mut store = Postgres::connect(&office.as_owner()).unwrap();
            scope.spawn(move || match number % 2 {
                0 => assert_eq!(store.setup(), Ok(())),
                _ => assert_eq!(store.prepare(), Ok(Readiness::Ready)),
            });
        }
    });
    let done = format!("SELECT count(*), min(version) FROM {}.migration", office.schema);
    assert_eq!(office.database.psql(&done), "7|1");
}

#[test]
fn the_schemas_owner_owns_all_of_it_whoever_made_it() {
    let office = Office::new();
    let (_, _) = office.hire("owner", "CREATE SCHEMA OURS AUTHORIZATION NAME");
    Postgres::connect(&office.as_owner()).unwrap().setup().unwrap();
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(owner), ' ') FROM (
        SELECT relowner AS owner FROM pg_class WHERE relnamespace = 'SCHEMA'::regnamespace UNION
        SELECT proowner FROM pg_proc WHERE pronamespace = 'SCHEMA'::regnamespace) AS all_of_it";
    let owners = office.database.psql(&owners.replace("SCHEMA", &office.schema));
    assert_eq!(owners, format!("owner_{}", office.schema));
    // The owner himself needs no roles.
    let name = format!("owner_{}", office.schema);
    let url = office.database.url_for(&name, &format!("hush-{name}"));
    let owner = config::PostgresConfig { schema: office.schema.clone(), ..settings(&url) };
    let mut store = Postgres::connect(&owner).unwrap();
    assert_eq!(store.prepare(), Ok(Readiness::Ready));
    put(&mut store, &[check("site", "a", now(), Verdict::Up)]).unwrap();
}

#[test]
fn a_schema_that_is_not_ours_is_left_alone() {
    let fresh = Fresh::new();
    let sql = "INSERT INTO sitewatch.migration SELECT max(version) + 1, 0 FROM sitewatch.migration";
    fresh.database.psql(sql);
    let newer = [
        fresh.writer().prepare().unwrap_err(),
        fresh.writer().setup().unwrap_err(),
        Postgres::open(&settings(&fresh.database.url())).err().unwrap(),
    ];
    for error in newer {
        let StoreError::Unfit { text } = &error else { panic!("{error:?}") };
        assert!(text.contains("a newer sitewatch"), "{text}");
    }

    let database = harness::Postgres::database();
    database.psql("CREATE SCHEMA sitewatch; CREATE TABLE sitewatch.outcome (a int)");
    let mut store = Postgres::connect(&settings(&database.url())).unwrap();
    for error in [store.prepare().unwrap_err(), store.setup().unwrap_err()] {
        let StoreError::Unfit { text } = &error else { panic!("{error:?}") };
        assert!(text.contains("tables of another program"), "{text}");
    }
    assert_eq!(database.psql("SELECT count(*) FROM pg_class WHERE relname = 'migration'"), "0");
}

#[test]
fn a_database_of_another_encoding_is_refused() {
    let database = harness::Postgres::database();
    let name = format!("latin_{}", random());
    let made = format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
    database.psql(&made);
    let own = database.psql("SELECT current_database()");
    let error = Postgres::connect(&settings(&database.url().replace(&own, &name))).err().unwrap();
    database.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    let StoreError::Unfit { text } = &error else { panic!("{error:?}") };
    assert!(text.contains("its encoding is LATIN1, and UTF8 is needed"), "{text}");
}
