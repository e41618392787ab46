//! Targets that are read right.

use std::time::Duration;

use super::*;
use crate::model::expression::Expression;

use crate::model::connect::{Connect, Family, HttpVersion, Identity, TlsVersion};
use crate::model::secret::{Login, Secret};
use crate::model::target::Method;

#[test]
fn a_targets_defaults_are_those_of_a_lone_one() {
    let config = config("lone", "targets = [\"u:p@example.org/?q\"]").unwrap();
    let lone = parse_target("u:p@example.org/?q").unwrap();
    assert_eq!(format!("{:?}", config.targets[0]), format!("{lone:?}"));
    assert_eq!(&*lone.name, "example.org/");
    assert_eq!(lone.login.unwrap().password.0, "p");
    let fault = parse_target("ftp://u:secret@example.org").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "\"ftp://***@example.org\" has the scheme \"ftp\": allowed are http, https and tcp"
    );
}

#[test]
fn a_password_that_is_put_in_is_one_value_everywhere() {
    let text = r#"
        targets = ["https://u:${PASSWORD}@list.example/"]
        [[target]]
        url = "http://u:${PASSWORD}@own.example/a"
        proxy = "http://me:${PASSWORD}@proxy.example:3128"
        [postgres]
        url = "postgresql://u:${PASSWORD}@db.example/d"
    "#;
    let whole = "12/p@ss#w?r%41d b";
    let read = config("put-in", text).unwrap();
    let [own, list] = &read.targets[..] else { panic!("{:?}", read.targets) };
    for (target, host) in [(own, "own.example"), (list, "list.example")] {
        assert_eq!(target.url.host_str(), Some(host));
        assert_eq!(target.login.as_ref().unwrap().password.0, whole);
    }
    let proxy = own.connect.proxy.as_ref().unwrap();
    assert_eq!(proxy.url.as_str(), "http://proxy.example:3128/");
    assert_eq!(proxy.login.as_ref().unwrap().password.0, whole);
    let database = &read.postgres.as_ref().unwrap().dsn.config;
    assert_eq!(database.get_password(), Some(whole.as_bytes()));
    let keywords = "[postgres]\nurl = \"host=h password=${PASSWORD} dbname=d\"";
    let database = config("put-in", keywords).unwrap().postgres.unwrap().dsn.config;
    assert_eq!(database.get_password(), Some(whole.as_bytes()));
    assert_eq!(database.get_dbname(), Some("d"));
    let shown = format!("{}{read:?}", print(&read));
    assert!(!shown.contains("12/p") && !shown.contains("12%2F"), "{shown}");
}

