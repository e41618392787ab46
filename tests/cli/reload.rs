//! Another configuration under way, by SIGHUP and by files that change: what stays goes on as if
//! nothing had happened, what is new begins, and one with faults changes nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixtures::published::Published;
use crate::fixtures::sqlite_rows::{Stored, phase};
use crate::harness::binary::Running;
use crate::harness::{Fields, Kafka, Listener, Script, Sitewatch, Temp, eventually};
use crate::road::probe;

const DEADLINE: Duration = Duration::from_secs(20);

/// A site that is under way for a good part of each second, so that a reload meets its checks.
fn site() -> Listener {
    let site = Listener::http();
    site.always(Script::ok("fine").serial().delay_first_byte(Duration::from_millis(300)));
    site
}

fn target(site: &Listener, name: &str, keys: &str) -> String {
    format!("[[target]]\nname = '{name}'\nurl = '{}'\n{keys}\n", site.url(&format!("/{name}")))
}

const HEAD: &str = "node = 'here'\n[defaults]\ninterval = '1s'\nmatch = 'serial=[0-9]+'\n";

fn start(folder: &Temp, config: &str) -> Running {
    folder.write("c.toml", config);
    let words = ["run", "-c", folder.join("c.toml").to_str().unwrap()].map(str::to_owned);
    let program = Sitewatch::new().env("STATE_DIRECTORY", folder.path()).args(words);
    let mut running = program.spawn();
    running.await_stderr("watching", DEADLINE);
    running
}

fn stop(mut running: Running, file: &Path) -> (Stored, String) {
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    (Stored::read(file), done.stderr)
}

fn asked(site: &Listener, name: &str) -> usize {
    site.log().iter().filter(|seen| seen.path == format!("/{name}")).count()
}

/// Waits for more requests of that target.
#[track_caller]
fn await_more(site: &Listener, name: &str, count: usize) {
    let before = asked(site, name);
    eventually(DEADLINE, name, || asked(site, name) >= before + count);
}

/// Each answer is stored once: no two checks had one key, of which one would be dropped.
#[track_caller]
fn is_stored_once(stored: &Stored, site: &Listener) {
    let mut serials: Vec<u64> = stored.checks.iter().map(|row| row.serial().unwrap()).collect();
    serials.sort_unstable();
    let mut answered: Vec<u64> = site.settled(DEADLINE).iter().map(|seen| seen.serial).collect();
    answered.sort_unstable();
    assert_eq!(serials, answered);
}

#[test]
fn what_stays_keeps_its_grid_and_what_is_new_begins() {
    let (site, folder) = (site(), Temp::new());
    let of = |name: &str| target(&site, name, "");
    let mut running = start(&folder, &(HEAD.to_owned() + &of("stays") + &of("goes")));
    await_more(&site, "stays", 2);
    await_more(&site, "goes", 1);
    // Many times, wherever its checks are.
    for i in 0..8 {
        let new = if i % 2 == 0 { of("new") } else { String::new() };
        folder.write("c.toml", HEAD.to_owned() + &of("stays") + &new);
        running.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(230));
    }
    running.await_stderr("reloaded: 2 targets, 1 new, 1 gone", DEADLINE);
    running.await_stderr("reloaded: 1 target, 0 new, 1 gone", DEADLINE);
    let gone = asked(&site, "goes");
    folder.write("c.toml", HEAD.to_owned() + &of("new") + &of("stays"));
    running.signal(Signal::HUP);
    await_more(&site, "new", 3);
    await_more(&site, "stays", 2);
    assert!(asked(&site, "goes") <= gone + 1, "it is still checked");
    let (stored, said) = stop(running, &folder.join("sitewatch.db"));
    is_stored_once(&stored, &site);
    // Not a slot of it is missing: no gap, and due times without a hole.
    let stays = stored.of("stays");
    assert!(stored.gaps.iter().all(|gap| gap.target != "stays"), "{:?}", stored.gaps);
    for pair in stays.windows(2) {
        assert_eq!(pair[1].due_ms - pair[0].due_ms, 1000, "{said}");
    }
    assert_eq!(stays[0].due_ms.rem_euclid(1000), phase("stays", "here", 1000));
    assert!(stays.iter().all(|row| row.verdict == "up" && row.run == stays[0].run), "{stays:?}");
}

#[test]
fn no_slot_is_checked_again_by_a_reload() {
    let (site, folder) = (site(), Temp::new());
    let of = |interval: &str| target(&site, "slow", &format!("interval = '{interval}'"));
    let mut running = start(&folder, &(HEAD.to_owned() + &of("2h")));
    await_more(&site, "slow", 1);
    // Away and back, and on grids that share its slots.
    for (interval, gone) in [("2h", true), ("1h", false), ("2h", true), ("30m", false)] {
        if gone {
            folder.write("c.toml", HEAD.to_owned() + &target(&site, "other", ""));
            running.signal(Signal::HUP);
            await_more(&site, "other", 1);
        }
        let both = of(interval) + &target(&site, "other", "");
        folder.write("c.toml", HEAD.to_owned() + &both);
        running.signal(Signal::HUP);
        await_more(&site, "other", 1);
    }
    // A grid of its own, soon.
    folder.write("c.toml", HEAD.to_owned() + &of("1s"));
    running.signal(Signal::HUP);
    await_more(&site, "slow", 2);
    let (stored, _) = stop(running, &folder.join("sitewatch.db"));
    is_stored_once(&stored, &site);
    let newest = stored.of("slow").last().unwrap().due_ms;
    assert_eq!(newest.rem_euclid(1000), phase("slow", "here", 1000));
}

