//! `run` in trouble: more to do than it may, bodies larger than its room, a disk that is full.
//! Nothing of that is ever the site's fault, and nothing is lost that need not be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixtures::sqlite_rows::Stored;
use crate::harness::binary::Running;
use crate::harness::client::{Fetched, get};
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, dead, eventually, json};

/// Long, since nothing here is judged by it, and slow expressions wait for the processor too.
const DEADLINE: Duration = Duration::from_secs(60);

/// A configuration over so many paths `/0`, `/1`, … of a listener.
fn config(listener: &Listener, count: usize, keys: &str) -> String {
    let mut config = format!("node = 'here'\n{keys}\n");
    for i in 0..count {
        let url = listener.url(&format!("/{i}"));
        write!(config, "[[target]]\nname = '{i}'\nurl = '{url}'\n").unwrap();
    }
    config
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Watches so long, stops, and reads what is stored; also gives the most memory it had, in KiB.
fn watch(config: &str, length: Duration) -> (Stored, u64) {
    let folder = Temp::new();
    let mut running = Sitewatch::new()
        .file("c.toml", config)
        .env("STATE_DIRECTORY", folder.path())
        .args(["run", "-c", "c.toml"])
        .spawn();
    running.await_stderr("watching", DEADLINE);
    let began = Instant::now();
    eventually(2 * length, "its time", || began.elapsed() >= length);
    let memory = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse().unwrap();
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    let stored = Stored::read(&folder.join("sitewatch.db"));
    stored.is_whole("here");
    (stored, peak)
}

/// Descriptors for some of the checks that are due at once.
#[test]
fn descriptors_that_run_out_are_our_trouble() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("x").serial().delay_first_byte(Duration::from_millis(600)));
    let mut config = config(&listener, 40, "[defaults]\ninterval = '2s'");
    // By name, too: to look it up takes some.
    for i in 0..20 {
        let url = listener.url_at("named.example", "/");
        write!(config, "[[target]]\nname = 'named-{i}'\nurl = '{url}'\n").unwrap();
    }
    let script = "mount --bind hosts /etc/hosts && ulimit -n 30 && exec \"$@\"";
    let mut running = Sitewatch::program("unshare")
        .file("c.toml", config)
        .file("hosts", "127.0.0.1 named.example\n")
        .env("STATE_DIRECTORY", folder.path())
        .args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sitewatch")])
        .args(["run", "-c", "c.toml"])
        .spawn();
    running.await_stderr("watching", DEADLINE);
    let began = Instant::now();
    eventually(DEADLINE, "its time", || began.elapsed() >= Duration::from_secs(5));
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    let stored = Stored::read(&folder.join("sitewatch.db"));
    stored.is_whole("here");
    let of = |verdict: &str| stored.checks.iter().filter(|row| row.verdict == verdict).count();
    assert!(of("up") > 20 && of("unknown") > 20, "{} up, {} unknown", of("up"), of("unknown"));
    for row in &stored.checks {
        let is_ours = row.verdict == "unknown" && row.cause == "overload";
        assert!(row.verdict == "up" || is_ours, "{row:?}");
    }
}

/// Of a connection that was told «network is unreachable» nobody can say then whose network that is.
#[test]
fn a_route_that_cannot_be_asked_for_is_our_trouble() {
    // Started after it, and held while the first one is judged.
    let full = dead::full();
    let mut config = "[defaults]\ntimeout = '1s'\n".to_owned();
    for (name, url) in [("lost", "http://192.0.2.1/"), ("lost6", "http://[2001:db8::1]/")] {
        write!(config, "[[target]]\nname = '{name}'\nurl = '{url}'\n").unwrap();
    }
    for i in 0..60 {
        write!(config, "[[target]]\nname = '{i}'\nurl = '{}'\n", full.url("/")).unwrap();
    }
    for (limit, cause, words) in
        [(30, "overload", "cannot open a socket"), (500, "uplink", "network is unreachable")]
    {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let done = Sitewatch::program("sh")
            .file("c.toml", &config)
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_sitewatch")])
            .args(["check", "-c", "c.toml", "--all", "--format", "json"])
            .run();
        let records = json::lines(&done.stdout);
        for lost in &records[..2] {
            assert_eq!((lost.text("verdict"), lost.text("cause")), ("unknown", cause), "{done:?}");
            assert!(lost.text("error").contains(words), "{done:?}");
        }
    }
}

fn serials(stored: &Stored) -> BTreeSet<u64> {
    let serials: Vec<u64> = stored.checks.iter().map(|row| row.serial().unwrap()).collect();
    let once: BTreeSet<u64> = serials.iter().copied().collect();
    assert_eq!(once.len(), serials.len(), "one answer is stored twice");
    once
}

