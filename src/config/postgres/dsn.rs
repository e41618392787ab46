//! Connection to PostgreSQL, as libpq's URI or keywords. `tokio-postgres` knows three of libpq's six `sslmode`s
//! and none of its files, has no safe default, and counts `tcp_user_timeout` in seconds. So everything is read
//! here, and `tokio-postgres` gets the settings that it knows.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{
    ChannelBinding, Host, LoadBalanceHosts, SslMode as TokioSslMode, SslNegotiation,
    TargetSessionAttrs,
};

use crate::config::HIDDEN;
use crate::config::pem::{self, PairFault};
use crate::config::postgres::pairs::ENCODE;
use crate::config::postgres::parameters::DsnParameters;
use crate::config::targets::address::is_host;
use crate::words::{Word, words};

words! {
    /// Strictness of a connection's security, as libpq has it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum SslMode {
        /// Never TLS.
        Disable = "disable",
        /// Without TLS, or with TLS if the server demands it, whoever the server is.
        Allow = "allow",
        /// TLS, if the server has it, whoever the server is.
        Prefer = "prefer",
        /// TLS or nothing, whoever the server is.
        Require = "require",
        /// TLS, and the server's certificate comes from a root that is trusted.
        VerifyCa = "verify-ca",
        /// As `VerifyCa`, and the certificate is for the name, or address, that was asked for.
        VerifyFull = "verify-full",
    }
}

/// Settings of a connection. `Debug` shows no password.
#[derive(Clone)]
pub struct Dsn {
    /// Settings for `tokio-postgres` itself, with at least one host; its `ssl_mode` is `Disable`, `Prefer` or
    /// `Require` as [`Dsn::ssl_mode`] needs it. With `sslnegotiation=direct` the connector has to offer
    /// PostgreSQL's ALPN.
    pub config: tokio_postgres::Config,
    /// Effective mode, defaults worked out: `verify-full`, or `prefer` where every host is this machine and
    /// no root was named, or `disable` where every host is a socket.
    pub ssl_mode: SslMode,
    /// File of the only roots to trust; none: the host's roots.
    pub root_cert: Option<PathBuf>,
    /// File of our certificate; comes with `key`.
    pub cert: Option<PathBuf>,
    /// File of the certificate's key.
    pub key: Option<PathBuf>,
    /// Password that opens the key; a secret.
    pub key_password: Option<String>,
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dsn").field(&self.shown()).finish()
    }
}

impl Dsn {
    /// Reads a URI or keywords from the command line; relative paths are as the shell means them.
    ///
    /// # Errors
    /// Every fault, without any secret.
    pub fn read(text: &str) -> Result<Dsn, String> {
        parse(text, &|path| PathBuf::from(path)).map_err(|faults| faults.join("; "))
    }

    /// Returns the connection as keywords, with stars for passwords. Except for these, the keywords give the
    /// same connection again.
    pub fn shown(&self) -> String {
        let config = &self.config;
        let list = |items: Vec<String>| Some(items.join(",")).filter(|list| !list.is_empty());
        let hosts = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.to_string_lossy().into_owned(),
        });
        let seconds =
            |time: Option<Duration>| Some(time.map_or(0, |time| time.as_secs()).to_string());
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.to_string_lossy().into_owned());
        let attributes = match config.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => Some("read-write"),
            TargetSessionAttrs::ReadOnly => Some("read-only"),
            _ => None,
        };
        let binding = match config.get_channel_binding() {
            ChannelBinding::Disable => Some("disable"),
            ChannelBinding::Require => Some("require"),
            _ => None,
        };
        let random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        let direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
        let tcp_ms = config.get_tcp_user_timeout().map_or(0, Duration::as_millis);
        let retries = config.get_keepalives_retries().unwrap_or(0);
        let own = |text: &str| text.to_string();
        let pairs = [
            ("host", list(hosts.collect())),
            ("hostaddr", list(config.get_hostaddrs().iter().map(IpAddr::to_string).collect())),
            ("port", list(config.get_ports().iter().map(u16::to_string).collect())),
            ("dbname", config.get_dbname().map(own)),
            ("user", config.get_user().map(own)),
            ("password", config.get_password().map(|_| own(HIDDEN))),
            ("application_name", config.get_application_name().map(own)),
            ("options", config.get_options().map(own)),
            ("target_session_attrs", attributes.map(own)),
            ("load_balance_hosts", random.then(|| own("random"))),
            ("connect_timeout", seconds(config.get_connect_timeout().copied())),
            ("keepalives", (!config.get_keepalives()).then(|| own("0"))),
            ("keepalives_idle", seconds(Some(config.get_keepalives_idle()))),
            ("keepalives_interval", seconds(config.get_keepalives_interval())),
            ("keepalives_count", Some(retries.to_string())),
            ("tcp_user_timeout", Some(tcp_ms.to_string())),
            ("channel_binding", binding.map(own)),
            ("sslmode", Some(own(self.ssl_mode.as_str()))),
            ("sslnegotiation", direct.then(|| own("direct"))),
            ("sslrootcert", path(&self.root_cert)),
            ("sslcert", path(&self.cert)),
            ("sslkey", path(&self.key)),
            ("sslpassword", self.key_password.as_ref().map(|_| own(HIDDEN))),
        ];
        let set = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let words: Vec<String> =
            set.map(|(name, value)| format!("{name}={}", quote_value(&value))).collect();
        words.join(" ")
    }
}

