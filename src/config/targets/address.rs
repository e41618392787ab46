//! The URL of a target, as written in a configuration: the address, the login, and the name that the target
//! has by default. No fault shows a user, a password or a query.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::model::secret::{Login, Secret};

/// Advice where a login may have been misread.
const ENCODED: &str =
    "a password is percent-encoded: @ is %40, : %3A, / %2F, ? %3F, # %23 and % %25";

/// URL taken apart.
pub(in crate::config) struct Address {
    /// URL without user, password and fragment.
    pub url: Url,
    /// User and password, if there are any.
    pub login: Option<Login>,
    /// Text as written, without user, password, query and fragment.
    pub name: String,
}

/// Reads a URL, or a bare domain, which stands for https.
///
/// # Errors
/// A text that says what is wrong, in words that follow the URL: `has no host`.
pub(in crate::config) fn parse(text: &str) -> Result<Address, String> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds a space or a control character: write it percent-encoded, as %20".into());
    }
    if text.contains('\\') {
        return Err("holds a backslash: write \"/\", or %5C if it is meant".into());
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, text),
    };
    if let Some(scheme) = scheme
        && !["http", "https", "tcp"].iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed))
    {
        return Err(format!("has the scheme \"{scheme}\": allowed are http, https and tcp"));
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host_at = authority.rfind('@').map_or(0, |at| at + 1);
    if authority[host_at..].is_empty() {
        return Err("has no host: write it like https://example.org/".into());
    }
    if hides_a_login(authority, &rest[authority.len()..]) {
        return Err(format!(
            "has an @ behind its host, which may end a password: in a URL {ENCODED}; \
             in a path an @ is %40"
        ));
    }
    let is_tcp = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("tcp"));
    let (url, login) = match scheme {
        _ if is_tcp => (parse_tcp(rest)?, None),
        scheme => split_login(&format!("{}://{rest}", scheme.unwrap_or("https")))?,
    };
    let shown = &rest[host_at..];
    let shown = &shown[..shown.find(['?', '#']).unwrap_or(shown.len())];
    let name = match scheme {
        Some(scheme) => format!("{scheme}://{shown}"),
        None => shown.to_string(),
    };
    Ok(Address { url, login, name })
}

/// Returns true if a piece of a password may have been taken for the port: `u:12/34@example.org`. A name with
/// a point is a host for sure, and so is a text that no name with a point follows.
fn hides_a_login(authority: &str, after: &str) -> bool {
    let Some((user, port)) = authority.split_once(':') else { return false };
    let Some((_, host)) = after.rsplit_once('@') else { return false };
    let host = &host[..host.find(['/', '?', '#', ':']).unwrap_or(host.len())];
    !authority.contains(['@', '.', '['])
        && !user.eq_ignore_ascii_case("localhost")
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (host.contains('.') || host.starts_with('['))
}

/// Reads a URL of `tcp`, from the text behind its `://`.
fn parse_tcp(text: &str) -> Result<Url, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains(['/', '?', '#', '@']) {
        return Err("is more than a host and a port: write it like tcp://example.org:25".into());
    }
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let Some(Ok(port @ 1..)) = port else {
        return Err("has no port: write it like tcp://example.org:25".into());
    };
    // Read the host as that of an https URL, so that names in any alphabet are accepted.
    let (site, _) = split_login(&format!("https://{text}"))?;
    let host = site.host_str().unwrap_or_default();
    Url::parse(&format!("tcp://{host}:{port}")).map_err(|error| format!("is not a URL: {error}"))
}

/// Takes a URL apart: the URL without user, password and fragment, and the login of user and password.
///
/// # Errors
/// The same as for [`parse`].
pub(in crate::config) fn split_login(whole: &str) -> Result<(Url, Option<Login>), String> {
    let mut url = Url::parse(whole).map_err(|error| format!("is not a URL: {error}"))?;
    let login = read_login(&url)?;
    // Both calls fail only for URLs without a host, and those have no user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok((url, login))
}

/// Returns `text` as a fault may show it. A text that is not a URL may have its password anywhere before an
/// `@`, so all before it is left out; so is all after a `?` or `#`.
pub(in crate::config) fn redact(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), text),
    };
    let (login, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    format!("{scheme}{login}{}", &rest[..end])
}

