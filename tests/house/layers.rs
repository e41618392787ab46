//! The layers of the house, read from the sources: `crate::` only ever points down, the rooms
//! of the rim do not know one another, and the model has no I/O, clock, log or thread. No file is too long.

use std::fs;
use std::path::Path;

use super::sources::{Crate, rust_files};

/// Modules at the top of the crate by layer, lowest first. Those of one layer do not use one
/// another, but for the highest.
const LAYERS: [&[&str]; 8] = [
    &["allocator", "character", "date", "words"],
    &["json"],
    &["error", "clock", "log", "stop", "threads"],
    &["model"],
    &["config", "roots"],
    &["check", "spool", "kafka", "store", "notify", "serve", "show"],
    &["stage"],
    &["main", "args", "cmd"],
];

/// What the model must not touch.
const WORLD: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant::now",
    "log::",
    "std::env",
    "std::io",
    "std::os",
    "std::{",
    "println!",
    "rustix::",
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules at the top of the crate that a source names, with the line.
fn uses(source: &str) -> Vec<(usize, String)> {
    let mut uses = Vec::new();
    for (number, line) in source.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let word: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            uses.push((number + 1, word));
        }
    }
    uses
}

#[test]
fn every_arrow_points_down() {
    let files = rust_files(Path::new("src"));
    assert!(files.len() > 40, "the sources were not found: {files:?}");
    let mut climbing = Vec::new();
    let mut arrows = 0;
    for file in &files {
        let inner = file.strip_prefix("src").unwrap();
        let module = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "build") {
            continue;
        }
        let from = layer(module).unwrap_or_else(|| panic!("src/{module} has no layer"));
        for (line, to) in uses(&fs::read_to_string(file).unwrap()) {
            let Some(down) = layer(&to) else {
                climbing.push(format!("{}:{line}: crate::{to} has no layer", file.display()));
                continue;
            };
            arrows += 1;
            let highest = LAYERS.len() - 1;
            if to != module && (down > from || (down == from && from != highest)) {
                climbing.push(format!("{}:{line}: {module} uses {to}", file.display()));
            }
        }
    }
    assert!(climbing.is_empty(), "{}", climbing.join("\n"));
    assert!(arrows > 100, "only {arrows} arrows were found");
}

#[test]
fn the_model_touches_nothing() {
    let sources = Crate::read(Path::new("src")).sources;
    let model = sources.values().filter(|source| source.path.starts_with("model/"));
    let mut count = 0;
    for source in model {
        count += 1;
        for word in WORLD {
            assert!(!source.code.contains(word), "{} uses {word}", source.path);
        }
    }
    assert!(count > 30, "only {count} files of the model were found");
}

/// Calls that end in 2038 on 32-bit musl, where they take or give times of 32 bits.
const OLD_TIMES: [&str; 4] = ["SystemTime::now", "Asn1Time::from_unix", "set_time(", ".modified()"];

#[test]
fn times_are_64_bit_and_the_clock_is_read_in_one_place() {
    let files = rust_files(Path::new("src"));
    let mut readers = 0;
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = code.collect();
        for word in OLD_TIMES {
            assert!(!code.iter().any(|line| line.contains(word)), "{} uses {word}", file.display());
        }
        let reads = code.iter().filter(|line| line.contains("clock_gettime(")).count();
        assert!(reads == 0 || file.ends_with("clock.rs"), "{} reads the clock", file.display());
        readers += reads;
    }
    assert_eq!(readers, 1);
}

#[test]
fn a_climbing_arrow_would_be_found() {
    let found = uses("use crate::cmd::run;\n// crate::model\nlet x = crate::log::start();");
    assert_eq!(found, [(1, "cmd".to_owned()), (3, "log".to_owned())]);
    assert!(layer("cmd") > layer("model"));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let files = [rust_files(Path::new("src")), rust_files(Path::new("tests"))].concat();
    assert!(files.len() > 100);
    for file in files {
        let count = fs::read_to_string(&file).unwrap().lines().count();
        assert!(count <= 400, "{} has {count} lines", file.display());
    }
}
