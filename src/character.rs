//! Characters that must not reach a terminal as they are: they move the cursor, colour the text, hide it or turn
//! its direction. In the lowest layer, since the log needs them too.

use std::borrow::Cow;

/// Returns true if `c` could mislead a terminal or its reader: controls of 7 and 8 bits, ends of lines and
/// paragraphs, marks of direction, and invisible characters.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Makes the text of a stranger fit for one line of a terminal: a blank replaces each tab and line end, U+FFFD each
/// other character that [`is_unsafe`].
pub fn clean(text: &str) -> Cow<'_, str> {
    fn fit_to_see(c: char) -> char {
        match c {
            '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
            c if is_unsafe(c) => '\u{fffd}',
            c => c,
        }
    }
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(fit_to_see).collect())
}

/// Makes text fit for a terminal as [`clean`] does, but keeps its lines.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    let lines = text.split('\n').map(|line| clean(line.strip_suffix('\r').unwrap_or(line)));
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_move_the_cursor() {
        for (text, want) in [
            ("plain, grüße, 監視", "plain, grüße, 監視"),
            ("a\x1b[31mb", "a\u{fffd}[31mb"),
            ("a\u{9b}31mb\x07\x08\x7f", "a\u{fffd}31mb\u{fffd}\u{fffd}\u{fffd}"),
            ("one\r\ntwo\tthree", "one  two three"),
            ("a\u{202e}b\u{200b}c\u{feff}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
            ("\u{61c}\u{200e}\u{200f}\u{2066}\u{2069}", &"\u{fffd}".repeat(5)),
            ("a\u{2028}b", "a b"),
        ] {
            assert_eq!(clean(text), want);
        }
        assert_eq!(clean_lines("a\u{202e}\r\nb\tc\n"), "a\u{fffd}\nb c\n");
        assert_eq!(clean_lines("a\nb"), "a\nb");
    }
}
