//! Durations and sizes as people write them: `2m30s`, `256KiB`. A text that is shown can be read again.

use std::time::Duration;

use crate::error::Error;

/// Units of time, falling; the factor is in microseconds. A year has 365 days.
const TIMES: [(&str, u64); 8] = [
    ("y", 365 * DAY_US),
    ("d", DAY_US),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
    ("µs", 1),
];

/// A day in microseconds.
const DAY_US: u64 = 86_400_000_000;

/// Units of size; the factor is in bytes. `SIZES` begins with those that are shown; the others are only read.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Reads a duration such as `15s`, `2m30s`, `500ms`, `7d` or `0s`: whole numbers with the units y (365 days),
/// d, h, m, s, ms and us, each at most once, the largest first, nothing between them.
///
/// # Errors
/// `text` is no duration, or one longer than 580 000 years.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let wrong = || Error::new("not a duration: write it like \"15s\", \"2m30s\" or \"500ms\"");
    let mut total_us = 0u64;
    let mut allowed = &TIMES[..];
    let mut rest = text;
    while !rest.is_empty() || total_us == 0 && allowed.len() == TIMES.len() {
        let (count, unit, after) = number_and_unit(rest).ok_or_else(wrong)?;
        let index = allowed.iter().position(|(name, _)| *name == unit);
        let index = index.ok_or_else(wrong)?;
        let part_us = count.and_then(|count| count.checked_mul(allowed[index].1));
        total_us = part_us
            .and_then(|part_us| total_us.checked_add(part_us))
            .ok_or_else(|| Error::new("too long a duration"))?;
        allowed = &allowed[index + 1..];
        rest = after;
    }
    Ok(Duration::from_micros(total_us))
}

/// Reads a size such as `256KiB`, `4MiB` or `0B`: one whole number with B, KiB, MiB, GiB, or with kB, MB, GB
/// for thousands.
///
/// # Errors
/// `text` is no size, or is 2⁶⁴ bytes or more.
pub fn parse_size(text: &str) -> Result<u64, Error> {
    let wrong = || Error::new("not a size: write it like \"512B\", \"256KiB\" or \"4MiB\"");
    let (count, unit, rest) = number_and_unit(text).ok_or_else(wrong)?;
    let size = SIZES.iter().find(|(name, _)| *name == unit && rest.is_empty());
    let (_, factor) = size.ok_or_else(wrong)?;
    count.and_then(|count| count.checked_mul(*factor)).ok_or_else(|| Error::new("too large a size"))
}

/// Returns `duration` as a text that [`parse_duration`] reads again, exact to the microsecond.
pub fn show_duration(duration: Duration) -> String {
    let mut rest_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if rest_us == 0 {
        return "0s".to_string();
    }
    if rest_us == DAY_US {
        // "24h" says more of its limit than "1d" does.
        return "24h".to_string();
    }
    let mut text = String::new();
    for (unit, factor) in TIMES {
        let count = rest_us / factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
        rest_us %= factor;
    }
    text
}

/// Returns `bytes` in the largest unit that shows them exactly.
pub fn show_size(bytes: u64) -> String {
    for (unit, factor) in SIZES {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    "0B".to_string()
}

/// Splits a text into leading digits, the letters after them, and the rest; the number is none where it does
/// not fit.
fn number_and_unit(text: &str) -> Option<(Option<u64>, &str, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = text.split_at(unit_at);
    if digits.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    Some((digits.parse().ok(), unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_again() {
        for (text, micros) in [
            ("0s", 0),
            ("15s", 15_000_000),
            ("2m30s", 150_000_000),
            ("500ms", 500_000),
            ("1h", 3_600_000_000),
            ("7d", 7 * DAY_US),
            ("2y", 730 * DAY_US),
            ("1y2d3h4m5s6ms7us", 365 * DAY_US + 2 * DAY_US + 11_045_006_007),
            ("24h", DAY_US),
        ] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(show_duration(duration), text);
        }
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("0h0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("5µs"), Ok(Duration::from_micros(5)));
        for micros in [1, 999, 1_000_001, 61_000_000, 90_061_001_001, u64::MAX] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        assert_eq!(
            parse_duration(&show_duration(Duration::MAX)),
            Ok(Duration::from_micros(u64::MAX))
        );
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "15",
            "15 s",
            " 15s",
            "15s ",
            "1.5s",
            "-1s",
            "+1s",
            "15S",
            "15sec",
            "1s1s",
            "30s2m",
            "1m30",
            "99999999999999999999s",
            "18446744073709551615s",
            "999999y",
            "µ",
            "1µ",
            "1us1µs1",
            "１s",
            "\0",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown_again() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("1000B", 1000),
            ("256KiB", 256 << 10),
            ("4MiB", 4 << 20),
            ("2GiB", 2 << 30),
            ("1536MiB", 1536 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        for (text, bytes) in [("1kB", 1_000), ("2MB", 2_000_000), ("3GB", 3_000_000_000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for bytes in [u64::MAX, 1023, 1025, (1 << 30) + 1] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "0",
            "256",
            "KiB",
            "256 KiB",
            "256K",
            "256kib",
            "1KiB2B",
            "1.5MiB",
            "-1B",
            "99999999999999999999B",
            "18446744073709551615GiB",
            "1TiB",
            "\0",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
