//! Faults of TOML's syntax, in our words: toml-span tells the kind, but not what to do.

use toml_span::ErrorKind;

use crate::config::toml::fault::quoted;
use crate::config::toml::source::{Source, SourceOffset};

/// Describes a fault of the syntax.
pub(in crate::config) fn describe_syntax(error: &toml_span::Error, source: &Source) -> String {
    match &error.kind {
        ErrorKind::UnexpectedEof => "the file ends where a value must stand".to_string(),
        ErrorKind::ExceededDepthLimit => "nested too deeply".to_string(),
        ErrorKind::InvalidCharInString('\n') => "the quote is not closed on its line".to_string(),
        ErrorKind::InvalidCharInString(c) => {
            format!("{} cannot stand in a string: write it as an escape", quoted(&c.to_string()))
        }
        ErrorKind::InvalidEscape(c) | ErrorKind::InvalidHexEscape(c) => format!(
            "{} is no escape: write \\\\ for a backslash, or the string in 'single quotes'",
            quoted(&format!("\\{c}")),
        ),
        ErrorKind::InvalidEscapeValue(_) => "this escape is no character".to_string(),
        ErrorKind::Unexpected(c) => format!("{} cannot stand here", quoted(&c.to_string())),
        ErrorKind::UnterminatedString => "the quote that opens here is never closed".to_string(),
        ErrorKind::InvalidNumber => {
            "not a number, or too large a one: text, dates and units stand in double quotes"
                .to_string()
        }
        ErrorKind::UnquotedString => "not a value: text stands in double quotes".to_string(),
        ErrorKind::Wanted { expected, found } => {
            let found = if *found == "eof" { "the end of the file" } else { found };
            format!("expected {expected}, found {found}")
        }
        ErrorKind::DuplicateKey { key, first } => describe_repeat(key, source.at(first.start)),
        ErrorKind::DuplicateTable { name, first } => describe_repeat(name, source.at(first.start)),
        ErrorKind::RedefineAsArray => "stands as a table and as a list of tables".to_string(),
        ErrorKind::MultilineStringKey => "a key stands on one line".to_string(),
        ErrorKind::DottedKeyInvalidType { first } => {
            let place = source.at(first.start).location();
            format!("this key has a value already and cannot be a table: first at {place}")
        }
        _ => error.to_string(),
    }
}

/// Describes the fault of a key or table that is set a second time, in one file or in two.
pub(in crate::config) fn describe_repeat(name: &str, first: SourceOffset<'_>) -> String {
    format!("{} is set twice: first at {}", quoted(name), first.location())
}
