//! libpq's two ways to write a connection down, taken apart into parameters: a URI
//! (`postgresql://user:password@host:port/database?name=value`) and keywords
//! (`host=db user=me password='a b'`). Both are read as libpq reads them; text that libpq would misread is
//! refused. No fault repeats any of the text, since a misread part may be the password.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Advice where a password may have been misread.
pub(in crate::config) const ENCODE: &str =
    "in a URI a password is percent-encoded: @ is %40, : %3A, / %2F, ? %3F, # %23 and % %25";

/// Returns the parameters in `text` by name, in their order; a name may come twice. An empty value counts as
/// not given, as with libpq.
///
/// # Errors
/// A text that says what is wrong.
pub(in crate::config) fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let uri = ["postgresql://", "postgres://"].iter().find_map(|start| text.strip_prefix(start));
    let pairs = match uri {
        Some(rest) => parse_uri(rest)?,
        None => parse_keywords(text)?,
    };
    if pairs.iter().any(|(_, value)| value.contains('\0')) {
        return Err("holds a NUL".into());
    }
    Ok(pairs)
}

/// Takes apart a URI without its scheme. As with libpq, an `@` before the first `/` ends the login, and the
/// first `:` in the login ends the user.
fn parse_uri(rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let (login, rest) = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => (&rest[..at], &rest[at + 1..]),
        _ => ("", rest),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if rest.contains('@') {
        // libpq would take a piece of the password for a host or a database.
        return Err(format!("has an @ too many: {ENCODE}"));
    }
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = split_hosts(hosts)?;
    for (name, value) in [
        ("user", user),
        ("password", password),
        ("host", &host),
        ("port", &port),
        ("dbname", database),
    ] {
        pairs.push((name.to_string(), decode(value)?));
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let wrong = || format!("has a parameter without \"=\", or with two: {ENCODE}");
        let (name, value) = parameter.split_once('=').ok_or_else(wrong)?;
        if value.contains('=') {
            return Err(wrong());
        }
        pairs.push((decode(name)?, decode(value)?));
    }
    pairs.retain(|(_, value)| !value.is_empty());
    Ok(pairs)
}

/// Splits `a:1,[::1]:2` into `a,::1` and `1,2`.
fn split_hosts(text: &str) -> Result<(String, String), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(inner) => {
                let closed = inner.split_once(']');
                let (host, rest) = closed.ok_or("has a \"[\" without \"]\" in its host")?;
                let port = rest.strip_prefix(':').or(rest.is_empty().then_some(""));
                (host, port.ok_or("has more than a port after \"]\" in its host")?)
            }
            None => part.split_once(':').unwrap_or((part, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts.join(","), ports.join(",")))
}

/// Decodes `%41` and the like, each of which must have two hex digits.
fn decode(text: &str) -> Result<String, String> {
    for code in text.split('%').skip(1) {
        if !code.get(..2).is_some_and(|code| code.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(format!("has a % without two hex digits: {ENCODE}"));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| "is not UTF-8 once it is decoded".to_owned())
}

/// Takes apart `name = value` with white space between. A value with white space stands in single quotes, and
/// a backslash takes the next character as it is.
fn parse_keywords(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some((name, after)) = rest.split_once('=') else {
            return Err(NO_PAIR.into());
        };
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(NO_PAIR.into());
        }
        let (value, after) = split_value(after.trim_start())?;
        if !value.is_empty() {
            pairs.push((name.to_string(), value));
        }
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Fault of a text that is neither form.
const NO_PAIR: &str = "is neither a URI such as postgresql://user@host/database nor keywords such \
                       as host=db user=me (a value with spaces stands in single quotes)";

/// Splits `text` into the value that it begins with, and the rest.
fn split_value(text: &str) -> Result<(String, &str), String> {
    let (quote, text) = match text.strip_prefix('\'') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            '\'' if quote => return Ok((value, &text[at + 1..])),
            c if !quote && c.is_whitespace() => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quote { Err("has a single quote that is not closed".into()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_taken_apart() {
        for (text, want) in [
            ("", ""),
            ("postgresql://", ""),
            ("postgres://h", "host=h"),
            ("postgresql://h:1/d", "host=h port=1 dbname=d"),
            ("postgresql://u@h/", "user=u host=h"),
            ("postgresql://u:p:q%40%2f@h", "user=u password=p:q@/ host=h"),
            ("postgresql://u:p?&#=@h", "user=u password=p?&#= host=h"),
            ("postgresql://:p@h", "password=p host=h"),
            ("postgresql:///d?host=/run/p&port=1", "dbname=d host=/run/p port=1"),
            ("postgresql://%2Frun%2Fp/d", "host=/run/p dbname=d"),
            ("postgresql://a,b:2,[::1]:3,[::2]/d", "host=a,b,::1,::2 port=,2,3, dbname=d"),
            ("postgresql://h?a=b%26c&d=", "host=h a=b&c"),
            ("postgresql://h/%C3%A4?x%79=1&", "host=h dbname=ä xy=1"),
            ("postgresql://h/d?options=-c%20a%3Db@c", "host=h dbname=d options=-c a=b@c"),
            ("host=h user = u  port= 1", "host=h user=u port=1"),
            (r"\tpassword='a b\'c\\' x=\'\ y ", r"password=a b'c\ x=' y"),
            ("password='' user=u", "user=u"),
            ("a='b'c='d'", "a=b c=d"),
            (r"a=b\", "a=b"),
        ] {
            let text = text.replace("\\t", "\t");
            let found = parse_pairs(&text).unwrap();
            let found: Vec<String> = found.iter().map(|(n, v)| format!("{n}={v}")).collect();
            assert_eq!(found.join(" "), want, "{text}");
        }
    }

    #[test]
    fn what_would_be_misread_is_refused_without_showing_it() {
        for text in [
            "secret",
            "secret secret=secret",
            "=secret",
            "mysql://u:secret@h/d",
            "password='secret",
            "password=secret secret",
            "postgresql://u:secret%@h",
            "postgresql://u:secret%4@h",
            "postgresql://u:secret%zz@h",
            "postgresql://u:secret%C3@h",
            "postgresql://u:secret%ü@h",
            "postgresql://u:secret%00@h",
            "postgresql://u:secret@[::1/d",
            "postgresql://u:secret@[::1]secret/d",
            "postgresql://u:p@h/?secret",
            "postgresql://u:p@h/?a=b=secret",
            "password=secret\0",
            "postgresql://u:12@secret@h/d",
            "postgresql://u:12/secret@h/d",
            "postgresql://u:p@h/secret@h/d",
        ] {
            let fault = parse_pairs(text).unwrap_err();
            assert!(!fault.contains("secret"), "{text}: {fault}");
        }
    }
}
