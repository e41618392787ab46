//! The live view of `sitewatch run`: its contents, and the drawing of a frame. The owner of the terminal
//! writes [`ENTER`], then frames one over the other, then [`LEAVE`].

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
    /// Creates a screen before the first check, of no targets yet. `store` is the place of the checks.
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

    /// Takes a check. A check of a target that is not on the screen is only counted.
    pub fn add_outcome(&mut self, outcome: &Outcome) {
        self.checks += 1;
        let row = self.index.get(&outcome.target).and_then(|i| self.rows.get_mut(*i));
        if let Some(row) = row {
            row.add_check(outcome);
        }
    }

    /// Takes a line of the log for the latest changes.
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
        lines.push(self.title(now_ms, cols, paint));
        lines.push(self.counts(cols, paint));
        lines.truncate(layout.head);
        self.table(&mut lines, &layout, now_ms, cols, paint);
        if layout.notes > 0 {
            if layout.spaced {
                lines.push(String::new());
            }
            lines.push(draw_rule("latest changes", cols, paint));
            lines.extend(self.notes.iter().take(layout.notes).map(|note| note.line(cols, paint)));
        }
        if layout.foot {
            lines.resize(rows - 1, String::new());
            lines.push(Line::new(cols, paint).push(Style::Dim, "Ctrl-C stops").end());
        }
        format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
    }

    /// Returns the line with the program's name and version, the node, and the time since the start.
    fn title(&self, now_ms: i64, cols: usize, paint: Paint) -> String {
        let mut line = Line::new(cols, paint);
        line.push(Style::Bold, concat!("sitewatch ", env!("CARGO_PKG_VERSION")));
        line.push(Style::Dim, "  node ").push(Style::Plain, &self.node);
        let running = show_span(now_ms.saturating_sub(self.started_ms));
        line.push(Style::Dim, "  running ").push(Style::Plain, &running);
        line.push(Style::Dim, &format!("  {}", self.store)).end()
    }

    /// Returns the line with the number of targets of each verdict. Down comes first here too: the end of the
    /// line is cut first.
    fn counts(&self, cols: usize, paint: Paint) -> String {
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
    fn table(
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
    fn line(&self, cols: usize, paint: Paint) -> String {
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
fn tally<'a>(rows: impl Iterator<Item = &'a Row>) -> [(u64, Option<Verdict>); 5] {
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
mod tests {
    use super::super::sample::{self, NOW};
    use super::*;
    use crate::model::outcome::Cause;

    fn outcome(target: &str, verdict: Verdict, total_us: u64, error: Option<&str>) -> Outcome {
        Outcome {
            target: Arc::from(target),
            due_ms: NOW - 4000,
            lag_us: 500_000,
            verdict,
            cause: error.map(|_| Cause::Status),
            total_us,
            error: error.map(String::from),
            ..sample::outcome()
        }
    }

    fn screen(names: &[&str]) -> Screen {
        let targets =
            names.iter().map(|name| (Arc::from(*name), format!("https://{name}.example/")));
        let mut screen = Screen::new("lab", "/var/lib/sitewatch/sitewatch.db", NOW - 11_100_000);
        screen.set_targets(targets);
        screen
    }

    fn lively() -> Screen {
        let mut screen = screen(&["front", "shop", "mail", "wiki", "news"]);
        for i in 1..=40 {
            screen.add_outcome(&outcome("front", Verdict::Up, 1000 * i, None));
            screen.add_outcome(&outcome("shop", Verdict::Up, 90_000, None));
        }
        let refused = Some("status 503 is not accepted (200-299)");
        screen.add_outcome(&outcome("shop", Verdict::Down, 503_000, refused));
        screen.add_outcome(&outcome("mail", Verdict::Slow, 1_200_000, None));
        screen.add_outcome(&Outcome {
            cause: Some(Cause::Overload),
            ..outcome("wiki", Verdict::Unknown, 0, Some("no room"))
        });
        screen.add_outcome(&outcome("not on the screen", Verdict::Down, 0, None));
        screen.add_note(NOW - 60_000, log::Level::Info, "watching 5 targets");
        screen.add_note(NOW - 1000, log::Level::Warn, "shop is down\x1b[2J\nforged");
        screen
    }

    /// Returns a frame without the sequences that place it.
    fn seen(frame: &str) -> String {
        let lines = frame.strip_prefix("\x1b[H").unwrap().strip_suffix("\x1b[K\x1b[J").unwrap();
        lines.replace("\x1b[K\r\n", "\n")
    }

    #[test]
    fn a_frame_shows_what_is_down_first_and_the_newest_note() {
        assert_eq!(
            seen(&lively().draw(NOW, 80, 18, Paint::OFF)),
            "\
sitewatch 0.1.0  node lab  running 3h 5m  /var/lib/sitewatch/sitewatch.db
5 targets: 1 down, 1 unknown, 1 slow, 1 up, 1 waiting  84 checks

verdict  target      time   age  last
down     shop    503.0 ms    2s  █████████×  status 503 is not accepted (200-2…
unknown  wiki                3s           ?  overload: no room
slow     mail      1.20 s    2s           █  https://mail.example/
up       front    40.0 ms    3s  ▇▇▇▇▇█████  https://front.example/
waiting  news                                https://news.example/

── latest changes ─────────────────────────────────────────────────────────────
02:59:59  warn   shop is down\u{fffd}[2J forged
02:59:00  info   watching 5 targets




Ctrl-C stops"
                .replace("0.1.0", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn a_small_terminal_gets_the_names_and_the_times() {
        assert_eq!(
            lively().draw(NOW, 40, 10, Paint::ON),
            [
                "\x1b[H\x1b[1msitewatch 0.1.0\x1b[0m\x1b[2m  node \x1b[0mlab\x1b[2m  running \
                 \x1b[0m3h …",
                "5 targets\x1b[2m: \x1b[0m\x1b[31m1 down\x1b[0m\x1b[2m, \x1b[0m\x1b[35m1 unknown\
                 \x1b[0m\x1b[2m, \x1b[0m\x1b[33m1 slow\x1b[0m\x1b[2m, \x1b[0m\x1b[32m…\x1b[0m",
                "\x1b[31mdown   \x1b[0m  shop    503.0 ms  status 503 …",
                "\x1b[35munknown\x1b[0m  wiki              overload: n…",
                "\x1b[33mslow   \x1b[0m  mail      1.20 s",
                "\x1b[2m... and 2 more (1 up, 1 waiting)\x1b[0m",
                "\x1b[2m── latest changes ─────────────────────\x1b[0m",
                "\x1b[2m02:59:59\x1b[0m  \x1b[33mwarn \x1b[0m  shop is down\u{fffd}[2J forg…",
                "\x1b[2m02:59:00\x1b[0m  info   watching 5 targets",
                "\x1b[2mCtrl-C stops\x1b[0m\x1b[K\x1b[J",
            ]
            .join("\x1b[K\r\n")
            .replace("0.1.0", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn a_thousand_targets_end_in_one_line() {
        let names: Vec<String> = (0..1000).map(|i| format!("site-{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut screen = screen(&names);
        for name in &names {
            screen.add_outcome(&outcome(name, Verdict::Up, 1000, None));
        }
        screen.add_outcome(&outcome("site-999", Verdict::Down, 1000, Some("gone")));
        let frame = seen(&screen.draw(NOW, 200, 60, Paint::OFF));
        let lines: Vec<&str> = frame.split('\n').collect();
        assert_eq!(lines.len(), 60);
        assert!(lines[4].starts_with("down     site-999    1.0 ms    3s  "), "{frame}");
        assert!(lines[5].starts_with("up       site-0      1.0 ms    3s  "), "{frame}");
        assert_eq!(lines[51], "... and 953 more (up)");
        assert!(lines[53].starts_with("── latest changes ──"), "{frame}");
    }

    #[test]
    fn no_frame_is_larger_than_its_terminal() {
        let mut screen = lively();
        for i in 0..200 {
            screen.add_note(NOW, log::Level::Info, &format!("監視 {i} {}", "x".repeat(1000)));
        }
        assert_eq!(screen.notes.len(), NOTES);
        for cols in 0..210 {
            for rows in (0..20).chain([24, 60]) {
                let frame = seen(&screen.draw(NOW, cols, rows, Paint::OFF));
                assert!(frame.split('\n').count() <= rows.max(1), "{cols} {rows}\n{frame}");
                assert!(
                    frame.split('\n').all(|l| measure_width(l) < cols.max(1)),
                    "{cols} {rows}\n{frame}"
                );
            }
        }
    }

    #[test]
    fn notes_get_five_rows_where_there_is_room() {
        for (rows, targets, table, notes) in
            [(60, 1000, 48, 5), (24, 1000, 12, 5), (24, 3, 3, 14), (10, 1000, 4, 2), (7, 9, 4, 0)]
        {
            let layout = ScreenLayout::new(rows, targets);
            assert_eq!((layout.table, layout.notes), (table, notes), "{rows} {targets}");
        }
    }
}
