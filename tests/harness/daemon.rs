//! A server of another make as a process: started with a log, killed, paused, and gone with the
//! test process whatever ends that. Statics see no destructor, and a killed test run sees none at
//! all: so each server has a guard, a shell that reads a pipe of ours. When we are gone the pipe
//! ends, and the guard stops the server and removes its folder.

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

/// How long a server may take to end once told.
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

/// Who acts when the test process is gone, however it went; not if this is dropped before.
pub struct Guard(Child);

impl Guard {
    /// Removes a folder.
    pub fn folder(path: &Path) -> Guard {
        Guard::new("", "", path)
    }

    fn new(signal: &str, pid: &str, folder: &Path) -> Guard {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard", signal, pid]).arg(folder).stdin(Stdio::piped());
        // Without our output, whose reader would wait for its end; and of its own group, lest
        // Ctrl-C takes the guard before what it guards.
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

/// One life of a server; stopped on drop.
pub struct Daemon {
    child: Child,
    _guard: Guard,
    end: Signal,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, its output appended to a log. `end` is the signal that stops it with all below
    /// it: SIGQUIT for PostgreSQL, SIGKILL for what has no children. When the test process ends before it, it is
    /// stopped, and the folder goes with it.
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

    /// Waits until it answers. Panics with its log if that does not come by the deadline, or if
    /// it ends instead.
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

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops all of its processes where they stand (SIGSTOP).
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Kills all of its processes (SIGKILL), and returns when they are gone.
    pub fn kill(mut self) {
        self.kill_all();
    }

    fn kill_all(&mut self) {
        // While it stands still it makes no children, and those that end keep their numbers.
        signal(self.child.id(), Signal::STOP);
        let children = descendants(self.child.id());
        for pid in &children {
            signal(*pid, Signal::KILL);
        }
        signal(self.child.id(), Signal::KILL);
        let _ = self.child.wait();
        eventually(ENDING, "the server's children gone", || !children.iter().any(|p| alive(*p)));
    }

    /// The process first, then those below it.
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
    // One that has just ended takes none.
    let _ = kill_process(pid, what);
}

/// The processes below one, in no order.
fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // PID (NAME) STATE PARENT …, and the name may hold anything.
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

/// Whether a process is there and not a zombie that its adopter has yet to bury.
pub fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// A port of 127.0.0.1 that is free, and stays so for a server that is restarted on it: below
/// those that the system gives to clients and to port 0, and given once a process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes on one network begin at different places.
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    for _ in 0..10_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from 20000 to 29999");
}

/// A word that nobody else has: 16 hexadecimal digits.
pub fn random() -> String {
    let mut bytes = [0; 8];
    rand_bytes(&mut bytes).unwrap();
    format!("{:016x}", u64::from_be_bytes(bytes))
}
