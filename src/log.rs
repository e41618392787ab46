//! Writes the log: one line for each event on stderr, as text or JSON, at a bounded rate, so that nothing
//! from outside can fill a disk with log lines. While the screen is up, lines go to the screen instead.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::character::clean;
use crate::date::second;
use crate::json::{Object, quoted};
use crate::words::words;

words! {
    /// Format of a line.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum LogFormat {
        /// Text for people: `2026-11-21T03:00:00Z INFO  text`.
        Text = "text",
        /// One JSON object: `{"time":"…","level":"info","message":"text"}`.
        Json = "json",
    }
}

/// Receiver of lines in place of stderr; takes level and text.
pub type Divert = Box<dyn Fn(Level, &str) + Send>;

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    format: LogFormat,
    now_ms: fn() -> i64,
    output: Mutex<LogOutput>,
}

struct LogOutput {
    divert: Option<Divert>,
    rate: LineRate,
}

/// Starts the log. Later calls change nothing. At most `max_per_minute` lines are written in a minute; the
/// others are counted, and a line gives their number. `now_ms` is the clock, in milliseconds since 1970.
pub fn start(level: LevelFilter, format: LogFormat, max_per_minute: u32, now_ms: fn() -> i64) {
    let rate = LineRate::new(max_per_minute, Instant::now());
    let output = Mutex::new(LogOutput { divert: None, rate });
    let logger = LOGGER.get_or_init(|| Logger { format, now_ms, output });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

/// Sends lines to `to` from now on, or to stderr again if there is none.
pub fn divert(to: Option<Divert>) {
    if let Some(logger) = LOGGER.get() {
        logger.output.lock().unwrap_or_else(PoisonError::into_inner).divert = to;
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Lines of libraries are left out: we report the same events in our own words.
        metadata.target().starts_with("sitewatch")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(divert) = &output.divert {
            divert(record.level(), &text);
            return;
        }
        match output.rate.admit(Instant::now()) {
            Admission::No => {}
            Admission::Yes { left_out: 0 } => self.write(record.level(), &text),
            Admission::Yes { left_out } => {
                self.write(Level::Warn, &format!("{left_out} log lines were left out"));
                self.write(record.level(), &text);
            }
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn write(&self, level: Level, text: &str) {
        let time = second((self.now_ms)());
        let line = match self.format {
            LogFormat::Text => format!("{time} {level:<5} {}\n", clean(text)),
            LogFormat::Json => {
                let mut object = Object::new();
                object.value("time", quoted(&time));
                object.value("level", quoted(&level.as_str().to_lowercase()));
                object.value("message", quoted(text));
                object.end() + "\n"
            }
        };
        // If the log cannot be written, no place is left to report that.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Limit of lines per minute. The first minute begins at the start, each later one with the first line
/// after the end of the one before.
struct LineRate {
    max: u32,
    began: Instant,
    written: u32,
    left_out: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Yes { left_out: u64 },
    No,
}

impl LineRate {
    fn new(max: u32, now: Instant) -> LineRate {
        LineRate { max, began: now, written: 0, left_out: 0 }
    }

    fn admit(&mut self, now: Instant) -> Admission {
        if now.saturating_duration_since(self.began) >= Duration::from_secs(60) {
            (self.began, self.written) = (now, 0);
        }
        if self.written >= self.max {
            self.left_out += 1;
            return Admission::No;
        }
        self.written += 1;
        Admission::Yes { left_out: std::mem::take(&mut self.left_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_rate_is_counted() {
        let start = Instant::now();
        let mut rate = LineRate::new(2, start);
        assert_eq!(rate.admit(start), Admission::Yes { left_out: 0 });
        assert_eq!(rate.admit(start), Admission::Yes { left_out: 0 });
        assert_eq!(rate.admit(start), Admission::No);
        assert_eq!(rate.admit(start + Duration::from_secs(59)), Admission::No);
        assert_eq!(rate.admit(start + Duration::from_secs(60)), Admission::Yes { left_out: 2 });
        assert_eq!(rate.admit(start + Duration::from_secs(60)), Admission::Yes { left_out: 0 });
    }

    #[test]
    fn any_time_has_its_text() {
        for (ms, want) in [
            (i64::MIN, "1970-01-01T00:00:00Z"),
            (1_795_230_000_999, "2026-11-21T03:00:00Z"),
            (2_147_483_648_000, "2038-01-19T03:14:08Z"),
            (4_294_967_296_000, "2106-02-07T06:28:16Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(second(ms), want, "{ms}");
        }
    }
}
