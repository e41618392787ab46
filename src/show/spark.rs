//! Sparkline: a row of times, one column each: `▂▂▃·▂×█`. The live view and the report draw it from different
//! data.

use super::text::{Paint, Style};

/// Contents of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparkMark {
    /// Nothing is known: `·`.
    Empty,
    /// Time, in microseconds.
    Time(u64),
    /// Time over `slow_after`, in microseconds.
    Slow(u64),
    /// Down: `×`, so that it stands out without colour too.
    Down,
    /// Unknown: `?`.
    Unknown,
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Returns the marks as one column each. The scale is linear from 0 to the longest time among them: a bar of
/// twice the height took twice as long.
pub fn draw_sparkline(marks: &[SparkMark], paint: Paint) -> String {
    let longest = marks.iter().filter_map(|mark| mark.us()).max().unwrap_or(0);
    let mut line = String::with_capacity(marks.len() * 3);
    // Neighbours of one style share their escape sequences.
    for run in marks.chunk_by(|a, b| a.style() == b.style()) {
        let Some(first) = run.first() else { continue };
        let text: String = run.iter().map(|mark| mark.sign(longest)).collect();
        line.push_str(&paint.paint(first.style(), &text));
    }
    line
}

impl SparkMark {
    fn us(self) -> Option<u64> {
        match self {
            SparkMark::Time(us) | SparkMark::Slow(us) => Some(us),
            SparkMark::Empty | SparkMark::Down | SparkMark::Unknown => None,
        }
    }

    fn style(self) -> Style {
        match self {
            SparkMark::Empty => Style::Dim,
            SparkMark::Time(_) => Style::Bar,
            SparkMark::Slow(_) => Style::Slow,
            SparkMark::Down => Style::Down,
            SparkMark::Unknown => Style::Unknown,
        }
    }

    fn sign(self, longest_us: u64) -> char {
        match self {
            SparkMark::Empty => '·',
            SparkMark::Down => '×',
            SparkMark::Unknown => '?',
            SparkMark::Time(us) | SparkMark::Slow(us) => {
                // Eighth of the scale that the time reaches into, 1 to 8; the lowest for 0.
                let eighth = (u128::from(us) * 8).div_ceil(u128::from(longest_us.max(1)));
                BARS[(eighth.clamp(1, 8) - 1) as usize]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_linear_from_zero_to_the_longest() {
        let marks: Vec<SparkMark> = (0..=8).map(|i| SparkMark::Time(i * 100)).collect();
        assert_eq!(draw_sparkline(&marks, Paint::OFF), "▁▁▂▃▄▅▆▇█");
        assert_eq!(
            draw_sparkline(&[SparkMark::Time(u64::MAX), SparkMark::Slow(1)], Paint::OFF),
            "█▁"
        );
        assert_eq!(draw_sparkline(&[SparkMark::Time(0)], Paint::OFF), "▁");
        assert_eq!(draw_sparkline(&[], Paint::ON), "");
    }

    #[test]
    fn each_kind_is_told_apart_without_colour() {
        let marks = [
            SparkMark::Empty,
            SparkMark::Empty,
            SparkMark::Time(1),
            SparkMark::Slow(8),
            SparkMark::Down,
            SparkMark::Unknown,
        ];
        assert_eq!(draw_sparkline(&marks, Paint::OFF), "··▁█×?");
        assert_eq!(
            draw_sparkline(&marks, Paint::ON),
            "\x1b[2m··\x1b[0m\x1b[36m▁\x1b[0m\x1b[33m█\x1b[0m\x1b[31m×\x1b[0m\x1b[35m?\x1b[0m"
        );
    }
}
