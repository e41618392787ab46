//! Functions are short, those of tests too.

use std::fs;
use std::path::Path;

use regex_lite::Regex;

use super::sources::{blanked, item_end, rust_files};

/// Most lines of a function, from its first to its closing brace.
const LINES_MAX: usize = 70;

/// Functions that are too long, each with its line and its length.
fn too_long(text: &str) -> Vec<String> {
    let head = Regex::new(r"(?m)^[ \t]*(?:[a-z]+(?:\([^)]*\))?[ \t]+)*fn[ \t]+(\w+)").unwrap();
    let code = blanked(text);
    let mut found = Vec::new();
    for function in head.captures_iter(&code) {
        let (start, name) = (function.get(0).unwrap().start(), &function[1]);
        let end = item_end(&code, start);
        let (line, count) = (code[..start].lines().count() + 1, code[start..end].lines().count());
        if count > LINES_MAX {
            found.push(format!("{line}: {name} has {count} lines"));
        }
    }
    found
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut long = Vec::new();
    for folder in ["src", "tests"] {
        for file in rust_files(Path::new(folder)) {
            let found = too_long(&fs::read_to_string(&file).unwrap());
            long.extend(found.iter().map(|found| format!("{}:{found}", file.display())));
        }
    }
    assert!(long.is_empty(), "{} functions:\n{}", long.len(), long.join("\n"));
}

#[test]
fn a_function_that_is_too_long_would_be_found() {
    let function = |lines: usize| {
        let body = "        a(\"}\"); // }\n".repeat(lines - 2);
        format!("impl A {{\n    pub(crate) async fn b(c: [u8; 4]) {{\n{body}    }}\n}}\n")
    };
    assert!(too_long(&function(70)).is_empty());
    assert_eq!(too_long(&function(71)), ["2: b has 71 lines"]);
    assert!(too_long("trait A {\n    fn b();\n}\n").is_empty());
}
