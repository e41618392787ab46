//! A database file of ours, and the trait over it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::error::{ELSEWHERE, store_error};
use super::ids::RowIds;
use super::{files, open, quarantine, read, retain, write};
use crate::config::RetentionConfig;
use crate::model::outcome::Gap;
use crate::model::report::Series;
use crate::model::standing::NodeStanding;
use crate::model::tally::CheckFacts;
use crate::store::batch::{Batch, WriteCounts, WriteResult};
use crate::store::engine::{Labels, Store};
use crate::store::error::StoreError;
use crate::store::retention::RetentionCounts;

/// The write-ahead log is moved into the file once it holds `max_size / LOG_DIVISOR` bytes.
const LOG_DIVISOR: u64 = 8;

/// A database file of ours.
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    /// Largest size of the file's content, in bytes.
    max_size: u64,
    /// A file that proves damaged is set aside, and a new one takes its place.
    replaces_damaged: bool,
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
    /// under another name, which is logged, and a new file takes its place. No other process may store in the
    /// file: the second value makes sure of that, as [`Sqlite::claim`] does.
    ///
    /// # Errors
    /// The file cannot be made or opened, is not ours, or another process stores in it.
    pub fn create_or_replace(path: &Path, max_size: u64) -> Result<(Sqlite, File), StoreError> {
        // A file with a lock may be in use: to open it would bring its tables up to date, or choose its
        // journal, while the other process uses it. A file that is yet to be made is claimed first, or another
        // process that starts now would find it half made. A file without a lock may be another program's.
        let has_lock = || files::companion(path, files::LOCK).exists();
        let early_claim = match has_lock() || open::is_missing(path)? {
            true => match Sqlite::claim(path) {
                // Where no lock can be made, no file can: the attempt gives a better reason.
                Err(_) if !has_lock() => None,
                claim => Some(claim?),
            },
            false => None,
        };
        let mut created = Sqlite::create(path, max_size);
        // A file that is in use, of a newer version or of another program is not damaged. Nothing is left
        // beside it, either.
        if let Err(error) = &created
            && !matches!(error, StoreError::Damaged { .. })
        {
            return Err(error.clone());
        }
        let claim = match early_claim {
            Some(claim) => claim,
            None => Sqlite::claim(path)?,
        };
        if let Err(error) = &created {
            quarantine::set_aside(path, error)?;
            created = Sqlite::create(path, max_size);
        }
        let mut store = created?;
        store.replaces_damaged = true;
        Ok((store, claim))
    }

    fn connect(path: &Path, max_size: u64) -> Result<Connection, StoreError> {
        let connection = open::open_to_write(path)?;
        // SQLite's own choice is 1000 pages of 4 KiB. If `max_size` is small, the disk is small too, and both
        // log and file must fit.
        let pages = (max_size / LOG_DIVISOR / 4096).clamp(16, 1000);
        connection
            .execute_batch(&format!("PRAGMA wal_autocheckpoint = {pages}"))
            .map_err(|error| store_error("prepare", path, &error))?;
        Ok(connection)
    }

    /// Makes sure that no other process stores in the file, for as long as the result lives: two of them
    /// would check and count everything twice. The lock is a file beside the database.
    ///
    /// # Errors
    /// Another process stores in the file, or the lock cannot be made.
    pub fn claim(path: &Path) -> Result<File, StoreError> {
        let lock = files::companion(path, files::LOCK);
        let unfit =
            |why: &str| StoreError::Unfit { text: format!("cannot use {}: {why}", path.display()) };
        let file = File::options().create(true).truncate(false).write(true).open(&lock);
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
        Sqlite::with(open::open_to_read(path)?, path, u64::MAX)
    }

    fn with(connection: Connection, path: &Path, max_size: u64) -> Result<Sqlite, StoreError> {
        let path = path.to_owned();
        Ok(Sqlite { connection, path, max_size, replaces_damaged: false, ids: RowIds::default() })
    }

    /// Returns true if the file uses a rollback journal, since a write-ahead log was not possible.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn uses_rollback_journal(&self) -> Result<bool, StoreError> {
        let mode = open::journal_mode(&self.connection);
        mode.map(|mode| mode != "wal").map_err(|error| store_error("read", &self.path, &error))
    }
}

