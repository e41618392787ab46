//! The ways to open a store, and to ask it.

use std::sync::Arc;

use rusqlite::Connection;
use sitewatch::model::outcome::Gap;
use sitewatch::model::report::Series;
use sitewatch::model::standing::NodeStanding;
use sitewatch::model::tally::CheckFacts;
use sitewatch::store::{Postgres, Sqlite, Store, WriteCounts};

use crate::harness::Temp;
use crate::store::postgres::scratch::{Fresh, settings};

/// A store that can be opened again and again, by writers and by readers.
pub trait Engine {
    /// To write; one at a time.
    fn writer(&self) -> Box<dyn Store>;
    /// To read what is stored by now.
    fn reader(&self) -> Box<dyn Store>;
    /// From now on the tables refuse announcements of targets, or no longer do.
    fn refuse_announcements(&self, is_refused: bool);
}

pub struct OnSqlite {
    folder: Temp,
}

impl OnSqlite {
    pub fn new() -> OnSqlite {
        let on = OnSqlite { folder: Temp::new() };
        drop(on.writer());
        on
    }

    /// Where no write-ahead log can be had: a folder stands where its map would be.
    pub fn without_log() -> OnSqlite {
        let folder = Temp::new();
        std::fs::create_dir(folder.join("store.db-shm")).unwrap();
        let store = Sqlite::create(&folder.join("store.db"), u64::MAX).unwrap();
        assert!(store.uses_rollback_journal().unwrap());
        OnSqlite { folder }
    }
}

impl Engine for OnSqlite {
    fn writer(&self) -> Box<dyn Store> {
        Box::new(Sqlite::create(&self.folder.join("store.db"), u64::MAX).unwrap())
    }

    fn reader(&self) -> Box<dyn Store> {
        Box::new(Sqlite::open(&self.folder.join("store.db")).unwrap())
    }

    fn refuse_announcements(&self, is_refused: bool) {
        let sql = match is_refused {
            true => {
                "CREATE TRIGGER refusal BEFORE UPDATE OF url ON target
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
            false => "DROP TRIGGER refusal",
        };
        Connection::open(self.folder.join("store.db")).unwrap().execute_batch(sql).unwrap();
    }
}

impl Engine for Fresh {
    fn writer(&self) -> Box<dyn Store> {
        Box::new(Fresh::writer(self))
    }

    fn reader(&self) -> Box<dyn Store> {
        Box::new(Postgres::open(&settings(&self.database.url())).unwrap())
    }

    fn refuse_announcements(&self, is_refused: bool) {
        let sql = match is_refused {
            true => {
                "CREATE FUNCTION refusal() RETURNS trigger LANGUAGE plpgsql
                     AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
                 CREATE TRIGGER refusal BEFORE UPDATE OF url ON sitewatch.target
                     FOR EACH ROW EXECUTE FUNCTION refusal()"
            }
            false => "DROP FUNCTION refusal CASCADE",
        };
        self.database.client().batch_execute(sql).unwrap();
    }
}

/// Names a series.
pub fn series(site: &str, node: &str) -> Series {
    Series { target: Arc::from(site), node: Arc::from(node) }
}

/// Reads the checks due in [from, until).
pub fn checks(store: &mut dyn Store, from_ms: i64, until_ms: i64) -> Vec<(Series, CheckFacts)> {
    let mut all = Vec::new();
    store
        .checks(from_ms, until_ms, &mut |series, check| all.push((series.clone(), *check)))
        .unwrap();
    all
}

pub fn every_check(store: &mut dyn Store) -> Vec<(Series, CheckFacts)> {
    checks(store, i64::MIN, i64::MAX)
}

/// Reads the gaps that touch [from, until).
pub fn gaps(store: &mut dyn Store, from_ms: i64, until_ms: i64) -> Vec<Gap> {
    let mut all = Vec::new();
    store.gaps(from_ms, until_ms, &mut |gap| all.push(gap.clone())).unwrap();
    all
}

/// Reads the standing of one series.
pub fn state(store: &mut dyn Store, site: &str, node: &str) -> NodeStanding {
    store.states().unwrap()[&series(site, node)]
}

/// Counts so many new checks and repeats, and nothing expired.
pub fn stored(checks: u64, repeats: u64) -> WriteCounts {
    WriteCounts { checks, repeats, expired: 0 }
}
