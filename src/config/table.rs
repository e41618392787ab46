//! TOML tables, read key by key: the one reader that every section uses. It collects faults
//! instead of ending at the first, and knows each allowed key because it was asked for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use toml_span::value::{Key, Table, ValueInner};
use toml_span::{ErrorKind, Value};

use super::environment::Environment;
use super::fault::{Fault, quoted};
use super::source::{At, Source};
use super::{text, units};

/// What all tables share: where values come from, and where faults go.
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    faults: RefCell<Vec<Fault>>,
}

/// A file's TOML.
pub(super) struct Document<'a> {
    source: &'a Source,
    root: Value<'a>,
}

/// A table, of one file or of several that add to the same one.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    /// "in [probe]", for faults.
    place: &'static str,
    /// Where it begins first.
    pub at: At<'a>,
    /// What nobody asked for yet, by key.
    left: BTreeMap<&'a str, Vec<Item<'a>>>,
    asked: Vec<&'static str>,
}

/// A key and its value.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    reader: &'a Reader<'a>,
    /// The key; in a list that of the list.
    pub name: &'a str,
    /// Where the key stands.
    pub key: At<'a>,
    /// Where the value stands.
    pub at: At<'a>,
    value: &'a Value<'a>,
}

/// What a key was set to, and where.
#[derive(Clone)]
pub(super) struct Set<'a, T> {
    pub value: T,
    pub at: At<'a>,
}

impl<'a> Reader<'a> {
    pub fn new(environment: &'a Environment, faults: Vec<Fault>) -> Reader<'a> {
        Reader { environment, faults: RefCell::new(faults) }
    }

    /// Takes note of a fault.
    pub fn fault(&self, at: At<'_>, text: impl Into<String>) {
        self.faults.borrow_mut().push(at.fault(text));
    }

    /// Takes note of a fault that has its place already.
    pub fn add(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// How many faults there are so far.
    pub fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// All faults so far.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }

    /// The TOML of `source`; a fault in its syntax hides the rest of that file.
    pub fn parse(&self, source: &'a Source) -> Option<Document<'a>> {
        match toml_span::parse(&source.text) {
            Ok(root) => Some(Document { source, root }),
            Err(error) => {
                self.fault(source.at(error.span.start), syntax(&error, source));
                None
            }
        }
    }
}

impl<'a> Section<'a> {
    /// The top level of all files together; `first` is where they begin.
    pub fn top(
        reader: &'a Reader<'a>,
        first: At<'a>,
        documents: &'a [Document<'a>],
    ) -> Section<'a> {
        let mut section = Section::empty(reader, "at the top level", first);
        for document in documents {
            if let Some(table) = document.root.as_table() {
                section.extend(document.source, table);
            }
        }
        section
    }

    fn empty(reader: &'a Reader<'a>, place: &'static str, at: At<'a>) -> Section<'a> {
        Section { reader, place, at, left: BTreeMap::new(), asked: Vec::new() }
    }

    fn extend(&mut self, source: &'a Source, table: &'a Table<'a>) {
        for (key, value) in table {
            let item = Item::new(self.reader, source, key, value);
            self.left.entry(item.name).or_default().push(item);
        }
    }

