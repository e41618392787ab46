//! Names are looked up afresh at each check, by each artefact's own resolver: a changed
//! `/etc/resolv.conf` and a changed address count from the next one on. C libraries have a resolver
//! each, so what is answered by halves is judged with every artefact too.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use rustix::process::Signal;

use super::targets::{DEADLINE, each};
use crate::check::names::half_answers;
use crate::cli::uplink::{Cable, names};
use crate::fixtures::sqlite_rows::Stored;
use crate::harness::{Dns, Listener, Script, Temp, eventually};

const NAME: &str = "site.example";
/// Runs what follows with a folder for `/etc`.
const WITH_ETC: &str = r#"mount --bind "$0" /etc && exec "$@""#;

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_change_counts_from_the_next_check_on() {
    each(|artefact| {
        let (first, second) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9));
        let (ignorant, knowing) = (Dns::start(), Dns::start());
        knowing.set(NAME, first);
        let site = Listener::everywhere();
        site.always(Script::ok("fine"));
        let (folder, etc) = (Temp::new(), Temp::new());
        etc.write("resolv.conf", ignorant.resolv_conf());
        let config = format!(
            "node = 'here'\nstate_dir = '{}'\n[probe]\nclock_wait = '0s'\n[[target]]\nname = 'site'\nurl = '{}'\ninterval = '2s'\n",
            folder.path().display(),
            site.url_at(NAME, "/")
        );
        let etc_path = etc.path().to_str().unwrap();
        let program = artefact.within(&["unshare", "--mount", "sh", "-c", WITH_ETC, etc_path]);
        let mut running = program.file("c.toml", config).args(["run", "-c", "c.toml"]).spawn();
        running.await_stderr("site is down", DEADLINE);

        // As programs do it that write this file: a new one in its place.
        let new = etc.write("resolv.new", knowing.resolv_conf());
        fs::rename(new, etc.join("resolv.conf")).unwrap();
        running.await_stderr("site is up again", DEADLINE);
        let to = |address: Ipv4Addr, since: SystemTime| {
            let log = site.log();
            let of = log.iter().filter(|seen| seen.local.ip() == IpAddr::V4(address));
            of.filter(|seen| seen.at >= since).count()
        };
        assert_eq!(to(second, SystemTime::UNIX_EPOCH), 0);
        knowing.set(NAME, second);
        let changed = SystemTime::now();
        eventually(DEADLINE, "three checks of the new address", || to(second, changed) >= 3);
        // One may have been on its way.
        assert!(to(first, changed) <= 1, "{:?}", site.log());
        running.signal(Signal::TERM);
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");

        let stored = Stored::read(&folder.join("sitewatch.db"));
        let rows: Vec<(&str, &str)> =
            stored.of("site").iter().map(|row| (&*row.verdict, &*row.cause)).collect();
        let down = rows.iter().take_while(|row| **row == ("down", "dns")).count();
        assert!(down >= 1 && rows[down..].iter().all(|row| *row == ("up", "")), "{rows:?}");
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_family_that_fails_costs_no_verdict_and_what_is_missing_is_told_apart() {
    each(|artefact| half_answers(&|before| artefact.within(before)));
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn name_servers_that_are_dead_or_fail_make_no_site_down() {
    each(|artefact| names::by(&|| Cable::of(artefact.words())));
}
