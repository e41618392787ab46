//! Finds the files of the library that use items of another file: every path in the code is followed
//! through imports and re-exports to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;

use super::sources::{Crate, Module};

/// From a file to another, by their modules, with the paths by which it uses the other.
pub type Uses = BTreeMap<(Module, Module), BTreeSet<String>>;

/// A path as it is written.
type Written = Vec<String>;

/// Longest chain of re-exports that is followed.
const CHAIN_MAX: usize = 8;

/// One name of a `use`.
struct Import {
    path: Written,
    name: String,
    /// `pub use`: the item is handed on.
    is_handed_on: bool,
}

/// A crate whose paths can be followed.
pub struct Paths<'a> {
    sources: &'a Crate,
    imports: BTreeMap<&'a Module, Vec<Import>>,
}

impl<'a> Paths<'a> {
    /// Reads the imports of every file.
    pub fn of(sources: &'a Crate) -> Paths<'a> {
        let read = sources.sources.iter().map(|(module, source)| (module, imports(&source.code)));
        Paths { sources, imports: read.collect() }
    }

    /// Finds who uses whom.
    pub fn uses(&self) -> Uses {
        let path = Regex::new(r"[A-Za-z_]\w*(?:::[A-Za-z_]\w*)+").unwrap();
        let statement = Regex::new(r"\buse\s[^;]+;").unwrap();
        let mut uses = Uses::new();
        for (module, source) in &self.sources.sources {
            let mut note = |written: &[String]| {
                let absolute = self.absolute(module, written);
                let Some(to) = absolute.and_then(|path| self.definition(&path)) else { return };
                if to != *module {
                    let paths = uses.entry((module.clone(), to)).or_default();
                    paths.insert(written.join("::"));
                }
            };
            let code = statement.replace_all(&source.code, "");
            let words: BTreeSet<&str> =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            // An item that is handed on is used too if its name stands in the code.
            let is_used = |import: &&Import| !import.is_handed_on || words.contains(&*import.name);
            for import in self.imports[module].iter().filter(is_used) {
                // A module that is imported is used by the paths through it.
                let absolute = self.absolute(module, &import.path);
                if absolute.is_none_or(|path| !self.sources.sources.contains_key(&path)) {
                    note(&import.path);
                }
            }
            for found in path.find_iter(&code) {
                if !code[..found.start()].ends_with("::") {
                    note(&found.as_str().split("::").map(str::to_owned).collect::<Vec<_>>());
                }
            }
        }
        uses
    }

    /// The path from the crate's root, if it leads into this crate.
    fn absolute(&self, module: &Module, written: &[String]) -> Option<Written> {
        let (head, rest) = written.split_first()?;
        match head.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&module[..], rest].concat()),
            "super" => {
                let ups = written.iter().take_while(|name| *name == "super").count();
                let base = &module[..module.len().checked_sub(ups)?];
                Some([base, &written[ups..]].concat())
            }
            _ => {
                let child = [&module[..], written].concat();
                if self.sources.sources.contains_key(&child[..=module.len()]) {
                    return Some(child);
                }
                let import = self.imports[module].iter().find(|import| import.name == *head)?;
                if import.path.first() == Some(head) {
                    return None;
                }
                Some([self.absolute(module, &import.path)?, rest.to_vec()].concat())
            }
        }
    }

    /// The file that defines what this path leads to.
    fn definition(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        for _ in 0..CHAIN_MAX {
            let mut lengths = (0..=path.len()).rev();
            let length =
                lengths.find(|length| self.sources.sources.contains_key(&path[..*length]))?;
            let module = path[..length].to_vec();
            let name = path.get(length);
            let import = self.imports[&module].iter().find(|import| Some(&import.name) == name);
            let Some(import) = import else { return Some(module) };
            let target = self.absolute(&module, &import.path)?;
            path = [&target[..], &path[length + 1..]].concat();
        }
        None
    }
}

/// Every name that the `use` statements of a file bring in.
fn imports(code: &str) -> Vec<Import> {
    let statement = Regex::new(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s([^;]+);").unwrap();
    let mut imports = Vec::new();
    for found in statement.captures_iter(code) {
        for mut path in leaves(&found[2]) {
            let last = path.pop().unwrap();
            let (last, alias) = match last.split_once(" as ") {
                Some((last, alias)) => (last.trim().to_owned(), Some(alias.trim().to_owned())),
                None => (last, None),
            };
            if last != "self" {
                path.push(last);
            }
            let name = alias.unwrap_or_else(|| path[path.len() - 1].clone());
            imports.push(Import { path, name, is_handed_on: found.get(1).is_some() });
        }
    }
    imports
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<Written> {
    let names = |text: &str| {
        let names = text.split("::").map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect::<Written>()
    };
    let Some((before, inner)) = tree.split_once('{') else { return vec![names(tree)] };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| leaves(part)).map(|leaf| [names(before), leaf].concat()).collect()
}

#[test]
fn paths_are_followed_to_where_an_item_stands() {
    let small = Crate::small(&[
        ("lib.rs", "pub mod a; pub mod b; pub mod c;"),
        ("a/mod.rs", "mod deep; mod near; pub use deep::{Deep as Renamed, Other}; use near::Near;"),
        ("a/deep.rs", "use super::near; fn f() { near::g::<u8>(super::Near) }"),
        ("a/near.rs", "pub struct Near;"),
        ("b.rs", "use crate::a::{self, Renamed}; use std::fs; fn h() { a::Other::new(); fs::x() }"),
        ("c.rs", "pub use crate::a::{Other, Renamed}; fn i(one: Renamed) {}"),
    ]);
    let uses = Paths::of(&small).uses();
    let told: Vec<String> = uses
        .iter()
        .map(|((from, to), by)| format!("{} -> {}: {by:?}", from.join("::"), to.join("::")))
        .collect();
    assert_eq!(
        told,
        [
            "a -> a::near: {\"near::Near\"}",
            "a::deep -> a::near: {\"near::g\", \"super::Near\"}",
            "b -> a::deep: {\"a::Other::new\", \"crate::a::Renamed\"}",
            "c -> a::deep: {\"crate::a::Renamed\"}"
        ]
    );
}
