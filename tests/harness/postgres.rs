//! Runs a real PostgreSQL: Debian's programs over a temporary folder, on the loopback interface
//! only, as an unprivileged user if we are root.
//!
//! A test that needs tables calls `Postgres::database()`: all of a process share one server, or
//! that of `DATABASE_URL` (a URI of a user who may make databases; no TLS). A test that stops its
//! server, or uses TLS, starts a server of its own, whatever that variable says.
//!
//! ```
//! let database = Postgres::database();
//! database.client().batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").unwrap();
//! assert_eq!(database.psql("SELECT a FROM t"), "1");
//! ```

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use postgres::{Client, NoTls};
use rustix::process::Signal;
use url::Url;

use super::clock;
use super::daemon::{Daemon, Guard, free_port, random};
use super::temp::Temp;
use super::tls::Tls;

/// The owner of a server, a superuser.
pub const USER: &str = "sitewatch";
/// The password of `USER`. It must never appear in a log.
pub const PASSWORD: &str = "hush-owner";

/// A server may take this long to start, recovery included.
const STARTING: Duration = Duration::from_secs(60);

/// A killed server loses nothing with these settings; a machine that loses power may, which no test
/// does.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 32MB
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
dynamic_shared_memory_type = mmap
log_line_prefix = '%m [%p] %q%u@%d '
timezone = 'UTC'
";

/// A database and its addresses; one of `Postgres::database()` is dropped with it.
pub struct Database {
    /// The connection of the server's owner: libpq's words with the socket for a server of ours,
    /// since its TCP port may refuse us; else a URI.
    admin: String,
    /// The connection of the server's owner over TCP.
    url: Url,
    /// The database to drop, and the connection to its server for that.
    dropped: Option<(String, String)>,
}