#[test]
fn own_keys_win_over_defaults_and_replace_them_whole() {
    let text = r#"
        targets = ["list.example"]
        targets_file = "sites.txt"
        [defaults]
        interval = "30s"
        method = "POST"
        headers = { B = "${TOKEN}", A = "2" }
        status = [200, "300-399"]
        match = "m"
        labels = { team = "web", site = "$${HOST}" }
        nodes = ["office", "shop-*"]
        ca_file = "ca.pem"
        verify = false
        [[target]]
        url = "https://${HOST}/a"
        name = "own"
        interval = "5s"
        headers = { C = "3" }
        match = []
        reject = ["x", "y"]
        labels = {}
        nodes = []
        verify = true
        max_body = "1MiB"
        excerpt = "16KiB"
        slow_after = "2s"
        status = 204
    "#;
    let sites = "\u{feff}# list\r\n\r\nfile.example # last\r\n";
    let files = [("config.toml", text), ("sites.txt", sites), ("ca.pem", CA)];
    let folder = Folder::new("own", &files);
    let paths = [folder.0.join("config.toml")];
    let config = read(&paths, &environment(), Need::Targets).unwrap();
    let [own, list, file] = &config.targets[..] else { panic!("{:?}", config.targets) };

    assert_eq!((&*own.name, own.url.as_str()), ("own", "https://example.org/a"));
    assert_eq!((own.interval, own.timeout), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!(own.headers, [make_header("C", "3").unwrap()]);
    assert_eq!((own.matches.len(), own.rejects.len(), own.labels.len()), (0, 2, 0));
    assert_eq!((own.max_body, own.excerpt, own.verify), (1 << 20, 16 << 10, true));
    assert_eq!(own.slow_after, Some(Duration::from_secs(2)));
    assert_eq!(own.status.to_string(), "204");
    assert_eq!(own.method, Method::Post);
    assert!(own.is_for("anyone"));

    for (target, name) in [(list, "list.example"), (file, "file.example")] {
        assert_eq!((&*target.name, target.method), (name, Method::Post));
        assert_eq!(target.url.as_str(), format!("https://{name}/"));
        assert_eq!(
            (target.interval, target.timeout),
            (Duration::from_secs(30), Duration::from_secs(10))
        );
        assert_eq!(
            target.headers,
            [make_header("B", "secret").unwrap(), make_header("A", "2").unwrap()]
        );
        assert_eq!(target.status.to_string(), "200, 300-399");
        assert_eq!(target.labels["site"], "${HOST}");
        assert!(target.is_for("office") && target.is_for("shop-1") && !target.is_for("anyone"));
        assert_eq!(target.ca_file, Some(folder.0.join("ca.pem")));
        assert!(!target.verify && target.matches.len() == 1 && target.rejects.is_empty());
    }
}

#[test]
fn a_timeout_that_was_not_written_bends_to_the_interval() {
    for (keys, timeout) in [
        ("", Ok(10)),
        ("interval = \"3s\"", Ok(3)),
        ("interval = \"3s\"\ntimeout = \"3s\"", Ok(3)),
        ("interval = \"5m\"\ntimeout = \"2m\"", Ok(120)),
        ("timeout = \"60s\"", Ok(60)),
        ("timeout = \"61s\"", Err("timeout 1m1s is longer than the interval of 1m")),
        (
            "interval = \"3s\"\ntimeout = \"4s\"",
            Err("timeout 4s is longer than the interval of 3s"),
        ),
    ] {
        let text = format!("[[target]]\nurl = \"example.org\"\n{keys}");
        match (config("timeout", &text), timeout) {
            (Ok(config), Ok(seconds)) => {
                assert_eq!(config.targets[0].timeout, Duration::from_secs(seconds), "{keys}");
            }
            (Err(faults), Err(text)) => assert!(faults.to_string().contains(text), "{faults}"),
            (found, _) => panic!("{keys}: {found:?}"),
        }
    }
}

/// A configuration with every key of a connection.
const CONNECTION: &str = r#"
    targets = ["https://u:p@list.example/"]
    [defaults]
    family = 4
    resolve = "192.0.2.1"
    interface = "wan"
    proxy = "socks5h://me:hush%3A@proxy.example:1080"
    cert_file = "c.pem"
    key_file = "k.pem"
    key_password = "${TOKEN}"
    server_name = "WWW.example"
    tls_min = "1.3"
    tls_legacy = true
    http = "2"
    tls = true
    reuse = true
    basic = "user:hush"
    [[target]]
    url = "own.example"
    proxy = "none"
    resolve = "192.0.2.2"
    bearer = "token"
    http = "1.1"
    [[target]]
    url = "header.example"
    headers = { AUTHORIZATION = "mine" }
"#;

#[test]
fn the_way_to_a_target_is_read() {
    let files = [("config.toml", CONNECTION), ("c.pem", CLIENT), ("k.pem", KEY)];
    let folder = Folder::new("way", &files);
    let paths = [folder.0.join("config.toml")];
    let config = read(&paths, &environment(), Need::Targets).unwrap();
    let [own, header, list] = &config.targets[..] else { panic!("{:?}", config.targets) };
    let secret = |text: &str| Secret(text.to_owned());
    let login =
        |user: &str, password: &str| Some(Login { user: secret(user), password: secret(password) });
    let proxy = list.connect.proxy.as_ref().unwrap();
    assert_eq!(proxy.url.as_str(), "socks5h://proxy.example:1080");
    assert_eq!(proxy.login, login("me", "hush:"));
    let way = Connect {
        family: Family::V4,
        resolve: Some("192.0.2.1".parse().unwrap()),
        interface: Some("wan".to_owned()),
        proxy: Some(proxy.clone()),
        identity: Some(Arc::new(Identity {
            cert_file: folder.0.join("c.pem"),
            key_file: folder.0.join("k.pem"),
            key_password: Some(secret("secret")),
        })),
        server_name: Some("www.example".to_owned()),
        tls_min: TlsVersion::V1_3,
        tls_legacy: true,
        http: HttpVersion::V2,
        tls: true,
        reuse: true,
    };
    assert_eq!(list.connect, way);
    assert_eq!(header.connect, way);
    let resolve = Some("192.0.2.2".parse().unwrap());
    assert_eq!(own.connect, Connect { proxy: None, resolve, http: HttpVersion::V1_1, ..way });
    // The nearest login wins: that of the URL, of a key of the target, of a header; and there is one of them.
    assert_eq!((&list.login, &list.bearer), (&login("u", "p"), &None));
    assert_eq!((&own.login, &own.bearer), (&None, &Some(secret("token"))));
    assert_eq!((&header.login, &header.bearer), (&None, &None));

    let printed = print(&config);
    for line in [
        r#"proxy = "socks5h://***@proxy.example:1080""#,
        r#"proxy = "none""#,
        r#"bearer = "***""#,
        r#"key_password = "***""#,
        r#"resolve = "192.0.2.2""#,
        r#"family = "4""#,
        r#"tls_min = "1.3""#,
        "tls_legacy = true",
        r#"http = "1.1""#,
    ] {
        assert!(printed.lines().any(|of| of == line), "no {line} in {printed}");
    }
    for secret in ["hush", "secret", "token"] {
        let shown = format!("{printed}{config:?}");
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
}

#[test]
fn a_plain_connection_has_what_is_not_of_http() {
    let text = r#"
        [defaults]
        interval = "30s"
        method = "POST"
        body = "b"
        match = ["m"]
        status = 204
        max_body = "1MiB"
        excerpt = "1KiB"
        http = "2"
        reuse = true
        expect = "^220"
        tls = true
        min_cert_days = 7
        [[target]]
        url = "tcp://Пример.example:25"
        expect = "ready"
        [[target]]
        url = "TCP://[2001:db8::1]:443/"
        tls = false
        [[target]]
        name = "site"
        url = "example.org"
    "#;
    let config = config("tcp", text).unwrap();
    let [mail, plain, site] = &config.targets[..] else { panic!("{:?}", config.targets) };
    assert_eq!(mail.url.as_str(), "tcp://xn--e1afmkfd.example:25");
    assert_eq!(&*mail.name, "tcp://Пример.example:25");
    assert_eq!(mail.matches.iter().map(Expression::as_str).collect::<Vec<_>>(), ["ready"]);
    assert_eq!((mail.method, mail.body.0.as_str(), mail.excerpt), (Method::Get, "", 0));
    assert_eq!((mail.interval, mail.min_cert_days), (Duration::from_secs(30), 7));
    assert!(mail.connect.tls && !mail.connect.reuse && !plain.connect.tls);
    assert_eq!(plain.url.as_str(), "tcp://[2001:db8::1]:443");
    assert_eq!(plain.matches.iter().map(Expression::as_str).collect::<Vec<_>>(), ["^220"]);
    // The keys of plain connections do not apply to a site.
    assert_eq!(site.matches.iter().map(Expression::as_str).collect::<Vec<_>>(), ["m"]);
    assert!(site.connect.reuse && site.method == Method::Post && !site.is_tcp());
    let printed = print(&config);
    let again = print(&super::config("tcp", &printed).unwrap());
    assert_eq!(again.replace("\"***\"", "\"b\""), printed.replace("\"***\"", "\"b\""));
    for line in ["expect = \"ready\"", "expect = \"^220\"", "tls = true", "reuse = true"] {
        assert!(printed.lines().any(|of| of == line), "no {line} in {printed}");
    }
}
