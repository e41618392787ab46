//! PostgreSQL, the real one: Debian's programs over a folder that is thrown away, on the loopback
//! interface alone, as an unprivileged user where we are root.
//!
//! A test that wants tables takes a `Postgres::database()`: all of a process stand on one server,
//! or on that of `DATABASE_URL` (a URI of somebody who may make databases; no TLS). A test that
//! stops its server, or asks for TLS, starts its own, whatever that variable says.
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

/// Who owns a server of ours, a superuser; and the password.
pub const USER: &str = "sitewatch";
/// See `USER`. A word that must not stand in any log.
pub const PASSWORD: &str = "hush-owner";

/// How long a server may take to start, recovery included.
const STARTING: Duration = Duration::from_secs(60);

/// Nothing is lost when the server is killed; when the machine is, nobody asks.
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

/// A database and how to reach it; one of `Postgres::database()` is gone on drop.
pub struct Database {
    /// As the server's owner: libpq's words for a server of ours, by its socket, since its doors
    /// may be shut; else a URI.
    admin: String,
    /// As the server's owner over TCP.
    url: Url,
    /// To be dropped, and how to reach its server then.
    dropped: Option<(String, String)>,
}

impl Database {
    /// How to reach it over TCP, as its owner: `postgresql://USER:PASSWORD@127.0.0.1:PORT/NAME`
    /// with `sslmode=disable`, or `require` if the server speaks TLS.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// The same as somebody else.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        let mut url = self.url.clone();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        url.to_string()
    }

    /// As its owner, with these parameters alone: `sslmode=verify-full&sslrootcert=/ca.pem`.
    pub fn url_with(&self, parameters: &str) -> String {
        let mut url = self.url.clone();
        url.set_query(Some(parameters));
        url.to_string()
    }

    /// A connection as its owner, by a door that is always open on a server of ours.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.admin, NoTls).unwrap()
    }

    /// What `psql` prints, as its owner by the same door; see the function `psql`.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.admin, sql).unwrap()
    }

    /// All that a schema holds, as `pg_dump` has it: a script for `restore`.
    #[track_caller]
    pub fn dump(&self, schema: &str) -> String {
        let mut command = alone("pg_dump");
        let done = command.args(["-d", &self.admin, "-n", schema]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Puts a schema back as it was dumped, in one transaction, whoever uses it meanwhile.
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
            // The server may be gone already, and it is thrown away with all that it holds.
            let _ = psql(admin, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// A server with its own data; its database is `postgres`. Stopped on drop, and when the test
/// process ends without that.
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
    /// A server that takes passwords (SCRAM) without TLS, and does not wait for the disk.
    #[track_caller]
    pub fn start() -> Postgres {
        Postgres::with("fsync = off", None)
    }

    /// The same with further lines for its `postgresql.conf`, such as `fsync = on`.
    #[track_caller]
    pub fn with_settings(settings: &str) -> Postgres {
        Postgres::with(settings, None)
    }

    /// A server that takes passwords over TLS alone. With `clients_of` it demands a certificate
    /// of that authority too, whose common name (the leaf's first) is the user's.
    #[track_caller]
    pub fn with_tls(tls: &Tls<'_>) -> Postgres {
        Postgres::with("ssl = on", Some(tls))
    }

    /// The server of this process, made at the first call.
    pub fn shared() -> &'static Postgres {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// A new, empty database on the shared server, or on that of `DATABASE_URL`. Roles are the
    /// server's: a test that makes some gives them names of their own.
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

    /// Kills all of its processes where they stand; clients see their connections end without a
    /// word. What was committed is there after `restart`.
    pub fn stop_hard(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    /// Starts it again on the same port and data, once it was stopped; if it was not, it is told
    /// to end at once first, and clients are told so.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon = None;
        self.run();
    }

    /// Stops all of its processes where they stand: connections stay and nothing is answered.
    pub fn pause(&self) {
        self.daemon.as_ref().unwrap().pause();
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.daemon.as_ref().unwrap().resume();
    }

    /// The number of its first process, the parent of all others.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().pid()
    }

    /// The folder with all that is its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged until now.
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

    /// Starts it and waits till it answers.
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

/// What `psql` prints for these statements over this connection (a URI, or libpq's words): rows
/// without a header, columns parted by `|`, the last line's end cut.
///
/// # Errors
/// What it says when it fails, at the first statement that does.
pub fn psql(place: &str, sql: &str) -> Result<String, String> {
    let mut command = alone("psql");
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", place, "-c", sql]);
    let done = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// One of PostgreSQL's clients, with neither a user's settings nor his passwords.
fn alone(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    command.env_clear().envs(clock::environment());
    command.env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

/// What is written where for a server that speaks TLS alone: its rule of access, and its settings.
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

/// What every server starts from; made once a process, since `initdb` takes its time.
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

/// A folder of the server's user.
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

/// A program run as the server's user.
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

/// User and group of the servers where we are root, which PostgreSQL refuses to be: Debian's
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

/// The folder of PostgreSQL's programs: Debian's newest, else wherever `PATH` has them.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.filter(|entry| entry.path().join("bin/initdb").exists());
    let newest = versions
        .max_by_key(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    newest.map_or_else(PathBuf::new, |entry| entry.path().join("bin"))
}
