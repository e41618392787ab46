//! Writes letters outside ASCII in both cases, since `regex-lite` folds ASCII alone: `(?i)ошибка` would
//! miss capitals. Such letters are written out in every case before an expression is compiled, by Unicode's
//! simple folding: one letter for one letter.

use std::collections::BTreeSet;

/// Letters of three and more forms, each paired with one of its other forms; Unicode's mapping of cases
/// leads from there to the rest.
const ODD: [(char, char); 13] = [
    ('ς', 'σ'),
    ('µ', 'μ'),
    ('ϐ', 'β'),
    ('ϑ', 'θ'),
    ('ϕ', 'φ'),
    ('ϖ', 'π'),
    ('ϰ', 'κ'),
    ('ϱ', 'ρ'),
    ('ϵ', 'ε'),
    ('ẛ', 'ṡ'),
    ('ẞ', 'ß'),
    ('\u{212b}', 'å'),
    ('\u{2126}', 'ω'),
];
/// Last code point that has cases.
const LAST_CASED: u32 = 0x1e943;

/// Returns `expression` with letters outside ASCII in every case, wherever its flags ask for that. Returns
/// none if nothing changes. `regex-lite` must have accepted the expression.
///
/// # Errors
/// The letters cannot be followed; the error says why.
pub fn fold_case(expression: &str) -> Result<Option<String>, String> {
    if is_ascii(expression) || !expression.contains("(?") {
        return Ok(None);
    }
    let mut folder = CaseFolder { rest: expression, text: String::new(), scopes: vec![false] };
    folder.read()?;
    Ok((folder.text != expression).then_some(folder.text))
}

/// Returns true if `expression` names no character outside ASCII, as itself or as an escape.
pub fn is_ascii(expression: &str) -> bool {
    if !expression.is_ascii() {
        return false;
    }
    let mut rest = expression;
    while let Some((_, after)) = rest.split_once('\\') {
        match hex(after) {
            Some((c, _)) if !c.is_ascii() => return false,
            Some((_, length)) => rest = &after[length..],
            None => rest = after.get(1..).unwrap_or_default(),
        }
    }
    true
}

/// Expression that is copied, letter by letter, with other cases added.
struct CaseFolder<'a> {
    rest: &'a str,
    text: String,
    /// True for each open group in which case does not count now; the innermost last.
    scopes: Vec<bool>,
}

