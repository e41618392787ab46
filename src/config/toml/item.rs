//! Key with its value, and the types as which the value can be read. Each function that reads takes note of a
//! fault if the value has another type or is out of bounds, and then returns none.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use toml_span::Value;
use toml_span::value::{Key, ValueInner};

use crate::config::toml::context::ReadContext;
use crate::config::toml::fault::quoted;
use crate::config::toml::insertion;
use crate::config::toml::insertion::Piece;
use crate::config::toml::source::{Source, SourceOffset, check_readable};
use crate::config::units;

/// Key and its value.
#[derive(Clone, Copy)]
pub(in crate::config) struct Item<'a> {
    context: &'a ReadContext<'a>,
    /// Name of the key; in a list that of the list.
    pub name: &'a str,
    /// Place of the key.
    pub key: SourceOffset<'a>,
    /// Place of the value.
    pub at: SourceOffset<'a>,
    pub value: &'a Value<'a>,
}

impl<'a> Item<'a> {
    pub fn new(
        context: &'a ReadContext<'a>,
        source: &'a Source,
        key: &'a Key<'a>,
        value: &'a Value<'a>,
    ) -> Item<'a> {
        Item {
            context,
            name: &key.name,
            key: source.at(key.span.start),
            at: source.at(value_start(&source.text, value)),
            value,
        }
    }

    /// Returns a value inside this one.
    pub fn part(self, value: &'a Value<'a>) -> Item<'a> {
        let source = self.at.source;
        Item { at: source.at(value_start(&source.text, value)), value, ..self }
    }

    /// Takes note of a fault of the value.
    pub fn fault(self, text: impl Into<String>) {
        self.context.fault(self.at, text);
    }

    /// Takes note of a fault of the key.
    pub fn fault_at_key(self, text: impl Into<String>) {
        self.context.fault(self.key, text);
    }

    /// Takes note of a fault: the value is of another type than `wanted`.
    pub fn wanted(self, wanted: &str) {
        let found = match self.value.as_ref() {
            ValueInner::String(_) => "a string",
            ValueInner::Integer(_) => "an integer",
            ValueInner::Float(_) => "a float",
            ValueInner::Boolean(_) => "a boolean",
            ValueInner::Array(_) => "a list",
            ValueInner::Table(_) => "a table",
        };
        self.fault(format!("{} is {found}, but must be {wanted}", quoted(self.name)));
    }

    /// Returns the string as written, for faults: the text for a `${...}` may be a secret.
    pub fn written(self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// Takes note of a fault of a string: `text` says what is wrong with it.
    pub fn refuse(self, text: impl Display) {
        self.fault(format!("{} {} {text}", self.name, quoted(self.written())));
    }

    /// Reads a string, with each `${...}` replaced; `wanted` names the kind of string for the fault.
    pub fn string(self, wanted: &str) -> Option<String> {
        Some(self.pieces(wanted)?.iter().map(Piece::text).collect())
    }

    /// Reads a string as [`Item::string`] does, in pieces.
    pub fn pieces(self, wanted: &str) -> Option<Vec<Piece>> {
        let Some(written) = self.value.as_str() else {
            self.wanted(wanted);
            return None;
        };
        match insertion::insert(written, self.at.source, self.context.environment) {
            Ok(value) => Some(value),
            Err(faults) => {
                for fault in faults {
                    self.fault(fault);
                }
                None
            }
        }
    }

    /// Reads any string.
    pub fn text(self) -> Option<String> {
        self.string("a string")
    }

    /// Reads a string of `min` to `max` characters, none of them a control character.
    pub fn words(self, min: usize, max: usize) -> Option<String> {
        let text = self.text()?;
        let count = text.chars().count();
        if count < min || count > max {
            self.refuse(format_args!("has {count} characters: {min} to {max} are allowed"));
            return None;
        }
        if text.chars().any(char::is_control) {
            self.refuse("holds a control character: none is allowed");
            return None;
        }
        Some(text)
    }

    /// Reads a string that is not shown: not empty, without control characters.
    pub fn secret(self) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() {
            self.fault(format!("{} is empty", self.name));
            return None;
        }
        if text.chars().any(char::is_control) {
            self.fault(format!("{} holds a line end or control character", self.name));
            return None;
        }
        Some(text)
    }

    /// Reads a path; a relative path starts from the folder of the file that names it.
    pub fn path(self) -> Option<PathBuf> {
        let path = self.string("a path in quotes")?;
        if path.is_empty() || path.contains('\0') {
            self.refuse("is not a path");
            return None;
        }
        Some(self.at.source.beside(&path))
    }

    /// Reads a path of a file that can be read.
    pub fn file(self) -> Option<PathBuf> {
        let path = self.path()?;
        if let Err(cause) = check_readable(&path) {
            self.refuse(format_args!("cannot be read: {cause}"));
            return None;
        }
        Some(path)
    }

    /// Reads a path of a file with certificates.
    pub fn certificates(self) -> Option<PathBuf> {
        let path = self.file()?;
        if let Err(cause) = self.context.pem.check_certificates(&path) {
            self.refuse(cause);
            return None;
        }
        Some(path)
    }

    pub fn boolean(self) -> Option<bool> {
        if self.value.as_bool().is_none() {
            self.wanted("true or false");
        }
        self.value.as_bool()
    }

    /// Reads an integer; another type is no fault here.
    pub fn integer(self) -> Option<i64> {
        self.value.as_integer()
    }

    /// Reads an integer from `min` to `max`.
    pub fn number(self, min: u32, max: u32) -> Option<u32> {
        let Some(number) = self.integer() else {
            self.wanted(&format!("a number, {min} to {max}"));
            return None;
        };
        let allowed = u32::try_from(number).ok().filter(|number| (min..=max).contains(number));
        if allowed.is_none() {
            self.fault(format!("{} {number} is out of range: {min} to {max}", self.name));
        }
        allowed
    }

    /// Reads a duration from `min` to `max`.
    pub fn duration(self, min: Duration, max: Duration) -> Option<Duration> {
        let text = self.string("a duration in quotes, such as \"15s\"")?;
        let duration = self.understood(units::parse_duration(&text))?;
        self.in_range(duration, min, max, units::show_duration)
    }

    /// Reads a size in bytes from `min` to `max`.
    pub fn size(self, min: u64, max: u64) -> Option<u64> {
        let text = self.string("a size in quotes, such as \"256KiB\"")?;
        let size = self.understood(units::parse_size(&text))?;
        self.in_range(size, min, max, units::show_size)
    }

    /// Reads a size of memory in bytes; `max` is below 4 GiB.
    pub fn memory(self, min: u64, max: u64) -> Option<usize> {
        self.size(min, max).and_then(|size| usize::try_from(size).ok())
    }

    /// Reads one of `choices`.
    pub fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let text = self.string(&format!("one of {names}"))?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            self.refuse(format_args!("is not allowed: one of {names}"));
        }
        found.map(|(_, value)| *value)
    }

    /// Reads the values of a list; `wanted` names the list for the fault.
    pub fn list(self, wanted: &str) -> Option<Vec<Item<'a>>> {
        let Some(values) = self.value.as_array() else {
            self.wanted(wanted);
            return None;
        };
        Some(values.iter().map(|value| self.part(value)).collect())
    }

    /// Returns the values of a list, or the one value that stands for a list of one.
    pub fn one_or_more(self) -> Vec<Item<'a>> {
        match self.value.as_array() {
            Some(values) => values.iter().map(|value| self.part(value)).collect(),
            None => vec![self],
        }
    }

    /// Returns the entries of a table, in the order in which they are written.
    pub fn entries(self, wanted: &str) -> Option<Vec<Item<'a>>> {
        let Some(table) = self.value.as_table() else {
            self.wanted(wanted);
            return None;
        };
        let entry = |(key, value)| Item::new(self.context, self.at.source, key, value);
        let mut entries: Vec<Item<'a>> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key.offset);
        Some(entries)
    }

    /// Returns the value of `parsed`; its error is a fault.
    pub fn understood<T>(self, parsed: Result<T, impl Display>) -> Option<T> {
        if let Err(error) = &parsed {
            self.refuse(format_args!("is {error}"));
        }
        parsed.ok()
    }

    fn in_range<T: PartialOrd + Copy>(
        self,
        value: T,
        min: T,
        max: T,
        show: fn(T) -> String,
    ) -> Option<T> {
        if value < min || value > max {
            let (min, max) = (show(min), show(max));
            self.refuse(format_args!("is out of range: {min} to {max}"));
            return None;
        }
        Some(value)
    }
}

/// Returns the position in `text` at which a value begins. toml-span gives for a string the first character
/// inside the quotes, and for an empty one the quote.
fn value_start(text: &str, value: &Value<'_>) -> usize {
    let start = value.span.start;
    let Some(string) = value.as_str() else { return start };
    if string.is_empty() && value.span.end == start + 1 {
        return start;
    }
    let before = text.get(..start).unwrap_or_default();
    let line_cut = before.strip_suffix("\r\n").or_else(|| before.strip_suffix('\n'));
    let before = line_cut.unwrap_or(before);
    let many = ["\"\"\"", "'''"].iter().any(|quotes| before.ends_with(quotes));
    before.len().saturating_sub(if many { 3 } else { 1 })
}
