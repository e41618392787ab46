//! A database file of ours, and the trait over it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::error::{ELSEWHERE, away};
use super::ids::RowIds;
use super::{files, open, quarantine, read, write};
use crate::model::outcome::Gap;
use crate::model::record::Record;
use crate::model::report::{State, Who};
use crate::model::tally::Check;
use crate::store::batch::Written;
use crate::store::engine::{Labels, Store};
use crate::store::error::StoreError;

/// Part of the largest size that the write-ahead log may hold before it is moved into the file: one in so
/// many.
const LOG_SHARE: u64 = 8;

/// A database file of ours.
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    /// Largest size of the file's content, in bytes.
    max_size: u64,
    /// Set the file aside when it proves damaged, and go on with a new one.
    replaces: bool,
    ids: RowIds,
}

impl Sqlite {
    /// Opens the file to write, and makes the file and its folder if they are missing. The file's content
    /// stays within `max_size` bytes: past that the oldest checks are deleted.
    ///
    /// # Errors
    /// The file cannot be made or opened, is damaged, or is not ours.
    pub fn create(path: &Path, max_size: u64) -> Result<Sqlite, StoreError> {
        let connection = Sqlite::connect(path, max_size)?;
        Sqlite::with(connection, path, max_size)
    }

    /// Does the same as [`Sqlite::create`]; but a file of ours that is damaged, now or later, is set aside
    /// under another name, which is logged, and a new file takes its place. No other process may store in
    /// the file: the second value makes sure of that, as [`Sqlite::claim`] does.
    ///
    /// # Errors
    /// The file cannot be made or opened, is not ours, or another process stores in it.
    pub fn replacing(path: &Path, max_size: u64) -> Result<(Sqlite, File), StoreError> {
        // A file with a lock may be in use: to open it would bring its tables up to date, or choose its
        // journal, while the other process uses it. Without a lock no process uses it.
        let early = match files::beside(path, files::LOCK).exists() {
            true => Some(Sqlite::claim(path)?),
            false => None,
        };
        let mut created = Sqlite::create(path, max_size);
        // A file that is in use, of a newer version or of something else is no damaged one. Nothing is left
        // beside it, either.
        if let Err(error) = &created
            && !matches!(error, StoreError::Damaged { .. })
        {
            return Err(error.clone());
        }
        let claim = match early {
            Some(claim) => claim,
            None => Sqlite::claim(path)?,
        };
        if let Err(error) = &created {
            quarantine::set_aside(path, error)?;
            created = Sqlite::create(path, max_size);
        }
        let mut store = created?;
        store.replaces = true;
        Ok((store, claim))
    }

    fn connect(path: &Path, max_size: u64) -> Result<Connection, StoreError> {
        let connection = open::to_write(path)?;
        // SQLite's own choice is 1000 pages of 4 KiB. If `max_size` is small, the disk is small too, and
        // both log and file must fit.
        let pages = (max_size / LOG_SHARE / 4096).clamp(16, 1000);
        connection
            .execute_batch(&format!("PRAGMA wal_autocheckpoint = {pages}"))
            .map_err(|error| away("prepare", path, &error))?;
        Ok(connection)
    }

    /// Makes sure that no other process stores in the file, for as long as the result lives: two of them
    /// would check and count everything twice. The lock is a file beside the database.
    ///
    /// # Errors
    /// Another process stores in the file, or the lock cannot be made.
    pub fn claim(path: &Path) -> Result<File, StoreError> {
        let mark = files::beside(path, files::LOCK);
        let unfit =
            |why: &str| StoreError::Unfit { text: format!("cannot use {}: {why}", path.display()) };
        let file = File::options().create(true).truncate(false).write(true).open(&mark);
        let file =
            file.map_err(|error| unfit(&format!("cannot open its lock: {error}; {ELSEWHERE}")))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(unfit("another sitewatch stores in it")),
            // The file system has no locks, so other processes cannot be kept out.
            Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Opens the file to read, also while another process writes it.
    ///
    /// # Errors
    /// The file is missing, cannot be opened, or is not ours.
    pub fn open(path: &Path) -> Result<Sqlite, StoreError> {
        Sqlite::with(open::to_read(path)?, path, u64::MAX)
    }

    fn with(connection: Connection, path: &Path, max_size: u64) -> Result<Sqlite, StoreError> {
        let path = path.to_owned();
        Ok(Sqlite { connection, path, max_size, replaces: false, ids: RowIds::default() })
    }

    /// Returns true if the file uses a rollback journal, since a write-ahead log was not possible.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn uses_rollback_journal(&self) -> Result<bool, StoreError> {
        let mode = open::journal_mode(&self.connection);
        mode.map(|mode| mode != "wal").map_err(|error| away("read", &self.path, &error))
    }
}

impl Store for Sqlite {
    fn write(
        &mut self,
        records: &mut dyn Iterator<Item = &Record>,
        now_ms: i64,
    ) -> Result<Written, StoreError> {
        let records: Vec<&Record> = records.collect();
        self.replacing_damage(|store| store.store(&records, now_ms))
    }

    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        self.replacing_damage(|store| store.reading(|connection| read::newest(connection, node)))
    }

    fn states(&mut self) -> Result<BTreeMap<Who, State>, StoreError> {
        self.replacing_damage(|store| store.reading(read::states))
    }

    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError> {
        self.reading(read::targets)
    }

    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Who, &Check),
    ) -> Result<(), StoreError> {
        self.reading(|connection| read::checks(connection, from_ms, until_ms, take))
    }

    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError> {
        self.reading(|connection| read::gaps(connection, from_ms, until_ms, take))
    }

    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError> {
        self.reading(|connection| read::losses(connection, from_ms, until_ms))
    }
}

impl Sqlite {
    fn store(&mut self, records: &[&Record], now_ms: i64) -> Result<Written, StoreError> {
        let written = write::records(
            &mut self.connection,
            &mut self.ids,
            self.max_size,
            &mut records.iter().copied(),
            now_ms,
        );
        if let Err(error) = &written
            && error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        {
            // The log itself may be what fills the disk. Without the log there is room for the next try; if
            // this fails too, the next try reports the error.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        written.map_err(|error| away("write to", &self.path, &error))
    }

    /// Does `act`; if the file proves damaged and may be replaced, once more in the new file.
    fn replacing_damage<T>(
        &mut self,
        mut act: impl FnMut(&mut Sqlite) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match act(self) {
            Err(error @ StoreError::Damaged { .. }) if self.replaces => {
                self.begin_anew(&error)?;
                act(self)
            }
            done => done,
        }
    }

    /// Sets the file aside and goes on with a new one.
    fn begin_anew(&mut self, error: &StoreError) -> Result<(), StoreError> {
        let none = Connection::open_in_memory().map_err(|e| away("leave", &self.path, &e))?;
        // Close the file before the rename: SQLite removes its log by name.
        open::leave(std::mem::replace(&mut self.connection, none));
        quarantine::set_aside(&self.path, error)?;
        self.connection = Sqlite::connect(&self.path, self.max_size)?;
        self.ids = RowIds::default();
        Ok(())
    }

    fn reading<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.connection).map_err(|error| away("read", &self.path, &error))
    }
}
