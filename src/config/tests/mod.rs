//! The configuration as a whole. Each broken file stands in `tests/data/config` with its exact faults beside
//! it; a folder there is one configuration.

mod dsn;
mod example;
mod print;
mod remarks;
mod road;
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::log::LevelFilter;

use super::*;
use crate::log::LogFormat;
use crate::model::target::Method;

/// Certificate of a CA; below, a certificate that the CA has issued, and its key.
const CA: &str = include_str!("../../../tests/data/keys/ca.pem");
const CLIENT: &str = include_str!("../../../tests/data/keys/client.pem");
const KEY: &str = include_str!("../../../tests/data/keys/client.key");

const DATA: &str = "tests/data/config";

fn environment() -> Environment {
    let pairs = [
        ("TOKEN", "secret"),
        ("EMPTY", ""),
        ("HOST", "example.org"),
        ("COLON", "a:secret"),
        ("PASSWORD", "12/p@ss#w?r%41d b"),
    ];
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).into_iter().collect()
}

/// Returns every fault of the file or folder at `path`; its name begins with the command that needs more than
/// `config --check` does.
fn faults(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    let need = match name.split('_').next() {
        Some("run") => Need::Targets,
        Some("probe") => Need::Probe,
        Some("write") => Need::Write,
        _ => Need::Any,
    };
    match read(&[path.to_path_buf()], &environment(), need) {
        Ok(_) => "no fault".to_string(),
        Err(faults) => faults.to_string(),
    }
}

/// Folder of files that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let path = std::env::temp_dir().join(format!("sitewatch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the configuration of one file of that text.
fn config(name: &str, text: &str) -> Result<Config, ConfigFaults> {
    let folder = Folder::new(name, &[("config.toml", text)]);
    read(&[folder.0.join("config.toml")], &environment(), Need::Nothing)
}

#[test]
fn every_broken_file_gives_exactly_its_faults() {
    let mut seen = 0;
    let mut paths: Vec<PathBuf> = fs::read_dir(DATA).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "toml") {
            let found = faults(&path);
            let beside = path.with_extension("txt");
            let wanted = fs::read_to_string(&beside).unwrap();
            assert_eq!(found, wanted.trim_end(), "{}", path.display());
            assert!(!found.contains("secret"), "{} shows a secret: {found}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} files in {DATA}");
}

#[test]
fn an_empty_configuration_is_all_defaults() {
    let config = config("defaults", "").unwrap();
    assert_eq!(config.node, None);
    assert_eq!(config.state_dir, Path::new("/var/lib/sitewatch"));
    assert_eq!(config.sqlite, SqliteConfig::in_folder(Path::new("/var/lib/sitewatch")));
    assert_eq!(config.probe, ProbeConfig::default());
    assert_eq!(config.spool, SpoolConfig { memory: 4 << 20 });
    let second = Duration::from_secs(1);
    let write = WriteConfig { batch_max: 20_000, batch_age: second, dead_letter_max: 256 << 20 };
    assert_eq!(config.write, write);
    let days = |days: u32| days * 86_400 * second;
    assert_eq!(config.retention, RetentionConfig { checks: days(90), dead_letters: days(30) });
    assert_eq!(config.serve, ServeConfig { listen: None });
    assert_eq!(config.log, LogConfig::default());
    assert!(config.targets.is_empty());
}

#[test]
fn files_add_up() {
    let folder = Folder::new(
        "add-up",
        &[
            (
                "b.toml",
                "targets = [\"b.example\"]\n[defaults]\ninterval = \"20s\"\n[log]\nlevel = \"warn\"",
            ),
            (
                "a.toml",
                "targets = [\"a.example\"]\n[[target]]\nurl = \"c.example\"\n[log]\nformat = \"json\"",
            ),
            ("c.toml", "[[target]]\nurl = \"d.example\"\n[defaults]\nmethod = \"PUT\""),
            ("ignored.txt", "="),
        ],
    );
    let names = |config: &Config| -> Vec<String> {
        config.targets.iter().map(|target| target.name.to_string()).collect()
    };
    let config = read(std::slice::from_ref(&folder.0), &environment(), Need::Targets).unwrap();
    assert_eq!(names(&config), ["c.example", "d.example", "a.example", "b.example"]);
    assert!(config.targets.iter().all(|t| t.interval.as_secs() == 20 && t.method == Method::Put));
    assert_eq!(
        config.log,
        LogConfig { level: LevelFilter::Warn, format: LogFormat::Json, max_per_minute: 600 }
    );

    let paths = [folder.0.join("c.toml"), folder.0.join("b.toml")];
    let config = read(&paths, &environment(), Need::Targets).unwrap();
    assert_eq!(names(&config), ["d.example", "b.example"]);

    let twice = [folder.0.join("b.toml"), folder.0.join("b.toml")];
    let faults = read(&twice, &environment(), Need::Targets).unwrap_err();
    assert_eq!(faults.iter().count(), 3, "{faults}");
}