impl Database {
    /// Returns the URL of its owner over TCP: `postgresql://USER:PASSWORD@127.0.0.1:PORT/NAME` with
    /// `sslmode=disable`, or `require` if the server has TLS.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Returns the URL of another user.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        let mut url = self.url.clone();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        url.to_string()
    }

    /// Returns the URL of its owner with only these parameters:
    /// `sslmode=verify-full&sslrootcert=/ca.pem`.
    pub fn url_with(&self, parameters: &str) -> String {
        let mut url = self.url.clone();
        url.set_query(Some(parameters));
        url.to_string()
    }

    /// Connects as its owner, in a way that is always open on a server of ours.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.admin, NoTls).unwrap()
    }

    /// Returns what `psql` prints for its owner; see the function `psql`.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.admin, sql).unwrap()
    }

    /// Dumps a schema by `pg_dump`: a script for `restore`.
    #[track_caller]
    pub fn dump(&self, schema: &str) -> String {
        let mut command = alone("pg_dump");
        let done = command.args(["-d", &self.admin, "-n", schema]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Restores a schema from its dump, in one transaction, while others use it.
    #[track_caller]
    pub fn restore(&self, schema: &str, dump: &str) {
        let folder = Temp::new();
        let script = folder.write("dump", format!("DROP SCHEMA {schema} CASCADE;\n{dump}"));
        let mut command = alone("psql");
        command.args(["-Xq1", "-v", "ON_ERROR_STOP=1", "-d", &self.admin, "-f"]);
        run(command.arg(script));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((admin, name)) = &self.dropped {
            // The server may have stopped already; its data is temporary.
            let _ = psql(admin, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// A server with its own data; its database is `postgres`. It stops when dropped, and when the test
/// process ends before that.
pub struct Postgres {
    daemon: Option<Daemon>,
    home: Database,
    folder: Temp,
}

impl Deref for Postgres {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.home
    }
}

impl Postgres {
    /// Starts a server with passwords (SCRAM), without TLS, that does not wait for the disk.
    #[track_caller]
    pub fn start() -> Postgres {
        Postgres::with("fsync = off", None)
    }

    /// Starts one with further lines in its `postgresql.conf`, such as `fsync = on`.
    #[track_caller]
    pub fn with_settings(settings: &str) -> Postgres {
        Postgres::with(settings, None)
    }

    /// Starts a server that takes passwords over TLS only. `clients_of` also demands a certificate
    /// of that authority, whose common name (the leaf's first) is the user.
    #[track_caller]
    pub fn with_tls(tls: &Tls<'_>) -> Postgres {
        Postgres::with("ssl = on", Some(tls))
    }

    /// Returns the shared server of this process, and starts it at the first call.
    pub fn shared() -> &'static Postgres {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// Makes a new, empty database on the shared server, or on that of `DATABASE_URL`. Roles belong
    /// to the server: a test gives its roles names of their own.
    #[track_caller]
    pub fn database() -> Database {
        let (admin, url) = match std::env::var("DATABASE_URL") {
            Ok(text) => (text.clone(), Url::parse(&text).unwrap()),
            Err(_) => {
                let home = &Postgres::shared().home;
                (home.admin.clone(), home.url.clone())
            }
        };
        let name = format!("sitewatch_{}", random());
        psql(&admin, &format!("CREATE DATABASE {name}")).unwrap();
        let mut made = Database { admin: String::new(), url, dropped: None };
        made.url.set_path(&name);
        made.admin = if admin.contains("://") {
            made.url()
        } else {
            admin.replace("dbname=postgres", &format!("dbname={name}"))
        };
        made.dropped = Some((admin, name));
        made
    }

    /// Kills all of its processes; clients see their connections end. Committed data is there after
    /// `restart`.
    pub fn stop_hard(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// Starts it again on the same port and data. If it still runs it stops at once first, and
    /// tells its clients.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon = None;
        self.run();
    }

    /// Pauses all of its processes: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.daemon.as_ref().unwrap().pause();
    }

    /// Continues its processes.
    pub fn resume(&self) {
        self.daemon.as_ref().unwrap().resume();
    }

    /// Returns the number of its first process, the parent of all others.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().pid()
    }

    /// Returns the folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns its log until now.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    #[track_caller]
    fn with(settings: &str, tls: Option<&Tls<'_>>) -> Postgres {
        let (folder, port) = (folder(), free_port());
        let data = folder.join("data");
        run(program("/bin/cp")
            .args(["-r", "--reflink=auto"])
            .arg(TEMPLATE.0.join("data"))
            .arg(&data));
        let socket = folder.path().display();
        let own = format!("port = {port}\nunix_socket_directories = '{socket}'\n");
        let (rules, files) = match tls {
            None => ("host all all 127.0.0.1/32 scram-sha-256".to_owned(), String::new()),
            Some(tls) => doors(tls, &folder),
        };
        fs::write(data.join("pg_hba.conf"), format!("local all all trust\n{rules}\n")).unwrap();
        let text = format!("{SETTINGS}{own}{files}{settings}\n");
        fs::write(data.join("postgresql.conf"), text).unwrap();

        let mode = if tls.is_some() { "require" } else { "disable" };
        let url =
            format!("postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode={mode}");
        let admin = format!("host={socket} port={port} user={USER} dbname=postgres");
        let home = Database { admin, url: Url::parse(&url).unwrap(), dropped: None };
        let mut made = Postgres { daemon: None, home, folder };
        made.run();
        made
    }

    /// Starts it, and waits until it answers.
    #[track_caller]
    fn run(&mut self) {
        let mut command = program(programs().join("postgres"));
        command.arg("-D").arg(self.folder.join("data"));
        let log = self.folder.join("log");
        let mut daemon = Daemon::start(command, Signal::QUIT, &log, self.folder.path());
        daemon.await_answer(STARTING, || Client::connect(&self.home.admin, NoTls).is_ok());
        self.daemon = Some(daemon);
    }
}

/// Runs `psql` with these statements over this connection (a URI, or libpq's words), and returns
/// its output: rows without a header, columns separated by `|`, without the last line end.
///
/// # Errors
/// psql's error text for the first statement that fails.
pub fn psql(place: &str, sql: &str) -> Result<String, String> {
    let mut command = alone("psql");
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", place, "-c", sql]);
    let done = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// Prepares a PostgreSQL client without the settings and passwords of any user.
fn alone(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    command.env_clear().envs(clock::environment());
    command.env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

/// Returns the access rules and the settings of a server that speaks only TLS.
fn doors(tls: &Tls<'_>, folder: &Temp) -> (String, String) {
    let (certificate, key) = tls.leaf().write(folder, "server");
    let clients = tls.authority().map(|by| by.certificate().to_pem().unwrap());
    let clients = folder.write("clients.pem", clients.unwrap_or_default());
    for file in [certificate, key, clients] {
        hand_over(&file);
    }
    let mut rule = "hostssl all all 127.0.0.1/32 scram-sha-256".to_owned();
    let mut files = "ssl_cert_file = '../server.pem'\nssl_key_file = '../server.key'\n".to_owned();
    if tls.authority().is_some() {
        rule += " clientcert=verify-full";
        files += "ssl_ca_file = '../clients.pem'\n";
    }
    (rule, files)
}

/// Returns the data folder that every server starts from. It is made once in a process, since
/// `initdb` is slow.
static TEMPLATE: LazyLock<(Temp, Guard)> = LazyLock::new(|| {
    let folder = folder();
    let data = folder.join("data");
    let password = folder.write("password", PASSWORD);
    hand_over(&password);
    run(program(programs().join("initdb"))
        .args(["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256"])
        .args(["--username", USER, "--pwfile"])
        .args([&password, Path::new("-D"), &data]));
    let guard = Guard::folder(folder.path());
    (folder, guard)
});

/// Makes a folder that the server's user owns.
pub fn folder() -> Temp {
    let folder = Temp::public();
    hand_over(folder.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn hand_over(path: &Path) {
    if let Some((user, group)) = *OTHER {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// Prepares a program to run as the server's user.
pub fn program(path: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(path);
    command.env_clear().envs(clock::environment());
    command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
    if let Some((user, group)) = *OTHER {
        command.uid(user).gid(group);
    }
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let done = command.output();
    assert!(done.as_ref().is_ok_and(|done| done.status.success()), "{command:?}: {done:?}");
}

/// Returns user and group of the servers if we are root, which PostgreSQL refuses to be: Debian's
/// `postgres`, else `nobody`.
static OTHER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut words = line.split(':').skip(2);
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap())
});

/// Returns the folder of PostgreSQL's programs: Debian's newest, else that in `PATH`.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.filter(|entry| entry.path().join("bin/initdb").exists());
    let newest = versions
        .max_by_key(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    newest.map_or_else(PathBuf::new, |entry| entry.path().join("bin"))
}
