//! Regular expressions on a site's reply, bounded so that no search takes minutes.

use std::sync::Arc;

use regex_lite::{Regex, RegexBuilder};

use super::fold;
use super::literal::Literals;

/// Largest compiled form of an expression, in bytes. The time to search a body grows with it: with this
/// bound, the worst expression takes some seconds over 256 KiB, not minutes.
const EXPRESSION_MAX: usize = 32 * 1024;

/// A regular expression, in the syntax of `regex-lite`. Clones share the compiled form.
#[derive(Debug, Clone)]
pub struct Expression(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Text without any special character: searched as text, which is cheaper, and no compiled form is
    /// kept.
    Plain(Arc<str>),
    /// Expression that is searched from the first place where a match may begin, and not at all if some
    /// text that every match needs is missing.
    Compiled(Regex, Arc<Literals>),
    /// Expression as written, and its compiled form with letters outside ASCII in each case.
    Folded(Arc<str>, Regex),
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// The syntax is wrong, in the words of `regex-lite`; or the compiled form is larger than
    /// `EXPRESSION_MAX`; or the cases of its letters outside ASCII cannot be followed.
    pub fn new(text: &str) -> Result<Expression, String> {
        let regex = compile(text)?;
        let is_plain = !text.contains(|c| r"\.+*?()|[]{}^$".contains(c));
        Ok(Expression(match fold::folded(text)? {
            _ if is_plain => Form::Plain(text.into()),
            Some(folded) => Form::Folded(text.into(), compile(&folded)?),
            None => Form::Compiled(regex, Arc::new(Literals::of(text))),
        }))
    }

    /// Returns true if the expression names no character outside ASCII.
    pub fn is_ascii(&self) -> bool {
        fold::is_ascii(self.as_str())
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
            // A regex keeps the memory of its first search for the next, 1 KB and more. So a clone
            // searches, and its memory is freed with it.
            Form::Compiled(regex, literals) => {
                let begin = literals.begin(text)?;
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
            "too much for a small machine: use fewer or smaller counted repeats".to_owned()
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
        assert!(refused.starts_with("too much for a small machine"), "{refused}");
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
