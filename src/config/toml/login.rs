//! Users and passwords that `${...}` inserts into a longer text. Each is taken as one value: no character in it
//! can end the password early, and turn the rest into a host that is looked up, shown and stored.

use crate::config::toml::insertion::Piece;

/// Character that stands for an inserted text in a template. TOML may have the character, as an escape;
/// wherever templates are used it is an error then.
const HOLE: char = '\0';

/// Returns a URL, or a bare domain. A text put into its user or password is percent-encoded.
pub(in crate::config) fn join_url(pieces: &[Piece]) -> String {
    let template = make_template(pieces);
    let start = match template.find("://") {
        Some(at) if !template[..at].contains(['/', '?', '#', '@']) => at + 3,
        _ => 0,
    };
    let end = template[start..].find(['/', '?', '#']).map_or(template.len(), |at| start + at);
    let end = template[start..end].rfind('@').map_or(start, |at| start + at);
    join_encoded(pieces, &template, start, end)
}

/// Returns libpq's URI or keywords. A text put into a URI's user or password is percent-encoded, and a text
/// put into the value of a keyword has a backslash before each character that could end it.
pub(in crate::config) fn join_connection(pieces: &[Piece]) -> String {
    let template = make_template(pieces);
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = template.strip_prefix(scheme) {
            let start = scheme.len();
            let end = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@'));
            return join_encoded(pieces, &template, start, end.map_or(start, |at| start + at));
        }
    }
    join_keywords(pieces)
}

/// Returns true if the first colon of `user:password` stands in a text that is put in, before one that is
/// written.
pub(in crate::config) fn splits_user(pieces: &[Piece]) -> bool {
    let is_written = |piece: &Piece| matches!(piece, Piece::Written(text) if text.contains(':'));
    let Some(at) = pieces.iter().position(is_written) else { return false };
    pieces[..at].iter().any(|piece| piece.text().contains(':'))
}

/// Returns the written text, with a [`HOLE`] for each text that is put in.
fn make_template(pieces: &[Piece]) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Written(text) => text.clone(),
        Piece::Inserted(_) => HOLE.to_string(),
    };
    pieces.iter().map(text).collect()
}

/// Returns the text of all pieces; texts put in between `start` and `end` of the `template` are
/// percent-encoded. Without a written colon there, the first colon put in parts user and password.
fn join_encoded(pieces: &[Piece], template: &str, start: usize, end: usize) -> String {
    let mut parts = !template[start..end].contains(':');
    let (mut text, mut at) = (String::new(), 0);
    for piece in pieces {
        match piece {
            Piece::Written(written) => {
                text.push_str(written);
                at += written.len();
            }
            Piece::Inserted(value) => {
                if (start..end).contains(&at) {
                    encode(value, &mut parts, &mut text);
                } else {
                    text.push_str(value);
                }
                at += HOLE.len_utf8();
            }
        }
    }
    text
}

/// Adds `value` percent-encoded to `text`. With `parts`, the first colon stays, and none after it.
fn encode(value: &str, parts: &mut bool, text: &mut String) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for byte in value.bytes() {
        let stays = byte == b':' && *parts;
        *parts &= !stays;
        if stays || byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Returns keywords: a text put in is a value where `name=` or a quote stands before it.
fn join_keywords(pieces: &[Piece]) -> String {
    let mut text = String::new();
    // Place in the written text: in a value (after `name=`), in quotes, after a backslash.
    let (mut in_value, mut in_quotes, mut escaped) = (false, false, false);
    for (i, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Written(written) => {
                for c in written.chars() {
                    match c {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        '\'' => in_quotes = !in_quotes,
                        '=' if !in_quotes => in_value = true,
                        c if c.is_whitespace() && !in_quotes => in_value = ends_name(&text),
                        _ => {}
                    }
                    text.push(c);
                }
            }
            Piece::Inserted(value) if in_value || in_quotes => {
                for c in value.chars() {
                    if c == '\\' || c == '\'' || c.is_whitespace() {
                        text.push('\\');
                    }
                    text.push(c);
                }
                let ends = match pieces.get(i + 1) {
                    Some(Piece::Written(after)) if !after.is_empty() => {
                        after.starts_with(char::is_whitespace)
                    }
                    _ => i + 2 >= pieces.len(),
                };
                // Without any value there, the next word would be taken for it.
                if ends && !in_quotes && ends_name(&text) {
                    text.push_str("''");
                }
            }
            Piece::Inserted(value) => text.push_str(value),
        }
    }
    text
}

