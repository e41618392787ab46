//! Output of `sitewatch status` for people: a table, with the targets that are down first. A single report is a
//! block instead. `figure.rs` makes JSON and CSV from the same list of figures.

use std::collections::BTreeSet;

use super::block::draw_block;
use super::display::{make_marks, show_figure};
use super::figure::Figure;
pub use super::figure::{write_csv, write_json};
use super::spark::draw_sparkline;
use super::text::{Line, Paint, Side, Style, measure_width, pad_cell, show_count};
use super::time::{second, show_span};
use crate::model::outcome::Verdict;
use crate::model::report::{CELLS, Report};

/// Column of the table.
struct Column {
    head: &'static str,
    side: Side,
    /// Figure of the column; none: the sparkline of the window.
    figure: Option<Figure>,
}

const fn left(head: &'static str, figure: Figure) -> Column {
    Column { head, side: Side::Left, figure: Some(figure) }
}

const fn right(head: &'static str, figure: Figure) -> Column {
    Column { head, side: Side::Right, figure: Some(figure) }
}

/// Columns from left to right, in the order of weight: columns that do not fit are left out from the end.
const COLUMNS: [Column; 26] = [
    left("target", Figure::Target),
    left("node", Figure::Node),
    left("window", Figure::WindowStart),
    left("verdict", Figure::LastVerdict),
    left("since", Figure::Since),
    right("uptime %", Figure::Uptime),
    right("checks", Figure::Checks),
    right("no response", Figure::NoResponse),
    right("median ms", Figure::Median),
    right("p95 ms", Figure::P95),
    right("mean ms", Figure::Mean),
    Column { head: "times", side: Side::Left, figure: None },
    right("coverage %", Figure::Coverage),
    right("down", Figure::Down),
    right("unknown", Figure::Unknown),
    right("up", Figure::Up),
    right("slow", Figure::Slow),
    right("responded", Figure::Responded),
    right("status ok", Figure::StatusOk),
    right("match ok", Figure::MatchOk),
    right("missed", Figure::Missed),
    right("min ms", Figure::Min),
    right("max ms", Figure::Max),
    right("stdev ms", Figure::Stdev),
    right("p99 ms", Figure::P99),
    left("last due", Figure::LastDue),
];

