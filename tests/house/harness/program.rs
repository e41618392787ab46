//! The harness's own word, checked: addresses nobody answers at, the program as a program (a
//! shell stands in for it), and the small tools.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::get;
use crate::harness::daemon::alive;
use crate::harness::{Client, Fields, Sitewatch, Temp, clock, dead, eventually, json};

const SHORT: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Sitewatch {
    Sitewatch::program("/bin/sh").args(["-c", script])
}

/// The words that a panic was raised with; panics itself if there was none.
fn complaint(act: impl FnOnce()) -> String {
    let raised = catch_unwind(AssertUnwindSafe(act)).unwrap_err();
    *raised.downcast::<String>().unwrap()
}

#[test]
fn dead_addresses_are_dead_in_their_own_way() {
    let refused = dead::refused();
    assert_eq!(get(&refused.url("/")).code, 7);
    assert_eq!(get(&refused.https_url("/")).code, 7);

    let silent = dead::silent();
    let got = Client::new().timeout(SHORT).get(&silent.url("/"));
    assert_eq!(got.code, 28);
    assert!(got.connect > Duration::ZERO && got.total >= SHORT, "{got:?}");
    // curl does not tell the connect's time of a handshake that timed out.
    let got = Client::new().timeout(SHORT).get(&silent.https_url("/"));
    assert_eq!((got.code, got.tls), (28, Duration::ZERO), "{got:?}");

    let full = dead::full();
    let got = Client::new().timeout(2 * SHORT).get(&full.url("/"));
    assert_eq!((got.code, got.connect), (28, Duration::ZERO), "{got:?}");
    assert!(got.total >= 2 * SHORT, "{got:?}");
    let connect = |dead: &dead::Dead| TcpStream::connect_timeout(&dead.address(), SHORT);
    assert_eq!(connect(&full).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(connect(&silent).is_ok());
}

#[test]
fn a_run_gives_output_and_exit_code() {
    let done = shell("cat; cat note; echo oh >&2; exit 3").stdin("in ").file("note", "noted").run();
    assert_eq!((done.code, done.signal), (Some(3), None));
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("in noted", "oh\n"));
    let killed = shell("kill -KILL $$").run();
    assert_eq!((killed.code, killed.signal), (None, Some(9)));
    assert!(killed.took < DEADLINE);
}

#[test]
fn the_environment_is_clean_and_the_folders_are_its_own() {
    let script = "env | sort; test -d \"$STATE_DIRECTORY\" && pwd";
    let done = shell(script).env("EXTRA", "yes").run();
    let names = done.stdout.lines().filter_map(|l| Some(l.split_once('=')?.0));
    let names: Vec<_> =
        names.filter(|name| clock::environment().all(|(n, _)| n != *name)).collect();
    // PWD and the like are the shell's own.
    let wanted =
        ["EXTRA", "HOME", "LC_ALL", "PATH", "PWD", "SITEWATCH_CLOCK", "STATE_DIRECTORY", "TZ"];
    assert!(names.iter().all(|name| wanted.contains(name) || *name == "_"), "{names:?}");
    assert!(wanted.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(done.stdout.ends_with('\n') && done.code == Some(0), "{done:?}");
}

#[test]
fn the_program_itself_runs() {
    let done = Sitewatch::new().args(["--version"]).run();
    assert_eq!(done.signal, None, "{done:?}");
}

#[test]
fn a_run_past_its_deadline_is_killed_and_told_loudly() {
    let start = Instant::now();
    let words = complaint(|| {
        shell("echo begun; sleep 600").deadline(SHORT).run();
    });
    assert!(start.elapsed() >= SHORT && start.elapsed() < DEADLINE);
    assert!(words.contains("did not end within 300ms") && words.contains("begun"), "{words}");
}

#[test]
fn a_running_program_takes_signals_and_is_gone_when_dropped() {
    let script = "trap 'echo term >&2; exit 7' TERM; echo ready >&2; while :; do sleep 0.01; done";
    let mut running = shell(script).spawn();
    running.await_stderr("ready", DEADLINE);
    assert!(running.home().join("state").is_dir() && !running.ended());
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!((done.code, done.stderr.as_str()), (Some(7), "ready\nterm\n"));

    let mut running = shell("sleep 600 & echo $! >&2; echo up; wait").spawn();
    running.await_stderr("\n", DEADLINE);
    eventually(DEADLINE, "its output", || running.stdout() == "up\n");
    let (parent, child) = (running.pid(), running.stderr().trim().parse::<u32>().unwrap());
    drop(running);
    for pid in [parent, child] {
        eventually(DEADLINE, "the process gone", || !alive(pid));
    }

    let orphan = shell("sleep 600 & echo $!").run().stdout.trim().parse().unwrap();
    eventually(DEADLINE, "the orphan gone", || !alive(orphan));

    let mut ended = shell("echo bye >&2").spawn();
    let words = complaint(|| ended.await_stderr("hello", DEADLINE));
    assert!(words.contains("no \"hello\" on stderr") && words.contains("bye"), "{words}");
}

#[test]
fn temporary_folders_go_with_their_owner() {
    let temp = Temp::new();
    let file = temp.write("a/b.toml", "x");
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
    assert!(file.starts_with(temp.path()));
    assert_ne!(temp.path(), Temp::new().path());
    let path = temp.path().to_owned();
    drop(temp);
    assert!(!Path::new(&path).exists());
}

#[test]
fn waiting_ends_with_the_answer_or_with_the_deadline() {
    let mut asked = 0;
    let found = eventually(DEADLINE, "the third", || {
        asked += 1;
        (asked == 3).then_some("third")
    });
    assert_eq!((found, asked), ("third", 3));
    let start = Instant::now();
    let words = complaint(|| eventually(SHORT, "pigs fly", || false));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(words, "not within 300ms: pigs fly");
}

#[test]
fn json_fields_are_what_they_are_taken_for() {
    let text = r#"{"a": 1, "b": 1.5, "c": "x", "d": false, "e": null, "f": [{"g": -2}]}"#;
    let value = json::parse(text);
    assert_eq!((value.int("a"), value.number("a"), value.number("b")), (1, 1.0, 1.5));
    assert_eq!((value.text("c"), value.flag("d")), ("x", false));
    assert_eq!(["a", "d", "e", "z"].map(|name| value.has(name)), [true, true, false, false]);
    assert_eq!(value.list("f")[0].int("g"), -2);
    assert!(complaint(|| _ = value.int("c")).contains("no whole number `c` in {"));
    assert!(complaint(|| _ = value.text("z")).contains("no text `z`"));
    assert_eq!(json::lines("{\"a\":1}\n\n{\"a\":2}\n").len(), 2);
}