#[test]
fn more_than_it_can_do_is_lag_and_gaps_and_never_down() {
    let listener = Listener::http();
    listener.always(Script::ok("").serial().delay_first_byte(Duration::from_millis(350)));
    let keys = "[probe]\nmax_in_flight = 1\n\
                [defaults]\ninterval = '1s'\ntimeout = '900ms'\nmatch = 'serial=[0-9]+'";
    let (stored, _) = watch(&config(&listener, 6, keys), Duration::from_secs(7));
    assert!(stored.checks.iter().all(|row| row.verdict == "up"), "{:?}", stored.checks);
    assert!(stored.gaps.iter().any(|gap| gap.cause == "overload"), "{:?}", stored.gaps);
    assert!(stored.checks.iter().any(|row| row.lag_us > 300_000));
    // A lag of more than the interval is a gap instead.
    assert!(stored.checks.iter().all(|row| (0..1_010_000).contains(&row.lag_us)), "{stored:?}");
    assert_eq!(stored.targets().len(), 6, "each has its turn");
    assert!((0..6).all(|i| stored.of(&i.to_string()).len() >= 2), "{stored:?}");
    assert_eq!(serials(&stored).len(), listener.settled(DEADLINE).len());
}

#[test]
fn an_expression_that_is_slow_disturbs_no_measurement_and_loses_nothing() {
    let listener = Listener::http();
    listener.on("/0", Script::ok("a".repeat(256 << 10)));
    listener.on("/1", Script::ok("").serial());
    // Each search of it takes long: hundreds of states, none of which fails before the end.
    let keys = "[defaults]\ninterval = '2s'\nmatch = '([a-z]{1,10}){1,10}[0-9]$|serial=[0-9]+'";
    let (stored, _) = watch(&config(&listener, 2, keys), Duration::from_secs(8));
    let (slow, fast) = (stored.of("0"), stored.of("1"));
    assert!(slow.len() >= 3 && fast.len() >= 3, "{stored:?}");
    assert!(slow.iter().all(|row| row.cause == "body"), "{slow:?}");
    assert!(fast.iter().all(|row| row.verdict == "up" && row.lag_us < 500_000), "{fast:?}");
    assert_eq!(stored.checks.len(), listener.settled(DEADLINE).len());
}

#[test]
fn bodies_that_do_not_fit_at_once_wait_for_room() {
    let listener = Listener::http();
    let body = "a page of some length. ".repeat(9000);
    let script = Script::ok(body).serial();
    listener.always(script.body_in_pieces(40_000, Duration::from_millis(4)));
    let keys = "[probe]\nbodies_max = '300KiB'\n\
                [defaults]\ninterval = '1s'\ntimeout = '900ms'\nmatch = 'serial=[0-9]+'";
    let (stored, peak) = watch(&config(&listener, 16, keys), Duration::from_secs(7));
    let odd: Vec<_> = stored.checks.iter().filter(|row| row.verdict != "up").collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert!(stored.checks.len() >= 50, "{}", stored.checks.len());
    assert!(stored.checks.iter().any(|row| row.lag_us > 30_000), "nothing waited");
    assert!(peak < 60 * 1024, "{peak} KiB");
    serials(&stored);
}

/// `run` on a disk of its own, which is small; the disk is gone with it, but for a copy.
struct OnDisk {
    shell: Running,
    run: Pid,
    disk: PathBuf,
    copy: PathBuf,
    port: SocketAddr,
}

/// None: this machine does not let us mount.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn on_disk(listener: &Listener, folder: &Temp, keys: &str, excerpt: &str) -> Option<OnDisk> {
    let (disk, copy, port) = (folder.join("disk"), folder.join("copy"), free_port());
    fs::create_dir(&disk).unwrap();
    let keys = format!(
        "state_dir = '{}'\n[serve]\nlisten = '{port}'\n{keys}\n\
         [defaults]\ninterval = '1s'\ntimeout = '900ms'\nmatch = 'serial=[0-9]+'\n\
         excerpt = '{excerpt}'",
        disk.display()
    );
    let script = format!(
        "mount -t tmpfs -o size=2m none {disk} || exit 77
         {binary} run -c c.toml & echo $! > run.pid.new && mv run.pid.new run.pid
         wait $!; code=$?; cp -r {disk} {copy}; exit $code",
        disk = disk.display(),
        copy = copy.display(),
        binary = env!("CARGO_BIN_EXE_sitewatch"),
    );
    let mut shell = Sitewatch::program("unshare")
        .file("c.toml", config(listener, 20, &keys))
        .args(["--mount", "sh", "-c", &script])
        .spawn();
    let pid = eventually(DEADLINE, "the start", || {
        (shell.ended() || shell.stderr().contains("watching"))
            .then(|| fs::read_to_string(shell.home().join("run.pid")).unwrap_or_default())
    });
    if shell.ended() {
        eprintln!("skipped: no mounting here: {}", shell.stderr());
        return None;
    }
    let pid: i32 = pid.trim().parse().unwrap();
    // Its disk as it sees it.
    let disk = PathBuf::from(format!("/proc/{pid}/root{}", disk.display()));
    Some(OnDisk { shell, run: Pid::from_raw(pid).unwrap(), disk, copy, port })
}

