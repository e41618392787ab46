//! Parameters of a connection by libpq's names, each read as the type that it must have. All faults are
//! gathered. None shows a value: if a password was misread, any value may be a piece of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::postgres::pairs::parse_pairs;
use crate::config::toml::fault::quoted;
use crate::config::toml::source::check_readable;

/// Parameters that are understood, in the order in which faults list them.
const KNOWN: [&str; 23] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "channel_binding",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
];

/// Parameters of libpq, and one of the crate's, that are not understood. Any other word may be a piece of a
/// password with a space in it, and is not shown.
const OTHERS: [&str; 31] = [
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives_retries",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslsni",
];

/// Parameters that are not taken yet.
pub(in crate::config) struct DsnParameters<'a> {
    values: BTreeMap<&'static str, String>,
    /// Faults in words that follow `url: `; no fault has any value in it but the name of a file.
    pub faults: Vec<String>,
    beside: &'a dyn Fn(&str) -> PathBuf,
}

impl<'a> DsnParameters<'a> {
    /// Takes apart a URI or keywords; `beside` turns relative paths into those that can be opened.
    ///
    /// # Errors
    /// The text cannot be taken apart.
    pub fn read(
        text: &str,
        beside: &'a dyn Fn(&str) -> PathBuf,
    ) -> Result<DsnParameters<'a>, String> {
        let mut parameters = DsnParameters { values: BTreeMap::new(), faults: Vec::new(), beside };
        for (name, value) in parse_pairs(text)? {
            parameters.add(&name, value);
        }
        Ok(parameters)
    }

    /// Takes note of a fault.
    pub fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    fn add(&mut self, name: &str, value: String) {
        let Some(known) = KNOWN.iter().find(|known| **known == name) else {
            let distance = |known: &str| strsim::damerau_levenshtein(name, known);
            let near = KNOWN.iter().filter(|known| distance(known) <= 1 + known.len() / 4);
            let allowed = format!("allowed are {}", KNOWN.join(", "));
            let text = match near.min_by_key(|known| distance(known)) {
                _ if OTHERS.contains(&name) => {
                    format!("{} is not supported: {allowed}", quoted(name))
                }
                Some(near) => format!("a parameter is unknown: did you mean \"{near}\"?"),
                None => format!(
                    "a parameter is unknown (a value with spaces stands in single quotes): {allowed}"
                ),
            };
            return self.fault(text);
        };
        if self.values.insert(known, value).is_some() {
            self.fault(format!("{} is set twice", quoted(known)));
        }
    }

    /// Takes the value as it is.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Returns true, and takes the value, if the value is that word.
    pub fn is(&mut self, name: &str, word: &str) -> bool {
        let is = self.values.get(name).is_some_and(|value| value == word);
        is && self.values.remove(name).is_some()
    }

    /// Takes the value, one of `choices`.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.fault(format!("{name} must be one of {}", words.join(", ")));
        }
        found
    }

    /// Takes the value, a whole number of `unit`s; below 0 counts as 0, as with libpq.
    pub fn number(&mut self, name: &str, unit: &str) -> Option<u32> {
        let text = self.text(name)?;
        let number = text.trim().parse::<i32>();
        if number.is_err() {
            self.fault(format!("{name} must be a whole number{unit}"));
        }
        number.ok().map(|number| u32::try_from(number).unwrap_or(0))
    }

    /// Takes the value, a file that can be read.
    pub fn file(&mut self, name: &str) -> Option<PathBuf> {
        let path = (self.beside)(&self.text(name)?);
        if let Err(cause) = check_readable(&path) {
            let path = quoted(&path.to_string_lossy());
            self.fault(format!("{name} {path} cannot be read: {cause}"));
        }
        Some(path)
    }

    /// Takes the parts of a list with commas; `wanted` says what each must be.
    pub fn every<T>(
        &mut self,
        name: &str,
        wanted: &str,
        how: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some(text) = self.text(name) else { return Vec::new() };
        let found: Option<Vec<T>> = text.split(',').map(how).collect();
        if found.is_none() {
            self.fault(format!("{name} {wanted}"));
        }
        found.unwrap_or_default()
    }
}