impl Store for Sqlite {
    fn write(&mut self, batch: &Batch, now_ms: i64) -> Result<WriteResult, StoreError> {
        if !batch.marks.is_empty() || !batch.dead.is_empty() {
            let path = self.path.display();
            let text =
                format!("cannot write to {path}: it has no tables for what comes from Kafka");
            return Err(StoreError::Unfit { text });
        }
        let written = self.retry_in_new_file(|store| store.write_records(batch, now_ms))?;
        Ok(WriteResult::Stored(written))
    }

    fn retain(
        &mut self,
        retention: &RetentionConfig,
        _dead_letter_max: u64,
        now_ms: i64,
    ) -> Result<RetentionCounts, StoreError> {
        self.retry_in_new_file(|store| {
            let retained = retain::retain(&mut store.connection, retention, now_ms);
            retained.map_err(|error| store_error("delete old rows from", &store.path, &error))
        })
    }

    fn newest(&mut self, node: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        self.retry_in_new_file(|store| store.read(|connection| read::newest(connection, node)))
    }

    fn states(&mut self) -> Result<BTreeMap<Series, NodeStanding>, StoreError> {
        self.retry_in_new_file(|store| store.read(read::states))
    }

    fn targets(&mut self) -> Result<BTreeMap<Arc<str>, Labels>, StoreError> {
        self.read(read::targets)
    }

    fn checks(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Series, &CheckFacts),
    ) -> Result<(), StoreError> {
        self.read(|connection| read::checks(connection, from_ms, until_ms, take))
    }

    fn gaps(
        &mut self,
        from_ms: i64,
        until_ms: i64,
        take: &mut dyn FnMut(&Gap),
    ) -> Result<(), StoreError> {
        self.read(|connection| read::gaps(connection, from_ms, until_ms, take))
    }

    fn losses(&mut self, from_ms: i64, until_ms: i64) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(|connection| read::losses(connection, from_ms, until_ms))
    }
}

impl Sqlite {
    fn write_records(&mut self, batch: &Batch, now_ms: i64) -> Result<WriteCounts, StoreError> {
        let written = write::write_records(
            &mut self.connection,
            &mut self.ids,
            self.max_size,
            &batch.records,
            now_ms,
        );
        if let Err(error) = &written
            && error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        {
            // The log itself may be what fills the disk. Without the log there is room for the next try; if
            // this fails too, the next try reports the error.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        written.map_err(|error| store_error("write to", &self.path, &error))
    }

    /// Does `act`; if the file proves damaged and may be replaced, once more in the new file.
    fn retry_in_new_file<T>(
        &mut self,
        mut act: impl FnMut(&mut Sqlite) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match act(self) {
            Err(error @ StoreError::Damaged { .. }) if self.replaces_damaged => {
                self.start_new_file(&error)?;
                act(self)
            }
            done => done,
        }
    }

    /// Sets the file aside and goes on with a new one.
    fn start_new_file(&mut self, error: &StoreError) -> Result<(), StoreError> {
        let placeholder =
            Connection::open_in_memory().map_err(|e| store_error("close", &self.path, &e))?;
        // Close the file before the rename: SQLite removes its log by name.
        open::close_without_checkpoint(std::mem::replace(&mut self.connection, placeholder));
        quarantine::set_aside(&self.path, error)?;
        self.connection = Sqlite::connect(&self.path, self.max_size)?;
        self.ids = RowIds::default();
        Ok(())
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.connection).map_err(|error| store_error("read", &self.path, &error))
    }
}
