//! Row of a target in the live view: its last checks, and its line for a given width. The screen decides which
//! rows are seen.

use std::collections::VecDeque;

use super::spark::{SparkMark, draw_sparkline};
use super::text::{Line, Paint, Side, Style, clean, describe_reason, measure_width, pad_cell};
use super::time::{show_measured, show_short};
use crate::model::outcome::{Outcome, Verdict};

/// Most checks in a target's sparkline.
const MARKS: usize = 30;

/// Target and its last checks.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    /// Shown URL; empty where the name is the URL.
    url: String,
    last: Option<LastCheck>,
    /// Marks of the last checks, oldest first, at most [`MARKS`].
    marks: VecDeque<SparkMark>,
}

/// Result of the newest check.
#[derive(Debug)]
struct LastCheck {
    verdict: Verdict,
    total_us: u64,
    ended_ms: i64,
    /// Reason for which the target is not up.
    reason: Option<String>,
}

/// Width of each column; 0: left out.
#[derive(Debug)]
pub(super) struct RowColumns {
    name: usize,
    age: usize,
    marks: usize,
}

impl RowColumns {
    /// Columns of a verdict: `unknown`.
    const VERDICT: usize = 7;
    /// Columns of the longest times: `999.9 ms`, `59m 59s`.
    const TIME: usize = 8;

    pub(super) fn new(cols: usize, longest: usize) -> RowColumns {
        let longest = longest.max("target".len());
        let fixed = RowColumns::VERDICT + RowColumns::TIME + 4;
        let (age, marks) = match cols {
            ..59 => (0, 0),
            59..79 => (4, 0),
            79..99 => (4, 10),
            99..139 => (4, 20),
            _ => (4, MARKS),
        };
        let most = if age == 0 { cols.saturating_sub(fixed) } else { cols * 3 / 10 };
        RowColumns { name: longest.min(most), age, marks }
    }
}

impl Row {
    /// Creates a target that is waiting for its first check.
    pub(super) fn new(name: &str, url: &str) -> Row {
        let (name, last) = (clean(name).into_owned(), None);
        let mut row = Row { name, url: String::new(), last, marks: VecDeque::with_capacity(MARKS) };
        row.set_url(url);
        row
    }

    /// Sets the target's URL.
    pub(super) fn set_url(&mut self, url: &str) {
        let url = clean(url);
        let is_name = self.name.trim_end_matches('/') == url.trim_end_matches('/');
        self.url = if is_name { String::new() } else { url.into_owned() };
    }

    /// Adds a check.
    pub(super) fn add_check(&mut self, outcome: &Outcome) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(match outcome.verdict {
            Verdict::Up => SparkMark::Time(outcome.total_us),
            Verdict::Slow => SparkMark::Slow(outcome.total_us),
            Verdict::Down => SparkMark::Down,
            Verdict::Unknown => SparkMark::Unknown,
        });
        let took_ms = outcome.lag_us / 1000 + (outcome.total_us / 1000) as i64;
        self.last = Some(LastCheck {
            verdict: outcome.verdict,
            total_us: outcome.total_us,
            ended_ms: outcome.due_ms.saturating_add(took_ms),
            reason: describe_reason(outcome),
        });
    }

    /// Returns the columns that the whole name takes.
    pub(super) fn name_width(&self) -> usize {
        measure_width(&self.name)
    }

    /// Returns the verdict of the newest check; none before the first.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.last.as_ref().map(|last| last.verdict)
    }

    /// Returns the rank of the row, lowest first: targets in trouble come first. Targets that are up or wait
    /// have the same rank, so they stay in the order of the configuration.
    pub(super) fn rank(&self) -> u8 {
        match self.verdict() {
            Some(Verdict::Down) => 0,
            Some(Verdict::Unknown) => 1,
            Some(Verdict::Slow) => 2,
            Some(Verdict::Up) | None => 3,
        }
    }

    /// Returns the target's line in the table.
    pub(super) fn draw(
        &self,
        columns: &RowColumns,
        now_ms: i64,
        cols: usize,
        paint: Paint,
    ) -> String {
        let mut line = Line::new(cols, paint);
        let verdict = self.verdict();
        line.push(
            style_verdict(verdict),
            &pad_cell(name_verdict(verdict), RowColumns::VERDICT, Side::Left),
        );
        line.push(Style::Plain, "  ")
            .push(Style::Plain, &pad_cell(&self.name, columns.name, Side::Left));
        let (time, age) = self.last.as_ref().map_or_else(Default::default, |last| {
            // A check that could not even begin took no time.
            let began = last.total_us > 0 || last.verdict != Verdict::Unknown;
            let time = if began { show_measured(last.total_us) } else { String::new() };
            (time, show_short(now_ms.saturating_sub(last.ended_ms)))
        });
        line.push(Style::Plain, "  ");
        line.push(Style::Plain, &pad_cell(&time, RowColumns::TIME, Side::Right));
        if columns.age > 0 {
            line.push(Style::Plain, "  ")
                .push(Style::Dim, &pad_cell(&age, columns.age, Side::Right));
        }
        if columns.marks > 0 {
            // The newest mark is at the right, always in the same column.
            let skip = self.marks.len().saturating_sub(columns.marks);
            let marks: Vec<SparkMark> = self.marks.iter().skip(skip).copied().collect();
            line.push(Style::Plain, &" ".repeat(2 + columns.marks - marks.len()));
            line.push_painted(&draw_sparkline(&marks, paint), marks.len());
        }
        match self.last.as_ref().and_then(|last| last.reason.as_deref()) {
            Some(reason) => {
                line.push(Style::Plain, "  ").push(Style::Plain, reason);
            }
            // Half a URL helps nobody.
            None if measure_width(&self.url) + 2 <= line.left() => {
                line.push(Style::Plain, "  ").push(Style::Dim, &self.url);
            }
            None => {}
        }
        line.end()
    }
}

