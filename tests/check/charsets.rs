//! Bodies in other charsets than UTF-8, and expressions with letters outside ASCII.

use super::table::{Want, down, http, table, up};
use crate::harness::Script;

/// "Ошибка" in windows-1251 and in KOI8-R.
const WINDOWS: &[u8] = b"\xce\xf8\xe8\xe1\xea\xe0";
const KOI: &[u8] = b"\xef\xdb\xc9\xc2\xcb\xc1";

#[test]
fn a_body_is_decoded_before_it_is_judged() {
    let typed = |kind: &str, body: &[u8]| Script::ok(body).header("Content-Type", kind);
    let wide = |mark: &[u8], big: bool| {
        let of = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        [mark, &"Ошибка".encode_utf16().flat_map(of).collect::<Vec<_>>()].concat()
    };
    let hit = || down("body", 200).match_ok(false);
    let found = || up(200).match_ok(true).found("Ошибка");
    let meta = [b"<meta charset=windows-1251>", WINDOWS].concat();
    let html = || typed("text/html", &meta);
    table(vec![
        http("header", typed("text/html; charset=windows-1251", WINDOWS), found())
            .key("match = 'Ошибка'"),
        http("header, refused", typed("text/plain; charset=\"koi8-r\"", KOI), hit())
            .key("reject = '(?i)ОШИБКА'"),
        http(
            "latin",
            typed("text/plain; charset=ISO-8859-1", b"Gr\xfc\xdfe"),
            up(200).found("Grüße"),
        )
        .key("match = '^Grüße$'"),
        http(
            "ASCII alone",
            typed("text/plain; charset=shift_jis", b"ok \x83\x47"),
            up(200).found("ok"),
        )
        .key("match = '^ok'"),
        http("UTF-16, little", typed("text/plain", &wide(b"\xff\xfe", false)), found())
            .key("match = '^Ошибка$'"),
        http("UTF-16, big", typed("text/plain; charset=utf-8", &wide(b"\xfe\xff", true)), found())
            .key("match = '^Ошибка$'"),
        http(
            "UTF-16 by its header",
            typed("text/plain; charset=utf-16be", &wide(b"", true)),
            found(),
        )
        .key("match = 'Ошибка'"),
        http("a mark alone", Script::ok("\u{feff}OK"), up(200).found("OK")).key("match = '^OK$'"),
        http("the page says", html(), found()).key("match = 'Ошибка'"),
        http("the page says, refused", html(), hit()).key("reject = '(?i)ошибка'"),
        http("UTF-8 unsaid", Script::ok("Ошибка"), found()).key("match = 'Ошибка'"),
    ]);
}

/// It responded, and what it said cannot be judged.
fn unjudged() -> Want {
    Want { verdict: "unknown", cause: "internal", ..up(200) }
}

#[test]
fn letters_that_are_not_known_are_nobodys_fault() {
    let typed = |kind: &str, body: &[u8]| Script::ok(body).header("Content-Type", kind);
    let big = || typed("text/html; charset=Big5", b"ok \xbf\xf9\xbb\x7e");
    table(vec![
        http("another", big(), unjudged().error("the body is in \"Big5\"")).key("match = '錯誤'"),
        http("another, refused", big(), unjudged().error("cannot be judged"))
            .key("reject = '錯誤'"),
        http("unsaid", typed("text/plain", WINDOWS), unjudged().error("names no charset"))
            .key("reject = 'ошибка'"),
        http("an escape", big(), unjudged().error("cannot be judged")).key("match = '\\x{932f}'"),
        http("ASCII fails first", big(), down("body", 200).match_ok(false))
            .key("match = ['錯誤', 'missing']"),
        http("status first", Script::status(500).body(WINDOWS), down("status", 500))
            .key("match = 'Ошибка'"),
        http("no expression", big(), up(200)),
    ]);
}

#[test]
fn cases_are_the_same_beyond_ascii() {
    let page = || Script::ok("ВНУТРЕННЯЯ ОШИБКА");
    let hit = || down("body", 200).match_ok(false);
    table(vec![
        http("a word", page(), hit()).key("reject = '(?i)ошибка'"),
        http("a class", page(), hit()).key("reject = '(?i)^[а-я ]+$'"),
        http("with a flag", page(), up(200).match_ok(true))
            .with(["--match", "(?i)внутренняя .шибка"]),
        http("a group alone", page(), up(200).match_ok(true)).key("reject = '(?i:о)шибка'"),
        http("Greek", Script::ok("ΣΦΆΛΜΑΣ"), hit()).key("reject = '(?i)σφάλμας'"),
    ]);
}

/// As the example of the configuration has it.
#[test]
fn ends_of_lines() {
    table(vec![
        http("the end of all", Script::ok("OK\n"), down("body", 200).match_ok(false))
            .key("match = '^OK$'"),
        http("blanks behind", Script::ok("OK\r\n"), up(200).found("OK\r\n"))
            .key("match = '^OK\\s*$'"),
        http("a line of CRLF", Script::ok("a\r\nOK\r\nb"), up(200).found("OK"))
            .key("match = '(?mR)^OK$'"),
        http("a line of LF", Script::ok("a\nOK\nb"), up(200).found("OK"))
            .key("match = '(?mR)^OK$'"),
    ]);
}
