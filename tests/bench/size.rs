//! `make size`: what the file of each target weighs, and where its bytes come from. A file's
//! symbols are looked for in the libraries that it was linked from; what is Rust says whose it is
//! in its name.
//!
//! `size FOLDER TARGET...`: FOLDER/TARGET holds `sitewatch`, as it is shipped, `symbols`, the same
//! before it was stripped, and `libraries`, a list of archives (`cross/build --symbols`).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for the terminal")]

// libcurl, which the harness links, calls two functions of it.
use sitewatch as _;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;
use object::{File, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// What others weigh who do this work, in MB, as it was measured for this project in 2026.
const PEERS: &str = "others: blackbox_exporter 14 MB; Telegraf 17 to 245 MB, by what is in it";
/// Contributors that are shown; the rest is summed up.
const SHOWN: usize = 24;

fn main() {
    let mut args = std::env::args().skip(1);
    let artefacts = PathBuf::from(args.next().unwrap());
    // Cargo adds words of its own.
    let targets = args.filter(|arg| !arg.starts_with("--"));
    let folders: Vec<PathBuf> = targets.map(|target| artefacts.join(target)).collect();
    println!(
        "{:34} {:>10}  {:>10} {:>10} {:>10}",
        "target", "file", "code", "constants", "variables"
    );
    for folder in &folders {
        sections(folder);
    }
    println!("{PEERS}");
    for folder in &folders {
        origins(folder);
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

/// One line: the file, and what of it is code, constants and variables.
fn sections(folder: &Path) {
    let bytes = fs::read(folder.join("sitewatch")).unwrap();
    let file = File::parse(&*bytes).unwrap();
    let mut kinds: HashMap<&str, u64> = HashMap::new();
    for section in file.sections() {
        let kind = match section.kind() {
            SectionKind::Text => "code",
            SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => "constants",
            SectionKind::Data | SectionKind::Tls if section.file_range().is_some() => "variables",
            _ => continue,
        };
        *kinds.entry(kind).or_default() += section.size();
    }
    let of = |kind| grouped(kinds.get(kind).copied().unwrap_or(0));
    println!(
        "{:34} {:>10}  {:>10} {:>10} {:>10}",
        name(folder),
        grouped(bytes.len() as u64),
        of("code"),
        of("constants"),
        of("variables")
    );
}

/// A table: whose bytes they are.
fn origins(folder: &Path) {
    let (owners, texts) = libraries(folder);
    let bytes = fs::read(folder.join("symbols")).unwrap();
    let file = File::parse(&*bytes).unwrap();
    let mut symbols: Vec<(u64, u64, String)> = Vec::new();
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        let is_stored = symbol.section_index().is_some_and(|index| {
            file.section_by_index(index).is_ok_and(|section| section.file_range().is_some())
        });
        if is_stored && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) {
            symbols.push((symbol.address(), symbol.size(), name.to_owned()));
        }
    }
    symbols.sort();
    // What has no name counts with the section that it is in.
    let mut sections: Vec<(String, u64, u64)> = Vec::new();
    for section in file.sections().filter(|section| section.address() > 0) {
        if let Some((_, stored)) = section.file_range() {
            let name = section.name().unwrap_or_default();
            sections.push((format!("without a name in {name}"), section.address(), stored));
        }
    }
    let mut of: BTreeMap<String, u64> = BTreeMap::new();
    for (name, _, size) in &sections {
        of.insert(name.clone(), *size);
    }
    let mut end = 0;
    for (address, size, name) in symbols {
        // Each reaches to the next one at most: names that stand for the same bytes count once.
        let fresh = (address + size).saturating_sub(end.max(address));
        end = end.max(address + size);
        let home = sections.iter().find(|(_, from, size)| (*from..from + size).contains(&address));
        if let Some((section, ..)) = home {
            *of.entry(section.clone()).or_default() -= fresh;
            *of.entry(owner(&name, &owners)).or_default() += fresh;
        }
    }
    let in_sections: u64 = of.values().sum();
    let shipped = fs::metadata(folder.join("sitewatch")).unwrap().len();
    let mut rows: Vec<(String, u64)> = of.into_iter().collect();
    rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let rest: u64 = rows.iter().skip(SHOWN).map(|(_, bytes)| bytes).sum();
    let others = rows.len().saturating_sub(SHOWN);
    rows.truncate(SHOWN);
    if others > 0 {
        rows.push((format!("{others} more"), rest));
    }
    rows.push(("headers, and up to full pages".to_owned(), shipped.saturating_sub(in_sections)));
    println!("\n{:34} {:>10}", name(folder), "bytes");
    for (what, bytes) in rows {
        println!("{what:34} {:>10}", grouped(bytes));
    }
    println!("{:34} {:>10}", "file", grouped(shipped));
    println!("In .rodata, texts as the libraries bring them, before equal ones are made one:");
    for (library, bytes) in texts {
        println!("{library:34} {:>10}", grouped(bytes));
    }
    let roots: usize = TLS_SERVER_ROOT_CERTS.iter().map(|root| root.len()).sum();
    println!("{:34} {:>10}", "and Mozilla's roots", grouped(roots as u64));
}

/// Which library has a symbol of that name; and how many bytes of text each has.
fn libraries(folder: &Path) -> (HashMap<String, String>, BTreeMap<String, u64>) {
    let (mut owners, mut texts) = (HashMap::new(), BTreeMap::new());
    for path in fs::read_to_string(folder.join("libraries")).unwrap().lines() {
        let bytes = fs::read(path).unwrap();
        let library = Path::new(path).file_stem().unwrap().to_string_lossy().into_owned();
        for member in ArchiveFile::parse(&*bytes).unwrap().members() {
            let member = member.unwrap();
            let Ok(file) = File::parse(member.data(&*bytes).unwrap()) else { continue };
            for symbol in file.symbols().filter(ObjectSymbol::is_definition) {
                let name = symbol.name().unwrap_or_default();
                owners.entry(name.to_owned()).or_insert_with(|| library.clone());
            }
            let text = file.sections().filter(|one| one.kind() == SectionKind::ReadOnlyString);
            *texts.entry(library.clone()).or_default() += text.map(|one| one.size()).sum::<u64>();
        }
    }
    (owners, texts)
}

/// Whose symbol it is.
fn owner(name: &str, owners: &HashMap<String, String>) -> String {
    if name.starts_with("OUTLINED_FUNCTION") {
        return "pieces that functions share".to_owned();
    }
    if let Some(library) = owners.get(name) {
        return library.clone();
    }
    let Ok(path) = rustc_demangle::try_demangle(name) else {
        return "libc and the rest of C".to_owned();
    };
    let path = format!("{path:#}");
    // `<a::B as c::D>::e` is a's.
    let path = path.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    let path = path.trim_start_matches("mut ").trim_start_matches("dyn ");
    let first = path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    match first {
        "core" | "alloc" | "std" | "str" | "compiler_builtins" | "hashbrown" | "" => {
            "Rust's library".to_owned()
        }
        own => format!("{own} (Rust)"),
    }
}

/// With a comma each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
