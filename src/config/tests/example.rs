//! The example: it works as it is, and has every key.

use std::time::Duration;

use super::*;

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
    for table in ["probe", "spool", "sqlite", "write", "retention", "serve", "log", "defaults"] {
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
