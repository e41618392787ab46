use super::*;

const NOW_S: i64 = 1_795_230_000;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn place(url: &Url) -> Destination<'_> {
    Destination { host: url.host_str().unwrap(), url }
}

/// Returns the cookies that `there` gets after `here` has sent these lines.
fn sent(here: &str, lines: &[&str], there: &str) -> Option<String> {
    let (here, there) = (url(here), url(there));
    let mut jar = Jar::default();
    for line in lines {
        jar.set(line.as_bytes(), place(&here), NOW_S);
    }
    jar.header(place(&there), None, NOW_S)
}

#[test]
fn a_cookie_goes_where_it_belongs() {
    for (here, line, there, goes) in [
        ("http://a.test/", "k=v", "http://a.test/", true),
        ("http://a.test/", "k=v", "http://a.test:81/x/y?z", true),
        ("http://a.test/", "k=v", "https://a.test/", true),
        ("http://a.test/", "k=v", "http://b.a.test/", false),
        ("http://a.test/", "k=v", "http://b.test/", false),
        ("http://a.test/", "k=v", "http://xa.test/", false),
        ("http://a.test/", "k=v; Domain=a.test", "http://b.a.test/", true),
        ("http://a.test/", "k=v; domain=.A.Test", "http://b.a.test/", true),
        ("http://b.a.test/", "k=v; Domain=a.test", "http://a.test/", true),
        ("http://b.a.test/", "k=v; Domain=a.test", "http://c.a.test/", true),
        ("http://b.a.test/", "k=v; Domain=a.test", "http://ba.test/", false),
        ("http://b.a.test/", "k=v; Domain=", "http://b.a.test/", true),
        ("http://b.a.test/", "k=v; Domain=", "http://a.test/", false),
        // Domains of another host, of a host below, of all hosts.
        ("http://a.test/", "k=v; Domain=b.test", "http://b.test/", false),
        ("http://a.test/", "k=v; Domain=b.test", "http://a.test/", false),
        ("http://a.test/", "k=v; Domain=b.a.test", "http://b.a.test/", false),
        ("http://a.test/", "k=v; Domain=test", "http://a.test/", false),
        ("http://a.test/", "k=v; Domain=test", "http://b.test/", false),
        ("http://localhost/", "k=v; Domain=localhost", "http://localhost/", true),
        ("http://localhost/", "k=v; Domain=localhost", "http://a.localhost/", false),
        // Addresses have no domain.
        ("http://127.0.0.1/", "k=v", "http://127.0.0.1:81/", true),
        ("http://127.0.0.1/", "k=v; Domain=127.0.0.1", "http://127.0.0.1/", true),
        ("http://127.0.0.1/", "k=v; Domain=0.0.1", "http://127.0.0.1/", false),
        ("http://127.0.0.1/", "k=v", "http://127.0.0.2/", false),
        ("http://[::1]/", "k=v; Domain=[::1]", "http://[::1]/", true),
        ("http://xn--bcher-kva.test/", "k=v; Domain=bücher.test", "http://bücher.test/", true),
        ("https://a.test/", "k=v; Secure", "https://a.test/", true),
        ("https://a.test/", "k=v; secure", "http://a.test/", false),
        ("http://a.test/", "k=v; HttpOnly; SameSite=Strict; Priority=x", "http://a.test/", true),
        ("http://a.test/", "k=v; Path=/x", "http://a.test/x", true),
        ("http://a.test/", "k=v; Path=/x", "http://a.test/x/y", true),
        ("http://a.test/", "k=v; Path=/x", "http://a.test/xy", false),
        ("http://a.test/", "k=v; Path=/x/", "http://a.test/x", false),
        ("http://a.test/", "k=v; Path=/x/", "http://a.test/x/y", true),
        ("http://a.test/", "k=v; Path=/x; Path=/", "http://a.test/", true),
        ("http://a.test/x/y", "k=v", "http://a.test/x", true),
        ("http://a.test/x/y", "k=v", "http://a.test/", false),
        ("http://a.test/x/y", "k=v; Path=", "http://a.test/x/z", true),
        ("http://a.test/x/y", "k=v; Path=z", "http://a.test/z", false),
        ("http://a.test/x", "k=v", "http://a.test/", true),
    ] {
        let want = goes.then(|| "k=v".to_owned());
        assert_eq!(sent(here, &[line], there), want, "{here} {line} {there}");
    }
}

