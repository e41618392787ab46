//! A type's name stands once in the library, so that a reader who looks for it finds it; but for a few
//! whose module tells at the place of use which one is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex_lite::Regex;

use super::sources::Crate;

/// Names that stand more than once, and why.
const TOLD_BY_MODULE: &[(&str, &str)] = &[
    ("Callbacks", "librdkafka calls a consumer and a producer: private to either file"),
    ("Event", "each stage waits for events of its own: private to each file"),
    ("Kind", "`counters::Kind` wherever it is used; private to the service files"),
    ("Round", "canaries are asked in rounds, and `check` runs in rounds: private to either"),
    ("Unstored", "what is left of batches, and of records: `batches` and `records` tell"),
];

/// The files that define each name.
fn definitions(sources: &Crate) -> BTreeMap<String, BTreeSet<&str>> {
    let item = Regex::new(r"\b(?:struct|enum|trait|union|type)\s+([A-Z]\w*)").unwrap();
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.sources.values() {
        for definition in item.captures_iter(&source.code) {
            // A type of a trait is the trait's.
            let at = definition.get(0).unwrap();
            let before = &source.code[..at.start()];
            let is_outside = before.matches('{').count() == before.matches('}').count();
            if is_outside || !at.as_str().starts_with("type") {
                found.entry(definition[1].to_owned()).or_default().insert(&source.path);
            }
        }
    }
    found
}

/// Names that stand more than once without being `told`, and those `told` that do not.
fn faults(sources: &Crate, told: &[(&str, &str)]) -> Vec<String> {
    let found = definitions(sources);
    let is_told = |name: &str| told.iter().any(|(told, _)| *told == name);
    let twice = |name: &str| found.get(name).is_some_and(|files| files.len() > 1);
    let untold = found.iter().filter(|(name, _)| twice(name) && !is_told(name));
    let once = told.iter().filter(|(name, _)| !twice(name));
    let once = once.map(|(name, _)| format!("{name} stands once: take it off the list"));
    untold.map(|(name, files)| format!("{name}: {files:?}")).chain(once).collect()
}

#[test]
fn no_type_name_stands_twice() {
    let sources = Crate::read(Path::new("src"));
    let count = definitions(&sources).len();
    assert!(count > 200, "only {count} types were found");
    let faults = faults(&sources, TOLD_BY_MODULE);
    assert!(faults.is_empty(), "{} names:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_type_name_that_stands_twice_would_be_found() {
    let sources = Crate::small(&[
        ("lib.rs", "mod a; mod b; words! { enum Word {} }"),
        ("a.rs", "pub struct Once; struct Reader; impl Iterator for Reader { type Item = u8; }"),
        ("b.rs", "// struct Once\nenum Reader {} type Word = u8; impl X { type Item = u8; }"),
    ]);
    assert_eq!(faults(&sources, &[("Word", "")]), ["Reader: {\"a.rs\", \"b.rs\"}"]);
    let told = [("Word", ""), ("Reader", ""), ("Once", "")];
    assert_eq!(faults(&sources, &told), ["Once stands once: take it off the list"]);
}
