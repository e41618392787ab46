//! Runs a foreign server as a process: starts it with a log, kills it, pauses it, and stops it when
//! the test process ends, however that happens. Statics are never dropped, and a killed test run
//! drops nothing. So each server has a guard: a shell that reads a pipe of ours. The pipe closes
//! when we end; then the guard stops the server and removes its folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use openssl::rand::rand_bytes;
use rustix::process::{Pid, Signal, kill_process};

use super::wait::eventually;

/// A server may take this long to end.
const ENDING: Duration = Duration::from_secs(10);

/// Waits for the end of its input, stops process `$2` by signal `$1`, by KILL if that takes too
/// long, and removes folder `$3`. A zombie has no `exe`.
const GUARD: &str = r#"
cat >/dev/null
kill -s CONT "$2"; kill -s "$1" "$2"
left=100
while [ "$left" -gt 0 ] && [ -e "/proc/$2/exe" ]; do left=$((left - 1)); sleep 0.1; done
kill -s KILL "$2"
rm -rf -- "$3"
"#;

/// Cleans up when the test process ends, however that happens. Dropping it before cancels that.
pub struct Guard(Child);

impl Guard {
    /// Removes a folder.
    pub fn folder(path: &Path) -> Guard {
        Guard::new("", "", path)
    }

    fn new(signal: &str, pid: &str, folder: &Path) -> Guard {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard", signal, pid]).arg(folder).stdin(Stdio::piped());
        // The guard has no output of ours, whose reader would wait for its end, and a process group
        // of its own, so that Ctrl-C does not end it before the server.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Guard(command.spawn().unwrap())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One run of a server; dropping it stops the server.
pub struct Daemon {
    child: Child,
    _guard: Guard,
    end: Signal,
    log: PathBuf,
}

impl Daemon {
    /// Starts a server that appends its output to a log. `end` is the signal that stops it and its
    /// children: SIGQUIT for PostgreSQL, SIGKILL for a server without children. If the test process
    /// ends first, the server is stopped and its folder removed.
    #[track_caller]
    pub fn start(mut command: Command, end: Signal, log: &Path, folder: &Path) -> Daemon {
        let out = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {command:?}: {error}; `.ci/with test` installs it"),
        };
        let _guard = Guard::new(&end.as_raw().to_string(), &child.id().to_string(), folder);
        Daemon { child, _guard, end, log: log.to_owned() }
    }

    /// Waits until the server answers. Panics with its log if the deadline passes or the server
    /// ends first.
    #[track_caller]
    pub fn await_answer(&mut self, deadline: Duration, mut answers: impl FnMut() -> bool) {
        let start = Instant::now();
        while !answers() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || start.elapsed() >= deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("no answer within {deadline:?} (ended: {ended:?}): {log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Pauses all of its processes (SIGSTOP).
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Continues its processes.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Kills all of its processes (SIGKILL), and returns when they are gone.
    pub fn kill(mut self) {
        self.kill_all();
    }

    fn kill_all(&mut self) {
        // A paused process starts no children, and its dead children keep their numbers.
        signal(self.child.id(), Signal::STOP);
        let children = descendants(self.child.id());
        for pid in &children {
            signal(*pid, Signal::KILL);
        }
        signal(self.child.id(), Signal::KILL);
        let _ = self.child.wait();
        eventually(ENDING, "the server's children gone", || !children.iter().any(|p| alive(*p)));
    }

    /// Returns the process, then its descendants.
    fn signal_all(&self, what: Signal) {
        signal(self.child.id(), what);
        for pid in descendants(self.child.id()) {
            signal(pid, what);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            if self.end != Signal::KILL {
                self.resume();
                signal(self.child.id(), self.end);
                let start = Instant::now();
                while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < ENDING {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            if let Ok(None) = self.child.try_wait() {
                self.kill_all();
            }
        }
    }
}

fn signal(pid: u32, what: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // A process that has just ended takes no signal.
    let _ = kill_process(pid, what);
}

/// Returns the descendants of a process, in no order.
fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The line is `PID (NAME) STATE PARENT …`, and the name may hold any character.
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if let (Some(pid), Some(Ok(parent))) = (pid, parent.map(str::parse::<u32>)) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let above = found[next];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Tells if a process exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Returns a free port of 127.0.0.1 for a server that is restarted on it. It is below the ports
/// that the system gives to clients and to port 0, and is returned once in a process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes on one network start at different ports.
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    for _ in 0..10_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from 20000 to 29999");
}

/// Returns a random word of 16 hexadecimal digits.
pub fn random() -> String {
    let mut bytes = [0; 8];
    rand_bytes(&mut bytes).unwrap();
    format!("{:016x}", u64::from_be_bytes(bytes))
}
