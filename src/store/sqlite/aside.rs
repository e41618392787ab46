//! A damaged file is set aside under another name, for a person to look into, with what SQLite keeps beside it:
//! `sitewatch.db` becomes `sitewatch.db.damaged`, the next `….damaged-2`, a third `….damaged-3`. From the
//! fourth on the third gives way, since the first ones hold the most and a broken disk must not fill up.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::open::beside;

/// Keep at most this many damaged files.
const KEPT_MAX: usize = 3;
/// What SQLite keeps beside a file: the write-ahead log, its map, the rollback journal.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Gives the file another name, and logs that. `error`: how it proved damaged.
///
/// # Errors
/// It cannot be renamed.
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
    // Companions first: a log beside a new file of its name would be taken for that file's.
    for end in COMPANIONS {
        // One that is left of an earlier file of that name would be taken for this one's.
        let _ = fs::remove_file(beside(&to, end));
        rename(&beside(path, end), &beside(&to, end))?;
    }
    rename(path, &to)?;
    log::error!("{error}: set it aside as {}, going on with a new file", to.display());
    Ok(())
}

/// The first name that is not taken, or the last one.
fn free_name(path: &Path) -> PathBuf {
    let names = (1..=KEPT_MAX).map(|number| match number {
        1 => beside(path, ".damaged"),
        number => beside(path, &format!(".damaged-{number}")),
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
