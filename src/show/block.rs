//! Block of text for a single report, with every figure: the output of `sitewatch status NAME`. The table
//! leaves figures out where they do not fit; the block never does.

use super::display::{make_marks, show_figure};
use super::figure::{Figure, FigureValue};
use super::spark::draw_sparkline;
use super::text::{Line, Paint, Side, Style, clean, pad_cell};
use super::time::{second, show_ago, show_span};
use crate::model::report::{CELLS, Report};

/// Columns of a figure's name: `no response` and two.
const NAME: usize = 13;
/// Columns of a number: `100.000`, a million checks, a day in milliseconds.
const NUMBER: usize = 9;
/// Columns between the two halves of a line.
const GAP: usize = 5;
/// Columns of the longest unit.
const UNIT: usize = 3;

const COUNTS: [(&str, Figure); 10] = [
    ("checks", Figure::Checks),
    ("up", Figure::Up),
    ("slow", Figure::Slow),
    ("down", Figure::Down),
    ("unknown", Figure::Unknown),
    ("missed", Figure::Missed),
    ("responded", Figure::Responded),
    ("no response", Figure::NoResponse),
    ("status ok", Figure::StatusOk),
    ("match ok", Figure::MatchOk),
];

const MEASURES: [(&str, Figure); 9] = [
    ("uptime", Figure::Uptime),
    ("coverage", Figure::Coverage),
    ("median", Figure::Median),
    ("p95", Figure::P95),
    ("p99", Figure::P99),
    ("mean", Figure::Mean),
    ("min", Figure::Min),
    ("max", Figure::Max),
    ("stdev", Figure::Stdev),
];

/// Returns the lines of a report: its verdict, then the counts and beside them the measures, or below them
/// where that is too wide.
pub(super) fn draw_block(report: &Report, now_ms: i64, limit: usize, paint: Paint) -> Vec<String> {
    let mut lines = vec![draw_head(report, now_ms, limit, paint), String::new()];
    let when = |at_ms: Option<i64>| match at_ms {
        Some(at_ms) => format!("{}, {}", second(at_ms), show_ago(at_ms, now_ms)),
        None => "-".to_string(),
    };
    let (start, end) = (second(report.start_ms), second(report.end_ms));
    let long = show_span(report.end_ms.saturating_sub(report.start_ms));
    for (name, words) in [
        ("since", when(report.standing.since_ms)),
        ("last due", when(report.standing.last_due_ms)),
        ("window", format!("{start} to {end}, {long}")),
    ] {
        let mut line = begin_line(name, limit, paint);
        lines.push(line.push(Style::Plain, &words).end());
    }
    if limit >= NAME + CELLS {
        let times = draw_sparkline(&make_marks(report), paint);
        lines.push(begin_line("times", limit, paint).push_painted(&times, CELLS).end());
    }
    lines.push(String::new());

    let beside = limit >= 2 * (NAME + NUMBER) + GAP + UNIT;
    for (i, count) in COUNTS.iter().enumerate() {
        let mut line = Line::new(limit, paint);
        push_entry(&mut line, count, report, now_ms);
        if let Some(measure) = MEASURES.get(i).filter(|_| beside) {
            line.push(Style::Plain, &" ".repeat(GAP));
            push_entry(&mut line, measure, report, now_ms);
        }
        lines.push(line.end());
    }
    for measure in MEASURES.iter().filter(|_| !beside) {
        let mut line = Line::new(limit, paint);
        push_entry(&mut line, measure, report, now_ms);
        lines.push(line.end());
    }
    lines
}

/// Returns the line with the target and node of the report, and the verdict.
fn draw_head(report: &Report, now_ms: i64, limit: usize, paint: Paint) -> String {
    let mut line = Line::new(limit, paint);
    line.push(Style::Bold, &clean(&report.target));
    if let Some(node) = &report.node {
        line.push(Style::Plain, "  node ").push(Style::Plain, &clean(node));
    }
    let (style, verdict) = show_figure(Figure::LastVerdict, report, now_ms, false);
    line.push(Style::Plain, "  ").push(style, &verdict).end()
}

/// Returns a line that begins with a name.
fn begin_line(name: &str, limit: usize, paint: Paint) -> Line {
    let mut line = Line::new(limit, paint);
    line.push(Style::Dim, &pad_cell(name, NAME, Side::Left));
    line
}

/// Adds a name, its number and the unit.
fn push_entry(line: &mut Line, (name, figure): &(&str, Figure), report: &Report, now_ms: i64) {
    let unit = match figure.value(report) {
        FigureValue::Ms(_) => " ms",
        FigureValue::Share(_) => " %",
        _ => "",
    };
    let (style, number) = show_figure(*figure, report, now_ms, false);
    line.push(Style::Dim, &pad_cell(name, NAME, Side::Left));
    line.push(style, &pad_cell(&number, NUMBER, Side::Right)).push(Style::Dim, unit);
}

#[cfg(test)]
mod tests {
    use super::super::sample::{NOW, report};
    use super::*;

    fn text(report: &Report, limit: usize) -> String {
        draw_block(report, NOW, limit, Paint::OFF).join("\n") + "\n"
    }

    #[test]
    fn one_report_is_a_block_of_every_figure() {
        assert_eq!(
            text(&report("c.example", 3), 80),
            "\
c.example  down

since        2026-11-21T02:56:40Z, 3m 20s ago
last due     2026-11-21T02:59:30Z, 30s ago
window       2026-11-20T03:00:00Z to 2026-11-21T03:00:00Z, 1d
times        ····▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇×███

checks               5     uptime          75.000 %
up                   3     coverage        66.667 %
slow                 1     median            20.1 ms
down                 1     p95               29.7 ms
unknown              1     p99               29.7 ms
missed               2     mean              20.0 ms
responded            3     min               10.0 ms
no response          1     max               30.0 ms
status ok            3     stdev             10.0 ms
match ok             0
"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_one_figure_a_line() {
        assert_eq!(
            text(&report("new", 0), 30),
            "\
new  never

since        -
last due     -
window       2026-11-20T03:00…

checks               0
up                   0
slow                 0
down                 0
unknown              0
missed               0
responded            0
no response          0
status ok            0
match ok             0
uptime               -
coverage             -
median               -
p95                  -
p99                  -
mean                 -
min                  -
max                  -
stdev                -
"
        );
    }
}
