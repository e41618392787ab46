//! Files of a configuration: their paths, their text, and places in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::toml::fault::{ConfigFault, Location};

/// Largest file that is read, in bytes: some 50 000 targets. The limit keeps `-c /dev/zero` from filling the
/// memory.
const FILE_MAX: u64 = 8 << 20;

/// File of the configuration, or of targets.
pub(in crate::config) struct Source {
    order: usize,
    /// Path as given.
    pub path: PathBuf,
    /// Whole text of the file, without a byte order mark.
    pub text: String,
    /// Offset of the start of each line in the text, in bytes; the first is 0.
    lines: Vec<usize>,
}

/// Place in a source; line and column are counted when they are asked for.
#[derive(Clone, Copy)]
pub(in crate::config) struct SourceOffset<'a> {
    /// File of the place.
    pub source: &'a Source,
    /// Distance from the start of the file's text, in bytes.
    pub offset: usize,
}

/// Reads every file that `paths` name, folders opened up. A file that cannot be read is a fault.
pub(in crate::config) fn load(paths: &[PathBuf]) -> (Vec<Source>, Vec<ConfigFault>) {
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    let mut order = 0;
    for path in paths {
        match list_files_of(path) {
            Ok(files) => {
                for file in files {
                    match Source::load(
                        order,
                        &file,
                        "make one with `sitewatch config --example`, or name another with --config",
                    ) {
                        Ok(source) => sources.push(source),
                        Err(fault) => faults.push(fault),
                    }
                    order += 1;
                }
            }
            Err(text) => {
                faults.push(ConfigFault { location: first_location(order, path), text });
                order += 1;
            }
        }
    }
    (sources, faults)
}

impl Source {
    /// Reads the file at `path`; `hint` says what to do if there is none.
    pub fn load(order: usize, path: &Path, hint: &str) -> Result<Source, ConfigFault> {
        let fault = |text| ConfigFault { location: first_location(order, path), text };
        let bytes = match read_bounded(path, FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fault(format!("cannot read this file: there is none: {hint}")));
            }
            Err(error) => {
                return Err(fault(format!("cannot read this file: {}", describe(&error))));
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text);
                Ok(Source::new(order, path, text))
            }
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let before = String::from_utf8_lossy(valid).into_owned();
                let end = before.len();
                let source = Source::new(order, path, before);
                Err(source.at(end).fault("not UTF-8: save the file in that encoding"))
            }
        }
    }

    fn new(order: usize, path: &Path, text: String) -> Source {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(i, _)| i + 1)).collect();
        Source { order, path: path.to_path_buf(), text, lines }
    }

    /// Returns the place `offset` bytes from the start.
    pub fn at(&self, offset: usize) -> SourceOffset<'_> {
        SourceOffset { source: self, offset }
    }

    /// Returns `path` as it is, or, if it is relative, joined to the folder of this file.
    pub fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

impl SourceOffset<'_> {
    /// Returns the place with its line and column.
    pub fn location(self) -> Location {
        let Source { order, path, text, lines } = self.source;
        let offset = self.offset.min(text.len());
        // The first line starts at 0, so at least one starts here or before.
        let line = lines.partition_point(|line_start| *line_start <= offset);
        let before = &text.as_bytes()[lines[line - 1]..offset];
        // Counts characters: every byte but those that continue one.
        let characters = before.iter().filter(|byte| **byte & 0xc0 != 0x80);
        Location {
            order: *order,
            path: path.display().to_string(),
            line,
            column: characters.count() + 1,
        }
    }

    /// Returns a fault at this place.
    pub fn fault(self, text: impl Into<String>) -> ConfigFault {
        ConfigFault { location: self.location(), text: text.into() }
    }
}

/// Returns the content of the file at `path`, if it has at most `max` bytes.
pub(in crate::config) fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let text = format!("it is larger than {}", crate::config::units::show_size(max));
        return Err(io::Error::other(text));
    }
    Ok(bytes)
}

/// Checks that there is a file at `path` that can be read.
///
/// # Errors
/// The reason for which it cannot, in words.
pub(in crate::config) fn check_readable(path: &Path) -> Result<(), String> {
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_dir() => Err("it is a folder".to_string()),
        Ok(_) => Ok(()),
        Err(error) => Err(describe(&error)),
    }
}

/// Returns the reason for which a file cannot be read, in words.
pub(in crate::config) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is none".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        io::ErrorKind::IsADirectory => "it is a folder".to_string(),
        _ => error.to_string(),
    }
}

/// Returns the files that `paths` name, folders opened up as far as they can be.
pub fn list_files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let each = |path: &PathBuf| list_files_of(path).unwrap_or_else(|_| vec![path.clone()]);
    paths.iter().flat_map(each).collect()
}

/// Returns `path` itself, or if it is a folder its `*.toml` in the order of their names.
fn list_files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let cannot = |error: io::Error| format!("cannot read this folder: {}", describe(&error));
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err("no file in this folder ends in .toml".to_string());
    }
    Ok(files)
}

/// Returns the first place of the file at `path`.
fn first_location(order: usize, path: &Path) -> Location {
    Location { order, path: path.display().to_string(), line: 1, column: 1 }
}
