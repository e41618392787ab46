//! Decodes a body to text, as a browser does. The charset is found in this order: a byte order mark; the
//! charset of the header Content-Type; UTF-8, if the body is valid UTF-8; the page's own declaration, `<meta
//! charset>` or XML's.
//!
//! UTF-8, UTF-16 and the charsets with one byte for each character are known. Their labels are those of the
//! WHATWG's Encoding Standard, where `iso-8859-1` means windows-1252.

mod tables;

use std::borrow::Cow;

use self::tables::TABLES;

/// Search this many bytes at the start of a page for its own declaration.
const DECLARED_WITHIN: usize = 1024;
/// Cut a label to this number of characters in an error.
const LABEL_MAX: usize = 40;

/// A body as text.
pub struct DecodedText<'a> {
    /// Text without a byte order mark. U+FFFD stands for each character that cannot be decoded.
    pub text: Cow<'a, str>,
    /// Reason why letters outside ASCII are not known, as words that follow `the body`; none if they are
    /// known.
    pub unknown: Option<String>,
}

/// Charset: the way in which bytes stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Utf16 {
        is_big: bool,
    },
    /// One byte for each character; with the characters of the last bytes, from [`TABLES`].
    Single(&'static str),
}

/// Decodes `body`. `content_type` is the value of the header Content-Type.
pub fn decode<'a>(body: &'a [u8], content_type: Option<&str>) -> DecodedText<'a> {
    const MARKS: [(&[u8], Charset); 3] = [
        (b"\xef\xbb\xbf", Charset::Utf8),
        (b"\xff\xfe", Charset::Utf16 { is_big: false }),
        (b"\xfe\xff", Charset::Utf16 { is_big: true }),
    ];
    for (mark, charset) in MARKS {
        if let Some(rest) = body.strip_prefix(mark) {
            return DecodedText { text: charset.text(rest), unknown: None };
        }
    }
    let header = content_type.and_then(|value| label_of(value, "charset"));
    let label = match header {
        Some(label) => Some(label),
        None if is_utf8(body) => None,
        None => declared(body, content_type.unwrap_or_default()),
    };
    let charset = match &label {
        Some(label) => Charset::of(label),
        None => is_utf8(body).then_some(Charset::Utf8),
    };
    if let Some(charset) = charset {
        return DecodedText { text: charset.text(body), unknown: None };
    }
    let unknown = match label {
        Some(label) => {
            let label: String = label.chars().take(LABEL_MAX).collect();
            format!("is in {label:?}, which is not supported")
        }
        None => "is not UTF-8, and names no charset".to_owned(),
    };
    DecodedText { text: String::from_utf8_lossy(body), unknown: Some(unknown) }
}

impl Charset {
    /// Returns the charset that has this label.
    fn of(label: &str) -> Option<Charset> {
        let plain = label.chars().filter(char::is_ascii_alphanumeric);
        let plain = plain.collect::<String>().to_ascii_lowercase();
        match &*plain {
            "utf8" | "unicode11utf8" | "unicode20utf8" | "xunicode20utf8" => {
                return Some(Charset::Utf8);
            }
            "utf16" | "utf16le" | "unicode" | "ucs2" | "iso10646ucs2" | "csunicode" => {
                return Some(Charset::Utf16 { is_big: false });
            }
            "utf16be" | "unicodefffe" => return Some(Charset::Utf16 { is_big: true }),
            _ => {}
        }
        let short = ["windows", "xcp", "cp"].iter().find_map(|start| plain.strip_prefix(start));
        let label = short.unwrap_or(&plain);
        let is_it = |labels: &str| labels.split(' ').any(|it| it == label);
        let found = TABLES.iter().find(|(labels, _)| is_it(labels));
        found.map(|(_, characters)| Charset::Single(characters))
    }

