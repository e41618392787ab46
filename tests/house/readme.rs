//! Types what a newcomer types: the commands of every README, and `make run` as it stands, without the
//! internet. Everything here is inside tests/offline's namespace, so nothing leaves the machine. The links
//! and paths in these papers must lead somewhere.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::sources::rust_files;
use crate::harness::json::{self, Fields};
use crate::harness::{Sitewatch, Temp, eventually};

const DEADLINE: Duration = Duration::from_secs(60);

/// Folders without files of ours.
const FOREIGN: [&str; 2] = ["target", ".git"];

/// Finds every file of the repository.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if !entry.file_type().unwrap().is_dir() {
                files.push(path);
            } else if FOREIGN.iter().all(|name| !path.ends_with(name)) {
                folders.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Finds every Markdown file of the repository.
fn papers() -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// Returns the lines of the `sh` blocks of a paper, without their comments.
fn commands(paper: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(paper).unwrap();
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                let command = line.split(" #").next().unwrap().trim();
                if !command.is_empty() {
                    found.push(command.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

/// The body of a GET, or nothing if nobody answers.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Where `make` finds the release build, as `make test` left it.
fn release_binary() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    PathBuf::from(folder).join("release/sitewatch")
}

fn example() -> PathBuf {
    std::env::current_dir().unwrap().join("config.example")
}

/// `make run` on a terminal; gone when dropped, with what it started.
struct Terminal(Child);

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of `script` hangs the terminal up, which ends all on it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn make_run_watches_at_once_and_stops_cleanly() {
    assert!(release_binary().exists(), "no release build: run the tests with `make test`");
    let state = Temp::new();
    // A terminal, as a person has; `script` makes one. Its own session, so that the signal below
    // goes to what `make` started and not to the tests.
    let make = Command::new("script")
        .args(["--quiet", "--return", "--command", "stty cols 100 rows 24; exec make run"])
        .arg(state.path().join("typescript"))
        .env("STATE_DIRECTORY", state.path())
        .env("CARGO_NET_OFFLINE", "true")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut make = Terminal(make);
    let mut stdout = make.0.stdout.take().unwrap();
    let screen = std::thread::spawn(move || {
        let mut screen = String::new();
        stdout.read_to_string(&mut screen).unwrap();
        screen
    });
    let health = eventually(DEADLINE, "checks under make run", || {
        let health = json::parse(&get("127.0.0.1:8380", "/health")?);
        (health.int("stored") >= 3).then_some(health)
    });
    assert_eq!(health.text("status"), "ok");
    assert_eq!(health.int("targets"), 4);

    let status = Sitewatch::new()
        .args(["status", "sitewatch itself", "--format", "json"])
        .env("SITEWATCH_CONFIG", example())
        .env("STATE_DIRECTORY", state.path())
        .run();
    assert_eq!(status.code, Some(0), "{status:?}");

    // The other goal finds the same file.
    let status = Command::new("make").arg("status").env("STATE_DIRECTORY", state.path()).output();
    let status = status.unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    // Of sites that are not there it makes an error.
    assert!(said.contains("sitewatch itself"), "{status:?}");

    // Ctrl-C, as the terminal gives it.
    make.0.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let screen = screen.join().unwrap();
    // Of `make` itself Ctrl-C makes an error; the program's last words tell how it ended.
    make.0.wait().unwrap();
    assert!(screen.contains("sitewatch itself"), "{screen}");
    assert!(screen.contains("latest changes"), "{screen}");
    assert!(screen.contains("stopped: everything is stored"), "{screen}");
}

#[test]
fn the_commands_of_every_readme_exist() {
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    let state = Temp::new();
    let mut typed = HashSet::new();
    for paper in papers() {
        for command in commands(&paper) {
            if typed.insert(command.clone()) {
                type_command(&command, &paper, &makefile, &state);
            }
        }
    }
    assert!(typed.len() >= 40, "{typed:?}");
}

/// Runs one command of a paper, or as much of it as can be run here: goals, scripts and tests that a command
/// names must exist.
fn type_command(command: &str, paper: &Path, makefile: &str, state: &Temp) {
    let words = shell_words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = &words[words.iter().take_while(|word| word.starts_with("TESTS_CLOCK=")).count()..];
    match words[0] {
        "make" => {
            let goal = format!("\n{}:", words[1]);
            assert!(makefile.contains(&goal), "{command}: no such goal in the Makefile");
        }
        ".ci/with" => {
            assert!(Path::new(".ci/with").exists() && words[2] == "cargo", "{command}");
            assert_tests_exist(words);
        }
        "sitewatch" if !command.contains('|') => run(command, state),
        // Commands for another machine; those of the program run here.
        "sudo" | "ssh" | "tar" | "sitewatch" => {
            typed_elsewhere(command).iter().for_each(|call| run(call, state));
        }
        other => panic!("{}: who runs {other:?}?", paper.display()),
    }
}

/// Fails unless every filter (`module::`, `module::test`) among these words of a cargo command chooses a test.
fn assert_tests_exist(words: &[&str]) {
    let tests = test_paths(if words.contains(&"--lib") { "src" } else { "tests" });
    let is_exact = words.contains(&"--exact");
    for filter in words.iter().filter(|word| word.contains("::")) {
        let is_chosen =
            |test: &String| if is_exact { test == filter } else { test.contains(filter) };
        assert!(tests.iter().any(is_chosen), "{filter}: no such test");
    }
}

/// Returns the paths of the tests below a folder: `cli::status::NAME`.
fn test_paths(folder: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for file in rust_files(Path::new(folder)) {
        let module = file.strip_prefix(folder).unwrap().with_extension("");
        let module = module.to_str().unwrap().trim_end_matches("/mod").replace('/', "::");
        let source = std::fs::read_to_string(&file).unwrap();
        let tests = source.split("#[test]\n").skip(1).filter_map(|rest| rest.split_once("fn "));
        let names = tests.filter_map(|(_, rest)| rest.split_once('('));
        paths.extend(names.map(|(name, _)| format!("{module}::{name}")));
    }
    paths
}

/// A filter that chooses nothing passes in silence.
#[test]
fn filters_of_the_makefile_and_of_ci_choose_tests() {
    for file in ["Makefile", ".ci/tests"] {
        let text = std::fs::read_to_string(file).unwrap();
        let filters: Vec<&str> =
            text.split_whitespace().filter(|word| word.contains("::")).collect();
        assert!(!filters.is_empty(), "{file}: no filter was found");
        assert_tests_exist(&filters);
    }
}

#[test]
fn links_and_paths_in_every_paper_lead_somewhere() {
    let mut missing = Vec::new();
    let mut count = 0;
    for paper in papers() {
        let text = std::fs::read_to_string(&paper).unwrap();
        let folder = paper.parent().unwrap();
        for (target, name) in links(&text) {
            count += 1;
            let at = if target.is_empty() { paper.clone() } else { folder.join(target) };
            let is_there = match name {
                _ if !at.exists() => false,
                "" => true,
                name => headings(&std::fs::read_to_string(&at).unwrap()).contains(name),
            };
            if !is_there {
                missing.push(format!("{}: link to {target}#{name}", paper.display()));
            }
        }
        for path in paths(&text) {
            count += 1;
            if ![Path::new("."), folder].iter().any(|at| at.join(path).exists()) {
                missing.push(format!("{}: no file {path}", paper.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(count >= 60, "only {count} links and paths were found");
}

#[test]
fn types_on_the_map_of_the_sources_exist() {
    let map = std::fs::read_to_string("src/README.md").unwrap();
    let sources = files().into_iter().filter(|file| file.starts_with("./src"));
    let rust = sources.filter(|file| file.extension().is_some_and(|end| end == "rs"));
    let code: String = rust.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let kinds = ["struct", "enum", "trait", "type"];
    let pairs = words.windows(2).filter(|pair| kinds.contains(&pair[0]));
    let defined: HashSet<&str> = pairs.map(|pair| pair[1]).collect();
    let named: Vec<&str> = types(&map).collect();
    let missing: Vec<&&str> = named.iter().filter(|name| !defined.contains(**name)).collect();
    assert!(missing.is_empty(), "no such types: {missing:?}");
    assert!(named.len() >= 20, "only {named:?} were found");
}

/// Returns the names of types between backticks, without their modules.
fn types(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let names = quoted.map(|word| word.rsplit("::").next().unwrap());
    names.filter(|name| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

/// Returns the targets of the links `[text](file#heading)` to files of ours, each as (file, heading).
fn links(text: &str) -> Vec<(&str, &str)> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let ours = targets.map(|(target, _)| target).filter(|target| !target.contains("://"));
    ours.map(|target| target.split_once('#').unwrap_or((target, ""))).collect()
}

/// Returns the names by which links reach the headings of a paper: lower case, dashes for spaces, and nothing
/// but letters, digits, dashes and underscores.
fn headings(text: &str) -> HashSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let names = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_');
    names.map(|name| name.replace(' ', "-").chars().filter(kept).collect()).collect()
}

/// Returns the words between backticks that name sources (`.rs`, `.sql`, `.c`, `.h`) or folders of ours.
fn paths(text: &str) -> Vec<&str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_path = |word: &&str| {
        let ends = [".rs", ".sql", ".c", ".h", "/"];
        let is_source = ends.iter().any(|end| word.len() > end.len() && word.ends_with(end));
        (is_source || word.starts_with("src/"))
            && !word.starts_with(['/', '~'])
            && !word.contains([' ', '*', '<', '{'])
    };
    quoted.filter(is_path).collect()
}

/// Returns the calls of the program that prints service files or an example, up to where that goes.
fn typed_elsewhere(command: &str) -> Vec<String> {
    let parts = command.split(['\'', ';', '|', '>']).flat_map(|part| part.split("&&"));
    let calls = parts.map(str::trim).filter(|part| {
        ["config", "service"].iter().any(|word| part.starts_with(&format!("sitewatch {word}")))
    });
    calls.map(str::to_owned).collect()
}

/// Types one command of a paper. Names do not resolve here, but the words must be right.
fn run(command: &str, state: &Temp) {
    let words = shell_words(command);
    let mut program = Sitewatch::new().args(&words[1..]).env("STATE_DIRECTORY", state.path());
    if words[1] != "service" {
        program = program.env("SITEWATCH_CONFIG", example());
    }
    if words[1] == "run" {
        let mut running = program.spawn();
        running.await_stderr("watching", DEADLINE);
        running.signal(Signal::INT);
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{command}: {done:?}");
        return;
    }
    let done = program.run();
    assert!(!done.stderr.contains("see sitewatch --help"), "{command}: {done:?}");
    assert!(matches!(done.code, Some(0..=2)) && done.signal.is_none(), "{command}: {done:?}");
    let said = if done.code == Some(2) { &done.stderr } else { &done.stdout };
    assert!(!said.is_empty(), "{command}: {done:?}");
}

/// Splits a command as a shell does, as far as the papers need it: quotes of either kind.
fn shell_words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words
}