/// Returns true if `text` may be the name of a host, or an address without brackets.
pub(in crate::config) fn is_host(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=253).contains(&text.len()) && text.chars().all(is_name) || text.parse::<IpAddr>().is_ok()
}

/// Returns true if `word` may stand before `://`.
fn is_scheme(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Returns user and password of `url`, decoded.
fn read_login(url: &Url) -> Result<Option<Login>, String> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text: &str| {
        // A `%` without two hex digits stands for itself.
        let text = percent_decode_str(text).decode_utf8();
        let text = text.map_err(|_| "has a user or password that is not UTF-8")?;
        if text.chars().any(char::is_control) {
            return Err("has a user or password with a control character");
        }
        Ok(Secret(text.into_owned()))
    };
    let user = decoded(url.username())?;
    if user.0.contains(':') && !url.scheme().starts_with("socks") {
        return Err("has a user with a colon: there is no way to send one".into());
    }
    let password = decoded(url.password().unwrap_or_default())?;
    Ok(Some(Login { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, url, login, name) in [
            ("example.org", "https://example.org/", None, "example.org"),
            ("example.org:8443/a", "https://example.org:8443/a", None, "example.org:8443/a"),
            ("http://example.org", "http://example.org/", None, "http://example.org"),
            ("HTTPS://Example.ORG/A", "https://example.org/A", None, "HTTPS://Example.ORG/A"),
            (
                "https://u:p@example.org/a?b#c",
                "https://example.org/a?b",
                Some(("u", "p")),
                "https://example.org/a",
            ),
            (
                "u%40x:p%3Aq%@example.org?k",
                "https://example.org/?k",
                Some(("u@x", "p:q%")),
                "example.org",
            ),
            (
                "https://only@example.org/",
                "https://example.org/",
                Some(("only", "")),
                "https://example.org/",
            ),
            (
                "https://a@b@example.org/",
                "https://example.org/",
                Some(("a@b", "")),
                "https://example.org/",
            ),
            ("https://@example.org/", "https://example.org/", None, "https://example.org/"),
            ("https://[::1]:8080/x", "https://[::1]:8080/x", None, "https://[::1]:8080/x"),
            (
                "https://example.org/@user",
                "https://example.org/@user",
                None,
                "https://example.org/@user",
            ),
            (
                "example.org/?u=http://a@b/",
                "https://example.org/?u=http://a@b/",
                None,
                "example.org/",
            ),
            ("http://shop:80/@user", "http://shop/@user", None, "http://shop:80/@user"),
            (
                "http://example.org:80/a@b.test",
                "http://example.org/a@b.test",
                None,
                "http://example.org:80/a@b.test",
            ),
            (
                "localhost:80/a@b.test",
                "https://localhost:80/a@b.test",
                None,
                "localhost:80/a@b.test",
            ),
            ("bücher.example", "https://xn--bcher-kva.example/", None, "bücher.example"),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.url.as_str(), url, "{text}");
            assert_eq!(address.name, name, "{text}");
            let found = address.login.as_ref().map(|l| (l.user.0.as_str(), l.password.0.as_str()));
            assert_eq!(found, login, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secrets() {
        for text in [
            "",
            "https://",
            "https:///user:secret@example.org/",
            "https://user:secret@/",
            "ftp://user:secret@example.org/",
            "https://user:secret@example.org:99999/?secret",
            "https://user:sec/secret@example.org:x/",
            "https://user:se?secret@example.org/",
            "https://user:se#secret@example.org/",
            "https:\\\\user:secret@example.org",
            "user:secret @example.org",
            "http://user:12/secret@example.org/",
            "http://user:/secret@example.org/",
            "user:12#secret@example.org",
            "user:12?secret@[::1]:80/a",
            "http:user:secret@example.org:x/#secret",
            "https://example.org:x?secret",
            "https://u:%ff%fesecret@example.org/",
            "https://u:%0asecret@example.org/",
            "https://[::1/secret@x",
            "secret@",
        ] {
            let fault = format!("url {} {}", redact(text), parse(text).err().unwrap());
            assert!(!fault.contains("secret") && !fault.contains("user:"), "{text}: {fault}");
        }
    }
}
