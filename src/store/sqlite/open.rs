//! Opens a file, and decides whether it is ours. A file of another program is never changed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::error::{ELSEWHERE, foreign_file, open_error, read_only_reason, store_error};
use super::files::{companion, has_log, is_ours};
use super::migrate::{self, APPLICATION};
use crate::store::error::StoreError;

/// Size of the smallest SQLite file, in bytes.
const SIZE_MIN: u64 = 512;
/// Longest wait for another process to release the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Most reads of a header that seems to be torn.
const HEADER_READS: u32 = 40;
/// Pause between two reads of a header.
const HEADER_PAUSE: Duration = Duration::from_millis(25);

/// Returns true if the file is yet to be made; its folder is there then.
pub fn is_missing(path: &Path) -> Result<bool, StoreError> {
    create_folder(path)?;
    Ok(matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound))
}

fn create_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|error| StoreError::Unfit {
        text: format!("cannot make the folder {}: {error}; {ELSEWHERE}", folder.display()),
    })
}

/// Opens the file to write, and makes it if it is missing.
pub fn open_to_write(path: &Path) -> Result<Connection, StoreError> {
    create_folder(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    check_header(path)?;
    let failed = |error: rusqlite::Error| open_error(path, &error);
    let mut connection = connect(path, flags).map_err(failed)?;
    // Until the file is known to be ours, closing it must not move its log into it.
    let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(no_checkpoint, true).map_err(failed)?;
    let is_new = is_new_file(&connection, path)?;
    // SQLite opens a file that it may not write, and reports that only at the first write.
    if connection.is_readonly(MAIN_DB).map_err(failed)? {
        let text = format!("cannot open {}: {}", path.display(), read_only_reason(path));
        return Err(StoreError::Unfit { text });
    }
    connection.set_db_config(no_checkpoint, false).map_err(failed)?;
    connection = choose_journal(connection, path, flags).map_err(failed)?;
    // Rows go to the end of their table, and are not read again: SQLite's default cache of 2000 KiB would
    // fill up with them.
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;",
        )
        .map_err(failed)?;
    migrate::migrate(&mut connection, is_new)
        .map_err(|error| store_error("prepare", path, &error))?;
    Ok(connection)
}

/// Opens the file to read. It is opened for writing if we may, since readers of a write-ahead log must take
/// part in its locks; nothing is written all the same.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound) {
        let path = path.display();
        let text = format!("cannot open {path}: no such file; `sitewatch run` makes it");
        return Err(StoreError::Unfit { text });
    }
    check_header(path)?;
    let connection = open_readable(path).map_err(|error| open_error(path, &error))?;
    if is_new_file(&connection, path)? {
        let text = format!("cannot use {}: it is empty; `sitewatch run` fills it", path.display());
        return Err(StoreError::Unfit { text });
    }
    connection
        .execute_batch("PRAGMA query_only = ON; BEGIN")
        .map_err(|error| store_error("read", path, &error))?;
    Ok(connection)
}

