//! A database of its own for each test, with our schema in it.

use sitewatch::config::{self, Environment, Need};
use sitewatch::store::{Postgres, Readiness};

use crate::harness;
use crate::harness::Temp;
use crate::harness::postgres::Database;

/// The settings of a connection by this URL, in the schema `sitewatch`.
pub fn settings(url: &str) -> config::PostgresConfig {
    let folder = Temp::new();
    let file = folder.write("config.toml", format!("[postgres]\nurl = {url:?}\n"));
    let config = config::read(&[file], &Environment::of_process(), Need::Nothing).unwrap();
    config.postgres.unwrap()
}

/// A database with our schema in it.
pub struct Fresh {
    pub database: Database,
}

impl Fresh {
    pub fn new() -> Fresh {
        let fresh = Fresh { database: harness::Postgres::database() };
        assert_eq!(fresh.writer().prepare(), Ok(Readiness::Ready));
        fresh
    }

    /// A writer as the database's owner.
    pub fn writer(&self) -> Postgres {
        Postgres::connect(&settings(&self.database.url())).unwrap()
    }
}
