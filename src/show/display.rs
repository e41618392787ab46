//! Figures of a report as people read them in a terminal: rounded, and in a colour. Programs get the same
//! figures exact, from `figure.rs`.

use super::figure::{Figure, FigureValue};
use super::spark::SparkMark;
use super::text::{Style, clean};
use super::time::{second, show_ago};
use crate::model::report::{CELLS, Report};

/// Returns a figure as people see it: the value of JSON, rounded.
pub(super) fn show_figure(
    figure: Figure,
    report: &Report,
    now_ms: i64,
    whole_days: bool,
) -> (Style, String) {
    let verdict = report.standing.verdict;
    match (figure, figure.value(report)) {
        (Figure::LastVerdict, _) => match verdict {
            Some(verdict) => (Style::of(verdict), verdict.as_str().to_string()),
            None => (Style::Dim, "never".to_string()),
        },
        (_, FigureValue::Absent) => (Style::Dim, "-".to_string()),
        (_, FigureValue::Text(text)) => (Style::Plain, clean(&text).into_owned()),
        (Figure::WindowStart, FigureValue::Time(ms)) if whole_days => {
            (Style::Plain, second(ms).split('T').next().unwrap_or_default().to_string())
        }
        (Figure::WindowStart | Figure::WindowEnd, FigureValue::Time(ms)) => {
            (Style::Plain, second(ms))
        }
        (_, FigureValue::Time(ms)) => (Style::Plain, show_ago(ms, now_ms)),
        (_, FigureValue::Count(n)) => {
            (if n == 0 { Style::Dim } else { Style::Plain }, n.to_string())
        }
        (_, FigureValue::Ms(ms)) => (Style::Plain, format!("{ms:.1}")),
        (_, FigureValue::Share(share)) => (Style::Plain, show_percent(share)),
    }
}

/// Returns a share in percent with three decimals; only a whole share is shown as 100.000.
fn show_percent(share: f64) -> String {
    let percent = share * 100.0;
    format!("{:.3}", if share < 1.0 { percent.min(99.999) } else { percent })
}

/// Returns the marks of the window's parts: down if any check in a part was, so that no outage drowns in a
/// mean.
pub(super) fn make_marks(report: &Report) -> [SparkMark; CELLS] {
    report.cells.map(|cell| match (cell.down, cell.mean_us()) {
        (0, Some(us)) => SparkMark::Time(us),
        (0, None) => SparkMark::Empty,
        _ => SparkMark::Down,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_share_is_100() {
        assert_eq!(show_percent(1.0), "100.000");
        assert_eq!(show_percent(0.999_999_9), "99.999");
        assert_eq!(show_percent(2.0 / 3.0), "66.667");
        assert_eq!(show_percent(0.0), "0.000");
    }
}