#[test]
fn paths_are_seen_from_the_file_that_names_them() {
    let state = [("STATE_DIRECTORY".to_string(), "given".to_string())];
    let environment: Environment = state.into_iter().collect();
    let folder = Folder::new(
        "paths",
        &[("a.toml", ""), ("b.toml", "state_dir = \"s\"\n[sqlite]\npath = \"/x.db\"")],
    );
    let config = read(&[folder.0.join("a.toml")], &environment, Need::Nothing).unwrap();
    assert_eq!(config.state_dir, Path::new("given"));
    assert_eq!(config.sqlite.path, Path::new("given/sitewatch.db"));
    let config = read(&[folder.0.join("b.toml")], &environment, Need::Nothing).unwrap();
    assert_eq!(config.state_dir, folder.0.join("s"));
    assert_eq!(config.sqlite.path, Path::new("/x.db"));
}

#[test]
fn only_who_needs_targets_misses_them() {
    let road = "[kafka]\nbrokers = [\"k:1\"]\n[postgres]\nurl = \"host=h\"";
    let folder = Folder::new("needs", &[("none.toml", "node = \"n\""), ("road.toml", road)]);
    for (file, need, is_enough) in [
        ("none.toml", Need::Targets, false),
        ("none.toml", Need::Any, false),
        ("none.toml", Need::Nothing, true),
        ("road.toml", Need::Targets, false),
        ("road.toml", Need::Probe, false),
        ("road.toml", Need::Write, true),
        ("road.toml", Need::Any, true),
    ] {
        let found = read(&[folder.0.join(file)], &environment(), need);
        assert_eq!(found.is_ok(), is_enough, "{file} {need:?}");
    }
}

#[test]
fn a_missing_file_is_told_with_what_to_do() {
    assert_eq!(
        faults(Path::new("/no/such.toml")),
        "/no/such.toml:1:1: cannot read this file: there is none: make one with `sitewatch config \
         --example`, or name another with --config"
    );
    assert_eq!(
        faults(Path::new("/dev/zero")),
        "/dev/zero:1:1: cannot read this file: it is larger than 8MiB"
    );
}

#[test]
fn no_bytes_make_it_panic() {
    // Read every file of the tests, cut anywhere and with bytes put in anywhere.
    let mut texts = vec![EXAMPLE.as_bytes().to_vec()];
    for entry in fs::read_dir(DATA).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            texts.push(fs::read(path).unwrap());
        }
    }
    let folder = Folder::new("bytes", &[]);
    let path = [folder.0.join("config.toml")];
    let mut state = 1u64;
    let mut draw = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    let pieces: BTreeSet<&[u8]> = [
        &b"\""[..],
        b"'''",
        b"[",
        b"]]",
        b"\n",
        b"\r",
        b".",
        b"=",
        b"{",
        b"}",
        b"\\",
        b"${",
        b"\0",
        b"\xff",
        b"9e9",
    ]
    .into();
    let pieces: Vec<&[u8]> = pieces.into_iter().collect();
    for round in 0..4000 {
        let mut text = texts[round % texts.len()].clone();
        for _ in 0..1 + draw(4) {
            let at = draw(text.len() + 1);
            match draw(4) {
                0 => text.truncate(at),
                1 => drop(text.drain(at..(at + draw(9)).min(text.len()))),
                _ => drop(text.splice(at..at, pieces[draw(pieces.len())].iter().copied())),
            }
        }
        fs::write(&path[0], &text).unwrap();
        let _ = read(&path, &environment(), Need::Targets).map(|config| print(&config));
    }
}