    fn text(self, body: &[u8]) -> Cow<'_, str> {
        match self {
            Charset::Utf8 => String::from_utf8_lossy(body),
            Charset::Utf16 { is_big } => {
                let unit = |pair: &[u8]| match pair {
                    [a, b] if is_big => u16::from_be_bytes([*a, *b]),
                    [a, b] => u16::from_le_bytes([*a, *b]),
                    // A single byte at the end.
                    _ => 0xfffd,
                };
                let units = char::decode_utf16(body.chunks(2).map(unit));
                Cow::Owned(units.map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
            }
            Charset::Single(characters) => {
                if let (true, Ok(text)) = (body.is_ascii(), std::str::from_utf8(body)) {
                    return Cow::Borrowed(text);
                }
                let high: Vec<char> = characters.chars().collect();
                let first = 0x100 - high.len();
                let character = |byte: &u8| match usize::from(*byte).checked_sub(first) {
                    Some(at) => high[at],
                    None => char::from(*byte),
                };
                Cow::Owned(body.iter().map(character).collect())
            }
        }
    }
}

/// Returns true if a body is UTF-8: it has more characters of several bytes than wrong byte sequences. So a
/// body that was cut, or that has a single wrong byte, is UTF-8 too.
fn is_utf8(body: &[u8]) -> bool {
    if std::str::from_utf8(body).is_ok() {
        return true;
    }
    let (mut right, mut wrong) = (0, 0);
    for chunk in body.utf8_chunks() {
        right += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        let cut = std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none());
        wrong += usize::from(!chunk.invalid().is_empty() && !cut);
    }
    right > wrong
}

/// Returns the value of the parameter `name` in `text`. The value follows `name=`; it is in quotes, or ends
/// at a blank, a comma, a quote or one of `;>?/`.
fn label_of(text: &str, name: &str) -> Option<String> {
    // Byte offsets stay the same, since only ASCII letters change.
    let lower = text.to_ascii_lowercase();
    for (at, _) in lower.match_indices(name) {
        let Some(value) = text[at + name.len()..].trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let end = |c: char| match quote {
            Some(quote) => c == quote,
            None => c.is_whitespace() || matches!(c, ';' | ',' | '>' | '?' | '"' | '\'' | '/'),
        };
        let value = &value[quote.map_or(0, char::len_utf8)..];
        let label = value[..value.find(end).unwrap_or(value.len())].trim();
        if !label.is_empty() {
            return Some(label.to_owned());
        }
    }
    None
}

