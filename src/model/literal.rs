//! Finds text that every match of an expression must have. A search for plain text is many times faster than
//! a search with the expression, and can replace it or shorten it.
//!
//! Only a part of the syntax of `regex-lite` is understood. Where that is not enough, no text is found: the
//! search with the expression is then slower, and its result is the same.

/// Text that every match of an expression must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Literals {
    /// Text at the start of every match; may be empty.
    pub prefix: Box<str>,
    /// Longest text that is in every match, as far as known; may be empty.
    pub needed: Box<str>,
}

impl Literals {
    /// Reads an expression, which `regex-lite` must have accepted.
    pub fn of(expression: &str) -> Literals {
        let mut reader = LiteralReader {
            rest: expression,
            run: String::new(),
            begins: true,
            prefix: String::new(),
            needed: String::new(),
        };
        match reader.read() {
            Some(()) => Literals { prefix: reader.prefix.into(), needed: reader.needed.into() },
            None => Literals::default(),
        }
    }

    /// Returns the first offset in `text` at which a match can begin; none if there cannot be a match.
    pub fn first_offset(&self, text: &str) -> Option<usize> {
        if self.needed != self.prefix && !text.contains(&*self.needed) {
            return None;
        }
        text.find(&*self.prefix)
    }
}

/// An expression being read, at its top level.
struct LiteralReader<'a> {
    rest: &'a str,
    /// Characters that follow one another in every match, up to here.
    run: String,
    /// True if no part before the run matches a character.
    begins: bool,
    prefix: String,
    needed: String,
}

