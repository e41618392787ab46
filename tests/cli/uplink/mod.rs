//! Them or us: the probe's own network is cut, or its name server dies, or only a site does; and
//! what is booked as whose fault. The program runs in a network namespace of its own, behind a cable
//! that a test can pull; its sites have addresses of the internet on the other side.

pub mod names;
mod routes;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::sqlite_rows::{Row, Stored};
use crate::harness::binary::{Output, Running};
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, eventually, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs what follows once somebody has put the cable in.
const WAIT: &str = "ip link set lo up && echo plug me in >&2 && until ip link show up0 >/dev/null 2>&1; \
    do sleep 0.05; done && ip addr add $0.2/24 dev up0 && ip link set up0 up && \
    ip route add default via $0.1 && { [ ! -e resolv.conf ] || mount --bind resolv.conf \
    /etc/resolv.conf; } && exec \"$@\"";

#[track_caller]
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The cable, and networks at its far end; gone with the namespace of the tests.
pub struct Cable {
    name: String,
    /// The first three numbers of the network between the two.
    near: String,
    /// The program behind it, and what it is run by.
    program: Vec<OsString>,
}

impl Cable {
    fn new() -> Cable {
        Cable::of(vec![env!("CARGO_BIN_EXE_sitewatch").into()])
    }

    /// The same for another build of the program.
    pub fn of(program: Vec<OsString>) -> Cable {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        Cable { name: format!("cable{number}"), near: format!("198.18.{number}"), program }
    }

    /// An address of the internet, of this cable's own.
    fn site(&self, number: u8) -> String {
        let address = format!("{}.{number}", self.near.replace("198.18", "198.19"));
        // It may be there from an earlier call.
        let _ = Command::new("ip").args(["addr", "add", &address, "dev", "lo"]).output();
        address
    }

    /// Starts the program at its near end.
    #[track_caller]
    fn start(&self, config: &str, folder: &Temp, resolv_conf: Option<String>) -> Running {
        let mut running = self.launch(&["run"], config, folder, resolv_conf);
        running.await_stderr("watching", DEADLINE);
        running
    }

    #[track_caller]
    fn launch(
        &self,
        command: &[&str],
        config: &str,
        folder: &Temp,
        resolv_conf: Option<String>,
    ) -> Running {
        let keys = [("interval", "interval = '1s'\n"), ("timeout", "timeout = '700ms'\n")];
        let keys = keys.iter().filter(|(key, _)| !config.contains(key)).map(|(_, line)| *line);
        let text = format!(
            "node = 'here'\nstate_dir = '{}'\n[defaults]\n{}{config}",
            folder.path().display(),
            keys.collect::<String>(),
        );
        let mut program = Sitewatch::program("unshare").file("c.toml", text);
        if let Some(text) = resolv_conf {
            program = program.file("resolv.conf", text);
        }
        let words = ["--net", "--mount", "sh", "-c", WAIT, &self.near];
        let program = program.args(words).args(&self.program).args(["-c", "c.toml"]);
        let program = program.args(command);
        let mut running = program.spawn();
        running.await_stderr("plug me in", DEADLINE);
        let (name, near) = (&self.name, &self.near);
        ip(&format!("link add {name} type veth peer name up0 netns {}", running.pid()));
        ip(&format!("addr add {near}.1/24 dev {name}"));
        ip(&format!("link set {name} up"));
        running
    }

    fn pull(&self) {
        ip(&format!("link set {} down", self.name));
    }

    fn put_back(&self) {
        ip(&format!("link set {} up", self.name));
    }
}

fn site() -> Listener {
    let site = Listener::everywhere();
    site.always(Script::ok("x"));
    site
}

/// Lines of targets of these names at these addresses.
fn targets(site: &Listener, all: &[(&str, &str)]) -> String {
    all.iter().fold(String::new(), |mut text, (name, host)| {
        let url = site.url_at(host, "/");
        writeln!(text, "[[target]]\nname = '{name}'\nurl = '{url}'").unwrap();
        text
    })
}

