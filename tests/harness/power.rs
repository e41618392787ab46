//! Simulates power cuts. `strace` records what a program does to some files, and the states are
//! rebuilt that a cut at some moment could leave on the disk. Everything before a file's last sync
//! is on the disk; each later write may be there, may be missing, or may be torn at a sector.
//! ```text
//! let disk = Recording::read(&log, &[&base, &wal]);
//! for moment in 0..disk.len() { disk.cut(moment, &mut dice).write(&folder); }
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A disk writes at least this many bytes as one.
const SECTOR: usize = 512;

/// Options of `strace`, before the program: calls that change files, with every byte.
pub const STRACE: [&str; 9] = [
    "-f",
    "-qq",
    "-y",
    "-xx",
    "-s",
    "70000",
    "-e",
    "trace=write,pwrite64,lseek,ftruncate,fdatasync,fsync,unlink,unlinkat",
    "-o",
];

/// The changes of some files, in order.
pub struct Recording(Vec<Change>);

/// A change, and the file that it changes.
struct Change {
    file: usize,
    kind: Kind,
}

enum Kind {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
    Remove,
    Sync,
}

/// The bytes of each file; `None` if it does not exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Disk(Vec<Option<Vec<u8>>>);

impl Recording {
    /// Reads a log of `strace` about these files, which did not exist before.
    pub fn read(log: &Path, files: &[&Path]) -> Recording {
        let text = fs::read_to_string(log).unwrap();
        let mut changes = Vec::new();
        // A call names a descriptor by its number and path.
        let mut positions: HashMap<String, usize> = HashMap::new();
        for line in whole_calls(&text) {
            let Some((name, rest)) = line.split_once('(') else { continue };
            let Some((rest, result)) = rest.rsplit_once(" = ") else { continue };
            let Ok(result) = result.split(' ').next().unwrap_or_default().parse::<usize>() else {
                continue;
            };
            let rest = rest.trim_end().trim_end_matches(')');
            let words: Vec<&str> = rest.split(", ").collect();
            let path = match name {
                "unlink" => unescape(words[0].trim_matches('"')),
                "unlinkat" => unescape(words[1].trim_matches('"')),
                _ => unescape(between(words[0], '<', '>')),
            };
            let path = String::from_utf8(path).unwrap();
            let Some(file) = files.iter().position(|file| file.to_str() == Some(&path)) else {
                continue;
            };
            let position = positions.entry(words[0].to_owned()).or_default();
            let kind = match name {
                "lseek" => {
                    *position = result;
                    continue;
                }
                "write" => {
                    let bytes = unescape(words[1].trim_matches('"'));
                    assert_eq!(bytes.len(), result, "all of it is in the log");
                    *position += result;
                    Kind::Write { at: *position - result, bytes }
                }
                "pwrite64" => {
                    let bytes = unescape(words[1].trim_matches('"'));
                    Kind::Write { at: words[3].parse().unwrap(), bytes }
                }
                "ftruncate" => Kind::Resize(words[1].parse().unwrap()),
                "fdatasync" | "fsync" => Kind::Sync,
                _ => Kind::Remove,
            };
            changes.push(Change { file, kind });
        }
        Recording(changes)
    }

    /// Returns the number of changes: the moments at which the power can fail.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells if that change is the sync of this file.
    pub fn is_sync(&self, moment: usize, file: usize) -> bool {
        self.0[moment].file == file && matches!(self.0[moment].kind, Kind::Sync)
    }

    /// Tells if that change writes to this file.
    pub fn is_write(&self, moment: usize, file: usize) -> bool {
        self.0[moment].file == file && matches!(self.0[moment].kind, Kind::Write { .. })
    }

    /// Returns the disk after that change, with everything before it.
    pub fn whole(&self, files: usize, moment: usize) -> Disk {
        let mut disk = Disk(vec![None; files]);
        self.0[..=moment].iter().for_each(|change| disk.apply(change, usize::MAX));
        disk
    }

    /// Returns a disk that a cut after that change could leave.
    pub fn cut(&self, files: usize, moment: usize, dice: &mut Dice) -> Disk {
        let done = &self.0[..=moment];
        let synced =
            |file| done.iter().rposition(|of| of.file == file && matches!(of.kind, Kind::Sync));
        let synced: Vec<Option<usize>> = (0..files).map(synced).collect();
        let mut disk = Disk(vec![None; files]);
        for (i, change) in done.iter().enumerate() {
            let is_safe = synced[change.file].is_some_and(|last| i <= last);
            let sectors = match dice.roll(4) {
                _ if is_safe => usize::MAX,
                0 => continue,
                1 => dice.roll(9),
                _ => usize::MAX,
            };
            disk.apply(change, sectors);
        }
        disk
    }
}

impl Disk {
    /// Applies a change; of a write at most this many sectors.
    fn apply(&mut self, change: &Change, sectors: usize) {
        let file = &mut self.0[change.file];
        match &change.kind {
            Kind::Write { at, bytes } => {
                let file = file.get_or_insert_default();
                let first = SECTOR - at % SECTOR;
                let length = match sectors {
                    0 => 0,
                    _ => {
                        first.saturating_add((sectors - 1).saturating_mul(SECTOR)).min(bytes.len())
                    }
                };
                if length > 0 {
                    file.resize(file.len().max(at + length), 0);
                    file[*at..at + length].copy_from_slice(&bytes[..length]);
                }
            }
            Kind::Resize(length) => file.get_or_insert_default().resize(*length, 0),
            Kind::Remove => *file = None,
            Kind::Sync => {}
        }
    }

    /// Writes the files under these names.
    pub fn write(&self, paths: &[PathBuf]) {
        for (path, bytes) in paths.iter().zip(&self.0) {
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }
}

/// A generator of random numbers that are the same in each run: xorshift.
pub struct Dice(pub u64);

impl Dice {
    /// Returns a number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// Returns the calls of all threads without their numbers. A call that another thread's call
/// interrupted is joined again, at the place of its end.
fn whole_calls(text: &str) -> Vec<String> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, first.to_owned());
        } else if call.starts_with("<... ") {
            let rest = call.split_once(" resumed>").map_or("", |(_, rest)| rest);
            calls.extend(begun.remove(thread).map(|first| first + rest));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

fn between(text: &str, open: char, close: char) -> &str {
    text.split_once(open)
        .and_then(|(_, rest)| rest.rsplit_once(close))
        .map_or("", |(found, _)| found)
}

/// Decodes `\x2f\x74…`; other characters stand for themselves.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}