    /// The table of that name, empty if there is none; several files may each set a part of it.
    pub fn section(&mut self, name: &'static str, place: &'static str) -> Section<'a> {
        let mut section = Section::empty(self.reader, place, self.at);
        for (i, item) in self.every(name).into_iter().enumerate() {
            if i == 0 {
                section.at = item.key;
            }
            match item.value.as_table() {
                Some(table) => section.extend(item.at.source, table),
                None => item.wanted(&format!("a table: write [{name}]")),
            }
        }
        section
    }

    /// The tables of that name in all files: `[[name]]`.
    pub fn sections(&mut self, name: &'static str, place: &'static str) -> Vec<Section<'a>> {
        let mut sections = Vec::new();
        for list in self.every(name) {
            let Some(items) = list.value.as_array() else {
                list.wanted(&format!("a list of tables: write [[{name}]]"));
                continue;
            };
            for value in items {
                let item = list.part(value);
                match value.as_table() {
                    Some(table) => {
                        let mut section = Section::empty(self.reader, place, item.at);
                        section.extend(item.at.source, table);
                        sections.push(section);
                    }
                    None => item.wanted(&format!("a list of tables: write [[{name}]]")),
                }
            }
        }
        sections
    }

    /// Whether that key is there and was not asked for yet.
    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Every value of a key that adds up over files.
    pub fn every(&mut self, name: &'static str) -> Vec<Item<'a>> {
        self.asked.push(name);
        self.left.remove(name).unwrap_or_default()
    }

    /// The value of a key, as `how` reads it; absent when it was not set or not rightly.
    pub fn set<T>(
        &mut self,
        name: &'static str,
        how: impl FnOnce(Item<'a>) -> Option<T>,
    ) -> Option<Set<'a, T>> {
        let items = self.every(name);
        let (first, others) = items.split_first()?;
        for other in others {
            self.reader.fault(other.key, set_twice(name, first.key));
        }
        how(*first).map(|value| Set { value, at: first.at })
    }

    /// As [`Section::set`], without the place.
    pub fn read<T>(
        &mut self,
        name: &'static str,
        how: impl FnOnce(Item<'a>) -> Option<T>,
    ) -> Option<T> {
        self.set(name, how).map(|set| set.value)
    }

    /// Every key that nobody asked for is a fault.
    pub fn finish(self) {
        for item in self.left.values().flatten() {
            let close =
                |name: &&&str| strsim::damerau_levenshtein(item.name, name) <= 1 + name.len() / 4;
            let near = self.asked.iter().filter(close);
            let near = near.min_by_key(|name| strsim::damerau_levenshtein(item.name, name));
            let advice = match near {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("allowed are {}", self.asked.join(", ")),
            };
            let key = quoted(item.name);
            self.reader.fault(item.key, format!("unknown key {key} {}: {advice}", self.place));
        }
    }
}

impl<'a> Item<'a> {
    fn new(
        reader: &'a Reader<'a>,
        source: &'a Source,
        key: &'a Key<'a>,
        value: &'a Value<'a>,
    ) -> Item<'a> {
        Item {
            reader,
            name: &key.name,
            key: source.at(key.span.start),
            at: source.at(value_start(&source.text, value)),
            value,
        }
    }

    /// A value inside this one.
    fn part(self, value: &'a Value<'a>) -> Item<'a> {
        let source = self.at.source;
        Item { at: source.at(value_start(&source.text, value)), value, ..self }
    }

    /// Takes note of a fault of the value.
    pub fn fault(self, text: impl Into<String>) {
        self.reader.fault(self.at, text);
    }

    /// Takes note of a fault of the key.
    pub fn fault_at_key(self, text: impl Into<String>) {
        self.reader.fault(self.key, text);
    }

    /// The value is of another type than it must be.
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

    /// The string as written, for faults: what `${...}` stands for may be a secret.
    pub fn written(self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The value is a string, but `text` is wrong with it.
    pub fn refuse(self, text: impl Display) {
        self.fault(format!("{} {} {text}", self.name, quoted(self.written())));
    }

    /// A string, filled in; `wanted` says what kind.
    pub fn string(self, wanted: &str) -> Option<String> {
        let Some(written) = self.value.as_str() else {
            self.wanted(wanted);
            return None;
        };
        match text::filled(written, self.at.source, self.reader.environment) {
            Ok(value) => Some(value),
            Err(faults) => {
                for fault in faults {
                    self.fault(fault);
                }
                None
            }
        }
    }

    /// Any string.
    pub fn text(self) -> Option<String> {
        self.string("a string")
    }

    /// A string of `min` to `max` characters, none of them a control character.
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

    /// A path; a relative one is seen from the folder of the file that names it.
    pub fn path(self) -> Option<PathBuf> {
        let path = self.string("a path in quotes")?;
        if path.is_empty() || path.contains('\0') {
            self.refuse("is not a path");
            return None;
        }
        Some(self.at.source.beside(&path))
    }

    pub fn boolean(self) -> Option<bool> {
        if self.value.as_bool().is_none() {
            self.wanted("true or false");
        }
        self.value.as_bool()
    }

    /// An integer if it is one; no fault otherwise.
    pub fn integer(self) -> Option<i64> {
        self.value.as_integer()
    }

    /// An integer from `min` to `max`.
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

    /// A duration from `min` to `max`.
    pub fn duration(self, min: Duration, max: Duration) -> Option<Duration> {
        let text = self.string("a duration in quotes, such as \"15s\"")?;
        let duration = self.understood(units::parse_duration(&text))?;
        self.in_range(duration, min, max, units::show_duration)
    }

    /// A size in bytes from `min` to `max`.
    pub fn size(self, min: u64, max: u64) -> Option<u64> {
        let text = self.string("a size in quotes, such as \"256KiB\"")?;
        let size = self.understood(units::parse_size(&text))?;
        self.in_range(size, min, max, units::show_size)
    }

    /// A size that memory must have room for; `max` is below 4 GiB.
    pub fn memory(self, min: u64, max: u64) -> Option<usize> {
        self.size(min, max).and_then(|size| usize::try_from(size).ok())
    }

    /// One of `choices`.
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

    /// The values of a list; `wanted` says of what.
    pub fn list(self, wanted: &str) -> Option<Vec<Item<'a>>> {
        let Some(values) = self.value.as_array() else {
            self.wanted(wanted);
            return None;
        };
        Some(values.iter().map(|value| self.part(value)).collect())
    }

    /// The values of a list, or the one value that stands for a list of one.
    pub fn one_or_more(self) -> Vec<Item<'a>> {
        match self.value.as_array() {
            Some(values) => values.iter().map(|value| self.part(value)).collect(),
            None => vec![self],
        }
    }

    /// The entries of a table, in the order in which they are written.
    pub fn entries(self, wanted: &str) -> Option<Vec<Item<'a>>> {
        let Some(table) = self.value.as_table() else {
            self.wanted(wanted);
            return None;
        };
        let entry = |(key, value)| Item::new(self.reader, self.at.source, key, value);
        let mut entries: Vec<Item<'a>> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key.offset);
        Some(entries)
    }

    /// What `parsed` holds; its error is a fault.
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

/// Where a value begins in `text`: of a string toml-span tells the first character inside the
/// quotes, and of an empty one the quote.
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

fn set_twice(name: &str, first: At<'_>) -> String {
    format!("{} is set twice: first at {}", quoted(name), first.place())
}

/// What is wrong with the syntax, in our words.
fn syntax(error: &toml_span::Error, source: &Source) -> String {
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
            "not a number: text, dates and units stand in double quotes".to_string()
        }
        ErrorKind::UnquotedString => "not a value: text stands in double quotes".to_string(),
        ErrorKind::Wanted { expected, found } => {
            let found = if *found == "eof" { "the end of the file" } else { found };
            format!("expected {expected}, found {found}")
        }
        ErrorKind::DuplicateKey { key, first } => set_twice(key, source.at(first.start)),
        ErrorKind::DuplicateTable { name, first } => set_twice(name, source.at(first.start)),
        ErrorKind::RedefineAsArray => "stands as a table and as a list of tables".to_string(),
        ErrorKind::MultilineStringKey => "a key stands on one line".to_string(),
        ErrorKind::DottedKeyInvalidType { first } => {
            let place = source.at(first.start).place();
            format!("this key has a value already and cannot be a table: first at {place}")
        }
        _ => error.to_string(),
    }
}