#[track_caller]
fn stop(mut running: Running, folder: &Temp) -> (Output, Stored) {
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    let stored = Stored::read(&folder.join("sitewatch.db"));
    stored.is_whole("here");
    (done, stored)
}

fn kinds(rows: &[&Row]) -> Vec<(String, String)> {
    let mut kinds: Vec<_> =
        rows.iter().map(|row| (row.verdict.clone(), row.cause.clone())).collect();
    kinds.dedup();
    kinds
}

fn kind(verdict: &str, cause: &str) -> (String, String) {
    (verdict.to_owned(), cause.to_owned())
}

/// So many rows of a target.
fn rows(folder: &Temp, target: &str, verdict: &str) -> usize {
    let path = folder.join("sitewatch.db");
    if !path.exists() {
        return 0;
    }
    Stored::read(&path).of(target).iter().filter(|row| row.verdict == verdict).count()
}

#[test]
fn while_the_uplink_is_away_nobody_is_down_and_one_line_says_so() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let names: Vec<String> = (1..=5).map(|number| format!("s{number}")).collect();
    let addresses: Vec<String> = (1..=5).map(|number| cable.site(number)).collect();
    let all: Vec<(&str, &str)> =
        names.iter().zip(&addresses).map(|(name, address)| (&**name, &**address)).collect();
    let mut running = cable.start(&targets(&site, &all), &folder, None);
    eventually(DEADLINE, "all up", || all.iter().all(|(name, _)| rows(&folder, name, "up") > 1));
    cable.pull();
    eventually(DEADLINE, "all unknown", || {
        assert!(!running.ended(), "{}", running.stderr());
        all.iter().all(|(name, _)| rows(&folder, name, "unknown") > 2)
    });
    cable.put_back();
    running.await_stderr("the uplink is back", DEADLINE);
    let before: Vec<usize> = all.iter().map(|(name, _)| rows(&folder, name, "up")).collect();
    eventually(DEADLINE, "all up again", || {
        let later = all.iter().map(|(name, _)| rows(&folder, name, "up"));
        later.zip(&before).all(|(later, before)| later > *before)
    });
    let (done, stored) = stop(running, &folder);
    for (name, _) in &all {
        let kinds = kinds(&stored.of(name));
        let (up, away) = (kind("up", ""), kind("unknown", "uplink"));
        assert!(kinds.contains(&away), "{name}: {kinds:?}");
        assert!(kinds.iter().all(|kind| [&up, &away].contains(&kind)), "{name}: {kinds:?}");
    }
    let log = &done.stderr;
    assert_eq!(log.matches("the uplink is away").count(), 1, "{log}");
    assert_eq!(log.matches("the uplink is back").count(), 1, "{log}");
    assert!(!log.contains("is down") && !log.contains("is up again"), "{log}");
    assert!(!log.contains("is unknown"), "{log}");
}

#[test]
fn a_site_that_is_silent_alone_is_down() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    // Nobody has the second address.
    let (good, dead) = (cable.site(1), cable.site(2));
    ip(&format!("addr del {dead}/32 dev lo"));
    ip(&format!("route add blackhole {dead}/32"));
    let all = [("good", &*good), ("dead", &*dead)];
    let running = cable.start(&targets(&site, &all), &folder, None);
    eventually(DEADLINE, "some checks", || rows(&folder, "dead", "down") > 3);
    let (done, stored) = stop(running, &folder);
    assert_eq!(kinds(&stored.of("good")), [kind("up", "")]);
    assert_eq!(kinds(&stored.of("dead")), [kind("down", "timeout")]);
    assert!(!done.stderr.contains("uplink"), "{}", done.stderr);
    assert_eq!(done.stderr.matches("dead is down").count(), 1, "{}", done.stderr);
}