#[test]
fn a_cookie_ends_in_its_time() {
    let here = "http://a.test/";
    for (line, lives) in [
        ("k=v; Max-Age=1", true),
        ("k=v; Max-Age=0", false),
        ("k=v; max-age=-99999999999999999999", false),
        ("k=v; Max-Age=99999999999999999999", true),
        ("k=v; Max-Age=x", true),
        ("k=v; Max-Age=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", true),
        ("k=v; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=1", true),
        ("k=v; Expires=Thu, 01 Jan 2099 00:00:00 GMT; Max-Age=0", false),
        ("k=v; Expires=Thu, 01-Jan-1970 00:00:00 GMT", false),
        ("k=v; Expires=Thu, 01-Jan-70 00:00:00 GMT", false),
        ("k=v; Expires=Thu, 01-Jan-69 00:00:00 GMT", true),
        ("k=v; Expires=Sat Nov 21 03:00:00 2026", false),
        ("k=v; Expires=Sat Nov 21 03:00:01 2026", true),
        ("k=v; Expires=never", true),
        ("k=v; Expires=Thu, 31 Feb 1999 00:00:00 GMT", true),
        ("k=v; Expires=Thu, 01 Jan 1500 00:00:00 GMT", true),
    ] {
        assert_eq!(sent(here, &[line], here).is_some(), lives, "{line}");
    }
    // Later it is over.
    let (here, mut jar) = (url(here), Jar::default());
    jar.set(b"k=v; Max-Age=5", place(&here), NOW_S);
    assert!(jar.header(place(&here), None, NOW_S + 4).is_some());
    assert_eq!(jar.header(place(&here), None, NOW_S + 5), None);
}

#[test]
fn dates_are_read_in_any_order() {
    for text in [
        "Sat, 21 Nov 2026 03:00:00 GMT",
        "Saturday, 21-Nov-26 03:00:00 GMT",
        "Sat Nov 21 3:0:0 2026",
        "03:00:00 november 21st 2026",
        "2026 21 Nov 03:00:00.5",
    ] {
        assert_eq!(date::read(text), Some(NOW_S), "{text}");
    }
    for text in ["", "21 Nov 2026", "Sat, 21 Nov 03:00:00", "21 Nov 2026 25:00:00", "é:é:é 1 Jan 9"]
    {
        assert_eq!(date::read(text), None, "{text}");
    }
}

#[test]
fn cookies_of_one_name_take_each_others_place() {
    let here = "http://a.test/x/y";
    let at = |lines: &[&str]| sent(here, lines, here).unwrap_or_default();
    assert_eq!(at(&["k=1", "b=2", "k=3"]), "k=3; b=2");
    assert_eq!(at(&["k=1", "k=; Max-Age=0"]), "");
    assert_eq!(at(&["k=1; Path=/", "k=2"]), "k=2; k=1");
    assert_eq!(at(&["k=1", "k=2; Domain=a.test"]), "k=2");
    for (line, want) in [
        (" k = v w ; x", "k=v w"),
        ("k=\"v\"", "k=\"v\""),
        ("k=a=b", "k=a=b"),
        ("k", "k"),
        ("=v", "v"),
        ("k=", "k="),
        ("", ""),
        (";Path=/", ""),
        ("k=v\u{1}", ""),
        ("k=v\0", ""),
        ("k=ä", "k=ä"),
    ] {
        assert_eq!(at(&[line]), want, "{line:?}");
    }
    let (here, mut jar) = (url(here), Jar::default());
    jar.set(b"k=\xff", place(&here), NOW_S);
    assert_eq!(jar, Jar::default());
}

#[test]
fn the_users_cookies_go_along() {
    let (here, mut jar) = (url("http://a.test/"), Jar::default());
    let own = Some("id=1; theme=dark;");
    assert_eq!(jar.header(place(&here), own, NOW_S).as_deref(), own);
    jar.set(b"seen=yes", place(&here), NOW_S);
    let both = jar.header(place(&here), own, NOW_S);
    assert_eq!(both.as_deref(), Some("id=1; theme=dark; seen=yes"));
    jar.set(b"id=2", place(&here), NOW_S);
    let newer = jar.header(place(&here), own, NOW_S);
    assert_eq!(newer.as_deref(), Some("theme=dark; seen=yes; id=2"));
    assert_eq!(jar.header(place(&here), None, NOW_S).as_deref(), Some("seen=yes; id=2"));
}

#[test]
fn no_site_fills_the_jar() {
    let here = url("http://a.test/");
    let mut jar = Jar::default();
    for at in 0..1000 {
        jar.set(format!("k{at}=v").as_bytes(), place(&here), NOW_S);
    }
    assert_eq!(jar.cookies.len(), COOKIES_MAX);
    let mut jar = Jar::default();
    let long = "v".repeat(COOKIE_BYTES_MAX);
    for at in 0..1000 {
        let value = &long[3..];
        jar.set(format!("k{}={value}", at % 10).as_bytes(), place(&here), NOW_S);
        jar.set(format!("k={value}v").as_bytes(), place(&here), NOW_S);
        jar.set(format!("kk={long}").as_bytes(), place(&here), NOW_S);
    }
    let held: usize = jar.cookies.iter().map(Cookie::size).sum();
    assert!(held > JAR_BYTES_MAX / 2 && held <= JAR_BYTES_MAX, "{held}");
}
