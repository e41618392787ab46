//! What a configuration must give as a whole. Each broken file stands in `tests/data/config`
//! with its exact faults beside it; a folder there is one configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::model::target::Method;

const DATA: &str = "tests/data/config";

fn environment() -> Environment {
    let pairs = [("TOKEN", "secret"), ("EMPTY", ""), ("HOST", "example.org")];
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).into_iter().collect()
}

fn faults(path: &Path) -> String {
    match read(&[path.to_path_buf()], &environment(), Need::Targets) {
        Ok(_) => "no fault".to_string(),
        Err(faults) => faults.to_string(),
    }
}

/// A folder of files that goes when the test ends.
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

/// The configuration of one file of that text.
fn config(name: &str, text: &str) -> Result<Config, Faults> {
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
fn the_example_reads_without_fault() {
    let folder = Folder::new("example", &[("config.toml", EXAMPLE)]);
    let config = read(&[folder.0.join("config.toml")], &environment(), Need::Targets).unwrap();
    assert_eq!(config.state_dir, folder.0.join("state"));
    assert_eq!(config.serve.listen, Some("127.0.0.1:8380".parse().unwrap()));
    let own = config.targets.last().unwrap();
    assert_eq!((&*own.name, own.interval), ("sitewatch itself", Duration::from_secs(2)));
    assert!(own.matches[0].find(r#"{"status":"ok"}"#).is_some());
    assert!(config.targets.iter().all(|target| target.interval <= Duration::from_secs(10)));
}

#[test]
fn the_example_has_every_key_and_its_default() {
    // What a fault lists as allowed is every key that the table knows.
    let known = |header: &str| -> Vec<String> {
        let fault =
            config("known", &format!("{header}\nzzzzzzzzzzzz = 1")).unwrap_err().to_string();
        let (_, keys) = fault.lines().last().unwrap().split_once("allowed are ").unwrap();
        keys.split(", ").map(str::to_string).collect()
    };
    let active = EXAMPLE.lines().map(|line| line.trim_start_matches('#').trim_start());
    let stands = |key: &str| active.clone().any(|line| line.starts_with(&format!("{key} = ")));
    let mut count = 0;
    for table in ["probe", "spool", "sqlite", "write", "serve", "log", "defaults"] {
        assert!(EXAMPLE.contains(&format!("\n[{table}]\n")), "[{table}]");
        for key in known(&format!("[{table}]")) {
            assert!(stands(&key), "{key} of [{table}]");
            count += 1;
        }
    }
    for key in known("").iter().filter(|key| !EXAMPLE.contains(&format!("[{key}]"))) {
        assert!(stands(key), "{key}");
        count += 1;
    }
    for key in known("[[target]]\nurl = \"example.org\"") {
        assert!(stands(&key), "{key} of [[target]]");
        count += 1;
    }
    assert!(count > 40, "only {count} keys");
    // The keys that are commented out show their default: with them in, all stays as it is.
    let shown = |line: &&str| {
        !["#node", "#targets", "#headers", "#status", "#match", "#reject", "#slow_after"]
            .iter()
            .chain(&["#ca_file", "#labels", "#nodes", "#path"])
            .any(|key| line.starts_with(key))
    };
    let uncommented: String = EXAMPLE
        .lines()
        .filter(shown)
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(uncommented, EXAMPLE);
    let plain = print(&config("example-defaults", EXAMPLE).unwrap());
    let full = config("example-defaults", &uncommented).unwrap();
    assert_eq!(print(&full), plain);
}

#[test]
fn an_empty_configuration_is_all_defaults() {
    let config = config("defaults", "").unwrap();
    assert_eq!(config.node, None);
    assert_eq!(config.state_dir, Path::new("/var/lib/sitewatch"));
    assert_eq!(config.sqlite, Sqlite::in_folder(Path::new("/var/lib/sitewatch")));
    assert_eq!(config.probe, Probe::default());
    assert_eq!(config.spool, Spool { memory: 4 << 20 });
    assert_eq!(config.write, Write { batch_max: 20_000, batch_age: Duration::from_secs(1) });
    assert_eq!(config.serve, Serve { listen: None });
    assert_eq!(config.log, Log::default());
    assert!(config.targets.is_empty());
}

#[test]
fn a_targets_defaults_are_those_of_a_lone_one() {
    let config = config("lone", "targets = [\"u:p@example.org/?q\"]").unwrap();
    let lone = lone_target("u:p@example.org/?q").unwrap();
    assert_eq!(format!("{:?}", config.targets[0]), format!("{lone:?}"));
    assert_eq!(&*lone.name, "example.org/");
    assert_eq!(lone.login.unwrap().password.0, "p");
    let fault = lone_target("ftp://u:secret@example.org").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "\"ftp://***@example.org\" has the scheme \"ftp\": allowed are http and https"
    );
}

#[test]
fn own_keys_win_over_defaults_and_replace_them_whole() {
    let text = r#"
        targets = ["list.example"]
        targets_file = "sites.txt"
        [defaults]
        interval = "30s"
        method = "POST"
        headers = { B = "${TOKEN}", A = "2" }
        status = [200, "300-399"]
        match = "m"
        labels = { team = "web", site = "$${HOST}" }
        nodes = ["office", "shop-*"]
        ca_file = "ca.pem"
        verify = false
        [[target]]
        url = "https://${HOST}/a"
        name = "own"
        interval = "5s"
        headers = { C = "3" }
        match = []
        reject = ["x", "y"]
        labels = {}
        nodes = []
        verify = true
        max_body = "1MiB"
        excerpt = "16KiB"
        slow_after = "2s"
        status = 204
    "#;
    let sites = "\u{feff}# list\r\n\r\nfile.example # last\r\n";
    let files = [("config.toml", text), ("sites.txt", sites), ("ca.pem", "")];
    let folder = Folder::new("own", &files);
    let paths = [folder.0.join("config.toml")];
    let config = read(&paths, &environment(), Need::Targets).unwrap();
    let [own, list, file] = &config.targets[..] else { panic!("{:?}", config.targets) };

    assert_eq!((&*own.name, own.url.as_str()), ("own", "https://example.org/a"));
    assert_eq!((own.interval, own.timeout), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!(own.headers, [header("C", "3").unwrap()]);
    assert_eq!((own.matches.len(), own.rejects.len(), own.labels.len()), (0, 2, 0));
    assert_eq!((own.max_body, own.excerpt, own.verify), (1 << 20, 16 << 10, true));
    assert_eq!(own.slow_after, Some(Duration::from_secs(2)));
    assert_eq!(own.status.to_string(), "204");
    assert_eq!(own.method, Method::Post);
    assert!(own.is_for("anyone"));

    for (target, name) in [(list, "list.example"), (file, "file.example")] {
        assert_eq!((&*target.name, target.method), (name, Method::Post));
        assert_eq!(target.url.as_str(), format!("https://{name}/"));
        assert_eq!(
            (target.interval, target.timeout),
            (Duration::from_secs(30), Duration::from_secs(10))
        );
        assert_eq!(target.headers, [header("B", "secret").unwrap(), header("A", "2").unwrap()]);
        assert_eq!(target.status.to_string(), "200, 300-399");
        assert_eq!(target.labels["site"], "${HOST}");
        assert!(target.is_for("office") && target.is_for("shop-1") && !target.is_for("anyone"));
        assert_eq!(target.ca_file, Some(folder.0.join("ca.pem")));
        assert!(!target.verify && target.matches.len() == 1 && target.rejects.is_empty());
    }
}

#[test]
fn a_timeout_that_was_not_written_bends_to_the_interval() {
    for (keys, timeout) in [
        ("", Ok(10)),
        ("interval = \"3s\"", Ok(3)),
        ("interval = \"3s\"\ntimeout = \"3s\"", Ok(3)),
        ("interval = \"5m\"\ntimeout = \"2m\"", Ok(120)),
        ("timeout = \"60s\"", Ok(60)),
        ("timeout = \"61s\"", Err("timeout 1m1s is longer than the interval of 1m")),
        (
            "interval = \"3s\"\ntimeout = \"4s\"",
            Err("timeout 4s is longer than the interval of 3s"),
        ),
    ] {
        let text = format!("[[target]]\nurl = \"example.org\"\n{keys}");
        match (config("timeout", &text), timeout) {
            (Ok(config), Ok(seconds)) => {
                assert_eq!(config.targets[0].timeout, Duration::from_secs(seconds), "{keys}");
            }
            (Err(faults), Err(text)) => assert!(faults.to_string().contains(text), "{faults}"),
            (found, _) => panic!("{keys}: {found:?}"),
        }
    }
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
        Log { level: LevelFilter::Warn, format: LogFormat::Json, max_per_minute: 600 }
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
    let path = [PathBuf::from(DATA).join("no_target.toml")];
    assert!(read(&path, &environment(), Need::Targets).is_err());
    assert!(read(&path, &environment(), Need::Nothing).is_ok());
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
fn what_is_printed_reads_again_and_hides_secrets() {
    let text = r#"
        node = "a\"b\\c\u0007"
        targets = ["https://user:secret@example.org/a?secret"]
        [serve]
        listen = "[::1]:8380"
        [[target]]
        name = "$${x} ä"
        url = "example.org"
        headers = { Accept = "a", Authorization = "secret", "X|Y" = "secret" }
        body = "secret"
        match = ['\d+"', "[$${]"]
        status = [200, "300-399"]
        slow_after = "1m30s"
        labels = { "a b" = "c\td" }
        nodes = ["shop-*"]
        excerpt = "1KiB"
    "#;
    assert!(config("print", text).is_err(), "the node holds a control character");
    let config = |text: &str| config("print", text).unwrap();
    let text = text.replace("\\u0007", "").replace("c\\td", "c d");
    let printed = print(&config(&text));
    assert!(!printed.contains("secret"), "{printed}");
    for line in [
        r#"node = "a\"b\\c""#,
        r#"url = "https://***@example.org/a?***""#,
        r#"headers = { "Accept" = "a", "Authorization" = "***", "X|Y" = "***" }"#,
        r#"body = "***""#,
        r#"match = ["\\d+\"", "[$${]"]"#,
        r#"status = ["200", "300-399"]"#,
        r#"name = "$${x} ä""#,
        r#"slow_after = "1m30s""#,
        r#"listen = "[::1]:8380""#,
        r#"nodes = ["shop-*"]"#,
        "# ca_file = none",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line} is not in:\n{printed}");
    }
    let again = config(&printed);
    assert_eq!(print(&again), printed);
}

#[test]
fn no_bytes_make_it_panic() {
    // Every file of the tests, cut anywhere and with bytes put in anywhere.
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