impl OnDisk {
    fn health(&self) -> Fetched {
        get(&format!("http://{}/health", self.port))
    }

    fn waits_for(&self, status: &str) {
        eventually(DEADLINE, status, || {
            json::parse(&self.health().text()).text("status") == status
        });
    }

    fn stop(self) -> (Stored, String) {
        kill_process(self.run, Signal::TERM).unwrap();
        let done = self.shell.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");
        (Stored::read(&self.copy.join("sitewatch.db")), done.stderr)
    }
}

/// Takes every byte that is free, of a disk that is as small as ours.
fn fill(disk: &Path) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = File::create(&filler).unwrap();
    let blocks = (0..8192).take_while(|_| file.write_all(&[b'x'; 512]).is_ok()).count();
    assert!(blocks < 8192, "{} is not the small disk", disk.display());
    filler
}

#[test]
fn a_full_disk_is_waited_out_and_nothing_is_lost() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("").serial());
    let Some(on) = on_disk(&listener, &folder, "", "2KiB") else { return };
    eventually(DEADLINE, "something stored", || {
        json::parse(&on.health().text()).int("stored") > 20
    });
    let filler = fill(&on.disk);
    on.waits_for("store_away");
    let away = on.health();
    assert_eq!(away.status, 503, "{away:?}");
    let before = json::parse(&away.text());
    eventually(DEADLINE, "checks go on", || {
        let now = json::parse(&on.health().text());
        now.int("checks") > before.int("checks") + 40 && now.int("waiting") > 40
    });
    fs::remove_file(filler).unwrap();
    on.waits_for("ok");
    assert_eq!(on.health().status, 200);
    let (stored, log) = on.stop();
    assert_eq!(log.matches("the disk is full").count(), 1, "{log}");
    assert_eq!(log.matches("the store is back").count(), 1, "{log}");
    // A slot that comes due in the moment of the stop is told as a gap of its own.
    let only_stop = stored.gaps.iter().all(|gap| gap.cause == "stop");
    assert!(stored.losses.is_empty() && only_stop, "{stored:?}");
    stored.is_whole("here");
    let answered: BTreeSet<u64> = listener.settled(DEADLINE).iter().map(|s| s.serial).collect();
    assert_eq!(serials(&stored), answered);
}

#[test]
fn a_disk_that_stays_full_costs_the_oldest_and_their_number_is_kept() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("x".repeat(3000)).serial());
    let Some(on) = on_disk(&listener, &folder, "[spool]\nmemory = '64KiB'", "2KiB") else { return };
    eventually(DEADLINE, "something stored", || {
        json::parse(&on.health().text()).int("stored") > 20
    });
    let filler = fill(&on.disk);
    eventually(DEADLINE, "losses", || json::parse(&on.health().text()).int("lost") > 30);
    fs::remove_file(filler).unwrap();
    on.waits_for("ok");
    let told = json::parse(&on.health().text()).int("lost");
    let (stored, log) = on.stop();
    assert_eq!(log.matches("memory is full").count(), 1, "{log}");
    let answered: BTreeSet<u64> = listener.settled(DEADLINE).iter().map(|s| s.serial).collect();
    let kept = serials(&stored);
    assert!(kept.is_subset(&answered));
    let lost: BTreeSet<u64> = answered.difference(&kept).copied().collect();
    assert_eq!(stored.losses["memory_full"], lost.len() as i64, "{told} were told by /health");
    // The oldest of those that waited: none of them is younger than the first that was kept.
    let after = kept.iter().filter(|serial| **serial > *lost.first().unwrap());
    assert!(after.clone().count() > 5);
}

#[test]
fn a_small_disk_is_enough_for_what_the_largest_size_allows() {
    let (listener, folder) = (Listener::http(), Temp::new());
    listener.always(Script::ok("x".repeat(17_000)).serial());
    let keys = "[sqlite]\nmax_size = '512KiB'";
    let Some(on) = on_disk(&listener, &folder, keys, "16KiB") else { return };
    // More than the disk could hold with all that was ever written to the log.
    eventually(DEADLINE, "many stored", || json::parse(&on.health().text()).int("stored") > 200);
    assert_eq!(json::parse(&on.health().text()).int("lost"), 0);
    let (stored, log) = on.stop();
    assert_eq!(stored.losses.keys().collect::<Vec<_>>(), ["expired"]);
    let count = stored.checks.len() as i64 + stored.losses["expired"];
    assert_eq!(count, listener.settled(DEADLINE).len() as i64, "{log}");
    assert!(log.contains("the store has reached max_size"), "{log}");
}
