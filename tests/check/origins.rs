//! Secrets travel to the target's own origin and nowhere else, and are shown nowhere.

use std::time::Duration;

use crate::harness::listener::Seen;
use crate::harness::{Listener, Script, Sitewatch, certs};

const DEADLINE: Duration = Duration::from_secs(10);

/// `user:hunter2` and `user:hunter2%21`.
const BASIC: &str = "Basic dXNlcjpodW50ZXIyIQ==";

const FLAGS: [&str; 12] = [
    "--header",
    "Authorization: Bearer hunter2",
    "--header",
    "Cookie: id=hunter2",
    "--header",
    "X-Api-Key: hunter2",
    "--header",
    "User-Agent: me",
    "--header",
    "Accept: text/html",
    "--header",
    "Accept-Language: de",
];

const SECRET: [&str; 3] = ["Authorization", "Cookie", "X-Api-Key"];

/// Whether secrets came along: all or none. What is harmless always does.
fn knows(seen: &Seen) -> bool {
    for (name, value) in [("User-Agent", "me"), ("Accept", "text/html"), ("Accept-Language", "de")]
    {
        assert_eq!(seen.header(name), Some(value), "{seen:?}");
    }
    let known = SECRET.map(|name| seen.header(name).is_some_and(|value| value.contains("hunter2")));
    assert!(known == [true; 3] || known == [false; 3], "{seen:?}");
    assert!(known[0] || !format!("{seen:?}").contains("hunter2"), "{seen:?}");
    known[0]
}

#[test]
fn a_body_stays_with_its_origin() {
    let (home, other) = (Listener::http(), Listener::http());
    for listener in [&home, &other] {
        listener.on("/end", Script::ok("x"));
    }
    for (status, location, arrives) in [
        (307, other.url("/end"), false),
        (308, other.url("/end"), false),
        (307, home.url("/end"), true),
    ] {
        home.on("/", Script::redirect(status, location.as_str()));
        let body = ["--method", "POST", "--body", "password=hunter2"];
        let done = Sitewatch::new().args(["check", &home.url("/")]).args(body).run();
        assert_eq!(done.code, Some(i32::from(!arrives)), "{status} {location}: {done:?}");
        let refused = done.stdout.contains("the body of the request is not sent there");
        assert_eq!(refused, !arrives, "{status} {location}: {done:?}");
    }
    assert!(other.settled(DEADLINE).is_empty(), "the other origin was asked");
    let last = home.settled(DEADLINE).pop().unwrap();
    assert_eq!((last.path.as_str(), last.body.as_slice()), ("/end", &b"password=hunter2"[..]));
}

#[test]
fn headers_stay_with_their_origin() {
    let (home, other) = (Listener::everywhere(), Listener::everywhere());
    let secure = Listener::https(&certs::set().good);
    let login = format!("http://user:pass@127.0.0.1:{}/end", other.address().port());
    // Where the redirect leads, and whether that is home.
    let cases = [
        (home.url_at("127.0.0.1", "/end"), true),
        ("/end".to_owned(), true),
        (other.url_at("127.0.0.1", "/end"), false),
        (home.url_at("localhost", "/end"), false),
        (home.url_at("127.0.0.2", "/end"), false),
        (secure.url("/end"), false),
        (login, false),
    ];
    for (location, is_home) in cases {
        for listener in [&home, &other, &secure] {
            listener.on("/end", Script::ok("x"));
        }
        home.on("/", Script::redirect(302, &*location));
        let before = [&home, &other, &secure].map(|listener| listener.log().len());
        let done = Sitewatch::new()
            .env("SSL_CERT_FILE", certs::ca_file())
            .args(["check", &home.url_at("127.0.0.1", "/")])
            .args(FLAGS)
            .run();
        assert_eq!(done.code, Some(0), "{location}: {done:?}");
        let mut seen = Vec::new();
        for (listener, before) in [&home, &other, &secure].into_iter().zip(before) {
            seen.extend(listener.settled(DEADLINE).split_off(before));
        }
        assert_eq!(seen.iter().map(knows).collect::<Vec<_>>(), [true, is_home], "{location}");
    }
}

#[test]
fn a_way_through_another_origin_leaves_them_at_home() {
    let (home, other) = (Listener::http(), Listener::http());
    home.on("/", Script::redirect(302, other.url("/"))).on("/end", Script::ok("x"));
    other.on("/", Script::redirect(302, home.url("/end")));
    let done = Sitewatch::new().args(["check", &home.url("/")]).args(FLAGS).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!knows(&other.settled(DEADLINE)[0]));
    assert!(knows(&home.settled(DEADLINE)[0]));
}

#[test]
fn a_login_in_the_url_is_sent_home_and_shown_nowhere() {
    let (home, other) = (Listener::http(), Listener::http());
    home.on("/", Script::redirect(302, "/again"))
        .on("/again", Script::redirect(302, other.url("/")));
    home.on("/cut", Script::ok("x").cut_body_at(0)).on("/up", Script::ok("x"));
    home.on("/astray", Script::redirect(302, "ftp://a:hunter2@b/?hunter2"));
    other.always(Script::ok("x"));
    let port = home.address().port();
    for path in ["/", "/cut", "/up", "/astray", "/gone"] {
        for flags in [&[][..], &["--format", "json"], &["-v", "-v"], &["--timeout", "1us"]] {
            let url =
                format!("http://user:hunter2%21@127.0.0.1:{port}{path}?token=hunter2#hunter2");
            let done = Sitewatch::new().args(["check", &url]).args(flags).run();
            assert!(matches!(done.code, Some(0 | 1)), "{done:?}");
            assert!(!format!("{done:?}").contains("hunter2"), "{done:?}");
        }
    }
    let log = home.settled(DEADLINE);
    assert!(log.iter().all(|seen| seen.header("authorization") == Some(BASIC)), "{log:?}");
    assert!(log.iter().any(|seen| seen.path == "/again"), "{log:?}");
    let log = other.settled(DEADLINE);
    assert!(
        !log.is_empty() && log.iter().all(|seen| seen.header("authorization").is_none()),
        "{log:?}"
    );
}

#[test]
fn wrong_calls_show_no_secret_either() {
    for args in [
        &["check", "http://user:hunter2@[::1/"][..],
        &["check", "ftp://user:hunter2@127.0.0.1/"],
        &["check", "http://user:hunter2@127.0.0.1:99999/"],
        &["check", "http://127.0.0.1:1/", "--header", "hunter2"],
        &["check", "http://127.0.0.1:1/", "--header", "X-Key: hunter2\r\nb"],
    ] {
        let done = Sitewatch::new().args(args).run();
        assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{args:?}: {done:?}");
        assert!(!done.stderr.contains("hunter2") && !done.stderr.is_empty(), "{args:?}: {done:?}");
    }
}
