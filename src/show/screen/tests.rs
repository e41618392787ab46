use super::*;
use crate::model::outcome::Cause;
use crate::show::sample::{self, NOW};

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
    let targets = names.iter().map(|name| (Arc::from(*name), format!("https://{name}.example/")));
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