impl CaseFolder<'_> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '(' => self.group()?,
                ')' => {
                    self.take(1);
                    if self.scopes.len() > 1 {
                        self.scopes.pop();
                    }
                }
                '[' => self.class(),
                _ => {
                    let length = self.item().1;
                    self.literal(length);
                }
            }
        }
        Ok(())
    }

    fn folds(&self) -> bool {
        self.scopes.last().copied().unwrap_or_default()
    }

    /// Copies the next `length` bytes.
    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.text.push_str(taken);
        self.rest = rest;
    }

    /// Returns the next character, if the next item is one, and the item's length in bytes.
    fn item(&self) -> (Option<char>, usize) {
        let Some(after) = self.rest.strip_prefix('\\') else {
            let c = self.rest.chars().next();
            return (c, c.map_or(0, char::len_utf8));
        };
        match hex(after) {
            Some((c, length)) => (Some(c), 1 + length),
            None => (None, 1 + after.chars().next().map_or(0, char::len_utf8)),
        }
    }

    /// Copies one character outside a class, or one escape, with its other cases.
    fn literal(&mut self, length: usize) {
        let others = match self.item().0 {
            Some(c) if self.folds() && !c.is_ascii() => others(c, |_| false),
            _ => BTreeSet::new(),
        };
        if others.is_empty() {
            return self.take(length);
        }
        self.text.push('[');
        self.take(length);
        self.add(&others);
        self.text.push(']');
    }

    /// Copies the beginning of a group, and follows its flags.
    fn group(&mut self) -> Result<(), String> {
        let mut folds = self.folds();
        self.take(1);
        let Some(inner) = self.rest.strip_prefix('?') else {
            self.scopes.push(folds);
            return Ok(());
        };
        let named = inner.starts_with(['P', '<']);
        let Some(end) = inner.find(if named { &['>'][..] } else { &[':', ')'][..] }) else {
            return Ok(());
        };
        let (flags, ends) = (&inner[..end], inner[end..].starts_with(')'));
        self.take(1 + end + 1);
        if !named {
            let mut is_on = true;
            for flag in flags.chars() {
                match flag {
                    '-' => is_on = false,
                    'i' => folds = is_on,
                    'x' if is_on => {
                        return Err("with the flag x, letters outside ASCII are not followed: \
                                    write it without x"
                            .to_owned());
                    }
                    _ => {}
                }
            }
        }
        match (ends && !named, self.scopes.last_mut()) {
            (true, Some(scope)) => *scope = folds,
            _ => self.scopes.push(folds),
        }
        Ok(())
    }

    /// Copies a whole class.
    fn class(&mut self) {
        self.take(1);
        if self.rest.starts_with('^') {
            self.take(1);
        }
        let mut is_first = true;
        while !self.rest.is_empty() {
            match self.rest.as_bytes()[0] {
                b']' if !is_first => return self.take(1),
                b'-' if is_first => {
                    self.take(1);
                    continue;
                }
                // `[:alpha:]`
                b'[' => self.take(self.rest.find(']').map_or(self.rest.len(), |at| at + 1)),
                _ => self.range(),
            }
            is_first = false;
        }
    }

    /// Copies a character of a class, or a range, and adds the other cases behind.
    fn range(&mut self) {
        let (first, length) = self.item();
        self.take(length);
        let Some(first) = first else { return };
        let mut last = first;
        if let Some(after) = self.rest.strip_prefix('-')
            && !after.starts_with([']', '-'])
        {
            self.take(1);
            let (item, length) = self.item();
            self.take(length);
            last = item.unwrap_or(first);
        }
        if self.folds() && !last.is_ascii() {
            let (low, high) = (u32::from(first).max(0x80), u32::from(last).min(LAST_CASED));
            let cased = (low..=high).filter_map(char::from_u32);
            let all = cased.flat_map(|c| others(c, |c| (first..=last).contains(&c))).collect();
            self.add(&all);
        }
    }

    /// Adds `characters` to a class, each as a range, so that the text behind cannot change their meaning.
    fn add(&mut self, characters: &BTreeSet<char>) {
        let mut run: Option<(u32, u32)> = None;
        let ends = characters.iter().map(|c| Some(u32::from(*c))).chain([None]);
        for next in ends {
            run = match (run, next) {
                (Some((low, high)), Some(next)) if next == high + 1 => Some((low, next)),
                (last, next) => {
                    if let Some((low, high)) = last {
                        self.text.push_str(&format!("\\x{{{low:x}}}-\\x{{{high:x}}}"));
                    }
                    next.map(|next| (next, next))
                }
            };
        }
    }
}

/// Returns the other cases of `c` outside ASCII, without those that are there already. The Kelvin sign
/// stands for no k.
fn others(c: char, is_there: impl Fn(char) -> bool) -> BTreeSet<char> {
    fn one(mut mapped: impl Iterator<Item = char>) -> Option<char> {
        mapped.next().filter(|_| mapped.next().is_none())
    }
    let mut all = BTreeSet::from([c]);
    let mut new = vec![c];
    while let Some(c) = new.pop() {
        let odd = ODD.iter().filter_map(|(a, b)| match (*a == c, *b == c) {
            (true, _) => Some(*b),
            (_, true) => Some(*a),
            _ => None,
        });
        let found = odd.chain(one(c.to_lowercase())).chain(one(c.to_uppercase()));
        new.extend(found.filter(|c| all.insert(*c)));
    }
    all.retain(|other| *other != c && !other.is_ascii() && !is_there(*other));
    all
}

