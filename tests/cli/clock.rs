//! A clock that is wrong, set, or asleep, as the test tells it to the program: no check is dated by
//! a clock that cannot be believed, what spans a jump is nobody's fault but ours, what was jumped
//! over is one gap a target, and nothing is made up in a burst. Builds for development alone can be
//! told such things.

#![cfg(debug_assertions)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;
use rustix::process::Signal;

use crate::fixtures::sqlite_rows::{Row, Stored};
use crate::harness::binary::Running;
use crate::harness::client::get;
use crate::harness::daemon::free_port;
use crate::harness::{Listener, Script, Sitewatch, Temp, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
const SECOND_US: i64 = 1_000_000;
const TARGETS: usize = 5;

/// A program and its clock.
struct Watched {
    site: Listener,
    folder: Temp,
    running: Running,
    health: u16,
}

impl Watched {
    /// Under the clock as it is told; some check is under way at any time.
    fn start(clock: &str, keys: &str) -> Watched {
        let (site, folder, health) = (Listener::http(), Temp::new(), free_port());
        site.always(Script::ok("fine").serial().delay_first_byte(Duration::from_millis(600)));
        let mut config = format!(
            "node = 'here'\n[probe]\n{keys}\n[serve]\nlisten = '127.0.0.1:{health}'\n\
             [defaults]\ninterval = '1s'\nmatch = 'serial=[0-9]+'\n"
        );
        for i in 0..TARGETS {
            config += &format!("[[target]]\nname = '{i}'\nurl = '{}'\n", site.url("/"));
        }
        folder.write("c.toml", config);
        tell(&folder, clock);
        let words = ["run", "-c", folder.join("c.toml").to_str().unwrap()].map(str::to_owned);
        let program = Sitewatch::new().args(words).env("STATE_DIRECTORY", folder.path());
        let running = program.env("SITEWATCH_CLOCK", folder.join("clock")).spawn();
        Watched { site, folder, running, health }
    }

    fn tell(&self, clock: &str) {
        tell(&self.folder, clock);
    }

    fn asked(&self) -> usize {
        self.site.log().len()
    }

    #[track_caller]
    fn await_more(&self, count: usize) {
        let before = self.asked();
        eventually(DEADLINE, "more requests", || self.asked() >= before + count);
    }

    /// No check starts for so long, while it serves.
    #[track_caller]
    fn is_idle(&self, length: Duration) {
        let (began, before) = (Instant::now(), self.asked());
        while began.elapsed() < length {
            let health = get(&format!("http://127.0.0.1:{}/health", self.health));
            assert_eq!(health.status, 200);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(self.asked(), before, "{}", self.running.stderr());
    }

    /// Requests that came in a second and a half, from now on.
    fn burst(&self) -> usize {
        let before = self.asked();
        std::thread::sleep(Duration::from_millis(1500));
        self.asked() - before
    }

    #[track_caller]
    fn stop(mut self) -> (Stored, String) {
        self.running.signal(Signal::TERM);
        let done = self.running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");
        let stored = Stored::read(&self.folder.join("sitewatch.db"));
        // Every answer is one check: no two had one key. Those that span a jump keep no serial.
        let clock = stored.checks.iter().filter(|row| row.cause == "clock").count();
        let serials: BTreeSet<u64> = stored.checks.iter().filter_map(Row::serial).collect();
        assert_eq!(serials.len() + clock, stored.checks.len());
        assert_eq!(stored.checks.len(), self.site.settled(DEADLINE).len(), "{}", done.stderr);
        assert!(stored.checks.iter().all(|row| ["up", "unknown"].contains(&&*row.verdict)));
        (stored, done.stderr)
    }

    /// What the node has told of its clock.
    fn synced(&self) -> Option<bool> {
        let db = Connection::open(self.folder.join("sitewatch.db")).unwrap();
        let sql = "SELECT clock_synced FROM node WHERE name = 'here'";
        db.query_row(sql, [], |row| row.get(0)).unwrap_or_default()
    }
}

/// At once: the program never sees half of it.
fn tell(folder: &Temp, clock: &str) {
    folder.write("clock.new", clock);
    std::fs::rename(folder.join("clock.new"), folder.join("clock")).unwrap();
}

fn now_us() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64
}

#[test]
fn after_a_boot_nothing_is_checked_until_the_clock_is_set() {
    let mut watched = Watched::start("synchronised=false up_us=5000000", "");
    watched.running.await_stderr("the kernel calls it unsynchronised; at most 120 s", DEADLINE);
    watched.is_idle(Duration::from_millis(1500));
    watched.tell("synchronised=true up_us=8000000");
    watched.running.await_stderr("the clock is set after ", DEADLINE);
    watched.await_more(2 * TARGETS);
    eventually(DEADLINE, "the node's state", || watched.synced() == Some(true));
    let (stored, said) = watched.stop();
    assert_eq!(said.matches("no check until the clock is set").count(), 1, "{said}");
    stored.is_whole("here");
    assert!(stored.gaps.is_empty(), "{:?}", stored.gaps);
}

#[test]
fn a_clock_that_nobody_sets_is_waited_for_no_longer_than_allowed() {
    let mut watched = Watched::start("synchronised=false up_us=5000000", "clock_wait = '2s'");
    watched.running.await_stderr("unsynchronised; at most 2 s (clock_wait)", DEADLINE);
    let began = Instant::now();
    watched.await_more(1);
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    eventually(DEADLINE, "the node's state", || watched.synced() == Some(false));
    let (_, said) = watched.stop();
    assert!(said.contains("the clock is still not synchronised after 2 s"), "{said}");
    // Neither on a host that has been up for long, nor where it is not wanted.
    for (clock, keys) in [
        ("synchronised=false up_us=900000000", ""),
        ("synchronised=false up_us=5000000", "clock_wait = '0s'"),
    ] {
        let watched = Watched::start(clock, keys);
        watched.await_more(1);
        let (_, said) = watched.stop();
        assert!(!said.contains("no check"), "{said}");
    }
}

#[test]
fn a_boot_in_1970_is_never_waited_out_and_leaves_no_trace() {
    let ago = now_us() - 100 * SECOND_US;
    let clock = format!("ahead_us=-{ago} synchronised=true");
    let mut watched = Watched::start(&clock, "clock_wait = '0s'");
    watched.running.await_stderr("it says 1970-01-01T00:01:", DEADLINE);
    watched.is_idle(Duration::from_secs(2));
    // Another plan does not change that.
    watched.running.signal(Signal::HUP);
    watched.running.await_stderr("reloaded: 5 targets", DEADLINE);
    watched.is_idle(Duration::from_secs(1));
    let set_ms = now_us() / 1000;
    watched.tell("");
    watched.running.await_stderr("the clock is set after ", DEADLINE);
    watched.await_more(2 * TARGETS);
    // While it runs, too: back to 1970, and forth.
    watched.tell(&clock);
    watched.running.await_stderr("the clock was stepped back by ", DEADLINE);
    std::thread::sleep(Duration::from_secs(1));
    watched.is_idle(Duration::from_secs(2));
    watched.tell("");
    watched.await_more(2 * TARGETS);
    let (stored, _) = watched.stop();
    let due: Vec<i64> = stored.checks.iter().map(|row| row.due_ms).collect();
    assert!(due.iter().all(|due| *due > set_ms - 1000), "{due:?}");
    // Slots that passed while it was away.
    assert!(!stored.gaps.is_empty());
    for gap in &stored.gaps {
        assert!(gap.from_ms > set_ms && gap.count < 30 && gap.cause == "clock", "{gap:?}");
    }
}

#[test]
fn a_clock_that_is_stepped_leaves_one_gap_a_target_and_no_burst() {
    const HOUR_US: i64 = 3600 * SECOND_US;
    let mut watched = Watched::start("", "");
    watched.await_more(TARGETS);
    watched.tell(&format!("ahead_us={HOUR_US}"));
    watched.running.await_stderr("the clock was stepped ahead by 3600.0 s", DEADLINE);
    let burst = watched.burst();
    assert!(burst <= 2 * TARGETS, "{burst} checks after a step ahead");
    watched.await_more(TARGETS);
    watched.tell("");
    watched.running.await_stderr("the clock was stepped back by 3600.0 s", DEADLINE);
    let burst = watched.burst();
    assert!(burst <= 2 * TARGETS, "{burst} checks after a step back");
    watched.await_more(TARGETS);
    let (stored, _) = watched.stop();
    // The slots of that hour, once: to go back makes no gap.
    assert_eq!(stored.gaps.len(), TARGETS, "{:?}", stored.gaps);
    for gap in &stored.gaps {
        assert_eq!(gap.cause, "clock", "{gap:?}");
        assert!((3595..=3602).contains(&gap.count), "{gap:?}");
    }
    // Back is another run, ahead is the same.
    let runs: BTreeSet<i64> = stored.checks.iter().map(|row| row.run).collect();
    assert_eq!(runs.len(), 2);
    let spanned = stored.checks.iter().filter(|row| row.verdict == "unknown").collect::<Vec<_>>();
    assert!((2..=2 * TARGETS).contains(&spanned.len()), "{spanned:?}");
    assert!(spanned.iter().all(|row| row.cause == "clock"), "{spanned:?}");
}

#[test]
fn five_minutes_of_sleep_are_one_gap_a_target_and_no_burst() {
    const SLEEP_US: i64 = 300 * SECOND_US;
    let mut watched = Watched::start("", "");
    watched.await_more(TARGETS);
    watched.tell(&format!("ahead_us={SLEEP_US} asleep_us={SLEEP_US}"));
    watched.running.await_stderr("this host was suspended for 300.0 s", DEADLINE);
    let burst = watched.burst();
    assert!(burst <= 2 * TARGETS, "{burst} checks after sleep");
    watched.await_more(TARGETS);
    let (stored, said) = watched.stop();
    assert!(!said.contains("stepped"), "{said}");
    stored.is_whole("here");
    assert_eq!(stored.gaps.len(), TARGETS, "{:?}", stored.gaps);
    for gap in &stored.gaps {
        assert_eq!(gap.cause, "suspend", "{gap:?}");
        assert!((298..=301).contains(&gap.count), "{gap:?}");
    }
    let spanned = stored.checks.iter().filter(|row| row.verdict == "unknown").collect::<Vec<_>>();
    assert!((1..=TARGETS).contains(&spanned.len()), "{spanned:?}");
    assert!(spanned.iter().all(|row| row.cause == "clock"), "{spanned:?}");
    assert!(stored.checks.iter().all(|row| row.run == stored.checks[0].run));
}
