//! Faults of a configuration, each with its place. They are gathered from all files and shown sorted, one a
//! line.

use std::fmt;

use crate::character::is_unsafe;

/// Longest word that a fault repeats, in characters; the rest is cut.
const WORD_MAX: usize = 80;

/// Place in a file. Ordered by file, in the order in which the files were given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Position of the file among all that were read, from 0.
    pub(in crate::config) order: usize,
    /// Path of the file as given.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

/// Fault of a configuration: `PATH:LINE:COLUMN: text`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigFault {
    /// Place of the fault.
    pub location: Location,
    /// The word at fault, what is allowed, and last what to do; never a secret.
    pub text: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.text)
    }
}

/// Remark on text that is right, but may not be what was meant: `PATH:LINE:COLUMN: note: text`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Place of the text.
    pub location: Location,
    /// Effect of the text, and advice if that is not meant; never a secret.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: note: {}", self.location, self.text)
    }
}

/// Faults of a configuration: at least one, in the order of files and places, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(Vec<ConfigFault>);

impl ConfigFaults {
    /// Sorts `faults` and drops repeats.
    pub(in crate::config) fn new(mut faults: Vec<ConfigFault>) -> ConfigFaults {
        faults.sort();
        faults.dedup();
        ConfigFaults(faults)
    }

    /// Returns each fault by itself.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigFault> {
        self.0.iter()
    }
}

/// One fault a line, without a line end after the last.
impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// Returns `word` in double quotes, on one line and of bounded length.
pub(in crate::config) fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for (i, c) in word.chars().enumerate() {
        if i == WORD_MAX {
            text.push_str("...");
            break;
        }
        if is_unsafe(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_short_and_on_its_line() {
        assert_eq!(quoted("a\nb\"c"), "\"a\\nb\"c\"");
        assert_eq!(quoted(&"ä".repeat(100)), format!("\"{}...\"", "ä".repeat(80)));
    }
}
