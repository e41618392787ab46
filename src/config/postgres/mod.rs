//! `[postgres]`: the connection to the database, and the schema in it that is ours.

pub(in crate::config) mod dsn;
pub(in crate::config) mod pairs;
mod parameters;

use crate::config::postgres::dsn::Dsn;
use crate::config::toml::item::Item;
use crate::config::toml::login;
use crate::config::toml::table::Section;

/// Longest name of a schema, in bytes: `SCHEMA_writer` must fit into the 63 of a name in
/// PostgreSQL, with room to spare.
const SCHEMA_MAX: usize = 48;

/// Settings of the central store.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Connection to the database.
    pub dsn: Dsn,
    /// Schema of the tables; 1 to 48 of `[a-z0-9_]`, no digit first, none of PostgreSQL's own and not
    /// `public`. Default: `sitewatch`.
    pub schema: String,
}

/// Reads `[postgres]`. Returns none if there is no such table, or no right `url` in it, which is a fault.
pub(in crate::config) fn read_postgres(top: &mut Section<'_>) -> Option<PostgresConfig> {
    let mut section = top.section_if_any("postgres", "in [postgres]")?;
    if !section.has("url") {
        let text =
            "[postgres] needs one, such as \"postgresql://sitewatch@db.example.org/sitewatch\"";
        section.fault(format!("url is missing: {text}"));
    }
    let dsn = section.read("url", read_url);
    let schema = section.read("schema", read_schema);
    section.finish();
    Some(PostgresConfig { dsn: dsn?, schema: schema.unwrap_or_else(|| "sitewatch".to_string()) })
}

/// Reads `url`. Its text is never shown: nearly every one holds a password.
fn read_url(item: Item<'_>) -> Option<Dsn> {
    let text = login::join_connection(&item.pieces("libpq's URI or keywords in quotes")?);
    match dsn::parse(&text, &|path| item.at.source.beside(path)) {
        Ok(dsn) => Some(dsn),
        Err(faults) => {
            for fault in faults {
                item.fault(format!("url: {fault}"));
            }
            None
        }
    }
}

fn read_schema(item: Item<'_>) -> Option<String> {
    let text = item.text()?;
    let is_right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = (1..=SCHEMA_MAX).contains(&text.len())
        && text.chars().all(is_right)
        && !text.starts_with(|c: char| c.is_ascii_digit());
    if !is_name {
        item.refuse(format_args!(
            "is not allowed: 1 to {SCHEMA_MAX} of a to z, digits and _, no digit first"
        ));
        return None;
    }
    if text.starts_with("pg_") || ["public", "information_schema"].contains(&&*text) {
        item.refuse("is not allowed: it belongs to others; the tables want one of their own");
        return None;
    }
    Some(text)
}
