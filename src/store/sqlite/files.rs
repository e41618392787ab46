//! The files of a database: those that SQLite or we put beside it, and whether the system lets us write
//! there.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Ending of the lock file's name: `Sqlite::claim` leaves that file beside a database.
pub const LOCK: &str = ".lock";

/// Returns the path of a file that SQLite or we put beside the database: `path` with `end` behind its name.
pub fn companion(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Returns true if a write-ahead log that is not empty stands beside the file.
pub fn has_log(path: &Path) -> bool {
    fs::metadata(companion(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Returns true if the file is ours, even if its first bytes no longer say so: `run` has left its lock beside
/// it.
pub fn is_ours(path: &Path) -> bool {
    companion(path, LOCK).exists()
}

/// Returns the reason for which the system does not let us write the file, or make files beside it, if there
/// is one. Nothing is opened for that: to close it again would lose the locks of our connections.
pub fn write_refusal(path: &Path) -> Option<std::io::Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = access(folder.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK);
    let file = access(path, Access::READ_OK | Access::WRITE_OK);
    let refused = file.err().filter(|error| *error != Errno::NOENT).or(folder.err());
    refused.map(std::io::Error::from)
}