#[test]
fn a_check_now_asks_the_canaries_too() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let (good, dead, nobody) = (cable.site(1), cable.site(2), cable.site(3));
    for dead in [&dead, &nobody] {
        ip(&format!("addr del {dead}/32 dev lo"));
        ip(&format!("route add blackhole {dead}/32"));
    }
    let (port, lone) = (site.address().port(), targets(&site, &[("lone", &dead)]));
    let both = targets(&site, &[("dead", &dead), ("good", &good)]);
    let neither = targets(&site, &[("dead", &dead), ("nobody", &nobody)]);
    let asks = |host: &str| format!("[uplink]\ncanaries = ['{host}:{port}']\n");
    let alone = "[uplink]\ncanaries = []\n".to_owned();
    // The cable is put in while it begins: the first try may be lost.
    let time = "interval = '4s'\ntimeout = '4s'\n";
    for (what, config, code, verdicts) in [
        ("--all", asks(&good) + &lone, 1, &[("lone", "down", "timeout")][..]),
        ("--all", asks(&nobody) + &lone, 2, &[("lone", "unknown", "uplink")]),
        // Nobody to ask; another that answers; others that are asked, though they are not checked.
        ("--all", alone + &lone, 1, &[("lone", "down", "timeout")]),
        ("--all", both.clone(), 1, &[("dead", "down", "timeout"), ("good", "up", "")]),
        ("dead", both, 1, &[("dead", "down", "timeout")]),
        ("dead", neither, 2, &[("dead", "unknown", "uplink")]),
    ] {
        let config = time.to_owned() + &config;
        let command = ["check", what, "--format", "json"];
        let done = cable.launch(&command, &config, &folder, None).wait(DEADLINE);
        let found = json::lines(&done.stdout);
        let found: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|record| {
                let cause = if record.has("cause") { record.text("cause") } else { "" };
                (record.text("target"), record.text("verdict"), cause)
            })
            .collect();
        assert_eq!((&found[..], done.code), (verdicts, Some(code)), "{config}: {done:?}");
        let is_said = done.stderr.contains("the uplink is away");
        assert_eq!(is_said, code == 2, "{done:?}");
        let _ = Command::new("ip").args(["link", "del", &cable.name]).output();
    }
}

#[test]
fn a_canary_speaks_for_the_uplink_and_silence_alone_is_doubtful() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let (lone, canary) = (cable.site(1), cable.site(2));
    let port = site.address().port();
    let config =
        format!("[uplink]\ncanaries = ['{canary}:{port}']\n") + &targets(&site, &[("lone", &lone)]);
    let mut running = cable.start(&config, &folder, None);
    eventually(DEADLINE, "up", || rows(&folder, "lone", "up") > 1);
    ip(&format!("addr del {lone}/32 dev lo"));
    ip(&format!("route add blackhole {lone}/32"));
    eventually(DEADLINE, "down: the canary answers", || rows(&folder, "lone", "down") > 2);
    assert!(!running.stderr().contains("uplink"), "{}", running.stderr());
    cable.pull();
    running.await_stderr("the uplink is away", DEADLINE);
    eventually(DEADLINE, "unknown: nobody answers", || rows(&folder, "lone", "unknown") > 2);
    stop(running, &folder);
}

#[test]
fn with_nobody_to_ask_it_is_down_and_what_is_ours_is_exempt() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let lone = cable.site(1);
    let mut running = cable.start(&targets(&site, &[("lone", &lone)]), &folder, None);
    eventually(DEADLINE, "up", || rows(&folder, "lone", "up") > 1);
    cable.pull();
    running.await_stderr("lone is down", DEADLINE);
    stop(running, &folder);

    let (cable, folder) = (Cable::new(), Temp::new());
    let (own, other) = (cable.site(1), cable.site(2));
    let config = targets(&site, &[("other", &other), ("own", &own)]) + "own_network = true\n";
    let mut running = cable.start(&config, &folder, None);
    eventually(DEADLINE, "up", || {
        rows(&folder, "own", "up") > 1 && rows(&folder, "other", "up") > 1
    });
    cable.pull();
    running.await_stderr("own is down", DEADLINE);
    eventually(DEADLINE, "the other is unknown", || rows(&folder, "other", "unknown") > 1);
    let (_, stored) = stop(running, &folder);
    let down = |row: &&Row| row.verdict == "down";
    assert_eq!(stored.of("other").into_iter().filter(down).count(), 0);
}