/// Returns the heads of the columns.
pub(super) fn draw_heads(columns: &RowColumns, cols: usize, paint: Paint) -> String {
    let mut text = pad_cell("verdict", RowColumns::VERDICT, Side::Left);
    text += &format!("  {}", pad_cell("target", columns.name, Side::Left));
    text += &format!("  {}", pad_cell("time", RowColumns::TIME, Side::Right));
    if columns.age > 0 {
        text += &format!("  {}", pad_cell("age", columns.age, Side::Right));
        text += &format!("  {}", pad_cell("last", columns.marks, Side::Left));
    }
    Line::new(cols, paint).push(Style::Dim, text.trim_end()).end()
}

/// Returns a verdict in a word; none: not checked yet.
pub(super) fn name_verdict(verdict: Option<Verdict>) -> &'static str {
    verdict.map_or("waiting", Verdict::as_str)
}

/// Returns the colour of a verdict; dim: waiting.
pub(super) fn style_verdict(verdict: Option<Verdict>) -> Style {
    verdict.map_or(Style::Dim, Style::of)
}

#[cfg(test)]
mod tests {
    use super::super::sample::{NOW, outcome};
    use super::*;

    #[test]
    fn the_newest_checks_are_at_the_right() {
        let mut row = Row::new("https://example.org", "https://example.org/");
        let columns = RowColumns::new(80, row.name_width());
        let line = |row: &Row| row.draw(&columns, NOW + 60_104, 80, Paint::OFF);
        assert_eq!(line(&row), "waiting  https://example.org");
        row.add_check(&Outcome { verdict: Verdict::Down, ..outcome() });
        assert_eq!(line(&row), "down     https://example.org  104.2 ms    1m           ×");
        for _ in 0..40 {
            row.add_check(&outcome());
        }
        assert_eq!(line(&row), "up       https://example.org  104.2 ms    1m  ██████████");
        assert_eq!(row.marks.len(), MARKS);
    }

    #[test]
    fn a_long_name_leaves_room_for_the_reason() {
        let mut row = Row::new("監視\x1b[31m.example, a very long name", "https://b.example/");
        let error = Some("timeout\x07".to_string());
        row.add_check(&Outcome { verdict: Verdict::Down, error, ..outcome() });
        let columns = RowColumns::new(60, row.name_width());
        assert_eq!(
            row.draw(&columns, NOW + 3104, 60, Paint::OFF),
            "down     監視\u{fffd}[31m.example…  104.2 ms    3s  timeout\u{fffd}"
        );
    }
}
