//! Dates as people and certificates write them, from and to numbers of 64 bits on every target: the calls of
//! the C library end in 2038 where `time_t` has 32 bits. In the lowest layer, since the log needs dates too. The
//! calendar itself is `datealgo`'s.

use datealgo::{datetime_to_secs, days_in_month, secs_to_datetime};

/// Last millisecond of the year 9999, since 1970.
pub const LAST_MS: i64 = 253_402_300_799_999;

/// Converts a date and time in UTC to seconds since 1970. Returns none if there is no such day or time, or if the
/// year is not from 1 to 9999. A leap second counts as the second before it.
pub fn seconds(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let year = i32::from(year);
    let is_day = (1..=days_in_month(year, month)).contains(&day);
    let is_time = hour < 24 && minute < 60 && second <= 60;
    let moment = (year, month, day, hour, minute, second.min(59));
    (is_day && is_time).then(|| datetime_to_secs(moment))
}

/// Writes a time as RFC 3339 in UTC, with milliseconds if there are any: `2026-11-21T03:00:00Z`. A time before
/// 1970 is shown as the start of 1970, and one after 9999 as the end of 9999.
pub fn rfc3339(ms: i64) -> String {
    let ms = ms.clamp(0, LAST_MS);
    let (year, month, day, hour, minute, second) = secs_to_datetime(ms / 1000);
    let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    match ms % 1000 {
        0 => format!("{whole}Z"),
        part => format!("{whole}.{part:03}Z"),
    }
}

/// Writes a time as [`rfc3339`] does, cut to whole seconds.
pub fn second(ms: i64) -> String {
    let ms = ms.clamp(0, LAST_MS);
    rfc3339(ms - ms % 1000)
}

/// Reads RFC 3339 in UTC as milliseconds since 1970; finer parts are cut off. Returns none for any other text, and
/// for a time zone other than Z.
pub fn read_rfc3339(text: &str) -> Option<i64> {
    let text = text.strip_suffix(['Z', 'z'])?;
    let (whole, part) = match text.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (text, None),
    };
    let bytes = whole.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, model): (&u8, &u8)| match model {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        mark => byte == mark,
    };
    if bytes.len() != shape.len() || !bytes.iter().zip(shape).all(fits) {
        return None;
    }
    let two = |at: usize| whole[at..at + 2].parse::<u8>().ok();
    let year = whole[..4].parse().ok()?;
    let s = seconds(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?)?;
    let ms = match part {
        None => 0,
        Some(part) if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) => return None,
        Some(part) => format!("{part:0<3}")[..3].parse().ok()?,
    };
    Some(s * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_230_000_007, "2026-11-21T03:00:00.007Z"),
            (2_147_483_648_000, "2038-01-19T03:14:08Z"),
            (2_214_086_400_000, "2040-02-29T00:00:00Z"),
            (4_294_967_296_000, "2106-02-07T06:28:16Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(read_rfc3339(text), Some(ms), "{text}");
        }
        assert_eq!(rfc3339(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn parts_of_a_second_and_leap_seconds() {
        let s = 1_483_228_799_000;
        for (text, want) in [
            ("2016-12-31T23:59:60Z", Some(s)),
            ("2016-12-31 23:59:59.5z", Some(s + 500)),
            ("2016-12-31T23:59:59.1239999Z", Some(s + 123)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000)),
        ] {
            assert_eq!(read_rfc3339(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-21",
            "2026-11-21T03:00:00",
            "2026-11-21T03:00:00+00:00",
            "2026-11-21T03:00Z",
            "2026-11-21T03:00:00.Z",
            "2026-11-21T03:00:00.1xZ",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "0000-01-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:0éZ",
            "é026-01-01T00:00:00Z",
        ] {
            assert_eq!(read_rfc3339(text), None, "{text}");
        }
    }
}