/// Returns the charset that a page declares. None if the page declares none, or is neither HTML nor XML.
fn declared(body: &[u8], content_type: &str) -> Option<String> {
    let kind = content_type.to_ascii_lowercase();
    if !kind.is_empty() && !["html", "xml"].iter().any(|word| kind.contains(word)) {
        return None;
    }
    let head = String::from_utf8_lossy(&body[..body.len().min(DECLARED_WITHIN)]);
    let lower = head.to_ascii_lowercase();
    let tag = |start: &str, name: &str| {
        lower.match_indices(start).find_map(|(at, _)| {
            let tag = &head[at..];
            label_of(&tag[..tag.find('>').unwrap_or(tag.len())], name)
        })
    };
    let label = tag("<?xml", "encoding").or_else(|| tag("<meta", "charset"))?;
    // The page cannot be UTF-16, since its declaration was read as ASCII.
    let is_wide = matches!(Charset::of(&label), Some(Charset::Utf16 { .. }));
    Some(if is_wide { "utf-8".to_owned() } else { label })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &[u8], content_type: &str) -> String {
        let decoded = decode(body, Some(content_type).filter(|value| !value.is_empty()));
        match decoded.unknown {
            Some(why) => format!("!{why}"),
            None => decoded.text.into_owned(),
        }
    }

    /// `tests/data/charset/iconv.txt` has for each charset the standard's own name, and every byte as
    /// glibc's iconv reads it.
    #[test]
    fn every_byte_is_what_iconv_makes_of_it() {
        let data = include_str!("../../tests/data/charset/iconv.txt");
        for line in data.lines() {
            let (name, codes) = line.split_once(' ').unwrap();
            let header = format!("text/plain; charset={name}");
            for (byte, code) in (0x80u8..=0xff).zip(codes.split(' ')) {
                let is_open = name.starts_with("windows") && byte < 0xa0;
                let want = match u32::from_str_radix(code, 16) {
                    Ok(code) => char::from_u32(code).unwrap(),
                    Err(_) if is_open => char::from(byte),
                    Err(_) => char::REPLACEMENT_CHARACTER,
                };
                assert_eq!(text(&[b'a', byte], &header), format!("a{want}"), "{name} {byte:x}");
            }
            assert_eq!(text(b"\0az\x7f", &header), "\0az\x7f", "{name}");
        }
        assert_eq!(data.lines().count(), TABLES.len());
    }

    #[test]
    fn labels_are_those_of_browsers() {
        for (label, byte, want) in [
            ("ISO-8859-1", 0x80, "€"),
            ("latin1", 0xe9, "é"),
            ("us-ascii", 0x93, "“"),
            ("cp1251", 0xee, "о"),
            ("x-cp1251", 0xee, "о"),
            ("Windows-1251", 0xee, "о"),
            ("KOI8-RU", 0xc1, "а"),
            ("iso-8859-9", 0xfd, "ı"),
            ("iso_8859-2:1987", 0xb1, "ą"),
            ("greek", 0xe1, "α"),
            ("tis-620", 0xa1, "ก"),
        ] {
            for header in [
                format!("text/html; charset={label}"),
                format!("text/html;CHARSET = \"{label}\"; x=y"),
                format!("text/html; charset='{label}'"),
            ] {
                assert_eq!(text(&[byte], &header), want, "{header}");
            }
        }
    }

    #[test]
    fn the_first_source_that_names_a_charset_decides() {
        let meta = |of: &str| [of.as_bytes(), b"\xee\xf8"].concat();
        for (body, content_type, want) in [
            (&b"\xef\xbb\xbfab"[..], "text/html; charset=koi8-r", "ab"),
            (b"\xff\xfeO\0K\0\x48\x04", "text/plain", "OKш"),
            (b"\xfe\xff\0O\0K\x04\x48\x04", "", "OKш\u{fffd}"),
            (b"O\0K\0", "text/plain; charset=utf-16", "OK"),
            (b"\0O\xd8\x3d\xde\x00\xd8", "text/plain; charset=UTF-16BE", "O😀\u{fffd}"),
            ("é".as_bytes(), "application/json", "é"),
            ("é".as_bytes(), "text/plain; charset=utf8", "é"),
            (b"\xe9", "text/plain; charset=utf-8", "\u{fffd}"),
            ("é".as_bytes(), "text/html; charset=iso-8859-1", "Ã©"),
            // Cut in the middle of a character, and a stray byte.
            (b"\xd1\x88\xd1", "", "ш\u{fffd}"),
            (b"\xd1\x88\xd1\x88 \xff", "text/html", "шш \u{fffd}"),
            (b"", "text/html; charset=x", "!is in \"x\", which is not supported"),
            (
                b"\x83\x41",
                "text/html; charset=Shift_JIS",
                "!is in \"Shift_JIS\", which is not supported",
            ),
            (b"\xee\xf8\xe8", "text/plain", "!is not UTF-8, and names no charset"),
            (&meta("<meta charset=windows-1251>"), "text/html", "<meta charset=windows-1251>ош"),
            (&meta("<meta charset='x-no'>"), "", "!is in \"x-no\", which is not supported"),
            (
                &meta("<meta charset=windows-1251>"),
                "text/plain",
                "!is not UTF-8, and names no charset",
            ),
            (
                &meta("<p charset=koi8-r><META http-equiv=a content=\"t; charset=cp1251\"/>"),
                "text/html",
                "<p charset=koi8-r><META http-equiv=a content=\"t; charset=cp1251\"/>ош",
            ),
            (
                &meta("<?xml version='1.0' encoding='windows-1251'?>"),
                "application/xml",
                "<?xml version='1.0' encoding='windows-1251'?>ош",
            ),
        ] {
            assert_eq!(text(body, content_type), want, "{content_type} {body:?}");
        }
        // A body that is UTF-8 is read as such, whatever the page declares.
        assert_eq!(
            text("<meta charset=koi8-r>ш".as_bytes(), "text/html"),
            "<meta charset=koi8-r>ш"
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let words: [&[u8]; 9] = [
            b"<meta ",
            b"charset=",
            b"\"",
            b"'",
            b">",
            b"\xff\xfe",
            b"<?xml",
            b"encoding=",
            b"\xd1\x88",
        ];
        for _ in 0..20_000 {
            let mut body = Vec::new();
            for _ in 0..draw() % 12 {
                match draw() % 3 {
                    0 => body.push(draw() as u8),
                    _ => body.extend(words[draw() % words.len()]),
                }
            }
            let header = String::from_utf8_lossy(&body).into_owned();
            decode(&body, None);
            decode(&body, Some(&header));
        }
    }
}