/// Returns the character that `x41`, `x{41}`, `u0041`, `u{41}` or `U00000041` stands for, and the length of
/// that text; a backslash stands before it.
fn hex(text: &str) -> Option<(char, usize)> {
    let digits = match text.as_bytes().first()? {
        b'x' => 2,
        b'u' => 4,
        b'U' => 8,
        _ => return None,
    };
    let (code, length) = match text[1..].strip_prefix('{') {
        Some(inner) => {
            let code = inner.split_once('}')?.0;
            (code, code.len() + 3)
        }
        None => (text.get(1..1 + digits)?, 1 + digits),
    };
    Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, length))
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    fn finds(expression: &str, text: &str) -> bool {
        Regex::new(expression).unwrap();
        let folded = fold_case(expression).unwrap();
        Regex::new(folded.as_deref().unwrap_or(expression)).unwrap().is_match(text)
    }

    #[test]
    fn cases_are_the_same_where_the_flag_says_so() {
        for (expression, text, want) in [
            ("(?i)ошибка", "ОШИБКА", true),
            ("(?i)ОШИБКА", "Внутренняя ошибка", true),
            ("ошибка", "ОШИБКА", false),
            ("(?i)ошибка", "ошибки", false),
            ("(?i)störung|ausfall", "STÖRUNG", true),
            ("(?i)é+x", "ÉéÉx", true),
            ("(?i)σφάλμας", "ΣΦΆΛΜΑΣ", true),
            ("(?i)[а-яё]+$", "ЁЖИК", true),
            ("^(?i)[а-я]+$", "ЁЖИК", false),
            ("(?i)^[^а-я]+$", "ЖИК", false),
            ("(?i)^[^а-я]+$", "zhik", true),
            ("(?i)^[ж-]+$", "-Ж-", true),
            ("(?i)^[]ж]+$", "]Ж", true),
            ("(?i)^[а-в-x]+$", "Б-X", true),
            ("(?i)^[а-в-x]+$", "э", false),
            ("(?i)^[[:digit:]ж]+$", "1Ж", true),
            (r"(?i)^[\x{430}-\x{44f}\]]+$", "ЯД]", true),
            (r"(?i)\u0448\x{438}\U00000431", "ШИБ", true),
            (r"(?i)\(ш\)", "(Ш)", true),
            ("(?i:ш)к", "Шк", true),
            ("(?i:ш)к", "ШК", false),
            ("((?i)ш)к", "Шк", true),
            ("((?i)ш)к", "ШК", false),
            ("(?i)ш(?-i)к", "Шк", true),
            ("(?i)ш(?-i)к", "ШК", false),
            ("(?i)(?-i:ш)к", "шК", true),
            ("(?i)(?-i:ш)к", "ШК", false),
            ("(?si)(?P<имя>ш)".replace("имя", "n").as_str(), "Ш", true),
            ("(?i)(?<n>ш)к", "ШК", true),
            ("(?i)ж{2}", "жЖ", true),
            // Two letters for one are no simple folding.
            ("(?i)straße", "STRASSE", false),
            ("(?i)straße", "STRAẞE", true),
        ] {
            assert_eq!(finds(expression, text), want, "{expression} in {text}");
        }
        let refused = fold_case("(?ix) ш к # ш").unwrap_err();
        assert!(refused.contains("without x"), "{refused}");
        for same in ["(?i)abc", "ошибка", "(?i)日本", "(?i)[日-本]", "(?m)^ш", ""] {
            assert_eq!(fold_case(same), Ok(None), "{same}");
        }
    }

    #[test]
    fn every_letter_is_found_in_both_cases() {
        let one = |text: String| text.chars().count() == 1;
        let mut tried = 0;
        for c in (0x80..=LAST_CASED + 99).filter_map(char::from_u32) {
            let others = [c.to_uppercase().to_string(), c.to_lowercase().to_string()];
            let is_other = |it: &String| one(it.clone()) && !it.is_ascii();
            let others: Vec<String> = others.into_iter().filter(is_other).collect();
            if others.iter().all(|other| *other == c.to_string()) {
                continue;
            }
            tried += 1;
            let literal = fold_case(&format!("(?i)^{c}$")).unwrap().unwrap();
            let literal = Regex::new(&literal).unwrap();
            let class = fold_case(&format!("(?i)^[{c}]$")).unwrap().unwrap();
            let class = Regex::new(&class).unwrap();
            for other in others.iter().chain([&c.to_string()]) {
                assert!(literal.is_match(other) && class.is_match(other), "{c} {other}");
            }
            assert!(!literal.is_match("x") && !class.is_match("日"), "{c}");
        }
        assert!(tried > 2500, "{tried}");
    }

    #[test]
    fn what_is_outside_ascii_is_known() {
        for (expression, want) in [
            ("abc", true),
            (r"\x41\\u00e9\u0041\x{7f}", true),
            (r"\\\x{e9}", false),
            (r"\xe9", false),
            (r"\u00e9", false),
            (r"\U000000e9", false),
            ("é", false),
            (r"\", true),
            (r"\x", true),
        ] {
            assert_eq!(is_ascii(expression), want, "{expression}");
        }
    }
}