/// Returns the reports for people. `width`: the terminal's columns, which no line is wider than; none: no
/// terminal, all columns and no limit.
pub fn write_text(reports: &[Report], now_ms: i64, width: Option<usize>, paint: Paint) -> String {
    let limit = width.unwrap_or(usize::MAX);
    let lines = match reports {
        [] => vec!["nothing to report".to_string()],
        [one] => draw_block(one, now_ms, limit, paint),
        many => draw_table(many, now_ms, limit, paint),
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns a line for each report, below the heads and above a line of counts.
fn draw_table(reports: &[Report], now_ms: i64, limit: usize, paint: Paint) -> Vec<String> {
    let mut sorted: Vec<&Report> = reports.iter().collect();
    sorted.sort_by_key(|r| (rank(r.standing.verdict), &r.target, &r.node, r.start_ms));
    let windows: BTreeSet<i64> = reports.iter().map(|r| r.start_ms).collect();
    let whole_days = windows.iter().all(|start_ms| start_ms % 86_400_000 == 0);

    let mut lines: Vec<Line> = Vec::new();
    lines.resize_with(sorted.len() + 1, || Line::new(limit, paint));
    for column in &COLUMNS {
        match column.figure {
            Some(Figure::Node) if reports.iter().all(|r| r.node.is_none()) => continue,
            Some(Figure::WindowStart) if windows.len() == 1 => continue,
            _ => {}
        }
        let cells: Vec<(Style, String)> = match column.figure {
            Some(figure) => {
                sorted.iter().map(|r| show_figure(figure, r, now_ms, whole_days)).collect()
            }
            None => sorted
                .iter()
                .map(|r| (Style::Plain, draw_sparkline(&make_marks(r), paint)))
                .collect(),
        };
        let widest = match column.figure {
            Some(_) => cells.iter().map(|(_, text)| measure_width(text)).max().unwrap_or(0),
            None => CELLS,
        };
        let columns = widest.max(column.head.len());
        let first = column.figure == Some(Figure::Target);
        // Names that are very long leave room for the other columns.
        let columns = if first { columns.min((limit / 2).max(8)) } else { columns };
        let gap = if first { 0 } else { 2 };
        if !first && columns + gap > lines[0].left() {
            break;
        }
        let head = pad_cell(column.head, columns, column.side);
        lines[0].push(Style::Plain, &" ".repeat(gap)).push(Style::Dim, &head);
        for (line, (style, text)) in lines[1..].iter_mut().zip(&cells) {
            line.push(Style::Plain, &" ".repeat(gap));
            match column.figure {
                Some(_) => line.push(*style, &pad_cell(text, columns, column.side)),
                None => line.push_painted(text, CELLS),
            };
        }
    }
    let mut lines: Vec<String> = lines.iter().map(Line::end).collect();
    lines.push(String::new());
    lines.push(draw_footer(reports, limit, paint));
    lines
}

/// Returns the line with the number of targets, the number of those in trouble, and the window.
fn draw_footer(reports: &[Report], limit: usize, paint: Paint) -> String {
    let of = |verdict: Option<Verdict>| -> usize {
        let lines = reports.iter().filter(|r| r.standing.verdict == verdict);
        lines.map(|r| &r.target).collect::<BTreeSet<_>>().len()
    };
    let targets: BTreeSet<_> = reports.iter().map(|r| &r.target).collect();
    let mut line = Line::new(limit, paint);
    line.push(Style::Plain, &show_count(targets.len() as u64, "target"));
    for (n, words, style) in [
        (of(Some(Verdict::Down)), "down", Style::Down),
        (of(Some(Verdict::Unknown)), "unknown", Style::Unknown),
        (of(None), "never checked", Style::Dim),
    ] {
        let style = if n == 0 { Style::Dim } else { style };
        if n > 0 || words == "down" {
            line.push(Style::Plain, ", ").push(style, &format!("{n} {words}"));
        }
    }
    let start_ms = reports.iter().map(|r| r.start_ms).min().unwrap_or(0);
    let end_ms = reports.iter().map(|r| r.end_ms).max().unwrap_or(0);
    let over = show_span(end_ms.saturating_sub(start_ms));
    let window = format!(", {over} to {}", second(end_ms));
    // Half a date helps nobody.
    if window.len() <= line.left() {
        line.push(Style::Dim, &window);
    }
    line.end()
}

/// Returns the rank of a verdict, lowest first: targets in trouble come first.
fn rank(verdict: Option<Verdict>) -> u8 {
    match verdict {
        Some(Verdict::Down) => 0,
        Some(Verdict::Unknown) => 1,
        Some(Verdict::Slow) => 2,
        Some(Verdict::Up) => 3,
        None => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sample::{NOW, report};
    use super::*;

    fn with(target: &str, verdict: Verdict) -> Report {
        let mut report = report(target, 3);
        report.standing.verdict = Some(verdict);
        report
    }

    fn five() -> Vec<Report> {
        vec![
            with("a.example", Verdict::Up),
            report("b.example", 0),
            with("c.example", Verdict::Down),
            with("d.example", Verdict::Slow),
            with("e.example\x1b[2J", Verdict::Unknown),
        ]
    }

    #[test]
    fn what_is_down_comes_first_and_columns_go_from_the_end() {
        assert_eq!(
            write_text(&five(), NOW, Some(80), Paint::OFF),
            "\
target         verdict  since       uptime %  checks  no response  median ms
c.example      down     3m 20s ago    75.000       5            1       20.1
e.example\u{fffd}[2J  unknown  3m 20s ago    75.000       5            1       20.1
d.example      slow     3m 20s ago    75.000       5            1       20.1
a.example      up       3m 20s ago    75.000       5            1       20.1
b.example      never    -                  -       0            0          -

5 targets, 1 down, 1 unknown, 1 never checked, 1d to 2026-11-21T03:00:00Z
"
        );
        assert_eq!(
            write_text(&five()[1..3], NOW, Some(25), Paint::ON),
            "\
\x1b[2mtarget   \x1b[0m  \x1b[2mverdict\x1b[0m
c.example  \x1b[31mdown   \x1b[0m
b.example  \x1b[2mnever  \x1b[0m

2 targets, \x1b[31m1 down\x1b[0m, \x1b[2m1 nev…\x1b[0m
"
        );
    }

    #[test]
    fn without_a_terminal_every_column_is_there() {
        let mut node = with("a", Verdict::Up);
        node.node = Some(Arc::from("lab"));
        let mut before = node.clone();
        (before.start_ms, before.end_ms) = (NOW - 2 * 86_400_000, NOW - 86_400_000);
        let text = write_text(&[node, before], NOW, None, Paint::OFF);
        let lines: Vec<&str> = text.lines().collect();
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "target node window verdict since uptime % checks no response median ms p95 ms mean ms \
             times coverage % down unknown up slow responded status ok match ok missed min ms \
             max ms stdev ms p99 ms last due"
        );
        assert!(lines[1].starts_with("a       lab   2026-11-19T03:00:00Z  up "), "{text}");
        assert!(lines[1].contains("  ····▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇×███  "), "{text}");
        assert!(lines[2].starts_with("a       lab   2026-11-20T03:00:00Z  up "), "{text}");
        assert_eq!(lines[4], "1 target, 0 down, 2d to 2026-11-21T03:00:00Z");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut reports = five();
        reports.push(with(&"監視.example/".repeat(20), Verdict::Down));
        for width in 0..260 {
            for some in [&reports[..], &reports[5..]] {
                let text = write_text(some, NOW, Some(width), Paint::OFF);
                let widest = text.lines().map(measure_width).max();
                assert!(widest <= Some(width), "{width}\n{text}");
            }
        }
    }

    #[test]
    fn without_reports_it_says_so() {
        assert_eq!(write_text(&[], NOW, None, Paint::OFF), "nothing to report\n");
    }
}
