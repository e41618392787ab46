//! No two files use each other, and no stage knows another.
//!
//! A file uses another if a path in its code leads to an item that the other defines. `pub use` is a
//! use only if the code names the item too; `mod` is none, and tests do not count. A module and the files in its own folder are
//! one room whose parts may know each other: a child has methods of its parent's type, or helpers that
//! work on it. Everybody else may not.

use std::path::Path;

use super::sources::Crate;
use super::uses::{Paths, Uses};

/// Pairs of files that use each other, with the paths by which they do.
fn circles(uses: &Uses) -> Vec<String> {
    let mut circles = Vec::new();
    for ((from, to), there) in uses {
        let Some(back) = uses.get(&(to.clone(), from.clone())) else { continue };
        let is_one_room = from.starts_with(to) || to.starts_with(from);
        if from < to && !is_one_room {
            let (from, to) = (from.join("::"), to.join("::"));
            circles.push(format!("{from} uses {there:?}, and {to} uses {back:?}"));
        }
    }
    circles
}

/// The room of what travels between stages: it knows no stage, and every stage may use it.
const MESSAGES: &str = "messages";

/// Files of one stage that use another.
fn stages_that_meet(uses: &Uses) -> Vec<String> {
    let stage = |module: &[String]| match module {
        [first, stage, ..] if first == "stage" => Some(stage.clone()),
        _ => None,
    };
    let mut met = Vec::new();
    for ((from, to), by) in uses {
        if let (Some(one), Some(other)) = (stage(from), stage(to))
            && one != other
            && other != MESSAGES
        {
            met.push(format!("{} uses {by:?}", from.join("::")));
        }
    }
    met
}

#[test]
fn no_two_files_use_each_other() {
    let sources = Crate::read(Path::new("src"));
    let uses = Paths::of(&sources).uses();
    assert!(uses.len() > 300, "only {} arrows were found", uses.len());
    let circles = circles(&uses);
    assert!(circles.is_empty(), "{} circles:\n{}", circles.len(), circles.join("\n"));
}

#[test]
fn no_stage_knows_another() {
    let sources = Crate::read(Path::new("src"));
    let stages = sources.sources.keys().filter(|module| module.starts_with(&["stage".to_owned()]));
    assert!(stages.count() > 6, "the stages were not found");
    let met = stages_that_meet(&Paths::of(&sources).uses());
    assert!(met.is_empty(), "{}", met.join("\n"));
}

#[test]
fn a_circle_would_be_found() {
    let small = |b: &str| {
        let sources = Crate::small(&[
            ("lib.rs", "pub mod a; pub mod b; pub mod c;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b/mod.rs", "mod child; pub use child::B;"),
            ("b/child.rs", b),
            // A parent and its child are one room.
            ("c/mod.rs", "mod child; pub struct C; fn f() { child::g() }"),
            ("c/child.rs", "use super::C; pub fn g() { C }"),
        ]);
        circles(&Paths::of(&sources).uses())
    };
    let found = small("pub struct B; impl B { fn a() -> crate::a::A {} }");
    assert_eq!(found, ["a uses {\"crate::b::B\"}, and b::child uses {\"crate::a::A\"}"]);
    assert!(small("pub struct B; // crate::a::A\n#[cfg(test)]\nuse crate::a::A;").is_empty());
}

#[test]
fn stages_that_meet_would_be_found() {
    let sources = Crate::small(&[
        ("lib.rs", "mod stage;"),
        ("stage/mod.rs", "pub mod judge; pub mod messages; pub mod publish;"),
        (
            "stage/judge.rs",
            "use super::publish::queue; use super::messages::M; fn f() { queue::push() }",
        ),
        ("stage/messages.rs", "use super::judge::f; pub struct M;"),
        ("stage/publish/mod.rs", "pub mod queue; fn g() { queue::push() }"),
        ("stage/publish/queue.rs", "pub fn push() {}"),
    ]);
    let met = stages_that_meet(&Paths::of(&sources).uses());
    let messages = "stage::messages uses {\"super::judge::f\"}";
    assert_eq!(met, ["stage::judge uses {\"queue::push\"}", messages]);
}
