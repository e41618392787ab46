//! Figures of a report by their names: one list for JSON, CSV and the tables of the terminal, so that all give
//! the same values.

use std::fmt::Write as _;
use std::sync::Arc;

use super::time::rfc3339;
use crate::json::quoted;
use crate::model::report::Report;
use crate::words::words;

words! {
    /// Figures of a report on a target, in the order of JSON and CSV.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[expect(missing_docs, reason = "the figures by the names that interfaces and README give them")]
    pub enum Figure {
        Target = "target",
        Node = "node",
        WindowStart = "window_start",
        WindowEnd = "window_end",
        Checks = "checks",
        Unknown = "unknown",
        Up = "up",
        Slow = "slow",
        Down = "down",
        Responded = "responded",
        NoResponse = "no_response",
        StatusOk = "status_ok",
        MatchOk = "match_ok",
        Missed = "missed",
        Uptime = "uptime",
        Coverage = "coverage",
        Mean = "mean_ms",
        Min = "min_ms",
        Max = "max_ms",
        Stdev = "stdev_ms",
        Median = "median_ms",
        P95 = "p95_ms",
        P99 = "p99_ms",
        LastVerdict = "last_verdict",
        LastDue = "last_due",
        Since = "since",
    }
}

/// Value of a figure.
#[derive(Debug, Clone, PartialEq)]
pub enum FigureValue {
    /// The report has no such figure.
    Absent,
    /// Text as the report has it; not cleaned for a terminal.
    Text(Arc<str>),
    /// Point in time, in milliseconds since 1970.
    Time(i64),
    /// Number of things.
    Count(u64),
    /// Duration in milliseconds; its decimals are microseconds.
    Ms(f64),
    /// Share, 0 to 1.
    Share(f64),
}

impl Figure {
    /// Returns the value of the figure in `report`.
    pub fn value(self, report: &Report) -> FigureValue {
        let tally = &report.tally;
        match self {
            Figure::Target => FigureValue::Text(Arc::clone(&report.target)),
            Figure::Node => {
                report.node.as_ref().map(Arc::clone).map_or(FigureValue::Absent, FigureValue::Text)
            }
            Figure::WindowStart => FigureValue::Time(report.start_ms),
            Figure::WindowEnd => FigureValue::Time(report.end_ms),
            Figure::Checks => FigureValue::Count(tally.checks),
            Figure::Unknown => FigureValue::Count(tally.unknown),
            Figure::Up => FigureValue::Count(tally.up),
            Figure::Slow => FigureValue::Count(tally.slow),
            Figure::Down => FigureValue::Count(tally.down),
            Figure::Responded => FigureValue::Count(tally.responded),
            Figure::NoResponse => FigureValue::Count(tally.no_response()),
            Figure::StatusOk => FigureValue::Count(tally.status_ok),
            Figure::MatchOk => FigureValue::Count(tally.match_ok),
            Figure::Missed => FigureValue::Count(tally.missed),
            Figure::Uptime => share(tally.uptime()),
            Figure::Coverage => share(report.coverage),
            Figure::Mean => ms(tally.mean_us()),
            Figure::Min => ms(tally.min_us.map(|us| us as f64)),
            Figure::Max => ms(tally.max_us.map(|us| us as f64)),
            Figure::Stdev => ms(tally.stdev_us()),
            Figure::Median => ms(tally.percentile_us(50)),
            Figure::P95 => ms(tally.percentile_us(95)),
            Figure::P99 => ms(tally.percentile_us(99)),
            Figure::LastVerdict => match report.standing.verdict {
                Some(verdict) => FigureValue::Text(Arc::from(verdict.as_str())),
                None => FigureValue::Absent,
            },
            Figure::LastDue => {
                report.standing.last_due_ms.map_or(FigureValue::Absent, FigureValue::Time)
            }
            Figure::Since => {
                report.standing.since_ms.map_or(FigureValue::Absent, FigureValue::Time)
            }
        }
    }
}

fn share(share: Option<f64>) -> FigureValue {
    share.map_or(FigureValue::Absent, FigureValue::Share)
}

fn ms(us: Option<f64>) -> FigureValue {
    us.map_or(FigureValue::Absent, |us| FigureValue::Ms(us / 1000.0))
}

/// Returns the figures that these reports have: all, except `node` where no report names one.
fn list_figures(reports: &[Report]) -> impl Iterator<Item = Figure> {
    let nodes = reports.iter().any(|report| report.node.is_some());
    Figure::ALL.iter().copied().filter(move |figure| *figure != Figure::Node || nodes)
}

/// Returns an array of objects, one a line, in the order of the reports. An absent value is null; but a
/// report over all nodes has no `node`.
pub fn write_json(reports: &[Report]) -> String {
    let mut text = String::from("[");
    for (i, report) in reports.iter().enumerate() {
        text.push_str(if i == 0 { "\n{" } else { ",\n{" });
        let mut comma = "";
        for &figure in Figure::ALL {
            if figure == Figure::Node && report.node.is_none() {
                continue;
            }
            let _ = write!(text, "{comma}\"{}\":", figure.as_str());
            comma = ",";
            match figure.value(report) {
                FigureValue::Absent => text.push_str("null"),
                value @ (FigureValue::Text(_) | FigureValue::Time(_)) => {
                    text.push_str(&quoted(&write_plain(&value)));
                }
                value => text.push_str(&write_plain(&value)),
            }
        }
        text.push('}');
    }
    text.push_str(if reports.is_empty() { "]\n" } else { "\n]\n" });
    text
}