/// Opens a connection that can read the file. If the shared map of its log cannot be made, as in a folder
/// that we may not write, a file without a log is read as one that nobody changes.
fn open_readable(path: &Path) -> rusqlite::Result<Connection> {
    let try_open = |flags| {
        let connection = connect(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    let opened = try_open(OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_: rusqlite::Error| try_open(OpenFlags::SQLITE_OPEN_READ_ONLY));
    let code = opened.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
    if has_log(path) || !matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) {
        return opened;
    }
    open_immutable(path)
}

/// Opens a connection that reads the file as on a medium that cannot change: without locks and log, and no
/// file is made beside it.
fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = "file:".to_owned();
    for byte in name.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' => uri.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            _ => uri += &format!("%{byte:02x}"),
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(Path::new(&(uri + "?immutable=1")), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Reads a file's header before the file is really opened: to open a file that is not ours would make a log's
/// map beside it, and a file of a few bytes would pass for an empty one. SQLite does the reading: if we
/// closed the file ourselves, every other connection of this process would lose its locks.
fn check_header(path: &Path) -> Result<(), StoreError> {
    let size = match fs::metadata(path) {
        Ok(file) if file.is_file() => file.len(),
        Ok(_) => return Err(foreign_file(path, "it is not a file")),
        // The real opening reports the error.
        Err(_) => return Ok(()),
    };
    // A file with a rollback journal beside it, which is not yet rolled back, may be in any state.
    if size == 0 || companion(path, "-journal").exists() {
        return Ok(());
    }
    if size < SIZE_MIN {
        let text = format!("cannot use {}: it is not an SQLite file", path.display());
        return Err(match is_ours(path) {
            true => StoreError::Damaged { text },
            false => foreign_file(path, "it is not an SQLite file"),
        });
    }
    let is_torn = |header: &rusqlite::Result<FileHeader>| {
        let code = header.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
        code == Some(ErrorCode::DatabaseCorrupt)
    };
    let mut header = FileHeader::read(path);
    for _ in 0..HEADER_READS {
        if !is_torn(&header) {
            break;
        }
        // A power cut while the log was moved into the file leaves it torn too: with the log it is whole
        // again, and the real opening reads both.
        if has_log(path) {
            return Ok(());
        }
        // Another process is moving its log into the file at this moment. We only told SQLite that the file
        // does not change.
        std::thread::sleep(HEADER_PAUSE);
        header = FileHeader::read(path);
    }
    match header.map_err(|error| open_error(path, &error))? {
        FileHeader { application: APPLICATION, version, .. } => check_version(path, version),
        // The file may be one of ours in the making, all of which is still in the log.
        FileHeader { application: 0, version: 0, pages: 0..=1 } => Ok(()),
        _ => Err(foreign_file(path, "it is an SQLite file of another program")),
    }
}

/// Fields of a file's header.
struct FileHeader {
    application: i32,
    version: i32,
    pages: i32,
}

impl FileHeader {
    fn read(path: &Path) -> rusqlite::Result<FileHeader> {
        let connection = open_immutable(path)?;
        let number = |pragma: &str| -> rusqlite::Result<i32> {
            connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
        };
        Ok(FileHeader {
            application: number("application_id")?,
            version: number("user_version")?,
            pages: number("page_count")?,
        })
    }
}

/// Accepts the version of our tables, if we know it.
fn check_version(path: &Path, version: i32) -> Result<(), StoreError> {
    if usize::try_from(version).is_ok_and(|version| version <= migrate::LATEST) {
        return Ok(());
    }
    Err(foreign_file(path, "a newer sitewatch made it"))
}

/// Closes a file that is damaged, and leaves its log as it is.
pub fn close_without_checkpoint(connection: Connection) {
    // If SQLite refuses the setting, the log may be moved into the file, which harms nobody.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    drop(connection);
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Returns true if the file is new, so that it may become ours. A file that holds something else is an error.
fn is_new_file(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    let number = |pragma: &str| -> Result<i32, StoreError> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(|error| open_error(path, &error))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| open_error(path, &error))?;
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, version) => check_version(path, version).map(|()| tables == 0),
        (0, 0) if tables == 0 => Ok(true),
        _ => Err(foreign_file(path, "it is an SQLite file of another program")),
    }
}

/// Chooses the journal: a write-ahead log, so that readers and the writer do not wait for one another; if
/// that is not possible (file systems without shared maps), a rollback journal.
fn choose_journal(
    connection: Connection,
    path: &Path,
    flags: OpenFlags,
) -> rusqlite::Result<Connection> {
    let try_wal = || -> rusqlite::Result<bool> {
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
        // The shared map is made by the first access.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
        connection.execute_batch("PRAGMA journal_size_limit = 4194304")?;
        Ok(mode == "wal")
    };
    match try_wal() {
        Ok(true) => return Ok(connection),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            return Err(error);
        }
        _ => {}
    }
    drop(connection);
    // A process alone with the file can read its log without a shared map, and end it.
    let connection = connect(path, flags)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    let _: String = connection.query_row("PRAGMA journal_mode = DELETE", [], |r| r.get(0))?;
    connection.execute_batch("PRAGMA locking_mode = NORMAL; SELECT count(*) FROM sqlite_schema")?;
    Ok(connection)
}

/// Returns the journal in use, such as `wal` or `delete`.
pub fn journal_mode(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))
}
