//! Makes a connection, from its first packet to the point where tables can be queried: tries each host in
//! turn, each transport that `sslmode` allows, and gives every try a time limit. The crate itself would wait
//! for ever for a name, for TLS and for the login.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode as Negotiated};
use tokio_postgres::{Config, Connection, SimpleQueryMessage, Socket};

use super::deadline::{run_until, timeout};
use super::error::PostgresError;
use super::lookup::{Lookups, first_index};
use super::migrate::quoted;
use super::session::{OpenConnection, Session};
use super::tls::Connector;
use crate::config::{PostgresConfig, SslMode};

/// Oldest PostgreSQL that we support, as PostgreSQL numbers itself.
const VERSION_MIN: u32 = 140_000;

/// Longest time to connect by TCP if `connect_timeout` is not set. TLS and the login together may take as
/// long again, and so may the first query.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Each call is a transaction of its own.
    Write,
    /// Everything is read from one snapshot, taken by the first call.
    Read,
}

/// Transport of a try to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Plain,
    Tls(Negotiated),
}

/// Returns the transports to try, in libpq's order.
fn transports(mode: SslMode) -> &'static [Transport] {
    match mode {
        SslMode::Disable => &[Transport::Plain],
        SslMode::Allow => &[Transport::Plain, Transport::Tls(Negotiated::Require)],
        SslMode::Prefer => &[Transport::Tls(Negotiated::Prefer), Transport::Plain],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            &[Transport::Tls(Negotiated::Require)]
        }
    }
}

/// Returns the name of the database for errors.
pub fn display_name(config: &Config) -> String {
    let count = config.get_hosts().len().max(1);
    let hosts: Vec<String> = (0..count).map(|i| address(config, i)).collect();
    let hosts = hosts.join(", ");
    match config.get_dbname().or(config.get_user()) {
        Some(name) => format!("the database {name} at {hosts}"),
        None => format!("PostgreSQL at {hosts}"),
    }
}

/// Returns one host with its port.
fn address(config: &Config, index: usize) -> String {
    let ports = config.get_ports();
    let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    match config.get_hosts().get(index) {
        Some(Host::Tcp(name)) if name.contains(':') => format!("[{name}]:{port}"),
        Some(Host::Tcp(name)) => format!("{name}:{port}"),
        Some(Host::Unix(folder)) => format!("{}/.s.PGSQL.{port}", folder.display()),
        None => format!("port {port}"),
    }
}

/// Connects to the database, and makes sure that the server is one that we support.
pub async fn connect(
    settings: &PostgresConfig,
    access: Access,
    lookups: &Lookups,
) -> Result<OpenConnection, PostgresError> {
    let dsn = &settings.dsn;
    let count = dsn.config.get_hosts().len().max(1);
    let connector = Connector::new(dsn)?;
    let first = first_index(&dsn.config, count);
    let mut reasons: Vec<String> = Vec::new();
    for index in (0..count).map(|i| (first + i) % count) {
        let config = single_host(&dsn.config, index);
        let opened = match lookups.resolve(&config, connect_timeout(&config)).await {
            Ok(configs) => connect_to_any(&configs, transports(dsn.ssl_mode), &connector).await,
            Err(error) => Err(vec![error.why]),
        };
        let whys = match opened {
            Ok(mut connection) => {
                let end = timeout(connect_timeout(&config));
                connection
                    .run(end, async |session| begin_session(session, settings, access).await)
                    .await?;
                return Ok(connection);
            }
            Err(whys) => whys,
        };
        for why in whys {
            let why = match count {
                1 => why,
                _ => format!("{}: {why}", address(&dsn.config, index)),
            };
            if !reasons.contains(&why) {
                reasons.push(why);
            }
        }
    }
    Err(PostgresError::away(reasons.join("; ")))
}

/// Connects over the first transport that one of the addresses takes. An error has the reason of each try.
async fn connect_to_any(
    addresses: &[Config],
    transports: &[Transport],
    connector: &Connector,
) -> Result<OpenConnection, Vec<String>> {
    let mut reasons = Vec::new();
    for transport in transports {
        for config in addresses {
            match try_connect(config, *transport, connector).await {
                Ok(connection) => return Ok(connection),
                Err(error) => reasons.push(error.why),
            }
        }
    }
    Err(reasons)
}

