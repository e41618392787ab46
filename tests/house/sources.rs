//! Sources as the tests of the house read them: without comments, texts and tests, so that a word in a
//! comment is not taken for code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module's names from the crate's root down; the root itself has none.
pub type Module = Vec<String>;

/// One file of the library.
pub struct Source {
    /// Its path below `src`.
    pub path: String,
    /// Its text, of the same length in lines, with everything blanked that does not count.
    pub code: String,
}

/// The files of a crate by their modules, without those that only tests have.
pub struct Crate {
    pub sources: BTreeMap<Module, Source>,
}

impl Crate {
    /// Reads a crate from its folder of sources.
    pub fn read(folder: &Path) -> Crate {
        let files = rust_files(folder).into_iter().map(|file| {
            let path = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            (path, fs::read_to_string(&file).unwrap())
        });
        Crate::of(files.collect())
    }

    /// Takes a crate as paths and texts.
    pub fn of(files: Vec<(String, String)>) -> Crate {
        let blanked: Vec<(String, String)> =
            files.into_iter().map(|(path, text)| (path, blanked(&text))).collect();
        let of_tests: Vec<Module> =
            blanked.iter().flat_map(|(path, code)| test_modules(&module(path), code)).collect();
        let is_library = |path: &str| {
            let module = module(path);
            !["main.rs", "build.rs"].contains(&path)
                && !of_tests.iter().any(|tests| module.starts_with(tests))
        };
        let library = blanked.into_iter().filter(|(path, _)| is_library(path));
        let sources = library.map(|(path, code)| {
            let code = without_tests(&code);
            (module(&path), Source { path, code })
        });
        Crate { sources: sources.collect() }
    }

    /// Takes a crate of a few lines, for tests of the tests.
    pub fn small(files: &[(&str, &str)]) -> Crate {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Crate::of(owned.collect())
    }
}

/// Finds every Rust file below a folder, in order.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The module that a file below `src` holds.
fn module(path: &str) -> Module {
    let mut names: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| last == "mod" || last == "lib") {
        names.pop();
    }
    names
}

/// The child modules that stand under `#[cfg(test)]`.
fn test_modules(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        let item = code[at + attribute.len()..].trim_start();
        if let Some((name, _)) = item.strip_prefix("mod ").and_then(|rest| rest.split_once(';')) {
            found.push([&module[..], &[name.to_owned()]].concat());
        }
    }
    found
}

/// Blanks comments, texts and single characters; lines stay where they are.
pub fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    while code.len() < bytes.len() {
        let at = code.len();
        let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        match blank_length(&bytes[at..], in_word) {
            0 => code.push(bytes[at]),
            length => {
                let end = bytes.len().min(at + length);
                code.extend(bytes[at..end].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
            }
        }
    }
    String::from_utf8(code).unwrap()
}

/// The length of the comment, text or character that begins here; 0: code begins here.
fn blank_length(rest: &[u8], in_word: bool) -> usize {
    let past = |end: &[u8], from: usize| {
        let found = rest[from..].windows(end.len()).position(|window| window == end);
        found.map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with(b"//") {
        return rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return past(b"*/", 2);
    }
    if rest.starts_with(b"\"") {
        let mut at = 1;
        while at < rest.len() && rest[at] != b'"' {
            at += if rest[at] == b'\\' { 2 } else { 1 };
        }
        return at + 1;
    }
    let prefix = rest.iter().take_while(|byte| b"bcr".contains(byte)).count();
    if !in_word && (1..=2).contains(&prefix) && rest[prefix - 1] == b'r' {
        let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(prefix + hashes) == Some(&b'"') {
            return past(&[&b"\""[..], &vec![b'#'; hashes]].concat(), prefix + hashes + 1);
        }
    }
    // A character, and not a lifetime.
    match rest {
        [b'\'', b'\\', _, ..] => past(b"'", 3),
        [b'\'', first, ..] => {
            let length = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            if rest.get(1 + length) == Some(&b'\'') { length + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// Blanks every item under `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"].iter().find_map(|a| code.find(a)) {
        let item = at + code[at..].find(']').unwrap() + 1;
        let end = item_end(&code, item);
        let blank: String =
            code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// One past the end of the item that begins here: its block's, or its semicolon's.
pub fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return at + 1,
            b'{' if depth == 0 => return block_end(code, at),
            _ => {}
        }
    }
    code.len()
}

/// One past the brace that closes the block that opens here.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_texts_and_tests_are_no_code() {
    let text =
        "let a = \"crate::x \\\" {\"; // crate::y\nlet b: &'a str = r#\"\"{\"#; '{'; '\\'';\n";
    let code = blanked(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("crate") && !code.contains('{') && code.contains("&'a str"), "{code}");
    let small = Crate::small(&[
        (
            "lib.rs",
            "fn a() {}\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn b() { c::d(); }\nfn e() {}",
        ),
        ("tests.rs", ""),
        ("tests/more.rs", ""),
    ]);
    let modules: Vec<&Module> = small.sources.keys().collect();
    assert_eq!(modules, [&Module::new()]);
    let code = &small.sources[&Module::new()].code;
    assert!(code.contains("fn a") && code.contains("fn e") && !code.contains("c::d"), "{code}");
}
