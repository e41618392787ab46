//! Times in words: durations, ages, dates. All in one file, since the limits where a unit changes are where
//! mistakes happen.

pub use crate::date::{rfc3339, second};

/// Returns a time that was measured: `12.3 ms`, `1.20 s`, `3m 20s`.
pub fn show_measured(us: u64) -> String {
    // Each unit ends where rounding would show the next unit's first number.
    if us < 999_950 {
        format!("{:.1} ms", us as f64 / 1e3)
    } else if us < 59_995_000 {
        format!("{:.2} s", us as f64 / 1e6)
    } else {
        show_span((us / 1000).min(i64::MAX as u64) as i64)
    }
}

/// Returns a span in its two largest units, cut to whole ones: `45s`, `3m 20s`, `4h`, `4d 2h`. A negative
/// span counts as 0.
pub fn show_span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    let (large, name, small, small_name) = match s {
        0..60 => return format!("{s}s"),
        60..3600 => (s / 60, 'm', s % 60, 's'),
        3600..86_400 => (s / 3600, 'h', s % 3600 / 60, 'm'),
        _ => (s / 86_400, 'd', s % 86_400 / 3600, 'h'),
    };
    if small == 0 { format!("{large}{name}") } else { format!("{large}{name} {small}{small_name}") }
}

/// Returns a span in its largest unit alone, at most four columns up to 27 years: `3s`, `12m`, `4d`.
pub fn show_short(ms: i64) -> String {
    let words = show_span(ms);
    words.split(' ').next().unwrap_or_default().to_string()
}

/// Returns the time from `at_ms` to `now_ms`: `3m 20s ago`; `now` below a second and for a time to come.
pub fn show_ago(at_ms: i64, now_ms: i64) -> String {
    let past = now_ms.saturating_sub(at_ms);
    if past < 1000 { "now".to_string() } else { format!("{} ago", show_span(past)) }
}

/// Returns the distance from `now_ms`, as one says of days: `in 40 days`, `in 5 hours`, `3 days ago`.
pub fn show_distance(at_ms: i64, now_ms: i64) -> String {
    let ahead = at_ms.saturating_sub(now_ms);
    let minutes = ahead.unsigned_abs() / 60_000;
    // A unit begins at two of it: "1 day" would hide nearly half of the time.
    let (n, unit) = match minutes {
        0..120 => (minutes, "minute"),
        120..2880 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    let words = super::text::show_count(n, unit);
    if ahead >= 0 { format!("in {words}") } else { format!("{words} ago") }
}

/// Returns the time of the day in UTC: `03:00:12`.
pub fn show_clock(ms: i64) -> String {
    second(ms).get(11..19).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn units_change_where_they_should() {
        for (us, want) in [
            (0, "0.0 ms"),
            (12_345, "12.3 ms"),
            (999_949, "999.9 ms"),
            (999_950, "1.00 s"),
            (1_204_000, "1.20 s"),
            (59_994_999, "59.99 s"),
            (59_995_000, "59s"),
            (200_000_000, "3m 20s"),
            (u64::MAX, "213503982d 8h"),
        ] {
            assert_eq!(show_measured(us), want, "{us}");
        }
        for (ms, want, brief) in [
            (-5, "0s", "0s"),
            (59_999, "59s", "59s"),
            (60_000, "1m", "1m"),
            (200_000, "3m 20s", "3m"),
            (HOUR, "1h", "1h"),
            (DAY - 1, "23h 59m", "23h"),
            (4 * DAY + 2 * HOUR, "4d 2h", "4d"),
        ] {
            assert_eq!((show_span(ms).as_str(), show_short(ms).as_str()), (want, brief), "{ms}");
        }
    }

    #[test]
    fn distances_have_a_direction() {
        assert_eq!(show_ago(0, 200_000), "3m 20s ago");
        assert_eq!(show_ago(0, 999), "now");
        assert_eq!(show_ago(5000, 0), "now");
        for (at_ms, want) in [
            (40 * DAY + HOUR, "in 40 days"),
            (2 * DAY, "in 2 days"),
            (2 * DAY - 1, "in 47 hours"),
            (HOUR, "in 60 minutes"),
            (60_000, "in 1 minute"),
            (0, "in 0 minutes"),
            (-3 * DAY, "3 days ago"),
        ] {
            assert_eq!(show_distance(at_ms, 0), want);
        }
        assert_eq!(show_distance(i64::MAX, -1), "in 106751991167 days");
    }

    #[test]
    fn dates_are_in_utc_and_never_fail() {
        for (ms, want) in [
            (1_795_230_000_000, "2026-11-21T03:00:00Z"),
            (1_795_230_000_007, "2026-11-21T03:00:00.007Z"),
            (2_147_483_648_000, "2038-01-19T03:14:08Z"),
            (2_214_172_799_500, "2040-02-29T23:59:59.500Z"),
            (4_294_967_296_000, "2106-02-07T06:28:16Z"),
            (i64::MIN, "1970-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), want);
        }
        assert_eq!(second(1_795_230_000_999), "2026-11-21T03:00:00Z");
        assert_eq!(show_clock(1_795_230_012_000), "03:00:12");
    }
}
