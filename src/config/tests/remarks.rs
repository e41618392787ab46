//! Remarks: the keys that have one, and configurations that have none.

use super::*;

/// Returns the remarks on one file of that text, as `LINE:COLUMN: text`; those on a configuration of one host
/// alone are left out.
fn remarks(text: &str) -> Vec<String> {
    let text = format!("targets = ['a.example', 'b.example']\n{text}");
    let config = config("remarks", &text).unwrap();
    let shown = |it: &Remark| format!("{}:{}: {}", it.location.line, it.location.column, it.text);
    config.remarks.iter().map(shown).collect()
}

#[test]
fn a_redirect_that_is_followed_is_not_what_status_is_asked_of() {
    let followed = |place: &str, codes: &str, most: u32| {
        format!(
            "{place}: status {codes} is of redirects, and they are followed (max_redirects {most}): \
             what they lead to is judged: set max_redirects = 0 to judge the redirect itself"
        )
    };
    let own = "[[target]]\nurl = 'c.example'\n";
    for (keys, want) in [
        ("status = 302", Some(followed("4:10", "302", 10))),
        ("max_redirects = 3\nstatus = [200, '301-308']", Some(followed("5:10", "301-308", 3))),
        ("status = ['300-399']", Some(followed("4:10", "300-399", 10))),
        ("status = 302\nmax_redirects = 0", None),
        ("status = '200-399'", None),
        ("status = [200, 304]", None),
        ("status = 404", None),
    ] {
        let want: Vec<String> = want.into_iter().collect();
        assert_eq!(remarks(&format!("{own}{keys}")), want, "{keys}");
    }
    // Every target of the defaults has the same remark, which is told once.
    let defaults = "[defaults]\nstatus = 302\n";
    assert_eq!(remarks(defaults), [followed("3:10", "302", 10)]);
    assert_eq!(remarks("[defaults]\nstatus = 302\nmax_redirects = 0"), [""; 0]);
    let elsewhere =
        remarks(&format!("[defaults]\nstatus = 302\nmax_redirects = 0\n{own}max_redirects = 1\n"));
    assert_eq!(elsewhere.len(), 1, "{elsewhere:?}");
    assert!(elsewhere[0].starts_with("7:17: status 302"), "{elsewhere:?}");
    assert!(elsewhere[0].contains("config.toml:3:10)"), "{elsewhere:?}");
}

#[test]
fn keys_that_do_nothing_are_remarked_on() {
    let folder = Folder::new("remarks-ca", &[("ca.pem", CA)]);
    let ca = format!("ca_file = '{}'", folder.0.join("ca.pem").display());
    for (url, keys, want) in [
        (
            "c.example",
            "method = 'HEAD'\nreject = 'error'",
            "5:10: reject never finds anything: the answer to HEAD has no body: drop it, or set \
             another method",
        ),
        (
            "c.example",
            "status = [204, 205]\nmatch = 'ok'",
            "5:9: match needs a body, and a reply of status 204, 205 has none: set match = []",
        ),
        (
            "c.example",
            "match = ['ok', 'x*']",
            "4:9: match \"x*\" is found in every body: drop it, or say more",
        ),
        (
            "c.example",
            "reject = ''",
            "4:10: reject \"\" is found in every body: drop it, or say more",
        ),
        (
            "c.example",
            "slow_after = '10s'",
            "4:14: slow_after 10s is never passed: timeout 10s comes first: lower slow_after, or \
             raise timeout",
        ),
        (
            "http://c.example",
            "max_redirects = 0\nmin_cert_days = 14",
            "5:17: min_cert_days does nothing here: http:// has no certificate",
        ),
        (
            "tcp://c.example:25",
            "min_cert_days = 14",
            "4:17: min_cert_days does nothing here: tcp:// without tls = true has no certificate",
        ),
        (
            "tcp://c.example:25",
            &ca,
            "4:11: ca_file does nothing here: tcp:// without tls = true has no certificate",
        ),
        (
            "c.example",
            &format!("{ca}\nverify = false"),
            "4:11: ca_file does nothing here: verify = false trusts anybody",
        ),
        ("http://c.example", "min_cert_days = 14", ""),
        ("http://c.example", "max_redirects = 0\nmin_cert_days = 0", ""),
        ("tcp://c.example:25", "tls = true\nmin_cert_days = 14", ""),
        ("c.example", "slow_after = '9s'\nmatch = '^$'\nreject = '.'", ""),
        ("c.example", "method = 'HEAD'\nstatus = 204", ""),
        ("c.example", "status = [200, 204]\nmatch = 'ok'", ""),
    ] {
        let found = remarks(&format!("[[target]]\nurl = '{url}'\n{keys}"));
        assert_eq!(found.join("\n"), want, "{url} {keys}");
    }
}

#[test]
fn the_whole_is_remarked_on_where_the_key_stands() {
    let found = remarks("[probe]\nmax_in_flight = 1\n[defaults]\ninterval = '10s'");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("3:17: if every target timed out, 2 checks"), "{found:?}");
    let found = remarks("[uplink]\ncanaries = []");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("3:12: no [uplink] canaries"), "{found:?}");
    for (canaries, want) in [
        ("['192.0.2.1:53']", true),
        ("['192.0.2.1:53', '[2001:db8::1]:53']", true),
        ("['192.0.2.1:53', 'gateway.example:80']", false),
        ("['gateway.example:80']", false),
    ] {
        let found = remarks(&format!("[uplink]\ncanaries = {canaries}"));
        let is_told = found.iter().any(|it| it.starts_with("3:12: no canary has a name"));
        assert_eq!((is_told, found.len()), (want, usize::from(want)), "{found:?}");
    }
    // If no name is looked up, there is none to doubt.
    let addresses = "targets = ['http://192.0.2.7', 'http://[2001:db8::7]']\n\
                     [uplink]\ncanaries = ['192.0.2.1:53']\n";
    assert_eq!(config("remarks-addresses", addresses).unwrap().remarks, []);
    let alone = config("remarks-alone", "\n[[target]]\nurl = 'a.example'").unwrap().remarks;
    let alone = alone.first().unwrap().to_string();
    assert!(alone.contains("config.toml:1:1: note: no [uplink] canaries"), "{alone}");
    assert_eq!(remarks(""), [""; 0]);
}

#[test]
fn the_example_has_no_remark() {
    let folder = Folder::new("remarks-example", &[("config.toml", EXAMPLE)]);
    let config = read(&[folder.0.join("config.toml")], &environment(), Need::Any).unwrap();
    assert_eq!(config.remarks, []);
}