fn connect_timeout(config: &Config) -> Duration {
    config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
}

/// Returns the configuration with only one of its hosts.
fn single_host(all: &Config, index: usize) -> Config {
    let mut config = Config::new();
    match all.get_hosts().get(index) {
        Some(Host::Tcp(name)) => config.host(name),
        Some(Host::Unix(folder)) => config.host_path(folder),
        None => &mut config,
    };
    if let Some(address) = all.get_hostaddrs().get(index) {
        config.hostaddr(*address);
    }
    if let Some(port) = all.get_ports().get(index).or(all.get_ports().first()) {
        config.port(*port);
    }
    type SetText = fn(&mut Config, String) -> &mut Config;
    let texts: [(Option<&str>, SetText); 4] = [
        (all.get_user(), Config::user),
        (all.get_dbname(), Config::dbname),
        (all.get_options(), Config::options),
        (all.get_application_name(), Config::application_name),
    ];
    for (text, set) in texts {
        if let Some(text) = text {
            set(&mut config, text.to_owned());
        }
    }
    if let Some(password) = all.get_password() {
        config.password(password);
    }
    if let Some(timeout) = all.get_tcp_user_timeout() {
        config.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = all.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
        .connect_timeout(connect_timeout(all))
        .keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(all.get_target_session_attrs())
        .load_balance_hosts(all.get_load_balance_hosts());
    config
}

/// Connects to one host over one transport.
async fn try_connect(
    config: &Config,
    transport: Transport,
    connector: &Connector,
) -> Result<OpenConnection, PostgresError> {
    let limit = 2 * connect_timeout(config);
    let mut config = config.clone();
    config.ssl_mode(match transport {
        Transport::Plain => Negotiated::Disable,
        Transport::Tls(mode) => mode,
    });
    // A plain connection uses the same connector: with another type the whole client would be compiled twice.
    let connecting = async { Ok(config.connect(connector.tls()).await?) };
    match run_until(timeout(limit), connecting).await {
        Ok((client, connection)) => Ok(OpenConnection::new(client, Box::pin(drive(connection)))),
        Err(error) => Err(connector.explain(&config, error)),
    }
}

/// Moves the bytes of a connection until it ends. Notices of the server are dropped.
async fn drive<S>(mut connection: Connection<Socket, S>) -> Result<(), tokio_postgres::Error>
where
    S: tokio_postgres::tls::TlsStream + Unpin,
{
    // A waiting call learns that the connection has ended when the connection is dropped. An `async` block
    // drops it at its end; a bare `poll_fn` does not.
    poll_fn(|context| {
        loop {
            match connection.poll_message(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Prepares a session: only our schema on the search path, and a limit for every wait. If a writer is stopped
/// in the middle of a transaction, the server ends its session, so that the next writer does not wait for it.
async fn begin_session(
    session: &mut Session,
    settings: &PostgresConfig,
    access: Access,
) -> Result<(), PostgresError> {
    let (statement, idle) = match access {
        Access::Write => ("5min", "10s"),
        Access::Read => ("30min", "30min"),
    };
    let schema = quoted(&settings.schema);
    let words = format!(
        "SET search_path = {schema}, pg_temp; SET client_min_messages = warning; \
         SET timezone = 'UTC'; SET jit = off; SET lock_timeout = '10s'; SET statement_timeout = '{statement}'; \
         SET idle_in_transaction_session_timeout = '{idle}'; \
         SELECT current_setting('server_version_num'), current_setting('server_version'), \
                current_setting('server_encoding')"
    );
    for message in session.client().simple_query(&words).await? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let word = |index| row.get(index).unwrap_or_default();
        if word(0).parse::<u32>().is_ok_and(|version| version < VERSION_MIN) {
            let why = format!("it is PostgreSQL {}, and 14 or later is needed", word(1));
            return Err(PostgresError::unfit(why));
        }
        if word(2) != "UTF8" {
            let why = format!("its encoding is {}, and UTF8 is needed", word(2));
            return Err(PostgresError::unfit(why));
        }
    }
    Ok(())
}