/// Returns `value` as keywords have it: quoted where it must be.
fn quote_value(value: &str) -> String {
    if !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '\'' || c == '\\') {
        return value.to_string();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Reads a URI or keywords; `beside` turns relative paths into those that can be opened.
///
/// # Errors
/// Every fault, in words that follow `url: `; no fault has any value in it but the name of a file.
pub(in crate::config) fn parse(
    text: &str,
    beside: &dyn Fn(&str) -> PathBuf,
) -> Result<Dsn, Vec<String>> {
    let mut parameters = DsnParameters::read(text, beside).map_err(|fault| vec![fault])?;
    let mut config = tokio_postgres::Config::new();
    parameters.set_login(&mut config);
    let locality = parameters.set_hosts(&mut config);
    parameters.set_timeouts(&mut config);
    let dsn = parameters.set_tls(config, locality);
    if parameters.faults.is_empty() { Ok(dsn) } else { Err(parameters.faults) }
}

/// Distance of the hosts, which decides the default of `sslmode`.
#[derive(Clone, Copy)]
struct HostLocality {
    /// Every host is a socket.
    sockets_alone: bool,
    /// At least one host is a socket.
    a_socket: bool,
    /// Every host is a socket or a loopback address.
    here: bool,
}

impl DsnParameters<'_> {
    /// Sets the login and the database, the options of the session, and the choice among the hosts.
    fn set_login(&mut self, config: &mut tokio_postgres::Config) {
        if let Some(user) = self.text("user") {
            config.user(&user);
        }
        if let Some(password) = self.text("password") {
            config.password(password);
        }
        if let Some(dbname) = self.text("dbname") {
            config.dbname(&dbname);
        }
        if let Some(options) = self.text("options") {
            config.options(&options);
        }
        let name = self.text("application_name");
        config.application_name(name.as_deref().unwrap_or("sitewatch"));
        let attributes = [
            ("any", TargetSessionAttrs::Any),
            ("read-write", TargetSessionAttrs::ReadWrite),
            ("read-only", TargetSessionAttrs::ReadOnly),
        ];
        if let Some(attributes) = self.choice("target_session_attrs", &attributes) {
            config.target_session_attrs(attributes);
        }
        let orders = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
        if let Some(order) = self.choice("load_balance_hosts", &orders) {
            config.load_balance_hosts(order);
        }
    }

    /// Sets hosts, addresses and ports: an address for each host or none, a port for each host or one for all.
    /// Returns the distance of the hosts.
    fn set_hosts(&mut self, config: &mut tokio_postgres::Config) -> HostLocality {
        let addresses = self.every("hostaddr", "must be addresses such as 192.0.2.1", |text| {
            text.parse::<IpAddr>().ok()
        });
        let wanted = format!("must be names, addresses, or folders of a socket; {ENCODE}");
        let mut hosts = self.every("host", &wanted, |text| match text.starts_with('/') {
            true => Some(Host::Unix(PathBuf::from(text))),
            false => is_host(text).then(|| Host::Tcp(text.to_string())),
        });
        let wanted = format!("must be numbers from 1 to 65535; {ENCODE}");
        let ports = self.every("port", &wanted, |text| match text {
            "" => Some(5432),
            _ => text.parse::<u16>().ok().filter(|port| *port > 0),
        });
        if hosts.is_empty() {
            // The name in the certificate then has to be the address.
            hosts = addresses.iter().map(|address| Host::Tcp(address.to_string())).collect();
        }
        if hosts.is_empty() && self.faults.is_empty() {
            self.fault(
                "names no host: write host=db.example.org, or host=/run/postgresql for a socket",
            );
        }
        if !addresses.is_empty() && addresses.len() != hosts.len() && self.faults.is_empty() {
            self.fault("has not as many hostaddr as host");
        }
        if ports.len() > 1 && ports.len() != hosts.len() && self.faults.is_empty() {
            self.fault("has not as many port as host: give one for all, or each its own");
        }
        let is_here = |(i, host): (usize, &Host)| match (addresses.get(i), host) {
            (Some(address), _) => address.is_loopback(),
            (None, Host::Unix(_)) => true,
            (None, Host::Tcp(name)) => {
                name.eq_ignore_ascii_case("localhost")
                    || IpAddr::from_str(name).is_ok_and(|address| address.is_loopback())
            }
        };
        let is_socket = |host: &Host| matches!(host, Host::Unix(_));
        let locality = HostLocality {
            sockets_alone: addresses.is_empty() && hosts.iter().all(is_socket),
            a_socket: addresses.is_empty() && hosts.iter().any(is_socket),
            here: hosts.iter().enumerate().all(is_here),
        };
        for host in &hosts {
            match host {
                Host::Tcp(name) => config.host(name),
                Host::Unix(folder) => config.host_path(folder),
            };
        }
        for address in addresses {
            config.hostaddr(address);
        }
        for port in ports {
            config.port(port);
        }
        locality
    }

    /// Sets the times after which a connection counts as dead: 0 leaves them to the system, which is slow.
    fn set_timeouts(&mut self, config: &mut tokio_postgres::Config) {
        let mut number = |name, unit, last| {
            let number = self.number(name, unit).unwrap_or(last);
            (number > 0).then_some(number)
        };
        if let Some(count) = number("connect_timeout", " of seconds", 10) {
            config.connect_timeout(Duration::from_secs(count.into()));
        }
        if let Some(count) = number("keepalives_idle", " of seconds", 10) {
            config.keepalives_idle(Duration::from_secs(count.into()));
        }
        if let Some(count) = number("keepalives_interval", " of seconds", 5) {
            config.keepalives_interval(Duration::from_secs(count.into()));
        }
        if let Some(count) = number("keepalives_count", "", 3) {
            config.keepalives_retries(count);
        }
        if let Some(count) = number("tcp_user_timeout", " of milliseconds", 20_000) {
            config.tcp_user_timeout(Duration::from_millis(count.into()));
        }
        config.keepalives(number("keepalives", "", 1).is_some());
    }

    /// Checks that files hold what they must: roots, and a certificate with its key. Files that cannot be
    /// read have their fault already.
    fn check_files(
        &mut self,
        root: Option<&Path>,
        ours: Option<(&Path, &Path)>,
        password: &Option<String>,
    ) {
        if !self.faults.is_empty() {
            return;
        }
        if let Some(Err(why)) = root.map(pem::check_certificates) {
            self.fault(format!("sslrootcert {why}"));
        }
        let fault = ours.map(|(cert, key)| pem::check_pair(cert, key, password.as_deref()));
        match fault {
            Some(Err(PairFault::Certificate(why))) => self.fault(format!("sslcert {why}")),
            Some(Err(PairFault::Key(why))) => self.fault(format!("sslkey {why}")),
            Some(Err(PairFault::Password)) => self.fault("sslpassword does not open sslkey"),
            Some(Ok(())) | None => {}
        }
    }

    /// Sets TLS as libpq does, except for the default.
    fn set_tls(&mut self, mut config: tokio_postgres::Config, locality: HostLocality) -> Dsn {
        let asked = self.choice("sslmode", &SslMode::choices());
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        if let Some(binding) = self.choice("channel_binding", &bindings) {
            config.channel_binding(binding);
        }
        let ways = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
        let way = self.choice("sslnegotiation", &ways).unwrap_or_default();
        let system = self.is("sslrootcert", "system");
        let root_cert = if system { None } else { self.file("sslrootcert") };
        let (cert, key) = (self.file("sslcert"), self.file("sslkey"));
        let key_password = self.text("sslpassword");
        if cert.is_some() != key.is_some() {
            self.fault("sslcert and sslkey go together: give both or neither");
        }
        self.check_files(root_cert.as_deref(), cert.as_deref().zip(key.as_deref()), &key_password);
        if key_password.is_some() && key.is_none() {
            self.fault("sslpassword without sslkey: there is no key to open");
        }
        let named = root_cert.is_some() || system;
        let ssl_mode = match asked {
            _ if locality.sockets_alone => SslMode::Disable,
            Some(SslMode::Require) if root_cert.is_some() => SslMode::VerifyCa,
            Some(mode) => mode,
            None if locality.here && !named => SslMode::Prefer,
            None => SslMode::VerifyFull,
        };
        if !locality.sockets_alone {
            if system && ssl_mode != SslMode::VerifyFull {
                self.fault("sslrootcert=system needs sslmode=verify-full");
            }
            if way == SslNegotiation::Direct && ssl_mode < SslMode::Require {
                self.fault("sslnegotiation=direct needs sslmode=require or stricter");
            }
        }
        if locality.a_socket && ssl_mode >= SslMode::Require {
            self.fault("has sockets and hosts: TLS is for hosts alone, so give one kind");
        }
        config.ssl_negotiation(way).ssl_mode(match ssl_mode {
            SslMode::Disable => TokioSslMode::Disable,
            SslMode::Allow | SslMode::Prefer => TokioSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => TokioSslMode::Require,
        });
        Dsn { config, ssl_mode, root_cert, cert, key, key_password }
    }
}
