//! What a terminal may see of names and texts of strangers: nothing that could move its cursor or
//! turn round what follows.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, json};

const DEADLINE: Duration = Duration::from_secs(20);

/// Marks of direction, and such as are not seen.
const MARKS: &str = "\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\u{2028}\u{e0041}";

fn assert_harmless(text: &str) {
    let mark = text.chars().find(|c| MARKS.contains(*c) || c.is_control() && *c != '\n');
    assert!(mark.is_none() && !text.is_empty(), "{mark:?} in {text:?}");
}

#[test]
fn a_name_cannot_turn_round_what_follows() {
    let site = Listener::http();
    site.on("/", Script::status(500));
    for format in ["text", "json"] {
        let folder = Temp::new();
        let name = format!("shop{MARKS}evil");
        let config = format!(
            "node = 'n{MARKS}'\nstate_dir = '{}'\n[log]\nformat = '{format}'\n\
             [[target]]\nurl = '{}'\nname = '{name}'\ninterval = '1s'\n",
            folder.path().display(),
            site.url("/"),
        );
        let program = |words: &[&str]| Sitewatch::new().file("c.toml", &config).args(words);
        let mut running = program(&["run", "-c", "c.toml"]).spawn();
        running.await_stderr("is down", DEADLINE);
        running.signal(Signal::TERM);
        let done = running.wait(DEADLINE);
        assert_harmless(&done.stderr);
        if format == "json" {
            let line = done.stderr.lines().find(|line| line.contains("is down")).unwrap();
            let message = json::parse(line).text("message").to_owned();
            assert!(message.contains(&name), "{message:?}");
        }
        for shown in ["text", "json"] {
            let status = program(&["status", "-c", "c.toml", "--format", shown]).run();
            assert_harmless(&status.stdout);
        }
        let status = program(&["status", "-c", "c.toml", "--format", "json"]).run();
        let report = status.stdout.lines().find(|line| line.starts_with('{')).unwrap();
        assert_eq!(json::parse(report).text("target"), name);
        // In a file the data is as it is.
        let status = program(&["status", "-c", "c.toml", "--format", "csv"]).run();
        assert!(status.stdout.contains(&name), "{status:?}");
        assert_harmless(&program(&["config", "--print", "-c", "c.toml"]).run().stdout);
        assert_harmless(&program(&["check", &name, "-c", "c.toml"]).run().stdout);
    }
}

#[test]
fn an_error_cannot_turn_round_what_follows() {
    let file = format!(
        "'key{MARKS}' = 1\ntargets = ['ftp://{MARKS}@a.example', '{MARKS}', 'a.example']\n\
         [[target]]\nname = '{MARKS}'\nurl = 'b.example'\n\
         [[target]]\nname = '{MARKS}'\nurl = 'c.example'\nstatus = '{MARKS}'\n"
    );
    let words = ["config", "--check", "-c", "c.toml"];
    let done = Sitewatch::new().file("c.toml", &file).args(words).run();
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.lines().count() >= 5, "{done:?}");
    assert_harmless(&done.stderr);
    let path = format!("no{MARKS}such.toml");
    assert_harmless(&Sitewatch::new().args(["config", "--check", "-c", &path]).run().stderr);
    assert_harmless(&Sitewatch::new().args(["check", &format!("x{MARKS}")]).run().stderr);
    assert_harmless(&Sitewatch::new().args([&format!("--{MARKS}\u{9b}")]).run().stderr);
    let remark = format!(
        "targets = ['a.example', 'b.example']\n[[target]]\nurl = 'c.example'\nmatch = '(?:{MARKS})*'"
    );
    let done = Sitewatch::new().file("c.toml", &remark).args(words).run();
    assert!(done.stdout.contains("is found in every body"), "{done:?}");
    assert_harmless(&done.stdout);
}
