//! `sitewatch write --setup`: makes the topic, schema, tables and roles that a writer needs, with an
//! administrator's rights, and leaves.

use std::sync::Arc;

use crate::cmd::{FINE, print};
use crate::config::{Dsn, KafkaConfig, PostgresConfig};
use crate::error::Error;
use crate::kafka::{BrokerStatus, GroupConsumer, Topic, ensure, refusal};
use crate::store;

/// Makes the topic, the schema and its tables, and the roles.
///
/// # Errors
/// Brokers or PostgreSQL are away, or do not allow it.
pub fn setup(
    kafka: &KafkaConfig,
    mut postgres: PostgresConfig,
    admin: Option<&str>,
) -> Result<u8, Error> {
    if let Some(url) = admin {
        postgres.dsn = Dsn::read(url).map_err(|why| Error::new(format!("--admin-url: {why}")))?;
    }
    let schema = &postgres.schema;
    let made = store::Postgres::connect(&postgres).and_then(|mut store| store.setup());
    made.map_err(|error| Error::new(error.to_string()))?;
    print(&format!(
        "PostgreSQL: schema {schema} is ready in {}; GRANT {schema}_writer to the role of \
         `sitewatch write`, {schema}_reader to those that only read\n",
        store::Postgres::display_name(&postgres)
    ))?;
    let reader = GroupConsumer::new(kafka, Arc::new(BrokerStatus::new(kafka)))?;
    let ensured = ensure(kafka, reader.client()).map_err(|error| {
        // librdkafka reports a broker that it does not trust only to clients that poll.
        let tls = kafka.tls.as_ref();
        let why = tls.and_then(|tls| kafka.brokers.iter().find_map(|of| refusal(of, tls)));
        why.map_or(error, Error::new)
    });
    let said = match ensured? {
        Topic::Exists => "is there",
        Topic::Made => "is made",
        Topic::Missing(why) => return Err(Error::new(why)),
    };
    print(&format!("Kafka: topic {} {said}\n", kafka.topic))?;
    Ok(FINE)
}
