//! What `check` prints and how it ends: exit codes, counts, names, and nothing that could reach
//! for the terminal.

use std::time::Duration;

use crate::harness::binary::Output;
use crate::harness::{Fields, Listener, Script, Sitewatch, dead, json};

/// A server with `/up`, `/down` and `/slow`.
fn site() -> Listener {
    let site = Listener::http();
    site.on("/up", Script::ok("hello")).on("/down", Script::status(503));
    site.on("/slow", Script::ok("late").delay_first_byte(Duration::from_millis(200)));
    site
}

fn check(args: &[&str]) -> Output {
    Sitewatch::new().args(["check"]).args(args).run()
}

#[test]
fn exit_codes() {
    let site = site();
    let (up, down) = (site.url("/up"), site.url("/down"));
    // Without roots https is unknown.
    let unknown = |args: &[&str]| {
        Sitewatch::new()
            .env("SSL_CERT_FILE", "/dev/null")
            .args(["check", "https://127.0.0.1:1/"])
            .args(args)
            .run()
            .code
    };
    assert_eq!(check(&[&up]).code, Some(0));
    assert_eq!(check(&[&up, "--slow-after", "1us"]).code, Some(0));
    assert_eq!(check(&[&down]).code, Some(1));
    assert_eq!(check(&[&up, &down]).code, Some(1));
    assert_eq!(unknown(&[]), Some(2));
    assert_eq!(unknown(&[&up]), Some(2));
    assert_eq!(unknown(&[&up, &down]), Some(1));
    for (args, words) in [
        (&[][..], "check what?"),
        (&["http://"], "http://"),
        (&["gopher://127.0.0.1/"], "http"),
        (&["nowhere"], "no target of the configuration"),
        (&[&up, "--status", "2xx"], "200-299"),
        (&[&up, "--match", "("], "--match"),
        (&[&up, "--method", "BREW"], "OPTIONS"),
        (&[&up, "--timeout", "0s"], "--timeout"),
        (&[&up, "--count", "0"], "--count"),
        (&[&up, "--frob"], "--frob"),
    ] {
        let done = check(args);
        assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{args:?} {done:?}");
        assert!(done.stderr.contains(words) && done.stderr.lines().count() == 1, "{done:?}");
    }
}

#[test]
fn a_waterfall_says_what_happened() {
    let site = site();
    let done = check(&[&site.url("/up"), "--match", "h(el+)o"]);
    for words in [
        "  200  HTTP/1.1  127.0.0.1  5 bytes",
        "  first byte  ",
        "  total  ",
        "\n  up\n",
        "found hello",
    ] {
        assert!(done.stdout.contains(words), "{words:?} {}", done.stdout);
    }
    assert!(
        !done.stdout.contains("tls") && !done.stdout.contains('\x1b') && done.stderr.is_empty()
    );
    let refused = dead::refused();
    let done = check(&[&refused.url("/")]);
    let words = format!("  down: cannot connect to {}: connection refused", refused.address());
    assert!(done.stdout.contains("failed") && done.stdout.contains(&words), "{}", done.stdout);
    // Over redirects the phases are sums: none of them is the one that failed.
    site.on("/", Script::redirect(302, refused.url("/")));
    let done = check(&[&site.url("/")]);
    assert!(
        done.stdout.contains("1 redirect") && !done.stdout.contains("failed"),
        "{}",
        done.stdout
    );
}