impl LiteralReader<'_> {
    /// Reads the expression to its end. Returns none if no text is certain.
    fn read(&mut self) -> Option<()> {
        while let Some(c) = self.next() {
            match c {
                '|' => return None,
                '(' => {
                    self.end();
                    let is_flag = self.is_flag();
                    self.skip_group()?;
                    // A repeat after a flag repeats the part before the flag.
                    if is_flag && self.is_repeated() {
                        return None;
                    }
                    self.begins &= is_flag;
                }
                '[' => {
                    self.end();
                    self.skip_class()?;
                    self.begins = false;
                }
                '.' => {
                    self.end();
                    self.begins = false;
                }
                // These match a position and no character.
                '^' | '$' => self.end(),
                '*' | '?' | '{' => {
                    // The repeated character may be absent.
                    self.run.pop();
                    self.end();
                    self.begins = false;
                    if c == '{' {
                        self.skip_to('}')?;
                    }
                }
                '+' => {
                    self.end();
                    self.begins = false;
                    // If the repeat is repeated again, the character may be absent.
                    self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
                    if self.is_repeated() {
                        return None;
                    }
                }
                '\\' => match self.next()? {
                    'b' | 'B' | 'A' | 'z' | '<' | '>' => self.end(),
                    'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                        self.end();
                        self.begins = false;
                    }
                    'n' => self.run.push('\n'),
                    'r' => self.run.push('\r'),
                    't' => self.run.push('\t'),
                    c if c.is_ascii_punctuation() => self.run.push(c),
                    _ => return None,
                },
                c => self.run.push(c),
            }
        }
        self.end();
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Returns true if the group that has begun only sets flags, like `(?s)`.
    fn is_flag(&self) -> bool {
        let Some(flags) = self.rest.strip_prefix('?') else { return false };
        flags.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-').starts_with(')')
    }

    fn is_repeated(&self) -> bool {
        self.rest.starts_with(['*', '+', '?', '{'])
    }

    /// Ends the run, and stores its text if that is the prefix or the longest text so far.
    fn end(&mut self) {
        if self.run.is_empty() {
            return;
        }
        if self.begins {
            self.prefix.clone_from(&self.run);
        }
        if self.run.len() > self.needed.len() {
            self.needed.clone_from(&self.run);
        }
        self.run.clear();
        self.begins = false;
    }

    /// Skips to the end of the group that has begun. Returns none if the group has flags that change the
    /// meaning of letters or blanks, in this group or after it.
    fn skip_group(&mut self) -> Option<()> {
        let mut depth = 1;
        let mut begins = true;
        while depth > 0 {
            if begins && let Some(flags) = self.rest.strip_prefix('?') {
                let named = flags.starts_with(['P', '<']);
                let flags = &flags[..flags.find([':', ')', '>'])?];
                if !named && flags.contains(['i', 'x']) {
                    return None;
                }
            }
            begins = false;
            match self.next()? {
                '(' => {
                    depth += 1;
                    begins = true;
                }
                ')' => depth -= 1,
                '[' => self.skip_class()?,
                '\\' => drop(self.next()?),
                _ => {}
            }
        }
        Some(())
    }

    /// Skips to the end of the class that has begun. As the first character, `]` belongs to the class; and
    /// `[:alpha:]` may be in it.
    fn skip_class(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix('^').unwrap_or(self.rest);
        self.rest = self.rest.strip_prefix(']').unwrap_or(self.rest);
        loop {
            match self.next()? {
                ']' => return Some(()),
                '\\' => drop(self.next()?),
                '[' if self.rest.starts_with(':') => self.skip_to(']')?,
                _ => {}
            }
        }
    }

    fn skip_to(&mut self, end: char) -> Option<()> {
        let (_, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    #[test]
    fn text_that_every_match_has_is_found() {
        for (expression, prefix, needed) in [
            (r#""status":\s*"ok""#, "\"status\":", "\"status\":"),
            ("Add to .*basket", "Add to ", "Add to "),
            ("^<html lang=..>", "<html lang=", "<html lang="),
            (r"\d+ items in stock", "", " items in stock"),
            ("colou?r", "colo", "colo"),
            ("ab+c", "ab", "ab"),
            ("a{2,3}b", "", "b"),
            ("a*abc", "", "abc"),
            ("[a-z]]x", "", "]x"),
            ("[]a]yes", "", "yes"),
            ("[^]a]yes", "", "yes"),
            ("[[:alpha:]]yes", "", "yes"),
            (r"[\]]yes", "", "yes"),
            ("(a|b)cd", "", "cd"),
            ("(?:x(?:y|z)*)end", "", "end"),
            ("(?P<name>a)bc", "", "bc"),
            (r"\bword\b", "word", "word"),
            ("(?s)from.*to", "from", "from"),
            ("(?s-m)", "", ""),
            (r"\<word\>", "word", "word"),
            (r"\b{start}word", "", "word"),
            (r"a\.b\*", "a.b*", "a.b*"),
            (r"tab\there", "tab\there", "tab\there"),
            ("ümläut.", "ümläut", "ümläut"),
            // No text is certain in these.
            ("a|b", "", ""),
            ("(?i)hello", "", ""),
            ("say (?i:hello)", "", ""),
            ("(?x) a b", "", ""),
            (r"\x41bc", "", ""),
            ("", "", ""),
        ] {
            assert!(Regex::new(expression).is_ok(), "{expression}");
            let want = Literals { prefix: prefix.into(), needed: needed.into() };
            assert_eq!(Literals::of(expression), want, "{expression}");
        }
    }

    /// Returns numbers that look random (Marsaglia's xorshift) and are the same each time.
    fn dice(seed: &mut u64, sides: usize) -> usize {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed % sides as u64) as usize
    }

    #[test]
    fn no_match_is_ever_missed() {
        const PIECES: [&str; 40] = [
            "a",
            "b",
            "ab",
            "ba",
            ".",
            "*",
            "+",
            "?",
            "{1,2}",
            "{0}",
            "|",
            "(",
            ")",
            "(?:",
            "(?i)",
            "(?i:",
            "(?s)",
            "[ab]",
            "[^a]",
            "[]a]",
            "[[:alpha:]b]",
            r"[\]a]",
            r"\.",
            r"\*",
            r"\n",
            r"\d",
            r"\b",
            r"\<",
            r"\>",
            r"\b{start}",
            r"\b{end-half}",
            "^",
            "$",
            r"\x61",
            "ä",
            " ",
            "*?",
            "+?",
            "(?P<n>",
            "(?m)",
        ];
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        let (mut tried, mut filtered) = (0, 0);
        while tried < 20_000 {
            let count = 1 + dice(&mut seed, 7);
            let expression: String =
                (0..count).map(|_| PIECES[dice(&mut seed, PIECES.len())]).collect();
            let Ok(regex) = Regex::new(&expression) else { continue };
            let literals = Literals::of(&expression);
            tried += 1;
            for _ in 0..8 {
                let length = dice(&mut seed, 12);
                let text: String = (0..length)
                    .map(|_| {
                        ["a", "b", "A", "\n", "ä", ".", "]", " ", "*", "1"][dice(&mut seed, 10)]
                    })
                    .collect();
                let found = literals.first_offset(&text).and_then(|at| regex.find_at(&text, at));
                let range = |found: Option<regex_lite::Match<'_>>| found.map(|found| found.range());
                assert_eq!(range(found), range(regex.find(&text)), "{expression:?} in {text:?}");
                filtered += usize::from(literals.first_offset(&text).is_none());
            }
        }
        assert!(filtered > 10_000, "only {filtered} texts were told without a search");
    }
}
