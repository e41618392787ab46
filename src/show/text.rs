//! Text for a terminal: colour, display width, lines of bounded width. Text that a site sent must pass
//! [`clean`] before any view shows it.

use std::borrow::Cow;
use std::fmt::Write as _;

pub use crate::character::clean;
use crate::model::outcome::{Cause, Outcome, Verdict};

/// Style of a piece of text. Colour only ever repeats what a word or a sign says too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Plain text.
    Plain,
    /// Important text: a name, a heading.
    Bold,
    /// Less important text: units, rules, absent values.
    Dim,
    /// Bars of time.
    Bar,
    /// Up.
    Up,
    /// Slow, or in need of attention soon.
    Slow,
    /// Down.
    Down,
    /// Unknown.
    Unknown,
}

impl Style {
    /// Returns the style of a verdict.
    pub fn of(verdict: Verdict) -> Style {
        match verdict {
            Verdict::Up => Style::Up,
            Verdict::Slow => Style::Slow,
            Verdict::Down => Style::Down,
            Verdict::Unknown => Style::Unknown,
        }
    }

    /// Returns the parameter of ECMA-48's SGR; none for plain text.
    fn code(self) -> Option<&'static str> {
        match self {
            Style::Plain => None,
            Style::Bold => Some("1"),
            Style::Dim => Some("2"),
            Style::Bar => Some("36"),
            Style::Up => Some("32"),
            Style::Slow => Some("33"),
            Style::Down => Some("31"),
            Style::Unknown => Some("35"),
        }
    }
}

/// Switch of colour. With colour off, nothing here gives an escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Colour off: pipes, files, `NO_COLOR`.
    pub const OFF: Paint = Paint(false);
    /// Colour on, for a terminal.
    pub const ON: Paint = Paint(true);

    /// Creates the switch, on or off.
    pub fn new(colour: bool) -> Paint {
        Paint(colour)
    }

    /// Returns `text` in that style. Empty text stays empty.
    pub fn paint(self, style: Style, text: &str) -> Cow<'_, str> {
        match style.code() {
            Some(code) if self.0 && !text.is_empty() => {
                Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
            }
            _ => Cow::Borrowed(text),
        }
    }
}

/// Line that is never wider than its limit: a text that is too long is cut with `…`, and all text after it is
/// left out.
#[derive(Debug)]
pub struct Line {
    text: String,
    used: usize,
    limit: usize,
    cut: bool,
    paint: Paint,
}

impl Line {
    /// Creates an empty line of at most `limit` columns; `usize::MAX` for any width.
    pub fn new(limit: usize, paint: Paint) -> Line {
        Line { text: String::new(), used: 0, limit, cut: false, paint }
    }

    /// Adds text that is clean.
    pub fn push(&mut self, style: Style, text: &str) -> &mut Line {
        if self.cut {
            return self;
        }
        let kept = fit(text, self.limit - self.used);
        self.cut = matches!(kept, Cow::Owned(_));
        self.used += measure_width(&kept);
        self.text.push_str(&self.paint.paint(style, &kept));
        self
    }

    /// Adds text that was painted already and is `columns` wide; leaves it out if it does not fit.
    pub fn push_painted(&mut self, text: &str, columns: usize) -> &mut Line {
        if !self.cut && columns <= self.limit - self.used {
            self.used += columns;
            self.text.push_str(text);
        }
        self
    }

    /// Returns the columns that are left.
    pub fn left(&self) -> usize {
        if self.cut { 0 } else { self.limit - self.used }
    }

    /// Returns the line, without blanks at its end where no colour ends it.
    pub fn end(&self) -> String {
        self.text.trim_end_matches(' ').to_string()
    }
}

/// Side of a cell on which the text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Left, for words.
    Left,
    /// Right, for numbers.
    Right,
}

/// Returns `text` in exactly `columns` columns: cut, or filled with blanks.
pub fn pad_cell(text: &str, columns: usize, side: Side) -> String {
    let text = fit(text, columns);
    let blanks = " ".repeat(columns - measure_width(&text));
    match side {
        Side::Left => format!("{text}{blanks}"),
        Side::Right => format!("{blanks}{text}"),
    }
}