#[test]
fn as_often_as_asked() {
    let site = site();
    let done = check(&[
        &site.url("/up"),
        &site.url("/down"),
        "--count",
        "3",
        "--every",
        "100ms",
        "--format",
        "json",
    ]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let records = json::lines(&done.stdout);
    let told: Vec<_> =
        records.iter().map(|r| (r.text("target").to_owned(), r.text("verdict"))).collect();
    let round = [(site.url("/up"), "up"), (site.url("/down"), "down")];
    assert_eq!(told, [round.clone(), round.clone(), round].concat());
    let due: Vec<i64> = records.iter().map(|record| record.int("due_ms")).collect();
    // 200 ms, less what the first was late.
    assert!(due[4] >= due[0] + 120, "{due:?}");
    for record in &records {
        assert_eq!((record.int("v"), record.text("kind"), record.int("attempts")), (1, "check", 1));
    }
    assert_eq!((site.connections(), site.log().len()), (6, 6));
}

#[test]
fn targets_of_the_configuration_by_name_or_all() {
    let site = site();
    let text = format!(
        "[defaults]\nmatch = 'hello'\n[[target]]\nname = 'shop'\nurl = '{}'\n[[target]]\nname = 'mail'\nurl = '{}'\n",
        site.url("/up"),
        site.url("/down")
    );
    let check = |args: &[&str]| {
        let done = Sitewatch::new()
            .file("a.toml", &text)
            .args(["check", "-c", "a.toml", "--format", "json"])
            .args(args)
            .run();
        let told: Vec<_> = json::lines(&done.stdout)
            .iter()
            .map(|r| format!("{} {} {}", r.text("target"), r.text("verdict"), r.flag("match_ok")))
            .collect();
        (done.code, told.join(", "))
    };
    assert_eq!(check(&["shop"]), (Some(0), "shop up true".into()));
    assert_eq!(check(&["mail", "shop"]), (Some(1), "mail down false, shop up true".into()));
    assert_eq!(check(&["--all"]), (Some(1), "shop up true, mail down false".into()));
    // A flag adds to what the configuration says, or takes its place.
    assert_eq!(check(&["mail", "--status", "503"]), (Some(1), "mail down false".into()));
    assert_eq!(check(&["shop", "--reject", "ell"]), (Some(1), "shop down false".into()));
    assert_eq!(check(&["shop", "--status", "404"]), (Some(1), "shop down true".into()));
    assert_eq!(check(&["nobody"]), (Some(2), String::new()));
}

#[test]
fn all_are_those_of_this_node() {
    let site = site();
    let [up, down] = [site.url("/up"), site.url("/down")];
    let target = |name: &str, url: &str, nodes: &str| {
        format!("[[target]]\nname = '{name}'\nurl = '{url}'\nnodes = {nodes}\n")
    };
    let text = "node = 'shop-12'\n".to_owned()
        + &target("here", &up, "['office', 'shop-*']")
        + &target("there", &down, "['office']")
        + &target("everywhere", &up, "[]");
    let done = |command: &[&str], text: &str| {
        Sitewatch::new().file("a.toml", text).args(command).args(["-c", "a.toml"]).run()
    };
    let all = ["check", "--all", "--format", "json"];
    let told = json::lines(&done(&all, &text).stdout);
    let told: Vec<&str> = told.iter().map(|record| record.text("target")).collect();
    assert_eq!(told, ["here", "everywhere"]);
    // By its name a target is checked wherever one asks for it.
    assert_eq!(done(&["check", "there"], &text).code, Some(1));

    let elsewhere = "state_dir = '.'\nnode = 'pi'\n".to_owned() + &target("t", &up, "['office']");
    for command in [&all[..], &["run"]] {
        let done = done(command, &elsewhere);
        let want = "sitewatch: none of 1 target has \"pi\" among its nodes: set node, or nodes\n";
        assert_eq!((done.code, &*done.stderr), (Some(2), want));
    }
}

#[test]
fn many_at_once_are_measured_as_if_alone() {
    let site = Listener::http();
    site.always(Script::ok("x").delay_first_byte(Duration::from_millis(200)));
    let urls: Vec<String> = (0..60).map(|i| site.url_at("localhost", &format!("/{i}"))).collect();
    let done = Sitewatch::new().args(["check", "--format", "json"]).args(&urls).run();
    let records = json::lines(&done.stdout);
    assert_eq!((done.code, records.len()), (Some(0), 60), "{done:?}");
    for (record, url) in records.iter().zip(&urls) {
        assert_eq!(record.text("target"), url);
        // A start that waited for others would have it in its first phase, and not connect.
        assert!(record.int("connect_us") > 0 && record.int("dns_us") > 0, "{done:?}");
        assert!(record.int("first_byte_us") >= 150_000, "{done:?}");
    }
    // At once, not one after the other.
    assert!(done.took < Duration::from_secs(6), "{:?}", done.took);
}

#[test]
fn a_site_cannot_reach_the_terminal() {
    let nasty = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\r\u{202e}\u{2066}evil\n";
    let site = Listener::http();
    site.on("/body", Script::ok(nasty));
    site.on("/reason", Script::status(500).reason("\x1b[2J"));
    site.on("/header", Script::ok("x").header("X-\x1b[2J", "\x1b[2J"));
    site.on("/location", Script::redirect(302, format!("\x1b[2J://{nasty}")));
    site.on("/host", Script::redirect(302, "http://a\x1b[2J.invalid/"));
    site.on("/encoding", Script::ok("x").header("Content-Encoding", "\x1b[2J"));
    site.on("/garbage", Script::raw(nasty));
    site.on("/length", Script::raw("HTTP/1.1 200 OK\r\nContent-Length: \x1b[2J\r\n\r\n"));
    for path in
        ["/body", "/reason", "/header", "/location", "/host", "/encoding", "/garbage", "/length"]
    {
        for flags in [&["--match", "(?s).+"][..], &["--reject", "(?s).+"], &["--match", "x\x1b[3]"]]
        {
            for more in [&[][..], &["-v", "-v"], &["--format", "json"]] {
                let done =
                    Sitewatch::new().args(["check", &site.url(path)]).args(flags).args(more).run();
                let all = format!("{}{}", done.stdout, done.stderr);
                let marks = ['\u{202e}', '\u{2066}'];
                let control =
                    all.chars().find(|c| (c.is_control() && *c != '\n') || marks.contains(c));
                assert!(control.is_none() && !all.is_empty(), "{path} {flags:?} {more:?}: {all:?}");
            }
        }
    }
}
