//! Replacement of `${...}` inside a string value.
//!
//! `${NAME}` is a variable; `${NAME:-default}` too, and `default` where it is unset or empty; `${file:PATH}` is
//! a file's content without its last line end; `$${` is a plain `${`. Inserted text is not searched for `${`
//! again. A default reaches to the next `}`. In users and passwords of URLs the text is one value: `login.rs`.

use std::path::Path;

use crate::config::environment::{Environment, is_name};
use crate::config::toml::fault::quoted;
use crate::config::toml::source::{Source, describe, read_bounded};

/// Largest file that `${file:...}` puts into a value, in bytes.
const PUT_IN_MAX: u64 = 1 << 20;

/// Part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum Piece {
    /// Text as written.
    Written(String),
    /// Text for a `${...}`; may be a secret.
    Inserted(String),
}

impl Piece {
    /// Returns the text of the piece.
    pub fn text(&self) -> &str {
        match self {
            Piece::Written(text) | Piece::Inserted(text) => text,
        }
    }
}

/// Replaces each `${...}` in `text`, a value written in `source`. Returns the pieces, written and inserted.
///
/// # Errors
/// Every fault in `text`, in words; no fault shows a text that was put in.
pub(in crate::config) fn insert(
    text: &str,
    source: &Source,
    environment: &Environment,
) -> Result<Vec<Piece>, Vec<String>> {
    let (mut pieces, mut value) = (Vec::new(), String::with_capacity(text.len()));
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        value.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            value.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let Some((inner, after)) = after.split_once('}') else {
                faults.push("\"${\" without \"}\": close it, or write $${ for a plain ${".into());
                rest = "";
                continue;
            };
            match resolve(inner, source, environment) {
                Ok(content) => {
                    pieces.push(Piece::Written(std::mem::take(&mut value)));
                    pieces.push(Piece::Inserted(content));
                }
                Err(fault) => faults.push(fault),
            }
            rest = after;
        } else {
            value.push('$');
            rest = &rest[1..];
        }
    }
    value.push_str(rest);
    pieces.push(Piece::Written(value));
    if faults.is_empty() { Ok(pieces) } else { Err(faults) }
}

/// Returns the text for `${inner}`.
fn resolve(inner: &str, source: &Source, environment: &Environment) -> Result<String, String> {
    if let Some(path) = inner.strip_prefix("file:") {
        return read_file(&source.beside(path)).map_err(|cause| {
            format!("cannot read {} of {}: {cause}", quoted(path), quoted(&format!("${{{inner}}}")))
        });
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(format!(
            "{} is not understood: write ${{NAME}}, ${{NAME:-default}} or ${{file:/path}}, \
             or $${{ for a plain ${{",
            quoted(&format!("${{{inner}}}")),
        ));
    }
    match (environment.value(name), default) {
        (None | Some(""), Some(default)) => Ok(default.to_string()),
        (Some(value), _) => Ok(value.to_string()),
        (None, None) => Err(format!(
            "{} is not set in the environment: set it, or write ${{{name}:-default}}",
            quoted(name),
        )),
    }
}

/// Returns the content of the file at `path` without its last line end.
fn read_file(path: &Path) -> Result<String, String> {
    let bytes = read_bounded(path, PUT_IN_MAX).map_err(|error| describe(&error))?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let pairs = [("NAME", "value"), ("EMPTY", ""), ("NESTED", "${NAME}")];
        let environment = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let path = Path::new("tests/data/env/good.env");
        let source = Source::load(0, path, "").map_err(|fault| fault.to_string())?;
        let pieces = insert(text, &source, &environment);
        pieces.map(|all| all.iter().map(Piece::text).collect()).map_err(|faults| faults.join("; "))
    }

    #[test]
    fn names_defaults_and_files_are_put_in() {
        for (text, value) in [
            ("", ""),
            ("plain $ $$ $NAME", "plain $ $$ $NAME"),
            ("${NAME}", "value"),
            ("<${NAME}${NAME}>", "<valuevalue>"),
            ("${EMPTY}", ""),
            ("${EMPTY:-default}", "default"),
            ("${NAME:-default}", "value"),
            ("${NO:-}", ""),
            ("${NO:-a:-b$}c", "a:-b$c"),
            ("$${NAME}", "${NAME}"),
            ("$$${NAME}", "$${NAME}"),
            ("${NESTED}", "${NAME}"),
            ("ä${NAME}ö", "ävalueö"),
            ("<${file:two_lines.txt}>", "<first\nsecond>"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_is_told() {
        for (text, word) in [
            ("${NO}", "\"NO\" is not set"),
            ("${NAME", "\"${\" without \"}\""),
            ("$${${", "\"${\" without \"}\""),
            ("${}", "\"${}\" is not understood"),
            ("${1ST}", "\"${1ST}\" is not understood"),
            ("${NAME-x}", "\"${NAME-x}\" is not understood"),
            ("${file:}", "it is a folder"),
            ("${file:none}", "there is none"),
            ("${NO} ${}", "\"${}\""),
        ] {
            let fault = fill(text).unwrap_err();
            assert!(fault.contains(word), "{text}: {fault}");
        }
    }
}
