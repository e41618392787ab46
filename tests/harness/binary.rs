//! Runs the program as a program: with a clean environment, folders of its own, and a deadline on
//! everything. Nothing survives the test: `run` kills at the deadline, `Running` kills on drop, and
//! both kill the whole process group.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use super::clock;
use super::temp::Temp;
use super::wait::eventually;

/// `run` waits this long by default.
const DEADLINE: Duration = Duration::from_secs(20);

/// Output may come this long after the end: a grandchild can hold the pipe.
const TRAILING: Duration = Duration::from_secs(2);

/// Hides the CA certificates of the host.
const HIDE_ROOTS: &str = "for folder in /etc/ssl /etc/pki /etc/security /usr/lib/ssl \
    /usr/share/ca-certificates /usr/local/share/ca-certificates /opt/etc/ssl; do \
    [ ! -d $folder ] || mount -t tmpfs none $folder || exit 99; done";

/// Builds a call of the program.
pub struct Sitewatch {
    command: Command,
    home: Temp,
    deadline: Duration,
    stdin: Vec<u8>,
}

impl Sitewatch {
    /// Calls the program that cargo has built, without arguments. Its environment holds `PATH`,
    /// `HOME` and `STATE_DIRECTORY` (two folders for this call only), `TZ=UTC` and `LC_ALL=C`. It
    /// also holds `SITEWATCH_CLOCK`: a file `clock` in its folder that tells builds which read it
    /// that the clock is synchronised, since the machine may have just booted. It has no proxies
    /// and nothing else.
    pub fn new() -> Sitewatch {
        Sitewatch::program(env!("CARGO_BIN_EXE_sitewatch"))
    }

    /// Calls another program in the same way.
    pub fn program(path: impl AsRef<OsStr>) -> Sitewatch {
        let home = Temp::new();
        let state = home.join("state");
        std::fs::create_dir(&state).unwrap();
        let clock = home.write("clock", "synchronised=true");
        let mut command = surrounded(path, &home);
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", home.path())
            .env("STATE_DIRECTORY", &state)
            .env("SITEWATCH_CLOCK", clock)
            .env("TZ", "UTC")
            .env("LC_ALL", "C");
        Sitewatch { command, home, deadline: DEADLINE, stdin: Vec::new() }
    }

    /// Runs it on a host without CA certificates, as a bare router is.
    pub fn bare(self) -> Sitewatch {
        self.bare_but("true")
    }

    /// Runs it on a bare host, after this shell script has prepared something that only the program
    /// sees.
    pub fn bare_but(mut self, put: &str) -> Sitewatch {
        let script = format!("{HIDE_ROOTS}; {put} || exit 99; exec \"$@\"");
        let mut command = surrounded("unshare", &self.home);
        command.args(["--mount", "sh", "-c", &script, "bare"]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        self.command = command;
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Sitewatch {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Sitewatch {
        self.command.env(name, value);
        self
    }

    /// Sets its standard input, which is empty by default.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Sitewatch {
        self.stdin = bytes.into();
        self
    }

    /// Writes a file into its working folder.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Sitewatch {
        self.home.write(name, bytes);
        self
    }

    /// Sets the deadline of `run`; 20 s by default.
    pub fn deadline(mut self, deadline: Duration) -> Sitewatch {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end. Panics with its output if the deadline passes first.
    #[track_caller]
    pub fn run(self) -> Output {
        let deadline = self.deadline;
        self.spawn().wait(deadline)
    }

    /// Starts it, and returns while it runs.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let started = Instant::now();
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {:?}: {error}", self.command),
        };
        let stdout = Tail::of(child.stdout.take().unwrap());
        let stderr = Tail::of(child.stderr.take().unwrap());
        let mut pipe = child.stdin.take().unwrap();
        let input = std::mem::take(&mut self.stdin);
        // A program that does not read must not block its test; killing the program ends this
        // thread.
        thread::spawn(move || {
            let _ = pipe.write_all(&input);
        });
        let name = format!("{:?}", self.command);
        Running { child, home: self.home, stdout, stderr, started, name, status: None }
    }
}

/// Prepares a command in this folder, with an empty environment and pipes for its streams.
fn surrounded(path: impl AsRef<OsStr>, home: &Temp) -> Command {
    let mut command = Command::new(path);
    command.env_clear().envs(clock::environment()).current_dir(home.path()).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns the CPU time that a process has used: user and system.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let hertz = rustix::param::clock_ticks_per_second();
    Duration::from_secs_f64(ticks as f64 / hertz as f64)
}

/// The end of a call.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All of its standard output, with invalid UTF-8 replaced.
    pub stdout: String,
    /// All of its standard error, the same way.
    pub stderr: String,
    /// Time from start to end.
    pub took: Duration,
}

/// A program that runs; dropping it kills it.
pub struct Running {
    child: Child,
    home: Temp,
    stdout: Tail,
    stderr: Tail,
    started: Instant,
    name: String,
    status: Option<ExitStatus>,
}

impl Running {
    /// Returns its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its working folder, which is its `HOME` and holds `state`. The folder disappears
    /// with the program: a test that starts it again on the same state sets `STATE_DIRECTORY` to a
    /// folder of its own.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns its standard output until now.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns its standard error until now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until standard error holds this text. Panics with all of standard error if the
    /// deadline passes or the program ends first.
    #[track_caller]
    pub fn await_stderr(&mut self, text: &str, deadline: Duration) {
        let start = Instant::now();
        loop {
            let (ended, late) = (self.ended(), start.elapsed() >= deadline);
            if self.stderr().contains(text) {
                return;
            }
            assert!(!ended && !late, "no {text:?} on stderr of {}", self.describe());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal. Panics if it has ended.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        assert!(!self.ended(), "cannot signal, it has ended: {}", self.describe());
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Tells if it has ended, and kills the processes that it has left behind then.
    pub fn ended(&mut self) -> bool {
        if self.status.is_none() {
            let pid = Pid::from_child(&self.child);
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(pid), options).unwrap().is_some() {
                self.bury();
            }
        }
        self.status.is_some()
    }

    /// Waits for its end. Panics with its output if the deadline passes first.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Output {
        let start = Instant::now();
        while !self.ended() {
            if start.elapsed() >= deadline {
                self.bury();
                panic!("did not end within {deadline:?}: {}", self.describe());
            }
            thread::sleep(Duration::from_millis(2));
        }
        let took = self.started.elapsed();
        let status = self.status.unwrap();
        Output {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
            took,
        }
    }

    fn describe(&self) -> String {
        let (out, err) = (self.stdout(), self.stderr());
        format!("{}\nstatus: {:?}\nstdout:\n{out}\nstderr:\n{err}", self.name, self.status)
    }

    /// Kills its process group, then reads its exit status. The order matters: until the status is
    /// read, no other process can get the group's number, which is the program's own.
    fn bury(&mut self) {
        // Killing fails if only dead processes are left in the group.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.status = self.child.wait().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.bury();
        }
    }
}

/// Collects the content of a pipe as it comes.
struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    fn of(mut pipe: impl Read + Send + 'static) -> Tail {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(n @ 1..) = pipe.read(&mut piece) {
                let mut bytes = shared.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend_from_slice(&piece[..n]);
            }
        });
        Tail { bytes, reader }
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[track_caller]
    fn whole(&self) -> String {
        eventually(TRAILING, "the end of the program's output", || self.reader.is_finished());
        self.text()
    }
}
