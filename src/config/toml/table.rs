//! TOML tables, read key by key. A table knows each allowed key because it was asked for it. `item.rs` has the
//! types of values.

use std::collections::BTreeMap;

use toml_span::Value;
use toml_span::value::Table;

use crate::config::pem::PemCache;
use crate::config::toml::context::ReadContext;
use crate::config::toml::fault::quoted;
use crate::config::toml::item::Item;
use crate::config::toml::source::{Source, SourceOffset};
use crate::config::toml::syntax::{describe_repeat, describe_syntax};

/// Parsed TOML of one file.
pub(in crate::config) struct Document<'a> {
    source: &'a Source,
    root: Value<'a>,
}

/// Table, of one file or of several that add to the same one.
pub(in crate::config) struct Section<'a> {
    context: &'a ReadContext<'a>,
    /// Name of the table in the texts of faults: "in [probe]".
    place: &'static str,
    /// Place at which the table begins first.
    pub at: SourceOffset<'a>,
    /// Values that are not read yet, by key; several if several files set the key.
    unread: BTreeMap<&'a str, Vec<Item<'a>>>,
    known: Vec<&'static str>,
}

/// Value of a key, and its place.
#[derive(Clone)]
pub(in crate::config) struct Setting<'a, T> {
    pub value: T,
    pub at: SourceOffset<'a>,
}

impl<'a> Document<'a> {
    /// Parses the TOML of `source`; a fault in its syntax hides the rest of that file.
    pub fn parse(source: &'a Source, context: &ReadContext<'_>) -> Option<Document<'a>> {
        match toml_span::parse(&source.text) {
            Ok(root) => Some(Document { source, root }),
            Err(error) => {
                context.fault(source.at(error.span.start), describe_syntax(&error, source));
                None
            }
        }
    }
}

impl<'a> Section<'a> {
    /// Returns the top level of all files together; `first` is the place at which they begin.
    pub fn top(
        context: &'a ReadContext<'a>,
        first: SourceOffset<'a>,
        documents: &'a [Document<'a>],
    ) -> Section<'a> {
        let mut section = Section::empty(context, "at the top level", first);
        for document in documents {
            if let Some(table) = document.root.as_table() {
                section.extend(document.source, table);
            }
        }
        section
    }

    fn empty(
        context: &'a ReadContext<'a>,
        place: &'static str,
        at: SourceOffset<'a>,
    ) -> Section<'a> {
        Section { context, place, at, unread: BTreeMap::new(), known: Vec::new() }
    }

    fn extend(&mut self, source: &'a Source, table: &'a Table<'a>) {
        for (key, value) in table {
            let item = Item::new(self.context, source, key, value);
            self.unread.entry(item.name).or_default().push(item);
        }
    }

    /// Returns the table of that name, empty if there is none; several files may each set a part of it.
    pub fn section(&mut self, name: &'static str, place: &'static str) -> Section<'a> {
        let mut section = Section::empty(self.context, place, self.at);
        for (i, item) in self.take_all(name).into_iter().enumerate() {
            if i == 0 {
                section.at = item.key;
            }
            match item.value.as_table() {
                Some(table) => section.extend(item.at.source, table),
                None => {
                    let header = place.strip_prefix("in ").unwrap_or(name);
                    item.wanted(&format!("a table: write {header}"));
                }
            }
        }
        section
    }

    /// Returns the table as [`Section::section`] does; none if no file has it, or one has it as no table,
    /// which is a fault.
    pub fn section_if_any(
        &mut self,
        name: &'static str,
        place: &'static str,
    ) -> Option<Section<'a>> {
        let before = self.context.count();
        let any = self.has(name);
        let section = self.section(name, place);
        (any && self.context.count() == before).then_some(section)
    }

    /// Returns the tables of that name in all files: `[[name]]`. Each is made when its turn comes, since
    /// thousands of them at once are larger than the file that they stand in.
    pub fn sections(
        &mut self,
        name: &'static str,
        place: &'static str,
    ) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let context = self.context;
        let wanted = move |item: Item<'a>| {
            item.wanted(&format!("a list of tables: write [[{name}]]"));
        };
        let items = self.take_all(name).into_iter().flat_map(move |list| {
            let values = list.value.as_array();
            if values.is_none() {
                wanted(list);
            }
            values.into_iter().flatten().map(move |value| list.part(value))
        });
        items.filter_map(move |item| {
            let table = item.value.as_table();
            if table.is_none() {
                wanted(item);
            }
            let mut section = Section::empty(context, place, item.at);
            section.extend(item.at.source, table?);
            Some(section)
        })
    }

    /// Returns true if that key is there and was not asked for yet.
    pub fn has(&self, name: &str) -> bool {
        self.unread.contains_key(name)
    }

    /// Returns the place of that key, if it is there and was not asked for yet.
    pub fn place(&self, name: &str) -> Option<SourceOffset<'a>> {
        Some(self.unread.get(name)?.first()?.key)
    }

    /// Returns the results for files with certificates and keys.
    pub fn pem(&self) -> &'a PemCache {
        &self.context.pem
    }

    /// Takes note of a fault of the table as a whole.
    pub fn fault(&self, text: impl Into<String>) {
        self.context.fault(self.at, text);
    }

    /// Takes note of a fault of one of the table's values.
    pub fn fault_at(&self, at: SourceOffset<'_>, text: impl Into<String>) {
        self.context.fault(at, text);
    }

    /// Returns every value of a key that adds up over files.
    pub fn take_all(&mut self, name: &'static str) -> Vec<Item<'a>> {
        self.known.push(name);
        self.unread.remove(name).unwrap_or_default()
    }

    /// Reads the value of a key by `how`. Returns the value with its place; none if the key is not set, or its
    /// value is at fault.
    pub fn read_setting<T>(
        &mut self,
        name: &'static str,
        how: impl FnOnce(Item<'a>) -> Option<T>,
    ) -> Option<Setting<'a, T>> {
        let items = self.take_all(name);
        let (first, others) = items.split_first()?;
        for other in others {
            self.context.fault(other.key, describe_repeat(name, first.key));
        }
        how(*first).map(|value| Setting { value, at: first.at })
    }

    /// Returns the value as [`Section::read_setting`] does, without its place.
    pub fn read<T>(
        &mut self,
        name: &'static str,
        how: impl FnOnce(Item<'a>) -> Option<T>,
    ) -> Option<T> {
        self.read_setting(name, how).map(|set| set.value)
    }

    /// Takes note of a fault for every key that was not read: it is unknown.
    pub fn finish(self) {
        for item in self.unread.values().flatten() {
            let close =
                |name: &&&str| strsim::damerau_levenshtein(item.name, name) <= 1 + name.len() / 4;
            let near = self.known.iter().filter(close);
            let near = near.min_by_key(|name| strsim::damerau_levenshtein(item.name, name));
            let advice = match near {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("allowed are {}", self.known.join(", ")),
            };
            let key = quoted(item.name);
            self.context.fault(item.key, format!("unknown key {key} {}: {advice}", self.place));
        }
    }
}