#[test]
fn what_is_refused_is_the_sites_whoever_else_is_silent() {
    let (cable, folder) = (Cable::new(), Temp::new());
    let (refusing, dead) = (cable.site(1), cable.site(2));
    ip(&format!("addr del {dead}/32 dev lo"));
    ip(&format!("route add blackhole {dead}/32"));
    let config = format!(
        "[[target]]\nname = 'refusing'\nurl = 'http://{refusing}:9/'\n\
         [[target]]\nname = 'dead'\nurl = 'http://{dead}:9/'\n\
         [uplink]\ncanaries = ['{dead}:9']\n"
    );
    let running = cable.start(&config, &folder, None);
    eventually(DEADLINE, "some checks", || rows(&folder, "refusing", "down") > 2);
    let (_, stored) = stop(running, &folder);
    assert_eq!(kinds(&stored.of("refusing")), [kind("down", "connect")]);
}

#[test]
fn several_dead_sites_beside_a_good_one_are_down_and_the_uplink_is_not_away() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let names = ["dead1", "dead2", "dead3", "dead4"];
    let mut config =
        String::from("interval = '4s'\n") + &targets(&site, &[("good", &cable.site(9))]);
    for (number, name) in (1..).zip(names) {
        let address = cable.site(number);
        ip(&format!("addr del {address}/32 dev lo"));
        ip(&format!("route add blackhole {address}/32"));
        config += &targets(&site, &[(name, &address)]);
    }
    let running = cable.start(&config, &folder, None);
    eventually(2 * DEADLINE, "some checks", || {
        names.iter().all(|name| rows(&folder, name, "down") > 2)
    });
    let (done, stored) = stop(running, &folder);
    for name in names {
        assert_eq!(kinds(&stored.of(name)), [kind("down", "timeout")], "{name}");
    }
    assert!(!done.stderr.contains("uplink"), "{}", done.stderr);
}

#[test]
fn a_target_out_of_reach_is_told_for_itself() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let here = cable.site(1);
    let config = targets(&site, &[("here", &here)])
        + "[[target]]\nname = 'six'\nurl = 'http://[2001:db8::1]/'\n";
    let running = cable.start(&config, &folder, None);
    eventually(DEADLINE, "some checks", || {
        rows(&folder, "six", "unknown") > 3 && rows(&folder, "here", "up") > 3
    });
    let (done, _) = stop(running, &folder);
    assert_eq!(done.stderr.matches("six is unknown").count(), 1, "{}", done.stderr);
    // It may have been the first to be checked.
    assert!(done.stderr.matches("the uplink is away").count() <= 1, "{}", done.stderr);
}

#[test]
fn config_check_says_where_nobody_can_be_asked() {
    let note = |text: &str| {
        let program = Sitewatch::new().file("c.toml", text);
        let done = program.args(["config", "--check", "-c", "c.toml"]).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout.contains("\nc.toml:") && done.stdout.contains(": note: no [uplink] canaries")
    };
    for (text, want) in [
        ("targets = ['a.example']", true),
        ("targets = ['a.example', 'a.example/b']", true),
        ("targets = ['a.example', 'b.example']", false),
        ("targets = ['a.example', 'b.example']\n[uplink]\ncanaries = []", true),
        ("targets = ['a.example']\n[uplink]\ncanaries = ['192.0.2.1:53']", false),
        ("targets = ['a.example']\n[kafka]\nbrokers = ['k:9092']", false),
    ] {
        assert_eq!(note(text), want, "{text}");
    }
}