/// Returns `text` in at most `columns` columns: itself, or its beginning and `…`.
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.len() <= columns || measure_width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = columns_of(c);
        // The ellipsis takes one column.
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// Returns the columns that clean text takes in a terminal.
pub fn measure_width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Returns the columns of a character: 0 for marks that combine, 2 for the wide scripts and emoji, else 1.
/// The ranges are those of Unicode's East Asian Width that are in use; a rare character may be off by one.
fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0..=0x2ff => 1,
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f => 0,
        0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0xfe20..=0xfe2f | 0xe0100..=0xe01ef => 0,
        0x1100..=0x115f | 0x231a..=0x231b | 0x2e80..=0x303e | 0x3041..=0xa4cf => 2,
        0xa960..=0xa97f | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x16fe0..=0x18aff | 0x1b000..=0x1b2ff => 2,
        0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f7e0..=0x1f7eb | 0x1f900..=0x1faff => 2,
        0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Returns the reason of an outcome in clean words: the cause, and the details that are known. None for an
/// outcome without either.
pub fn describe_reason(outcome: &Outcome) -> Option<String> {
    let error = outcome.error.as_deref().map(clean);
    let Some(cause) = outcome.cause else { return error.map(Cow::into_owned) };
    let words = name_cause(cause);
    let Some(error) = error else { return Some(words) };
    // "status 503 is not accepted" names its cause itself, "cannot connect to …" too.
    let first = words.split(' ').next().unwrap_or_default();
    let says_so = error.get(..first.len()).is_some_and(|e| e.eq_ignore_ascii_case(first))
        && !error[first.len()..].starts_with(char::is_alphanumeric);
    let says_so = says_so || error.starts_with("cannot ");
    Some(if says_so { error.into_owned() } else { format!("{words}: {error}") })
}

/// Returns a cause as people say it: `certificate expired`.
fn name_cause(cause: Cause) -> String {
    cause.as_str().replace('_', " ")
}

/// Returns a number with its noun: `1 check`, `2 checks`.
pub fn show_count(n: u64, noun: &str) -> String {
    let mut text = format!("{n} {noun}");
    if n != 1 {
        let _ = write!(text, "s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_on_or_off() {
        assert_eq!(Paint::OFF.paint(Style::Down, "down"), "down");
        assert_eq!(Paint::ON.paint(Style::Down, "down"), "\x1b[31mdown\x1b[0m");
        assert_eq!(Paint::ON.paint(Style::Down, ""), "");
        assert_eq!(Paint::ON.paint(Style::Plain, "down"), "down");
    }

    #[test]
    fn text_is_cut_by_the_columns_it_takes() {
        for (text, columns, want) in [
            ("example", 7, "example"),
            ("example", 6, "examp…"),
            ("example", 1, "…"),
            ("example", 0, ""),
            ("", 0, ""),
            ("監視監視", 8, "監視監視"),
            ("監視監視", 7, "監視監…"),
            ("監視監視", 6, "監視…"),
            ("e\u{301}e\u{301}", 2, "e\u{301}e\u{301}"),
        ] {
            assert_eq!(fit(text, columns), want, "{text} {columns}");
        }
        assert_eq!(pad_cell("監視", 6, Side::Right), "  監視");
        assert_eq!(pad_cell("監視監視", 6, Side::Left), "監視… ");
        assert_eq!(pad_cell("12", 4, Side::Right), "  12");
    }

    #[test]
    fn a_line_ends_at_its_limit() {
        let mut line = Line::new(8, Paint::ON);
        line.push(Style::Up, "up").push(Style::Plain, "  ");
        assert_eq!(line.left(), 4);
        line.push(Style::Bold, "example").push(Style::Dim, "gone").push_painted("x", 1);
        assert_eq!(line.left(), 0);
        assert_eq!(line.end(), "\x1b[32mup\x1b[0m  \x1b[1mexa…\x1b[0m");
    }
}
