//! Sets a damaged file aside under another name, for a person to look into, with the files that SQLite keeps
//! beside it: `sitewatch.db` becomes `sitewatch.db.damaged`, the next `….damaged-2`, a third `….damaged-3`.
//! From the fourth on the newest replaces the third: the first ones hold the most, and a broken disk must not
//! fill up.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::companion;
use crate::store::error::StoreError;

/// Most damaged files that are kept.
const QUARANTINE_MAX: usize = 3;
/// Files that SQLite keeps beside a database: the write-ahead log, its map, the rollback journal.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Gives the file another name, and logs that. `error` says how the file proved damaged.
///
/// # Errors
/// The file cannot be renamed.
pub fn set_aside(path: &Path, error: &StoreError) -> Result<(), StoreError> {
    let to = free_name(path);
    let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Unfit {
            text: format!(
                "cannot set the damaged {} aside as {}: {error}",
                from.display(),
                to.display()
            ),
        }),
        _ => Ok(()),
    };
    // Companions go first: SQLite would take a log that stays for the log of the new file.
    for end in COMPANIONS {
        // SQLite would take a companion that an earlier file of that name has left for this file's.
        let _ = fs::remove_file(companion(&to, end));
        rename(&companion(path, end), &companion(&to, end))?;
    }
    rename(path, &to)?;
    log::error!("{error}: moved the file to {}, going on with a new one", to.display());
    Ok(())
}

/// Returns the first name that is free, or the last name.
fn free_name(path: &Path) -> PathBuf {
    let names = (1..=QUARANTINE_MAX).map(|number| match number {
        1 => companion(path, ".damaged"),
        number => companion(path, &format!(".damaged-{number}")),
    });
    let mut last = PathBuf::new();
    for name in names {
        if !name.exists() {
            return name;
        }
        last = name;
    }
    last
}
