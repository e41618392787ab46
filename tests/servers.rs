//! The harness's own word, checked: the real servers that the road is tested with. They start,
//! keep what they were given, stop as told, and shut out who is to be shut out.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::daemon::alive;
use crate::harness::postgres::{PASSWORD, USER, psql};
use crate::harness::{Postgres, Sitewatch, Temp, Tls, certs, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// Names the test that is run as a process of its own, there.
const HELD: &str = "SITEWATCH_TEST_HELD";

#[test]
fn servers_go_with_a_test_process_that_is_killed() {
    if std::env::var_os(HELD).is_some() {
        let server = Postgres::start();
        println!("pid={} folder={}", server.pid(), server.folder().display());
        loop {
            std::thread::park();
        }
    }
    let name = "servers::servers_go_with_a_test_process_that_is_killed";
    let held = Sitewatch::program(std::env::current_exe().unwrap());
    let held = held.env(HELD, "1").args(["--exact", name, "--nocapture"]).spawn();
    let line = eventually(DEADLINE, "its server", || {
        let out = held.stdout();
        let line = out.lines().find(|line| line.contains("pid=") && out.ends_with('\n'))?;
        Some(line.rsplit("pid=").next().unwrap().to_owned())
    });
    let (pid, folder) = line.split_once(" folder=").unwrap();
    let pid = pid.parse().unwrap();
    assert!(alive(pid) && Path::new(folder).is_dir(), "{line}");
    drop(held);
    eventually(DEADLINE, "the server gone", || !alive(pid) && !Path::new(folder).exists());
}

#[test]
fn postgres_gives_every_test_a_database_of_its_own() {
    let (one, two) = (Postgres::database(), Postgres::database());
    for database in [&one, &two] {
        let sql = "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)";
        database.client().batch_execute(sql).unwrap();
    }
    assert_eq!(one.psql("SELECT a, a + 1 FROM t ORDER BY a"), "1|2\n2|3");
    assert_eq!(psql(&one.url(), "SELECT count(*) FROM t").unwrap(), "2");
    assert!(psql(&two.url(), "SELECT b FROM t").unwrap_err().contains("\"b\" does not exist"));
    let gone = two.psql("SELECT current_database()");
    drop(two);
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{gone}'");
    assert_eq!(one.psql(&sql), "0");
}

#[test]
fn postgres_asks_for_passwords() {
    let server = Postgres::shared();
    let wrong = psql(&server.url_for(USER, "wrong"), "SELECT 1").unwrap_err();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    server.psql("CREATE ROLE reader LOGIN PASSWORD 'read'");
    let reader = server.url_for("reader", "read");
    assert_eq!(psql(&reader, "SELECT current_user").unwrap(), "reader");
    assert!(psql(&reader, "CREATE ROLE other").unwrap_err().contains("permission denied"));
    assert!(server.log().contains("authentication failed") && !server.log().contains(PASSWORD));
}

#[test]
fn postgres_keeps_what_was_committed_through_kill_and_restart() {
    let mut server = Postgres::with_settings("fsync = on");
    let url = server.url();
    server.psql("CREATE TABLE t AS SELECT 1 AS a");
    assert_eq!(server.psql("SHOW fsync"), "on");
    let mut client = server.client();
    server.stop_hard();
    assert!(client.batch_execute("SELECT 1").is_err());
    assert!(psql(&url, "SELECT 1").unwrap_err().contains("refused"));
    server.restart();
    assert_eq!(psql(&url, "SELECT a FROM t").unwrap(), "1");

    let mut client = server.client();
    server.pause();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            client.batch_execute("SELECT 1").unwrap();
            Instant::now()
        });
        let paused = Instant::now();
        std::thread::sleep(SHORT);
        server.resume();
        assert!(asked.join().unwrap() - paused >= SHORT);
    });
    // Not told to stop before: clients hear why.
    server.restart();
    let words = format!("{:?}", client.batch_execute("SELECT 1").unwrap_err());
    assert!(words.contains("immediate shutdown") || client.is_closed(), "{words}");
    assert_eq!(psql(&url, "SELECT a FROM t").unwrap(), "1");
}

#[test]
fn postgres_speaks_tls_with_whom_it_should() {
    let set = certs::set();
    let server = Postgres::with_tls(&Tls::new(&set.good));
    let verify = |authority: &certs::Authority| {
        let file = authority.ca_file();
        psql(&server.url_with(&format!("sslmode=verify-full&sslrootcert={}", file.display())), TLS)
    };
    assert_eq!(verify(&set.authority).unwrap(), "t");
    assert!(verify(&set.stranger).unwrap_err().contains("certificate verify failed"));
    let plain = psql(&server.url_with("sslmode=disable"), TLS).unwrap_err();
    assert!(plain.contains("no encryption"), "{plain}");
    assert_eq!(psql(&server.url(), TLS).unwrap(), "t");
    assert_eq!(server.psql(TLS), "");

    let server = Postgres::with_tls(&Tls::new(&set.wrong_name).clients_of(&set.authority));
    let folder = Temp::new();
    let (cert, key) = set.authority.leaf(&[USER], -1, 90).write(&folder, "client");
    let ask = |mode: &str, cert: &str| {
        let (ca, key) = (certs::ca_file().display(), key.display());
        let words = format!("sslmode={mode}&sslrootcert={ca}&sslcert={cert}&sslkey={key}");
        psql(&server.url_with(&words), TLS)
    };
    let cert = cert.display().to_string();
    assert_eq!(ask("verify-ca", &cert).unwrap(), "t");
    let wrong = ask("verify-full", &cert).unwrap_err();
    assert!(wrong.contains("does not match host name"), "{wrong}");
    let none = ask("verify-ca", "/nonexistent").unwrap_err();
    assert!(none.contains("requires a valid client certificate"), "{none}");
}

/// Whether the connection that asks is over TLS; none over a socket.
const TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