/// Returns CSV of RFC 4180 with the names in its first line; an absent value is empty. The data is exact: a
/// name that a spreadsheet would take for a formula is left as it is.
pub fn write_csv(reports: &[Report]) -> String {
    let names: Vec<&str> = list_figures(reports).map(Figure::as_str).collect();
    let mut text = names.join(",") + "\r\n";
    for report in reports {
        for (i, figure) in list_figures(reports).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let value = write_plain(&figure.value(report));
            if value.contains([',', '"', '\r', '\n']) {
                let _ = write!(text, "{comma}\"{}\"", value.replace('"', "\"\""));
            } else {
                let _ = write!(text, "{comma}{value}");
            }
        }
        text.push_str("\r\n");
    }
    text
}

/// Returns a value for a program: milliseconds to the microsecond, shares to the millionth.
fn write_plain(value: &FigureValue) -> String {
    match value {
        FigureValue::Absent => String::new(),
        FigureValue::Text(text) => text.to_string(),
        FigureValue::Time(ms) => rfc3339(*ms),
        FigureValue::Count(n) => n.to_string(),
        FigureValue::Ms(ms) => write_decimal(*ms, 3),
        FigureValue::Share(share) => write_decimal(*share, 6),
    }
}

/// Returns the number with at most that many decimals, none of them a 0 at the end.
fn write_decimal(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{NOW, report};
    use super::*;

    #[test]
    fn json_gives_every_figure_in_its_order() {
        let mut first = report("https://a.example/\"x\"", 3);
        first.start_ms = NOW - 1500;
        let mut second = report("b", 0);
        second.node = Some(Arc::from("lab"));
        assert_eq!(
            write_json(&[first, second]),
            r#"[
{"target":"https://a.example/\"x\"","window_start":"2026-11-21T02:59:58.500Z","window_end":"2026-11-21T03:00:00Z","checks":5,"unknown":1,"up":3,"slow":1,"down":1,"responded":3,"no_response":1,"status_ok":3,"match_ok":0,"missed":2,"uptime":0.75,"coverage":0.666667,"mean_ms":20,"min_ms":10,"max_ms":30,"stdev_ms":10,"median_ms":20.127,"p95_ms":29.725,"p99_ms":29.725,"last_verdict":"down","last_due":"2026-11-21T02:59:30Z","since":"2026-11-21T02:56:40Z"},
{"target":"b","node":"lab","window_start":"2026-11-20T03:00:00Z","window_end":"2026-11-21T03:00:00Z","checks":0,"unknown":0,"up":0,"slow":0,"down":0,"responded":0,"no_response":0,"status_ok":0,"match_ok":0,"missed":0,"uptime":null,"coverage":null,"mean_ms":null,"min_ms":null,"max_ms":null,"stdev_ms":null,"median_ms":null,"p95_ms":null,"p99_ms":null,"last_verdict":null,"last_due":null,"since":null}
]
"#
        );
        assert_eq!(write_json(&[]), "[]\n");
    }

    #[test]
    fn json_shows_a_terminal_nothing_that_it_obeys() {
        let text = write_json(&[report("a\u{9b}b\u{202e}", 0)]);
        assert!(text.contains(r#""target":"a\u009bb\u202e""#), "{text}");
    }

    #[test]
    fn csv_has_the_same_names_and_quotes_what_needs_it() {
        let first = report("a, \"b\"", 3);
        let head = "target,window_start,window_end,checks,unknown,up,slow,down,responded,\
            no_response,status_ok,match_ok,missed,uptime,coverage,mean_ms,min_ms,max_ms,stdev_ms,\
            median_ms,p95_ms,p99_ms,last_verdict,last_due,since\r\n";
        assert_eq!(
            write_csv(&[first.clone(), report("=b", 0)]),
            format!(
                "{head}\"a, \"\"b\"\"\",2026-11-20T03:00:00Z,2026-11-21T03:00:00Z,5,1,3,1,1,3,1,\
                 3,0,2,0.75,0.666667,20,10,30,10,20.127,29.725,29.725,down,2026-11-21T02:59:30Z,\
                 2026-11-21T02:56:40Z\r\n\
                 =b,2026-11-20T03:00:00Z,2026-11-21T03:00:00Z,0,0,0,0,0,0,0,0,0,0,,,,,,,,,,,,\r\n"
            )
        );
        assert_eq!(write_csv(&[]), head);
        let node = Report { node: Some(Arc::from("lab")), ..first };
        assert!(write_csv(&[node]).starts_with("target,node,window_start,"));
    }

    #[test]
    fn decimals_are_no_longer_than_they_must() {
        for (number, want) in
            [(0.0, "0"), (1.0, "1"), (100.0, "100"), (0.5, "0.5"), (2.0 / 3.0, "0.667")]
        {
            assert_eq!(write_decimal(number, 3), want);
        }
    }
}
