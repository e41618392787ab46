//! Looks up the names of database hosts on threads of our own. tokio would do it on its own, and panics where
//! it cannot start them: a limit on processes is no reason to end.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::deadline::{run_until, timeout};
use super::error::PostgresError;
use crate::threads;

/// Most lookups at once, those that hang after their time was over included.
const LOOKUPS_MAX: usize = 4;

/// Returns the index of the host or address to begin with, of so many: a random one if the settings ask for
/// that.
pub fn first_index(config: &Config, count: usize) -> usize {
    match config.get_load_balance_hosts() {
        LoadBalanceHosts::Random => RandomState::new().build_hasher().finish() as usize % count,
        _ => 0,
    }
}

/// Lookups of one client.
pub struct Lookups(Arc<()>);

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups(Arc::new(()))
    }
}

impl Lookups {
    /// Returns one configuration for each address of the first host's name, in the order of the lookup; for a
    /// host that needs no lookup, the configuration as it is. The first one is random if the settings ask for
    /// that.
    ///
    /// # Errors
    /// The name has no address, the lookup takes longer than `limit`, or no thread can be started for it.
    pub async fn resolve(
        &self,
        config: &Config,
        limit: Duration,
    ) -> Result<Vec<Config>, PostgresError> {
        let name = match config.get_hosts().first() {
            Some(Host::Tcp(name)) if config.get_hostaddrs().is_empty() => name,
            _ => return Ok(vec![config.clone()]),
        };
        if name.parse::<IpAddr>().is_ok() {
            return Ok(vec![config.clone()]);
        }
        let mut addresses = run_until(timeout(limit), self.look_up(name)).await?;
        if addresses.is_empty() {
            return Err(PostgresError::away(format!("{name} has no address")));
        }
        let first = first_index(config, addresses.len());
        addresses.rotate_left(first);
        let with_address = |address| {
            let mut config = config.clone();
            config.hostaddr(address);
            config
        };
        Ok(addresses.into_iter().map(with_address).collect())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, PostgresError> {
        if Arc::strong_count(&self.0) > LOOKUPS_MAX {
            return Err(PostgresError::away(format!("earlier lookups of {name} have not ended")));
        }
        let (answer_in, answer) = smol::channel::bounded(1);
        let (name, permit) = (name.to_owned(), Arc::clone(&self.0));
        let started = threads::named("db-lookup").spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            // Perhaps nobody waits for the answer any more.
            let _ = answer_in.try_send(found.map(|all| all.map(|found| found.ip()).collect()));
            drop(permit);
        });
        started.map_err(|error| PostgresError::away(format!("cannot start a thread: {error}")))?;
        let found: io::Result<Vec<IpAddr>> =
            answer.recv().await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let fault = |error| PostgresError::away(format!("error connecting to server: {error}"));
        found.map_err(fault)
    }
}
