//! A host that has no thread to spare (a limit on processes, no memory): at the start that is said, later
//! whatever needed one is tried again, and no site is blamed for it.

use std::collections::BTreeSet;
use std::process::Command;

use rustix::process::Signal;

use crate::fixtures::published::Published;
use crate::harness::binary::Running;
use crate::harness::{Fields, Kafka, Listener, Postgres, Script, Sitewatch, eventually, json};
use crate::road::probe::{DEADLINE, FAST, answered, stop, targets, times};

/// A user whom no limit on processes spares, as it does root; each test has its own, as the limit counts all
/// of a user's.
const USERS: u32 = 54_300;

/// Says so, and skips the test, where we may not start anything as another user.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn is_alone() -> bool {
    let words = ["--reuid", "54300", "--regid", "54300", "--clear-groups", "true"];
    let may = Command::new("setpriv").args(words).status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: nothing can be started as another user here");
    }
    !may
}

/// The program as another user, with a folder of his own for its files, in mounts that only it sees. `limit`:
/// how many threads it may have to begin with.
fn limited(user: u32, config: &str, limit: &str) -> Sitewatch {
    let user = USERS + user;
    let script = format!(
        "mount -t tmpfs -o uid={user},mode=755 none /srv && cp c.toml hosts /srv && cd /srv &&
         touch sitewatch && mount --bind \"$0\" sitewatch && mount --bind hosts /etc/hosts &&
         exec setpriv --reuid {user} --regid {user} --clear-groups \
         prlimit --nproc={limit}: ./sitewatch \"$@\""
    );
    Sitewatch::program("unshare")
        .file("c.toml", config)
        .file("hosts", "127.0.0.1 localhost one.example two.example three.example\n")
        .env("STATE_DIRECTORY", "/srv")
        .args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_sitewatch")])
}

/// Sets how many threads it may have from now on.
#[track_caller]
fn limit(running: &Running, user: u32, threads: u32) {
    let user = (USERS + user).to_string();
    let words = [
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "prlimit",
        "--pid",
        &running.pid().to_string(),
    ];
    let set = Command::new("setpriv").args(words).arg(format!("--nproc={threads}:")).status();
    assert!(set.unwrap().success());
}

#[test]
fn a_topic_is_looked_for_again_once_there_is_a_thread_for_it() {
    if is_alone() {
        return;
    }
    let (mut broker, listener) = (Kafka::start(), Listener::http());
    listener.always(Script::ok("").serial());
    for (user, is_killed) in [(1, false), (2, true)] {
        let topic = format!("t{user}");
        let began = answered(&listener, "/").last().copied().unwrap_or_default();
        let kafka = format!("[kafka]\nbrokers = ['{}']\ntopic = '{topic}'\n", broker.brokers());
        let config = format!("node = 'edge'\n{kafka}{FAST}{}", targets(&listener, 4));
        let mut running = limited(user, &config, "1000").args(["probe", "-c", "c.toml"]).spawn();
        running.await_stderr(&format!("topic {topic} is made"), DEADLINE);
        let before = listener.log().len();
        eventually(DEADLINE, "checks", || listener.log().len() > before + 8);
        limit(&running, user, 1);
        if is_killed {
            broker.stop_hard();
        } else {
            broker.delete_topic(&topic).unwrap();
        }
        running.await_stderr("cannot start a thread to look for the topic, trying again", DEADLINE);
        if is_killed {
            broker.restart();
        }
        let before = listener.log().len();
        eventually(DEADLINE, "checks go on", || listener.log().len() > before + 8);
        limit(&running, user, 1000);
        if is_killed {
            running.await_stderr("Kafka is back", DEADLINE);
        } else {
            let made = format!("topic {topic} is made");
            eventually(DEADLINE, "the topic", || times(&running.stderr(), &made) == 2);
        }
        let log = stop(running).stderr;
        assert_eq!(times(&log, "cannot start a thread to look for the topic"), 1, "{log}");
        assert!(!log.contains("is down"), "{log}");
        let published = Published::read(&broker.kcat(), &topic).all_serials();
        let (all, last) = (answered(&listener, "/"), listener.log().last().unwrap().serial);
        // With the topic went what it held; a killed broker keeps it.
        assert!(published.contains(&last), "{published:?} without {last}");
        let of_run: BTreeSet<u64> = all.into_iter().filter(|serial| *serial > began).collect();
        assert!(!is_killed || published == of_run, "{published:?}, not {of_run:?}");
    }
}

