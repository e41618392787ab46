//! Inspects the schema, and makes the parts that are missing.
//!
//! Migrations are numbered files. Each runs once, in a transaction with its number, under an advisory lock of
//! the schema, so that two writers that start at once both succeed.

use super::error::PostgresError;
use super::session::Session;
use crate::clock;

/// Migrations in their order; the first is number 1.
const MIGRATIONS: [&str; 7] = [
    include_str!("001.sql"),
    include_str!("002.sql"),
    include_str!("003.sql"),
    include_str!("004.sql"),
    include_str!("005.sql"),
    include_str!("006.sql"),
    include_str!("007.sql"),
];
/// Number of the newest migration.
const LATEST: i32 = MIGRATIONS.len() as i32;

/// Rights of the two roles.
const GRANTS: &str = include_str!("grant.sql");

/// Result of preparing the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The tables can be written.
    Ready,
    /// The tables cannot be written, and we lack the rights to change that. The text says what is missing,
    /// and how to make it.
    Missing(String),
}

/// Returns a name quoted for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// State of a schema in the database.
struct SchemaState {
    /// Owner of the schema; none if there is no such schema.
    owner: Option<String>,
    /// We have the rights of the owner.
    is_ours: bool,
    /// We may make schemas.
    may_make: bool,
    has_tables: bool,
    has_migrations: bool,
    /// We may use the objects in the schema.
    may_use: bool,
    user: String,
}

/// Brings the schema up to date if we may, and returns whether the tables can be written.
pub async fn prepare(session: &mut Session, schema: &str) -> Result<Readiness, PostgresError> {
    let state = inspect(session, schema).await?;
    let missing = |what: String| {
        Ok(Readiness::Missing(format!("{what}: `sitewatch write --setup` makes it so, once")))
    };
    let user = &state.user;
    if state.owner.is_none() && !state.may_make {
        return missing(format!("there is no schema {schema}, and {user} may not make one"));
    }
    if state.owner.is_some() && !state.may_use {
        return missing(format!("{user} has no rights in the schema {schema}"));
    }
    if version(session, schema, &state).await? < LATEST {
        if state.owner.is_some() && !state.is_ours {
            return missing(format!("the tables in {schema} are not up to date, and not {user}'s"));
        }
        migrate(session, schema, &state).await?;
        grant(session, schema, false).await?;
    }
    let lacking = lacking(session, schema).await?;
    if lacking.is_empty() {
        return Ok(Readiness::Ready);
    }
    missing(format!("{user} lacks rights in {schema} ({lacking}), which {schema}_writer has"))
}

/// Makes all of the schema as an administrator: schema, tables, the two roles and their rights. Existing ones
/// stay.
pub async fn setup(session: &mut Session, schema: &str) -> Result<(), PostgresError> {
    let state = inspect(session, schema).await?;
    if version(session, schema, &state).await? < LATEST {
        migrate(session, schema, &state).await?;
    }
    for role in roles(schema) {
        // Two sessions may make the role at once.
        let sql = format!(
            "DO $$ BEGIN CREATE ROLE {} NOLOGIN;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
            quoted(&role)
        );
        session.client().batch_execute(&sql).await?;
    }
    grant(session, schema, true).await
}

/// Makes sure that a reader can read the schema.
pub async fn check_readable(session: &mut Session, schema: &str) -> Result<(), PostgresError> {
    let state = inspect(session, schema).await?;
    let user = &state.user;
    if state.owner.is_none() {
        return Err(PostgresError::unfit(format!(
            "there is no schema {schema} in it; `sitewatch write` makes it"
        )));
    }
    if !state.may_use {
        return Err(PostgresError::unfit(format!(
            "{user} has no rights in the schema {schema}; \
             GRANT {schema}_reader TO {user} gives them"
        )));
    }
    if version(session, schema, &state).await? < LATEST {
        return Err(PostgresError::unfit(format!(
            "the tables in {schema} are of an older sitewatch; \
             `sitewatch write` brings them up to date"
        )));
    }
    Ok(())
}

/// Returns the two roles of a schema: the writers' and the readers'.
fn roles(schema: &str) -> [String; 2] {
    [format!("{schema}_writer"), format!("{schema}_reader")]
}

async fn inspect(session: &mut Session, schema: &str) -> Result<SchemaState, PostgresError> {
    let sql = "SELECT pg_get_userbyid(nspowner)::text, \
                 coalesce(pg_has_role(nspowner, 'USAGE'), false), \
                 has_database_privilege(current_database(), 'CREATE'), \
                 EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid), \
                 EXISTS (SELECT FROM pg_class \
                     WHERE relnamespace = n.oid AND relname = 'migration'), \
                 coalesce(has_schema_privilege(n.oid, 'USAGE'), false), \
                 current_user::text \
               FROM (SELECT) AS one LEFT JOIN pg_namespace AS n ON nspname = $1";
    let row = session.client().query_one(sql, &[&schema]).await?;
    Ok(SchemaState {
        owner: row.try_get(0)?,
        is_ours: row.try_get(1)?,
        may_make: row.try_get(2)?,
        has_tables: row.try_get(3)?,
        has_migrations: row.try_get(4)?,
        may_use: row.try_get(5)?,
        user: row.try_get(6)?,
    })
}

