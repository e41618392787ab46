//! Reads the dates of cookies in any form that servers write, by RFC 6265, section 5.1.1.

use crate::date::seconds;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Returns the seconds since 1970 of the date in a text. Its parts may come in any order: a time, a day, the
/// name of a month, a year of two to four digits. None if a part is missing or wrong.
pub fn read(text: &str) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == ':' || !c.is_ascii();
    for word in text.split(|c| !is_part(c)).filter(|word| !word.is_empty()) {
        if time.is_none() && self::time(word).is_some() {
            time = self::time(word);
        } else if day.is_none() && number(word, 1..=2).is_some() {
            day = number(word, 1..=2);
        } else if month.is_none() && self::month(word).is_some() {
            month = self::month(word);
        } else if year.is_none() {
            year = number(word, 2..=4);
        }
    }
    let (hour, minute, second) = time?;
    let year = match year? {
        year @ 0..=69 => year + 2000,
        year @ 70..=99 => year + 1900,
        // RFC 6265 allows no year before 1601.
        0..=1600 => return None,
        year => year,
    };
    seconds(year, month?, u8::try_from(day?).ok()?, hour, minute, second)
}

/// Reads `hh:mm:ss`, with one or two digits each.
fn time(word: &str) -> Option<(u8, u8, u8)> {
    let mut parts = word.splitn(3, ':').map(|part| number(part, 1..=2).map(|part| part as u8));
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Reads a month from the first three letters of its name.
fn month(word: &str) -> Option<u8> {
    let name = word.get(..3)?;
    let at = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    Some(at as u8 + 1)
}

/// Returns the number at the start of a word; none if its count of digits is not in `digits`.
fn number(word: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u16> {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    if !digits.contains(&end) {
        return None;
    }
    word[..end].parse().ok()
}