#[test]
fn a_broken_file_changes_nothing_and_says_why() {
    let (site, folder) = (site(), Temp::new());
    let fine = HEAD.to_owned() + &target(&site, "a", "");
    let mut running = start(&folder, &fine);
    for (broken, why) in [
        (fine.replace("'1s'", "'0s'"), "c.toml:3:12: interval \"0s\""),
        (fine.clone() + "[[target]]\nurl = 'ftp://x'\n", "c.toml:10:7: url \"ftp://x\""),
        (fine.clone() + "ca_file = 'none.pem'\n", "c.toml:9:11: ca_file"),
        ("node = 'here'\n".to_owned(), "c.toml:1:1: no target"),
        ("= 1".to_owned(), "c.toml:1:1: "),
    ] {
        folder.write("c.toml", broken);
        running.signal(Signal::HUP);
        running.await_stderr(why, DEADLINE);
        await_more(&site, "a", 1);
    }
    fs::remove_file(folder.join("c.toml")).unwrap();
    running.signal(Signal::HUP);
    running.await_stderr("c.toml:1:1: cannot read this file: there is none", DEADLINE);
    // What cannot change under way is said, and the rest counts.
    let more =
        "[probe]\nmax_in_flight = 7\n[serve]\nlisten = '127.0.0.1:1'\n[log]\nlevel = 'debug'\n";
    folder.write("c.toml", fine.clone() + &target(&site, "b", "") + more);
    running.signal(Signal::HUP);
    running.await_stderr("takes effect only after a restart: [probe], [serve]", DEADLINE);
    running.await_stderr("reloaded: 2 targets, 1 new, 0 gone", DEADLINE);
    running.await_stderr("DEBUG b is up", DEADLINE);
    let (stored, said) = stop(running, &folder.join("sitewatch.db"));
    assert_eq!(said.matches("not reloaded: all goes on as it was configured before").count(), 6);
    stored.is_whole("here");
    is_stored_once(&stored, &site);
    assert!(stored.gaps.is_empty(), "{:?}", stored.gaps);
}

#[test]
fn files_that_change_are_read_again() {
    let (site, folder) = (site(), Temp::new());
    let parts = folder.join("parts");
    fs::create_dir(&parts).unwrap();
    let head = format!("reload = 'watch'\ntargets_file = '{}'\n", folder.join("list").display());
    fs::write(parts.join("a.toml"), head + HEAD + &target(&site, "a", "")).unwrap();
    let list = |names: &[&str]| {
        let lines: String = names.iter().map(|name| site.url(&format!("/{name}")) + "\n").collect();
        // In place of the old one, as editors do.
        folder.write("new", lines);
        fs::rename(folder.join("new"), folder.join("list")).unwrap();
    };
    list(&["l"]);
    let words = ["run", "-c", parts.to_str().unwrap()].map(str::to_owned);
    let program = Sitewatch::new().env("STATE_DIRECTORY", folder.path()).args(words);
    let mut running = program.spawn();
    running.await_stderr("watching 2 targets", DEADLINE);
    // The list, then a file that is new in the folder, then one with a fault, which is said once.
    list(&["l", "m"]);
    running.await_stderr("reloaded: 3 targets, 1 new, 0 gone", DEADLINE);
    fs::write(parts.join("b.toml"), target(&site, "b", "")).unwrap();
    running.await_stderr("reloaded: 4 targets, 1 new, 0 gone", DEADLINE);
    fs::write(parts.join("b.toml"), "= 1").unwrap();
    running.await_stderr("b.toml:1:1: ", DEADLINE);
    for name in ["a", "b", "l", "m"] {
        await_more(&site, name, 2);
    }
    fs::remove_file(parts.join("b.toml")).unwrap();
    running.await_stderr("reloaded: 3 targets, 0 new, 1 gone", DEADLINE);
    await_more(&site, "a", 3);
    let (stored, said) = stop(running, &folder.join("sitewatch.db"));
    assert_eq!(said.matches("not reloaded").count(), 1, "{said}");
    assert_eq!(said.matches("reloaded: ").count(), 4, "{said}");
    stored.is_whole("here");
    is_stored_once(&stored, &site);
}

#[test]
fn a_probe_tells_of_its_targets_again() {
    let (site, topic) = (site(), Kafka::topic(1));
    let of = |name: &str| target(&site, name, "");
    let more = |names: &str| names.split(' ').map(of).collect::<String>();
    let head = format!(
        "node = 'edge'\n[kafka]\nbrokers = ['{}']\ntopic = '{}'\n[defaults]\ninterval = '1s'\n\
         match = 'serial=[0-9]+'\n",
        topic.brokers(),
        topic.name()
    );
    let mut running = Sitewatch::new()
        .file("c.toml", head.clone() + &more("a b"))
        .args(["probe", "-c", "c.toml"])
        .spawn();
    running.await_stderr("watching", DEADLINE);
    await_more(&site, "b", 2);
    fs::write(running.home().join("c.toml"), head + &more("a c")).unwrap();
    running.signal(Signal::HUP);
    await_more(&site, "c", 2);
    await_more(&site, "a", 2);
    probe::stop(running);
    let published = Published::read(&topic.kcat(), topic.name());
    let told = |name: &str| published.targets.iter().filter(|t| t.text("target") == name).count();
    assert_eq!([told("a"), told("b"), told("c")], [2, 1, 1], "{}", published.text);
    assert_eq!(published.first["c"], "target", "told before its first check");
    assert_eq!(published.nodes.len(), 1, "{}", published.text);
    assert!(published.nodes[0].flag("clock_synced"), "{}", published.text);
    let rows = published.rows();
    rows.is_whole("edge");
    is_stored_once(&rows, &site);
}
