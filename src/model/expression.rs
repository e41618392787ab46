//! Searches the reply of a site with regular expressions, whose size is bounded so that no search takes
//! minutes.

use std::sync::Arc;

use regex_lite::{Regex, RegexBuilder};

use super::case_folding;
use super::literal::Literals;

/// Largest compiled form of an expression, in bytes. The time to search a body grows with it: with this
/// bound, the worst expression takes some seconds over 256 KiB, not minutes.
const EXPRESSION_MAX: usize = 32 * 1024;

/// A regular expression, in the syntax of `regex-lite`. Clones share the compiled form.
#[derive(Debug, Clone)]
pub struct Expression(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Text without any special character. A search for plain text is faster, and needs no compiled form.
    Plain(Arc<str>),
    /// Compiled expression, with the text that every match must have: the search begins at the first place
    /// where a match can begin, and there is no search if the text is missing.
    Compiled(Regex, Arc<Literals>),
    /// Expression as written, and a compiled form that has each letter outside ASCII in both cases.
    Folded(Arc<str>, Regex),
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// The syntax is wrong, in the words of `regex-lite`; the compiled form is larger than `EXPRESSION_MAX`;
    /// or the expression ignores case in a way that cannot be extended to letters outside ASCII.
    pub fn new(text: &str) -> Result<Expression, String> {
        let regex = compile(text)?;
        let is_plain = !text.contains(|c| r"\.+*?()|[]{}^$".contains(c));
        Ok(Expression(match case_folding::fold_case(text)? {
            _ if is_plain => Form::Plain(text.into()),
            Some(folded) => Form::Folded(text.into(), compile(&folded)?),
            None => Form::Compiled(regex, Arc::new(Literals::of(text))),
        }))
    }

    /// Returns true if the expression names no character outside ASCII.
    pub fn is_ascii(&self) -> bool {
        case_folding::is_ascii(self.as_str())
    }

    /// Returns the expression as written.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Plain(text) | Form::Folded(text, _) => text,
            Form::Compiled(regex, _) => regex.as_str(),
        }
    }

    /// Returns the first match in `text`.
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        match &self.0 {
            Form::Plain(plain) => {
                let at = text.find(&**plain)?;
                text.get(at..at + plain.len())
            }
            // Search with a clone and drop it: a regex keeps the memory of its first search, 1 KB or more.
            Form::Compiled(regex, literals) => {
                let begin = literals.first_offset(text)?;
                regex.clone().find_at(text, begin).map(|found| found.as_str())
            }
            Form::Folded(_, regex) => regex.clone().find(text).map(|found| found.as_str()),
        }
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(EXPRESSION_MAX).build();
    built.map_err(|error| match error.to_string() {
        text if text.contains("size limit") => {
            "too large for a small machine: use fewer or smaller counted repeats".to_owned()
        }
        text => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_that_would_take_minutes_is_refused() {
        let refused = Expression::new("([a-z]{1,80}){1,40}[0-9]$").err().unwrap();
        assert!(refused.starts_with("too large for a small machine"), "{refused}");
        assert!(Expression::new("(?i)(error|exception) [0-9]{3,12}: .*").is_ok());
    }

    #[test]
    fn plain_text_and_expressions_find_the_same() {
        for (expression, text, want) in [
            ("Example Domain", "<h1>Example Domain</h1>", Some("Example Domain")),
            ("ümläut", "an ümläut", Some("ümläut")),
            ("", "anything", Some("")),
            ("missing", "text", None),
            ("a.c", "a.c abc", Some("a.c")),
            ("a\\.c", "abc a.c", Some("a.c")),
        ] {
            assert_eq!(Expression::new(expression).unwrap().find(text), want, "{expression}");
            let grouped = Expression::new(&format!("(?:{expression})")).unwrap();
            assert_eq!(grouped.find(text), want, "{expression}");
        }
    }
}
