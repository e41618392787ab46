//! Effective configuration as TOML, with every key of every target: the output of `sitewatch config --print`.
//! Users, passwords, queries, bodies and the values of headers and properties that may be secrets are `***`;
//! keys without a value stand there as a comment.

use std::fmt::{Display, Write as _};
use std::path::Path;

use url::Url;

use crate::character::is_unsafe;
use crate::config::kafka::properties::is_secret;
use crate::config::units::{show_duration, show_size};
use crate::config::{Config, HIDDEN, KafkaConfig};
use crate::model::connect::{Connect, Identity};
use crate::model::expression::Expression;
use crate::model::secret::Login;
use crate::model::target::{HeaderExpression, RequestHeader, Target};

/// Returns `config` as TOML.
pub fn print(config: &Config) -> String {
    let mut page = Page(String::new());
    page.maybe("node", config.node.as_deref().map(quoted));
    page.line("state_dir", path(&config.state_dir));
    page.line("reload", quoted(config.reload.as_str()));
    page.table("[probe]");
    page.line("max_in_flight", config.probe.max_in_flight);
    page.line("bodies_max", size(config.probe.bodies_max));
    page.line("stop_timeout", quoted(&show_duration(config.probe.stop_timeout)));
    page.line("clock_wait", quoted(&show_duration(config.probe.clock_wait)));
    page.table("[uplink]");
    let canaries = config.uplink.canaries.as_ref();
    page.maybe("canaries", canaries.map(|all| list(all.iter().map(|canary| quoted(canary)))));
    page.table("[spool]");
    page.line("memory", size(config.spool.memory));
    page.table("[sqlite]");
    page.line("path", path(&config.sqlite.path));
    page.line("max_size", quoted(&show_size(config.sqlite.max_size)));
    if let Some(kafka) = &config.kafka {
        page.kafka(kafka);
    }
    if let Some(postgres) = &config.postgres {
        page.table("[postgres]");
        page.line("url", quoted(&postgres.dsn.shown()));
        page.line("schema", quoted(&postgres.schema));
    }
    page.table("[write]");
    page.line("batch_max", config.write.batch_max);
    page.line("batch_age", quoted(&show_duration(config.write.batch_age)));
    page.line("dead_letter_max", quoted(&show_size(config.write.dead_letter_max)));
    page.table("[retention]");
    page.line("checks", quoted(&show_duration(config.retention.checks)));
    page.line("dead_letters", quoted(&show_duration(config.retention.dead_letters)));
    page.table("[serve]");
    page.maybe("listen", config.serve.listen.map(|listen| quoted(&listen.to_string())));
    page.table("[log]");
    page.line("level", quoted(&config.log.level.as_str().to_lowercase()));
    page.line("format", quoted(config.log.format.as_str()));
    page.line("max_per_minute", config.log.max_per_minute);
    for target in &config.targets {
        page.table("[[target]]");
        page.target(target);
    }
    page.0
}

/// TOML written so far.
struct Page(String);

impl Page {
    fn kafka(&mut self, kafka: &KafkaConfig) {
        self.table("[kafka]");
        self.line("brokers", list(kafka.brokers.iter().map(|broker| quoted(broker))));
        self.line("topic", quoted(&kafka.topic));
        self.line("group", quoted(&kafka.group));
        self.line("partitions", kafka.partitions);
        self.line("replicas", kafka.replicas);
        self.line("create_topic", kafka.create_topic);
        if let Some(tls) = &kafka.tls {
            self.table("[kafka.tls]");
            self.maybe("ca_file", tls.ca_file.as_deref().map(path));
            self.identity(tls.identity.as_deref());
        }
        if let Some(sasl) = &kafka.sasl {
            self.table("[kafka.sasl]");
            self.line("mechanism", quoted(sasl.mechanism.as_str()));
            self.line("username", quoted(&sasl.username));
            self.line("password", quoted(HIDDEN));
        }
        if !kafka.properties.is_empty() {
            self.table("[kafka.properties]");
        }
        for (name, value) in &kafka.properties {
            let value = if is_secret(name) { HIDDEN } else { value };
            self.line(&quoted(name), quoted(value));
        }
    }

    fn target(&mut self, target: &Target) {
        self.line("name", quoted(&target.name));
        self.line("url", quoted(&url(target)));
        self.line("interval", quoted(&show_duration(target.interval)));
        self.line("timeout", quoted(&show_duration(target.timeout)));
        self.line("attempts", target.attempts);
        if target.is_tcp() {
            self.maybe("expect", target.matches.first().map(|wanted| quoted(wanted.as_str())));
            self.line("tls", target.connect.tls);
        } else {
            self.http(target);
        }
        let slow_after = target.slow_after.map(show_duration);
        self.maybe("slow_after", slow_after.as_deref().map(quoted));
        self.line("verify", target.verify);
        self.line("min_cert_days", target.min_cert_days);
        self.maybe("ca_file", target.ca_file.as_deref().map(path));
        self.connect(&target.connect);
        self.line("own_network", target.own_network);
        self.line("labels", table(target.labels.iter().map(|(k, v)| (quoted(k), quoted(v)))));
        self.line("nodes", list(target.nodes.iter().map(|node| quoted(node))));
    }