/// Returns true if a value must follow: the text ends in `=` and perhaps white space.
fn ends_name(text: &str) -> bool {
    text.trim_end().ends_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::postgres::pairs::parse_pairs;
    use crate::config::targets::address;

    /// Reads `{...}` as put in, and all else as written.
    fn pieces(text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for part in text.split('}') {
            let (written, value) = part.split_once('{').map_or((part, None), |(a, b)| (a, Some(b)));
            pieces.push(Piece::Written(written.to_owned()));
            pieces.extend(value.map(|value| Piece::Inserted(value.to_owned())));
        }
        pieces
    }

    #[test]
    fn what_is_put_into_a_login_is_one_value() {
        for (text, host, user, password) in [
            ("http://u:{p@x/y#z?q:%41}@site.test/", "site.test", "u", "p@x/y#z?q:%41"),
            ("u:{/}@site.test", "site.test", "u", "/"),
            ("https://{us@er}:{a b ü}@site.test:8443/x@y", "site.test", "us@er", "a b ü"),
            ("http://{u:p@:x}@site.test/", "site.test", "u", "p@:x"),
            ("http://{only/}@site.test/", "site.test", "only/", ""),
            ("http://u:a{@}b{#}@site.test/", "site.test", "u", "a@b#"),
            ("http://u:{}@site.test/", "site.test", "u", ""),
            ("{http}://u:{12/x@other.test}@site.test/", "site.test", "u", "12/x@other.test"),
            // Texts put in elsewhere stay as they are.
            ("{http://u:p@site.test/a?b}", "site.test", "u", "p"),
            ("{http://u:p@site.test}/a@b", "site.test", "u", "p"),
            ("http://u:{p@}@{site.test/a}?b", "site.test", "u", "p@"),
        ] {
            let address = address::parse(&join_url(&pieces(text))).unwrap();
            let login = address.login.unwrap();
            assert_eq!(address.url.host_str(), Some(host), "{text}");
            assert_eq!((&*login.user.0, &*login.password.0), (user, password), "{text}");
            assert!(!address.name.contains("other"), "{text}");
        }
        assert_eq!(join_url(&pieces("https://site.test/{a@b/c#d}")), "https://site.test/a@b/c#d");
        assert_eq!(
            join_url(&pieces("https://site.test/?k={a/b}&m=@x")),
            "https://site.test/?k=a/b&m=@x"
        );
    }

    #[test]
    fn a_user_with_a_colon_is_refused() {
        for text in ["http://{a:b}:{p}@site.test/", "http://a%3Ab:p@site.test/"] {
            let fault = address::parse(&join_url(&pieces(text))).err().unwrap();
            assert_eq!(fault, "has a user with a colon: there is no way to send one", "{text}");
        }
        for (text, want) in [("{a:b}:{p}", true), ("{a}:{p:q}", false), ("{a:b}", false)] {
            assert_eq!(splits_user(&pieces(text)), want, "{text}");
        }
    }

    #[test]
    fn what_is_put_into_a_connection_is_one_value() {
        for (text, want) in [
            ("postgresql://u:{p@x/y#z?:%41}@h/d", "user=u password=p@x/y#z?:%41 host=h dbname=d"),
            ("postgres://{u}:{:}@h/{d@x}?a={1}", "has an @ too many"),
            ("postgres://{u:p:@}@h", "user=u password=p:@ host=h"),
            ("postgres://u:{}@h", "user=u host=h"),
            ("{postgres://u:p@h/d}", "user=u password=p host=h dbname=d"),
            ("host=h password={a b'c\\d}", "host=h password=a b'c\\d"),
            ("host=h password='x{a 'b}y' user=u", "host=h password=xa 'by user=u"),
            ("password={} host=h", "host=h"),
            ("password= {} host=h", "host=h"),
            ("password={}{} host=h", "host=h"),
            ("password={}{x y}", "password=x y"),
            ("password={}", ""),
            ("host=h user = {a b} port=1", "host=h user=a b port=1"),
            ("{host=h user=u} password={p q}", "host=h user=u password=p q"),
            ("password={x} {host=h}", "password=x host=h"),
            ("password= x{y z} host=h", "password=xy z host=h"),
            (r"password=a\'{b c} host=h", "password=a'b c host=h"),
        ] {
            let found = match parse_pairs(&join_connection(&pieces(text))) {
                Ok(found) => {
                    let shown = found.iter().map(|(n, v)| format!("{n}={v}"));
                    shown.collect::<Vec<_>>().join(" ")
                }
                Err(fault) => fault,
            };
            let cut = if want.starts_with("has") { found.get(..want.len()) } else { Some(&*found) };
            assert_eq!(cut, Some(want), "{text}");
        }
    }
}