/// Returns the number of the newest migration that was applied; 0 if none was.
async fn version(
    session: &mut Session,
    schema: &str,
    state: &SchemaState,
) -> Result<i32, PostgresError> {
    if !state.has_migrations {
        if state.has_tables {
            let why = format!("the schema {schema} in it holds tables of another program");
            return Err(PostgresError::unfit(why));
        }
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(version), 0) FROM migration";
    let version: i32 = session.client().query_one(sql, &[]).await?.try_get(0)?;
    if version > LATEST {
        return Err(PostgresError::unfit(format!(
            "a newer sitewatch made the tables in {schema}: \
             their version is {version}, and {LATEST} is known"
        )));
    }
    Ok(version)
}

/// Begins a transaction that changes the schema as its owner, and waits until no other such transaction runs.
async fn begin(
    session: &mut Session,
    schema: &str,
    owner: Option<&str>,
) -> Result<(), PostgresError> {
    let client = session.client();
    client.batch_execute("BEGIN; SET LOCAL lock_timeout = '1min'").await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('sitewatch ' || $1, 0))";
    client.execute(lock, &[&schema]).await?;
    if let Some(owner) = owner {
        client.batch_execute(&format!("SET LOCAL ROLE {}", quoted(owner))).await?;
    }
    Ok(())
}

async fn migrate(
    session: &mut Session,
    schema: &str,
    state: &SchemaState,
) -> Result<(), PostgresError> {
    // New tables belong to the schema's owner, whichever user makes them.
    let owner = state.owner.as_deref().filter(|owner| *owner != state.user);
    loop {
        begin(session, schema, owner).await?;
        let client = session.client();
        let name = quoted(schema);
        if state.owner.is_none() {
            client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {name}")).await?;
        }
        client
            .batch_execute(&format!(
                "CREATE TABLE IF NOT EXISTS {name}.migration (
                     version integer PRIMARY KEY, applied_ms bigint NOT NULL)"
            ))
            .await?;
        let sql = "SELECT coalesce(max(version), 0) FROM migration";
        let version: i32 = client.query_one(sql, &[]).await?.try_get(0)?;
        let Some(next) = MIGRATIONS.get(version.max(0) as usize) else {
            client.batch_execute("COMMIT").await?;
            return Ok(());
        };
        client.batch_execute(next).await?;
        let sql = "INSERT INTO migration (version, applied_ms) VALUES ($1, $2)";
        client.execute(sql, &[&(version + 1), &clock::now_ms()]).await?;
        client.batch_execute("COMMIT").await?;
    }
}

/// Grants the roles their rights. Does nothing if the roles do not exist.
async fn grant(session: &mut Session, schema: &str, is_setup: bool) -> Result<(), PostgresError> {
    let [writer, reader] = roles(schema);
    let client = session.client();
    let sql = "SELECT count(*) = 2 FROM pg_roles WHERE rolname IN ($1, $2)";
    if !client.query_one(sql, &[&writer, &reader]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    let state = inspect(session, schema).await?;
    let owner = state.owner.as_deref().filter(|owner| *owner != state.user);
    begin(session, schema, owner).await?;
    let client = session.client();
    let grants = GRANTS
        .replace("WRITER", &quoted(&writer))
        .replace("READER", &quoted(&reader))
        .replace("SCHEMA SCHEMA", &format!("SCHEMA {}", quoted(schema)));
    client.batch_execute(&grants).await?;
    client.batch_execute("COMMIT").await?;
    if !is_setup {
        return Ok(());
    }
    // Batches are gathered in a temporary table, which every user may make unless that was forbidden.
    let sql = "SELECT has_database_privilege($1::text, current_database(), 'TEMPORARY'), \
                 quote_ident(current_database())";
    let row = client.query_one(sql, &[&writer]).await?;
    if !row.try_get::<_, bool>(0)? {
        let database: String = row.try_get(1)?;
        let writer = quoted(&writer);
        let sql = format!("GRANT TEMPORARY ON DATABASE {database} TO {writer}");
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

/// Returns the rights that a writer needs and we lack, in words; empty if none.
async fn lacking(session: &mut Session, schema: &str) -> Result<String, PostgresError> {
    let sql = "SELECT coalesce(string_agg(privilege || ' on ' || name, ', ' ORDER BY number), '')
               FROM unnest(
                   ARRAY['outcome', 'target', 'node', 'state', 'loss', 'gap', 'kafka_offset',
                         'dead_letter'],
                   ARRAY['INSERT', 'UPDATE', 'UPDATE', 'UPDATE', 'DELETE', 'DELETE', 'UPDATE',
                         'DELETE']
               ) WITH ORDINALITY AS needed (name, privilege, number)
               WHERE NOT has_table_privilege(format('%I.%I', $1::text, name), privilege)";
    let mut lacking: String = session.client().query_one(sql, &[&schema]).await?.try_get(0)?;
    let sql = "SELECT has_function_privilege(format('%I.make_hour(bigint)', $1::text), 'EXECUTE'),
                 has_database_privilege(current_database(), 'TEMPORARY')";
    let row = session.client().query_one(sql, &[&schema]).await?;
    for (index, right) in ["EXECUTE on make_hour", "TEMPORARY on the database"].iter().enumerate() {
        if !row.try_get::<_, bool>(index)? {
            lacking += if lacking.is_empty() { "" } else { ", " };
            lacking += right;
        }
    }
    Ok(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::BOUNDS;

    #[test]
    fn the_bounds_are_those_of_the_histogram() {
        let array = MIGRATIONS[1].split_once("'{").unwrap().1.split_once("}'").unwrap().0;
        let bounds: Vec<u64> = array.split(',').map(|word| word.trim().parse().unwrap()).collect();
        assert_eq!(bounds, *BOUNDS);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("sitewatch"), "\"sitewatch\"");
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
    }
}
