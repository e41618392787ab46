//! Runs Debian's pgbouncer in front of a server of the tests.

use std::process::Command;
use std::time::Duration;

use postgres::{Client, NoTls};
use rustix::process::Signal;
use url::Url;

use super::daemon::{Daemon, free_port};
use super::postgres::{self as server, Database, PASSWORD, USER};
use super::temp::Temp;

/// A running pooler; dropping it stops it.
pub struct Pgbouncer {
    url: Url,
    _daemon: Daemon,
    _folder: Temp,
}

impl Pgbouncer {
    /// Starts a pooler with this `pool_mode` and few connections to the server of the database.
    #[track_caller]
    pub fn start(database: &Database, pool_mode: &str) -> Pgbouncer {
        let (folder, port) = (server::folder(), free_port());
        let mut url = Url::parse(&database.url()).unwrap();
        let at = format!("host=127.0.0.1 port={} user={USER}", url.port().unwrap());
        folder.write("users", format!("\"{USER}\" \"{PASSWORD}\"\n"));
        let config = folder.write(
            "pgbouncer.ini",
            format!(
                "[databases]\n* = {at} password={PASSWORD}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nauth_type = plain\nauth_file = {}\npool_mode = {pool_mode}\n\
                 unix_socket_dir =\ndefault_pool_size = 20\nignore_startup_parameters = extra_float_digits\n",
                folder.join("users").display()
            ),
        );
        let mut command: Command = server::program("pgbouncer");
        command.env("PATH", "/usr/sbin:/usr/bin:/bin").arg(config);
        let log = folder.join("log");
        let mut daemon = Daemon::start(command, Signal::INT, &log, folder.path());
        url.set_port(Some(port)).unwrap();
        let reach = || Client::connect(url.as_str(), NoTls).is_ok();
        daemon.await_answer(Duration::from_secs(10), reach);
        Pgbouncer { url, _daemon: daemon, _folder: folder }
    }

    /// Returns the URL of the database through the pooler.
    pub fn url(&self) -> String {
        self.url.to_string()
    }
}
