//! Places where `run` may not write: at the start the error names the file, the system's reason and what to
//! do; later checks go on, their results wait in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use crate::cli::thread_limit::is_alone;
use crate::fixtures::sqlite_rows::{Row, Stored};
use crate::harness::client::get;
use crate::harness::daemon::free_port;
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, eventually, json};

const DEADLINE: Duration = Duration::from_secs(30);
/// Makes a folder of another user's for the program, in mounts that only it sees.
const BEGIN: &str = "mount -t tmpfs -o uid=54400,mode=755 none /srv && cp c.toml /srv && cd /srv && \
    mkdir state && touch sitewatch && mount --bind \"$0\" sitewatch";
const AS_USER: &str = "exec setpriv --reuid 54400 --regid 54400 --clear-groups ./sitewatch \"$@\"";
/// Has the program, as root, leave its files there.
const FILES: &str =
    "{ timeout 1 ./sitewatch run -c c.toml 2>/dev/null; [ -e state/sitewatch.db.lock ]; }";
const READ_ONLY: &str =
    "chown -R 54400 state && mount --bind state state && mount -o remount,bind,ro state";

#[test]
fn a_place_that_may_not_be_written_is_named_with_the_reason_and_what_to_do() {
    if is_alone() {
        return;
    }
    let read_only = "Read-only file system (os error 30)";
    let denied = "Permission denied (os error 13)";
    let (file, lock) = ("cannot open /srv/state/sitewatch.db: ", "cannot open its lock: ");
    let folder = "cannot make the folder /srv/state/deep/er: ";
    let theirs = format!("{FILES} && chown 54400 state");
    let lock_theirs = format!("{theirs} state/sitewatch.db");
    for (prepare, path, words, why) in [
        (READ_ONLY.to_owned(), "state", file, read_only),
        (format!("{FILES} && {READ_ONLY}"), "state", lock, read_only),
        (READ_ONLY.to_owned(), "state/deep/er", folder, read_only),
        ("chmod 755 state".to_owned(), "state", file, denied),
        ("chmod 700 state".to_owned(), "state", file, denied),
        ("chmod 755 state".to_owned(), "state/deep/er", folder, denied),
        (format!("{theirs} && rm state/sitewatch.db.lock"), "state", file, denied),
        (lock_theirs, "state", lock, denied),
    ] {
        let script =
            format!("{BEGIN} && {prepare} && sed -i s,/srv/state,/srv/{path}, c.toml && {AS_USER}");
        let config = "node = 'here'\nstate_dir = '/srv/state'\ntargets = ['http://127.0.0.1:1/']\n";
        let done = Sitewatch::program("unshare")
            .file("c.toml", config)
            .args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_sitewatch")])
            .args(["run", "-c", "c.toml"])
            .run();
        assert_eq!(done.code, Some(2), "{prepare}: {done:?}");
        let said = &done.stderr;
        let is_told = said.contains(words) && said.contains(why) && said.contains("/srv/state");
        assert!(is_told && said.lines().count() == 1, "{prepare}: {done:?}");
        assert!(said.contains("; state_dir names another place"), "{prepare}: {done:?}");
    }
}

#[test]
fn a_disk_without_room_for_the_file_is_told_at_the_start() {
    let room = "mount -t tmpfs -o size=32k none /srv && head -c 1M /dev/zero >/srv/f 2>/dev/null; \
                exec \"$0\" \"$@\"";
    let done = Sitewatch::program("unshare")
        .file("c.toml", "state_dir = '/srv'\ntargets = ['http://127.0.0.1:1/']\n")
        .args(["--mount", "sh", "-c", room, env!("CARGO_BIN_EXE_sitewatch")])
        .args(["run", "-c", "c.toml"])
        .run();
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("/srv/sitewatch.db: the disk is full"), "{done:?}");
}

/// As a kernel does it that has found an error on the disk, and as a disk that fails for a while.
#[test]
fn a_file_system_that_turns_read_only_is_waited_out() {
    for error in ["EROFS", "EIO", "EDQUOT"] {
        let (listener, folder, port) = (Listener::http(), Temp::new(), free_port());
        listener.always(Script::ok("").serial());
        let config = format!(
            "node = 'here'\nstate_dir = '{}'\n[probe]\nclock_wait = '0s'\n\
             [serve]\nlisten = '127.0.0.1:{port}'\n\
             [defaults]\ninterval = '1s'\ntimeout = '900ms'\nmatch = 'serial=[0-9]+'\n\
             [[target]]\nname = 'a'\nurl = '{}'\n[[target]]\nname = 'b'\nurl = '{}'\n",
            folder.path().display(),
            listener.url("/a"),
            listener.url("/b"),
        );
        let program = Sitewatch::new().file("c.toml", config);
        let mut running = program.args(["run", "-c", "c.toml"]).spawn();
        running.await_stderr("watching", DEADLINE);
        let health = || json::parse(&get(&format!("http://127.0.0.1:{port}/health")).text());
        eventually(DEADLINE, "something stored", || health().int("stored") > 2);
        // Its writes fail for as long as this is attached.
        let inject = format!("inject=pwrite64,ftruncate:error={error}");
        let mut failing = Sitewatch::program("strace")
            .args(["-f", "-q", "-e", "trace=pwrite64,ftruncate", "-e", &inject, "-o", "/dev/null"])
            .args(["-p", &running.pid().to_string()])
            .spawn();
        eventually(DEADLINE, "failing", || health().text("status") == "store_away");
        let checks = health().int("checks");
        eventually(DEADLINE, "checks go on", || health().int("checks") > checks + 6);
        failing.signal(Signal::TERM);
        failing.wait(DEADLINE);
        eventually(DEADLINE, "ok", || health().text("status") == "ok");
        running.signal(Signal::TERM);
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{error}: {done:?}");
        assert_eq!(done.stderr.matches("cannot write to ").count(), 1, "{error}: {done:?}");
        assert_eq!(done.stderr.matches("the store is back").count(), 1, "{error}: {done:?}");
        let stored = Stored::read(&folder.join("sitewatch.db"));
        stored.is_whole("here");
        let serials: BTreeSet<u64> = stored.checks.iter().filter_map(Row::serial).collect();
        let answered: BTreeSet<u64> =
            listener.settled(DEADLINE).iter().map(|seen| seen.serial).collect();
        assert_eq!(serials, answered, "{error}: {done:?}");
        assert!(stored.losses.is_empty(), "{error}: {stored:?}");
    }
}
