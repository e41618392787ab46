//! What a newcomer types: the README's commands, and `make run` as it stands, without the
//! internet. Everything here is inside tests/offline's namespace, so nothing leaves the machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::json::{self, Fields};
use crate::harness::{Sitewatch, Temp, eventually};

const DEADLINE: Duration = Duration::from_secs(60);

/// Lines of the README's `sh` blocks, without their comments.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let mut inside = false;
    let mut found = Vec::new();
    for line in readme.lines() {
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
fn the_readmes_commands_are_none_that_do_not_exist() {
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    let state = Temp::new();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[0] {
            "make" => {
                let goal = format!("\n{}:", words[1]);
                assert!(makefile.contains(&goal), "{command}: no such goal in the Makefile");
            }
            "sitewatch" if !command.contains('|') => run(&command, &state),
            "git" | "cd" => {}
            // On another machine, the program among them.
            "sudo" | "ssh" | "tar" | "sitewatch" => {
                typed_elsewhere(&command).iter().for_each(|call| run(call, &state));
            }
            other => panic!("README: who runs {other:?}?"),
        }
    }
}

/// The calls of the program that prints service files or an example, up to where that goes.
fn typed_elsewhere(command: &str) -> Vec<String> {
    let parts = command.split(['\'', ';', '|', '>']).flat_map(|part| part.split("&&"));
    let calls = parts.map(str::trim).filter(|part| {
        ["config", "service"].iter().any(|word| part.starts_with(&format!("sitewatch {word}")))
    });
    calls.map(str::to_owned).collect()
}

/// Types one of the README's commands; names do not resolve here, but the words must be right.
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

/// Words as a shell splits them, as far as the README needs it: quotes of either kind.
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
