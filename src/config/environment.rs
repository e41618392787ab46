//! Variables for `${NAME}`: those of the process, and the lines of `--env-file`. They are a value, so that
//! tests need not change the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::toml::fault::{ConfigFaults, quoted};
use crate::config::toml::source::Source;

/// Names and values. They are looked up, never listed or shown, since many are secrets.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Environment {
    /// Returns the environment of this process; names or values that are not UTF-8 are left out.
    pub fn of_process() -> Environment {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Adds the file at `path`: one `NAME=value` a line, with an optional `export ` before and optional
    /// quotes around the value. Blank lines and those that start with `#` do not count; of two lines for one
    /// name the last wins. A variable of the process environment comes before one of the file.
    ///
    /// # Errors
    /// The file cannot be read, or a line is something else.
    pub fn with_file(mut self, path: &Path) -> Result<Environment, ConfigFaults> {
        let source = Source::load(0, path, "name another with --env-file")
            .map_err(|fault| ConfigFaults::new(vec![fault]))?;
        let mut faults = Vec::new();
        let mut offset = 0;
        for line in source.text.split_inclusive('\n') {
            let entry = line.trim();
            let at = source.at(offset + line.len() - line.trim_start().len());
            offset += line.len();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            match assignment(entry) {
                Ok((name, value)) => {
                    self.file.insert(name.to_string(), value.to_string());
                }
                Err(text) => faults.push(at.fault(text)),
            }
        }
        if faults.is_empty() { Ok(self) } else { Err(ConfigFaults::new(faults)) }
    }

    /// Returns the value of `name`, which may be empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.process.get(name).or_else(|| self.file.get(name)).map(String::as_str)
    }

    /// Returns the configuration's files: those `given`, else `$SITEWATCH_CONFIG`, else
    /// [`crate::config::DEFAULT_PATH`].
    pub fn paths(&self, given: Vec<PathBuf>) -> Vec<PathBuf> {
        if !given.is_empty() {
            return given;
        }
        let path = self.value("SITEWATCH_CONFIG").filter(|path| !path.is_empty());
        vec![PathBuf::from(path.unwrap_or(crate::config::DEFAULT_PATH))]
    }
}

/// Environment made of the pairs, in place of the environment of the process.
impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Environment {
        Environment { process: pairs.into_iter().collect(), file: BTreeMap::new() }
    }
}

/// Returns true if `name` may be the name of a variable: letters, digits and `_`, no digit first.
pub(in crate::config) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Splits one line that is not blank into name and value. The value may be a secret: no fault shows it.
fn assignment(line: &str) -> Result<(&str, &str), String> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("no \"=\" in this line: write NAME=value")?;
    if !is_name(name) {
        let name = quoted(name);
        return Err(format!("{name} is not a name: letters, digits and _, no digit first"));
    }
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let closed = rest.strip_suffix(quote);
            let value = closed.ok_or_else(|| {
                format!("the quote that opens the value of {} is not closed", quoted(name))
            })?;
            return Ok((name, value));
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let read = environment(&[("TOKEN", "process")])
            .with_file(Path::new("tests/data/env/good.env"))
            .unwrap();
        for (name, value) in [
            ("TOKEN", Some("process")),
            ("PLAIN", Some("a b=c # no comment")),
            ("EXPORTED", Some("yes")),
            ("DOUBLE", Some(" kept ")),
            ("SINGLE", Some("it is")),
            ("EMPTY", Some("")),
            ("LAST", Some("2")),
            ("OTHER", None),
        ] {
            assert_eq!(read.value(name), value, "{name}");
        }
    }

    #[test]
    fn all_faults_of_the_file_come_at_once_and_show_no_value() {
        let path = Path::new("tests/data/env/broken.env");
        let faults = Environment::default().with_file(path).err().unwrap();
        assert_eq!(
            faults.to_string(),
            "tests/data/env/broken.env:1:1: no \"=\" in this line: write NAME=value\n\
             tests/data/env/broken.env:3:3: \"2ND\" is not a name: letters, digits and _, no digit first\n\
             tests/data/env/broken.env:4:1: the quote that opens the value of \"OPEN\" is not closed"
        );
    }

    #[test]
    fn paths_come_from_the_options_then_the_environment() {
        let named = environment(&[("SITEWATCH_CONFIG", "/b.toml")]);
        assert_eq!(named.paths(vec!["/a.toml".into()]), [PathBuf::from("/a.toml")]);
        assert_eq!(named.paths(vec![]), [PathBuf::from("/b.toml")]);
        let unnamed = environment(&[("SITEWATCH_CONFIG", "")]);
        assert_eq!(unnamed.paths(vec![]), [PathBuf::from("/etc/sitewatch/config.toml")]);
    }
}
