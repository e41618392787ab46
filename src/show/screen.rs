//! Live view of `sitewatch run`: its contents, drawn as frames. The owner of the terminal writes [`ENTER`],
//! then frames one over the other, then [`LEAVE`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::row::{Row, RowColumns, draw_heads, name_verdict, style_verdict};
use super::text::{Line, Paint, Side, Style, clean, measure_width, pad_cell, show_count};
use super::time::{show_clock, show_span};
use crate::model::outcome::{Outcome, Verdict, tidy};

/// Sequence that changes to a screen of its own and hides the cursor.
pub const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";

/// Sequence that undoes [`ENTER`], whatever was drawn.
pub const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// Most notes kept; when full, the oldest goes.
const NOTES: usize = 50;
/// Longest note, in bytes.
const NOTE_MAX: usize = 512;
/// Rows for notes, however many targets there are.
const NOTE_ROWS: usize = 5;

/// Contents of the frames. Their size depends on the targets alone, not on the time that the program runs.
#[derive(Debug)]
pub struct Screen {
    node: String,
    store: String,
    started_ms: i64,
    checks: u64,
    /// Rows of the targets, in the order of the configuration.
    rows: Vec<Row>,
    index: HashMap<Arc<str>, usize>,
    /// Notes, newest first.
    notes: VecDeque<Note>,
    /// Columns of the longest name.
    longest: usize,
}

#[derive(Debug)]
struct Note {
    at_ms: i64,
    level: log::Level,
    text: String,
}

impl Screen {
    /// Creates a screen without targets and checks. `store` is the place where checks are stored.
    pub fn new(node: &str, store: &str, started_ms: i64) -> Screen {
        Screen {
            node: clean(node).into_owned(),
            store: clean(store).into_owned(),
            started_ms,
            checks: 0,
            longest: 0,
            rows: Vec::new(),
            index: HashMap::new(),
            notes: VecDeque::with_capacity(NOTES),
        }
    }

    /// Shows these targets, by their names and shown URLs. Targets that the screen shows already keep their
    /// checks.
    pub fn set_targets(&mut self, targets: impl IntoIterator<Item = (Arc<str>, String)>) {
        let mut old: Vec<Option<Row>> =
            std::mem::take(&mut self.rows).into_iter().map(Some).collect();
        let index = std::mem::take(&mut self.index);
        for (name, url) in targets {
            let known = index.get(&name).and_then(|i| old[*i].take());
            let mut row = known.unwrap_or_else(|| Row::new(&name, &url));
            row.set_url(&url);
            self.index.insert(name, self.rows.len());
            self.rows.push(row);
        }
        self.longest = self.rows.iter().map(Row::name_width).max().unwrap_or(0);
    }

    /// Adds a check. A check of a target that is not on the screen is only counted.
    pub fn add_outcome(&mut self, outcome: &Outcome) {
        self.checks += 1;
        let row = self.index.get(&outcome.target).and_then(|i| self.rows.get_mut(*i));
        if let Some(row) = row {
            row.add_check(outcome);
        }
    }

    /// Adds a line of the log to the latest changes.
    pub fn add_note(&mut self, at_ms: i64, level: log::Level, text: &str) {
        self.notes.truncate(NOTES - 1);
        let text = clean(&tidy(text, NOTE_MAX)).into_owned();
        self.notes.push_front(Note { at_ms, level, text });
    }

    /// Returns a whole frame for a terminal of that size: the frame begins at the top left, clears the part
    /// that it does not fill, and has at most `rows` lines of less than `cols` columns. The last column stays
    /// free: a terminal that has filled it has yet to wrap, and erasing there takes the character that was
    /// drawn.
    pub fn draw(&self, now_ms: i64, cols: usize, rows: usize, paint: Paint) -> String {
        let cols = cols.saturating_sub(1);
        let layout = ScreenLayout::new(rows, self.rows.len());
        let mut lines = Vec::with_capacity(rows);
        lines.push(self.draw_title(now_ms, cols, paint));
        lines.push(self.draw_counts(cols, paint));
        lines.truncate(layout.head);
        self.draw_table(&mut lines, &layout, now_ms, cols, paint);
        if layout.notes > 0 {
            if layout.spaced {
                lines.push(String::new());
            }
            lines.push(draw_rule("latest changes", cols, paint));
            lines.extend(self.notes.iter().take(layout.notes).map(|note| note.draw(cols, paint)));
        }
        if layout.foot {
            lines.resize(rows - 1, String::new());
            lines.push(Line::new(cols, paint).push(Style::Dim, "Ctrl-C stops").end());
        }
        format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
    }

    /// Returns the line with the program's name and version, the node, and the time since the start.
    fn draw_title(&self, now_ms: i64, cols: usize, paint: Paint) -> String {
        let mut line = Line::new(cols, paint);
        line.push(Style::Bold, concat!("sitewatch ", env!("CARGO_PKG_VERSION")));
        line.push(Style::Dim, "  node ").push(Style::Plain, &self.node);
        let running = show_span(now_ms.saturating_sub(self.started_ms));
        line.push(Style::Dim, "  running ").push(Style::Plain, &running);
        line.push(Style::Dim, &format!("  {}", self.store)).end()
    }