#[test]
fn a_name_without_a_thread_to_look_it_up_is_our_trouble() {
    if is_alone() {
        return;
    }
    let listener = Listener::http();
    listener.always(Script::ok("x"));
    let url = listener.url_at("one.example", "/");
    for (threads, verdict, cause) in [("1", "unknown", "overload"), ("1000", "up", "")] {
        let words = ["check", &url, "--format", "json"];
        let done = limited(3, "", threads).args(words).run();
        let record = json::parse(&done.stdout);
        assert_eq!(record.text("verdict"), verdict, "{done:?}");
        if !cause.is_empty() {
            assert_eq!(record.text("cause"), cause, "{done:?}");
            assert!(record.text("error").contains("no thread for the lookup"), "{done:?}");
        }
    }
}

#[test]
fn what_cannot_start_its_threads_says_so() {
    if is_alone() {
        return;
    }
    let (brokers, database) = (Kafka::shared().brokers(), Postgres::database());
    let sites = "[[target]]\nurl = 'http://127.0.0.1:1/'\n";
    let kafka = format!("[kafka]\nbrokers = ['{brokers}']\ntopic = 'threads'\ngroup = 'threads'\n");
    let postgres = format!("{kafka}[postgres]\nurl = '{}'\n", database.url());
    let probe = format!("{kafka}{sites}");
    for (user, command, tables) in
        [(4, "run", sites), (5, "probe", &*probe), (6, "write", &*postgres)]
    {
        // As many as it has before its last ones.
        for threads in 1..5 {
            let config = format!("node = 'here'\n{tables}");
            let program = limited(user, &config, &threads.to_string());
            let done = program.args([command, "-c", "c.toml"]).run();
            assert_eq!(done.code, Some(2), "{command}, {threads}: {done:?}");
            let said = &done.stderr;
            let is_told = said.contains("sitewatch: cannot start a thread");
            assert!(is_told && !said.contains("panicked"), "{command}, {threads}: {done:?}");
        }
    }
}

#[test]
fn a_database_is_reached_again_once_there_is_a_thread_to_look_up_its_name() {
    if is_alone() {
        return;
    }
    let (topic, mut postgres) = (Kafka::topic(1), Postgres::start());
    let url = postgres.url().replace("127.0.0.1", "localhost");
    let (brokers, name) = (topic.brokers(), topic.name());
    let config = format!(
        "[kafka]\nbrokers = ['{brokers}']\ntopic = '{name}'\ngroup = '{name}'\n\
         [postgres]\nurl = '{url}'\n"
    );
    let mut running = limited(7, &config, "1000").args(["write", "-c", "c.toml"]).spawn();
    // Writer and housekeeping: a limit amid a look-up would be the look-up's end, and no test of the next one.
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sitewatch'";
    eventually(DEADLINE, "both connections", || postgres.psql(connections).trim() == "2");
    let has_tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'sitewatch'";
    eventually(DEADLINE, "its tables", || postgres.psql(has_tables).trim() != "0");
    running.await_stderr("reading partitions", DEADLINE);
    limit(&running, 7, 1);
    postgres.restart();
    running.await_stderr("cannot start a thread: ", DEADLINE);
    limit(&running, 7, 1000);
    running.await_stderr("PostgreSQL is back", DEADLINE);
    running.signal(Signal::TERM);
    let done = running.wait(DEADLINE);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(times(&done.stderr, "PostgreSQL is away"), 1, "{done:?}");
}
