//! Applies the expressions of a target to a reply: to its body as text, and to its headers.

use super::CheckFault;
use crate::model::expression::Expression;
use crate::model::outcome::{Cause, MATCHED_MAX, tidy};
use crate::model::target::{HeaderExpression, Target};

/// Result of the expressions on one reply.
#[derive(Default)]
pub(super) struct Content {
    pub match_ok: Option<bool>,
    pub matched: Option<String>,
    pub fault: Option<String>,
}

/// Applies the expressions of the target. If `ascii_alone`, only the ASCII letters of the body are known, and
/// expressions with other letters are left out.
pub(super) fn read(
    target: &Target,
    body: &str,
    ascii_alone: bool,
    headers: &[(String, String)],
) -> Content {
    let in_body = !target.matches.is_empty() || !target.rejects.is_empty();
    let in_headers = !target.header_matches.is_empty() || !target.header_rejects.is_empty();
    if !in_body && !in_headers {
        return Content::default();
    }
    let is_known = |expression: &&Expression| !ascii_alone || expression.is_ascii();
    let mut content = Content { match_ok: Some(true), ..Content::default() };
    for (i, wanted) in target.matches.iter().filter(is_known).enumerate() {
        match wanted.find(body) {
            Some(found) if i == 0 => content.matched = Some(tidy(found, MATCHED_MAX)),
            Some(_) => {}
            None => {
                content.fault.get_or_insert_with(|| format!("no match of {:?}", wanted.as_str()));
            }
        }
    }
    for unwanted in target.rejects.iter().filter(is_known) {
        if content.fault.is_some() {
            break;
        }
        if let Some(found) = unwanted.find(body) {
            let found = tidy(found, MATCHED_MAX);
            content.fault = Some(format!("{:?} matched {found:?}", unwanted.as_str()));
        }
    }
    if content.fault.is_none() {
        content.fault = read_headers(target, headers);
    }
    content.match_ok = Some(content.fault.is_none());
    content
}

/// Returns the first fault of the headers; none if all their expressions are fulfilled.
fn read_headers(target: &Target, headers: &[(String, String)]) -> Option<String> {
    let find = |wanted: &HeaderExpression| {
        let own = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&wanted.name));
        own.into_iter().find_map(|(_, value)| wanted.expression.find(value))
    };
    let missing = target.header_matches.iter().find(|wanted| find(wanted).is_none());
    if let Some(HeaderExpression { name, expression }) = missing {
        let there = headers.iter().any(|(of, _)| of.eq_ignore_ascii_case(name));
        let text = expression.as_str();
        return Some(match there {
            true => format!("no match of {text:?} in header {name}"),
            false => format!("no header {name}, which must match {text:?}"),
        });
    }
    target.header_rejects.iter().find_map(|unwanted| {
        let found = tidy(find(unwanted)?, MATCHED_MAX);
        let (name, text) = (&unwanted.name, unwanted.expression.as_str());
        Some(format!("{text:?} matched {found:?} in header {name}"))
    })
}

/// Returns a fault if an expression cannot be judged: it has letters outside ASCII, which are not known in
/// the body. `why` follows the words `the body`.
pub(super) fn unjudged(target: &Target, why: &str) -> Option<CheckFault> {
    let all = target.matches.iter().chain(&target.rejects);
    let expression = all.into_iter().find(|expression| !expression.is_ascii())?;
    let text = format!("{:?} cannot be judged: the body {why}", expression.as_str());
    Some(CheckFault { cause: Cause::Internal, text })
}