    /// Returns the line with the number of targets of each verdict. Down comes first here too: the end of the
    /// line is cut first.
    fn draw_counts(&self, cols: usize, paint: Paint) -> String {
        let mut line = Line::new(cols, paint);
        line.push(Style::Plain, &show_count(self.rows.len() as u64, "target"));
        let mut comma = ": ";
        for (n, verdict) in count_verdicts(self.rows.iter()) {
            if n == 0 && verdict.is_none() {
                continue;
            }
            let style = if n == 0 { Style::Dim } else { style_verdict(verdict) };
            line.push(Style::Dim, comma).push(style, &format!("{n} {}", name_verdict(verdict)));
            comma = ", ";
        }
        line.push(Style::Dim, &format!("  {}", show_count(self.checks, "check"))).end()
    }

    /// Adds the targets that there is room for, and one line for the others.
    fn draw_table(
        &self,
        lines: &mut Vec<String>,
        layout: &ScreenLayout,
        now_ms: i64,
        cols: usize,
        paint: Paint,
    ) {
        let columns = RowColumns::new(cols, self.longest);
        if layout.spaced {
            lines.push(String::new());
            lines.push(draw_heads(&columns, cols, paint));
        }
        let mut order: Vec<&Row> = self.rows.iter().collect();
        order.sort_by_key(|row| row.rank());
        let all = order.len() <= layout.table;
        let shown = if all { order.len() } else { layout.table.saturating_sub(1).max(1) };
        let (shown, hidden) = order.split_at(shown.min(order.len()));
        let drawn = shown.iter().take(layout.table);
        lines.extend(drawn.map(|row| row.draw(&columns, now_ms, cols, paint)));
        if !all && layout.table > 1 {
            let kinds: Vec<(u64, Option<Verdict>)> = count_verdicts(hidden.iter().copied())
                .into_iter()
                .filter(|(n, _)| *n > 0)
                .collect();
            let what = match kinds[..] {
                [(_, verdict)] => name_verdict(verdict).to_string(),
                _ => {
                    let words: Vec<String> = kinds
                        .iter()
                        .map(|(n, verdict)| format!("{n} {}", name_verdict(*verdict)))
                        .collect();
                    words.join(", ")
                }
            };
            let more = format!("... and {} more ({what})", hidden.len());
            lines.push(Line::new(cols, paint).push(Style::Dim, &more).end());
        }
    }
}

impl Note {
    fn draw(&self, cols: usize, paint: Paint) -> String {
        let style = match self.level {
            log::Level::Error => Style::Down,
            log::Level::Warn => Style::Slow,
            log::Level::Info => Style::Plain,
            log::Level::Debug | log::Level::Trace => Style::Dim,
        };
        let level = self.level.as_str().to_ascii_lowercase();
        let mut line = Line::new(cols, paint);
        line.push(Style::Dim, &show_clock(self.at_ms));
        line.push(Style::Plain, "  ").push(style, &pad_cell(&level, 5, Side::Left));
        line.push(Style::Plain, "  ").push(Style::Plain, &self.text).end()
    }
}

/// Division of the terminal's rows.
#[derive(Debug, PartialEq, Eq)]
struct ScreenLayout {
    /// Lines at the top.
    head: usize,
    /// There is room for blank lines and the columns' heads.
    spaced: bool,
    /// Lines for targets.
    table: usize,
    /// Lines for notes, without their rule; 0: no rule either.
    notes: usize,
    /// The last line says how to stop.
    foot: bool,
}

impl ScreenLayout {
    fn new(rows: usize, targets: usize) -> ScreenLayout {
        let head = if rows >= 5 { 2 } else { rows.min(1) };
        let (spaced, foot) = (rows >= 16, rows >= 3);
        let body = rows - head - usize::from(foot) - if spaced { 2 } else { 0 };
        if rows < 8 {
            return ScreenLayout { head, spaced, table: body, notes: 0, foot };
        }
        let rule = if spaced { 2 } else { 1 };
        let wanted = ((body - rule) / 3).clamp(1, NOTE_ROWS);
        let table = targets.min(body - rule - wanted);
        ScreenLayout { head, spaced, table, notes: body - rule - table, foot }
    }
}

/// Counts the rows of each verdict, the worst first; none: waiting.
fn count_verdicts<'a>(rows: impl Iterator<Item = &'a Row>) -> [(u64, Option<Verdict>); 5] {
    let mut counts = [
        (0, Some(Verdict::Down)),
        (0, Some(Verdict::Unknown)),
        (0, Some(Verdict::Slow)),
        (0, Some(Verdict::Up)),
        (0, None),
    ];
    for row in rows {
        if let Some((n, _)) = counts.iter_mut().find(|(_, verdict)| *verdict == row.verdict()) {
            *n += 1;
        }
    }
    counts
}

/// Returns a line across the screen with words in it.
fn draw_rule(words: &str, cols: usize, paint: Paint) -> String {
    let words = format!("── {words} ");
    let across = "─".repeat(cols.saturating_sub(measure_width(&words)));
    Line::new(cols, paint).push(Style::Dim, &(words + &across)).end()
}

#[cfg(test)]
mod tests;