    fn http(&mut self, target: &Target) {
        self.line("method", quoted(target.method.as_str()));
        self.line("headers", table(target.headers.iter().map(header)));
        let body = if target.body.0.is_empty() { "" } else { HIDDEN };
        self.line("body", quoted(body));
        let status = target.status.to_string();
        self.line("status", list(status.split(", ").map(quoted)));
        self.line("match", expressions(&target.matches));
        self.line("reject", expressions(&target.rejects));
        self.line("match_header", header_expressions(&target.header_matches));
        self.line("reject_header", header_expressions(&target.header_rejects));
        self.line("max_redirects", target.max_redirects);
        self.line("max_body", size(target.max_body));
        self.line("excerpt", size(target.excerpt));
        self.line("http", quoted(target.connect.http.as_str()));
        self.line("reuse", target.connect.reuse);
        self.maybe("bearer", target.bearer.as_ref().map(|_| quoted(HIDDEN)));
    }

    fn connect(&mut self, connect: &Connect) {
        self.line("family", quoted(connect.family.as_str()));
        self.maybe("resolve", connect.resolve.map(|address| quoted(&address.to_string())));
        self.maybe("interface", connect.interface.as_deref().map(quoted));
        let proxy = connect.proxy.as_ref().map(|proxy| with_stars(&proxy.url, &proxy.login));
        self.line("proxy", quoted(proxy.as_deref().unwrap_or("none")));
        self.identity(connect.identity.as_deref());
        self.maybe("server_name", connect.server_name.as_deref().map(quoted));
        self.line("tls_min", quoted(connect.tls_min.as_str()));
        self.line("tls_legacy", connect.tls_legacy);
    }

    fn identity(&mut self, identity: Option<&Identity>) {
        self.maybe("cert_file", identity.map(|identity| path(&identity.cert_file)));
        self.maybe("key_file", identity.map(|identity| path(&identity.key_file)));
        let password = identity.and_then(|identity| identity.key_password.as_ref());
        self.maybe("key_password", password.map(|_| quoted(HIDDEN)));
    }

    fn table(&mut self, header: &str) {
        self.0.push('\n');
        self.0.push_str(header);
        self.0.push('\n');
    }

    fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn maybe(&mut self, key: &str, value: Option<String>) {
        match value {
            Some(value) => self.line(key, value),
            None => self.line(&format!("# {key}"), "none"),
        }
    }
}

/// Returns the URL with stars for its user, password and query.
fn url(target: &Target) -> String {
    let mut url = target.url.clone();
    if url.query().is_some() {
        url.set_query(Some(HIDDEN));
    }
    with_stars(&url, &target.login)
}

/// Returns a URL with stars for the login that goes with it.
fn with_stars(url: &Url, login: &Option<Login>) -> String {
    match (login, url.as_str().split_once("://")) {
        (Some(_), Some((scheme, rest))) => format!("{scheme}://{HIDDEN}@{rest}"),
        _ => url.to_string(),
    }
}

fn header(header: &RequestHeader) -> (String, String) {
    let value = if header.is_harmless() { &header.value.0 } else { HIDDEN };
    (quoted(&header.name), quoted(value))
}

fn expressions(expressions: &[Expression]) -> String {
    list(expressions.iter().map(|expression| quoted(expression.as_str())))
}

fn header_expressions(expressions: &[HeaderExpression]) -> String {
    let mut names: Vec<&str> = expressions.iter().map(|of| &*of.name).collect();
    names.dedup();
    table(names.into_iter().map(|name| {
        let own = expressions.iter().filter(|of| of.name == name);
        (quoted(name), list(own.map(|of| quoted(of.expression.as_str()))))
    }))
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn size(bytes: usize) -> String {
    quoted(&show_size(bytes as u64))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn table(pairs: impl Iterator<Item = (String, String)>) -> String {
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key} = {value}")).collect();
    if pairs.is_empty() { "{}".to_string() } else { format!("{{ {} }}", pairs.join(", ")) }
}

/// Returns `text` as a TOML string that reads as `text` again, `${` included.
fn quoted(text: &str) -> String {
    let mut toml = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' => toml.push_str("\\\""),
            '\\' => toml.push_str("\\\\"),
            '\n' => toml.push_str("\\n"),
            '\t' => toml.push_str("\\t"),
            c if is_unsafe(c) => toml.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => toml.push(c),
        }
    }
    toml.push('"');
    toml
}
