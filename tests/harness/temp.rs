//! Temporary folders that disappear with their test, even after a panic. Folders that are never
//! dropped (a killed test run, statics) are removed by the next run: a folder's name holds the
//! number of its process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// A new, empty folder below cargo's folder for tests.
#[derive(Debug)]
pub struct Temp {
    path: PathBuf,
}

impl Temp {
    /// Makes the folder.
    pub fn new() -> Temp {
        static SWEPT: Once = Once::new();
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        SWEPT.call_once(|| sweep(base));
        Temp::below(base)
    }

    /// Makes the folder below the system's temporary folder, usually `/tmp`: cargo's may be in a
    /// home that other users cannot enter.
    pub fn public() -> Temp {
        static SWEPT: Once = Once::new();
        let base = std::env::temp_dir();
        SWEPT.call_once(|| sweep(&base));
        Temp::below(&base)
    }

    fn below(base: &Path) -> Temp {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("sitewatch-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        // Resolve links: through /proc/PID/root they would lead out of that root.
        Temp { path: path.canonicalize().unwrap() }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a file in it, which need not exist.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file and its parent folders, and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // A failure does not matter: the next run removes the folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of test runs that have ended.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|n| n.strip_prefix("sitewatch-")) else { continue };
        let process = rest.split('-').next().unwrap_or_default();
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            // Another run may remove them at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
