//! Reads the header of a reply line by line: the status, the URL of a redirect, the codings of the body, the
//! cookies, and the fields that an expression of the target is about.

use percent_encoding::{AsciiSet, percent_encode};
use url::Url;

use crate::model::target::Target;

/// Most values of `Set-Cookie` that are read from one reply; the others are ignored.
const COOKIES_MAX: usize = 64;
/// Longest value of `Set-Cookie`, in bytes; a longer value is ignored.
const COOKIE_BYTES_MAX: usize = 8 * 1024;

/// Header of a reply. If interim replies (1xx) came before, the header of the last reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Status code.
    pub status: Option<u16>,
    /// Version of HTTP: `1.0`, `1.1` or `2`; none for any other.
    pub http: Option<&'static str>,
    /// URL of a redirect: the first `Location` that is not empty, with its bytes as sent.
    pub location: Option<Vec<u8>>,
    /// All values of `Content-Encoding`, with a comma before each.
    pub codings: Vec<u8>,
    /// Values of `Set-Cookie`, if the reply is a redirect.
    pub cookies: Vec<Vec<u8>>,
    /// Names and values of the fields that an expression of the target is about, in the order of the reply.
    pub wanted: Vec<(String, String)>,
    /// True once the empty line that ends the header has arrived.
    pub complete: bool,
}

impl ReplyHeader {
    /// Reads one line, with or without its line end. The expressions of `target` say which fields to store.
    pub fn read_line(&mut self, line: &[u8], target: &Target) {
        let line = line.trim_ascii_end();
        if self.complete && !self.is_interim() {
            // The line belongs to the trailer, which comes after the body.
            return;
        }
        if line.starts_with(b"HTTP/") {
            *self = ReplyHeader::default();
            let mut words = line.splitn(3, |byte| *byte == b' ');
            self.http = match words.next() {
                Some(b"HTTP/1.0") => Some("1.0"),
                Some(b"HTTP/1.1") => Some("1.1"),
                Some(b"HTTP/2") => Some("2"),
                _ => None,
            };
            self.status = words.next().and_then(status);
        } else if line.is_empty() {
            self.complete = true;
        } else if let Some((name, value)) = split_line(line) {
            let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
            // An empty value names no URL: such a reply is no redirect.
            if is("location") && self.location.is_none() && !value.is_empty() {
                self.location = Some(value.to_vec());
            }
            let is_taken = self.cookies.len() < COOKIES_MAX && value.len() <= COOKIE_BYTES_MAX;
            if is("set-cookie") && self.is_redirect() && is_taken {
                self.cookies.push(value.to_vec());
            }
            if is("content-encoding") {
                self.codings.extend_from_slice(b",");
                self.codings.extend_from_slice(value);
            }
            if target.asks_for(name) {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                self.wanted.push((text(name), text(value)));
            }
        }
    }

    fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status) && status != 101)
    }

    /// Returns the status of the final reply; none until its whole header has arrived.
    pub fn final_status(&self) -> Option<u16> {
        self.status.filter(|_| self.complete && !self.is_interim())
    }

    /// Returns true if the status is one of the redirects that we follow.
    fn is_redirect(&self) -> bool {
        matches!(self.status, Some(301 | 302 | 303 | 307 | 308))
    }

    /// Returns the URL of a redirect, relative to the request's URL `here`; or a text for people that says
    /// why the redirect cannot be followed. None if the reply is no redirect.
    pub fn redirect_url(&self, here: &Url) -> Option<Result<Url, String>> {
        let location = self.location.as_deref()?;
        if !self.is_redirect() || self.final_status().is_none() {
            return None;
        }
        Some(match here.join(&ascii(location)) {
            Err(error) => Err(format!("redirect to an invalid URL: {error}")),
            Ok(next) if matches!(next.scheme(), "http" | "https") => Ok(next),
            Ok(next) => {
                Err(format!("redirect to {}: only http and https are followed", next.scheme()))
            }
        })
    }
}

/// Percent-encodes every byte outside ASCII, so that we request the same bytes that the site sent, be they
/// UTF-8 or not.
fn ascii(url: &[u8]) -> String {
    percent_encode(url, &AsciiSet::EMPTY).to_string()
}

/// Reads a status code: three digits, from 100 on.
fn status(word: &[u8]) -> Option<u16> {
    match word {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => std::str::from_utf8(word).ok()?.parse().ok(),
        _ => None,
    }
}

fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(lines: &[&str]) -> ReplyHeader {
        let target = Target::new("t", Url::parse("http://here/").unwrap());
        let mut header = ReplyHeader::default();
        for line in lines {
            header.read_line(line.as_bytes(), &target);
        }
        header
    }

    #[test]
    fn interim_replies_and_trailers_do_not_count() {
        let header = header(&[
            "HTTP/1.1 103 Early Hints\r\n",
            "Location: /wrong\r\n",
            "\r\n",
            "HTTP/1.1 302 Found\r\n",
            "location:  /right \r\n",
            "\r\n",
            "Location: /trailer\r\n",
        ]);
        assert_eq!(header.final_status(), Some(302));
        assert_eq!(header.location.as_deref(), Some(&b"/right"[..]));
        let here = Url::parse("http://here/").unwrap();
        assert_eq!(header.redirect_url(&here).unwrap().unwrap().as_str(), "http://here/right");
    }

    #[test]
    fn a_location_is_taken_as_its_bytes() {
        let here = Url::parse("http://here/a/b").unwrap();
        let redirect_url = |location: &[u8]| {
            let target = Target::new("t", here.clone());
            let mut header = ReplyHeader::default();
            for line in [b"HTTP/1.1 301 Moved", &[b"Location: ", location].concat()[..], b""] {
                header.read_line(line, &target);
            }
            header.redirect_url(&here).and_then(Result::ok).map(String::from)
        };
        for (location, want) in [
            (&b"/caf\xe9"[..], "http://here/caf%E9"),
            ("/café".as_bytes(), "http://here/caf%C3%A9"),
            (b"c\xff/\xc3?q=\xe9&\xc3\xa9", "http://here/a/c%FF/%C3?q=%E9&%C3%A9"),
            (b"/%E9\xe9%", "http://here/%E9%E9%"),
            ("http://bücher.test/ü#ü".as_bytes(), "http://xn--bcher-kva.test/%C3%BC#%C3%BC"),
        ] {
            assert_eq!(redirect_url(location).as_deref(), Some(want), "{location:?}");
        }
        assert_eq!(redirect_url(b"http://b\xfccher.test/"), None);
        assert_eq!(redirect_url(b""), None);
    }

    #[test]
    fn a_header_that_is_cut_has_no_status() {
        assert_eq!(header(&["HTTP/2 200\r\n"]).final_status(), None);
        assert_eq!(header(&["HTTP/1.1 100 Continue\r\n", "\r\n"]).final_status(), None);
        assert_eq!(header(&["garbage\r\n", "\r\n"]).final_status(), None);
        for word in ["099", "20", "2000", "2x0", "+20", ""] {
            let line = format!("HTTP/1.1 {word} OK\r\n");
            assert_eq!(header(&[&line, "\r\n"]).final_status(), None, "{word}");
        }
    }
}
