//! Whom the program trusts on a host that has no CA certificates of its own, at each of its three
//! doors: the check, Kafka, PostgreSQL. Mozilla's roots are compiled in; what the user names wins.

use std::path::Path;
use std::time::Duration;

use crate::harness::binary::Output;
use crate::harness::daemon::random;
use crate::harness::kafka::Door;
use crate::harness::{
    Fields, Kafka, Listener, Postgres, Script, Sitewatch, Temp, Tls, certs, json,
};
use crate::road::probe::{FAST, command, stop, targets};

const DEADLINE: Duration = Duration::from_secs(40);

/// What the log says where Mozilla's are trusted.
const MOZILLA: &str = "of Mozilla as of 20";

fn check(listener: &Listener, flags: &[&str], environment: &[(&str, &Path)]) -> Output {
    let mut program = Sitewatch::new();
    for (name, value) in environment {
        program = program.env(name, value);
    }
    let url = listener.url("/");
    program.args(["check", &url, "--format", "json", "-v"]).args(flags).bare().run()
}

fn verdict(done: &Output) -> (String, String) {
    let record = json::parse(&done.stdout);
    let cause = if record.has("cause") { record.text("cause") } else { "" };
    (record.text("verdict").to_owned(), cause.to_owned())
}

fn is(verdict: &str, cause: &str) -> (String, String) {
    (verdict.to_owned(), cause.to_owned())
}

#[test]
fn a_check_on_a_bare_host_trusts_mozilla_unless_told_otherwise() {
    let set = certs::set();
    let listener = Listener::https(&set.good);
    listener.always(Script::ok("fine"));
    let (ours, theirs) = (set.authority.ca_file(), set.stranger.ca_file());

    let done = check(&listener, &[], &[]);
    assert_eq!(verdict(&done), is("down", "certificate_untrusted"), "{done:?}");
    let count = sitewatch::roots::mozilla_count();
    assert!(done.stderr.contains(&format!("roots: {count} {MOZILLA}")), "{done:?}");

    let done = check(&listener, &["--ca-file", ours.to_str().unwrap()], &[]);
    assert_eq!(verdict(&done), is("up", ""), "{done:?}");
    for (roots, want) in [(&ours, is("up", "")), (&theirs, is("down", "certificate_untrusted"))] {
        let done = check(&listener, &[], &[("SSL_CERT_FILE", roots)]);
        assert_eq!(verdict(&done), want, "{done:?}");
        assert!(done.stderr.contains("roots: 1 that SSL_CERT_FILE"), "{done:?}");
        let folder = roots.parent().unwrap();
        for environment in
            [&[("SSL_CERT_DIR", folder)][..], &[("SSL_CERT_DIR", folder), ("SSL_CERT_FILE", roots)]]
        {
            let done = check(&listener, &[], environment);
            assert_eq!(verdict(&done), want, "{done:?}");
            assert!(done.stderr.contains("roots: 1 that SSL_CERT_FILE"), "{done:?}");
        }
    }
}

#[test]
fn what_the_user_names_is_never_replaced_by_mozillas() {
    let listener = Listener::https(&certs::set().good);
    listener.always(Script::ok("fine"));
    let temp = Temp::new();
    let (empty, absent) = (temp.write("sub/empty.pem", ""), temp.join("absent"));
    for (name, path, why) in [
        ("SSL_CERT_FILE", &*empty, "no certificate in PEM form in it"),
        ("SSL_CERT_FILE", &*absent, "No such file or directory"),
        ("SSL_CERT_DIR", empty.parent().unwrap(), "no certificate in PEM form in it"),
    ] {
        let done = check(&listener, &[], &[(name, path)]);
        assert_eq!((verdict(&done), done.code), (is("unknown", "internal"), Some(2)), "{done:?}");
        let words = format!("cannot read CA certificates from {}: {why}", path.display());
        let record = json::parse(&done.stdout);
        for said in [record.text("error"), &done.stderr] {
            assert!(
                said.contains(&words) && said.contains(&format!("{name} names it")),
                "{done:?}"
            );
        }
        assert!(!done.stderr.contains("Mozilla"), "{done:?}");
        assert_eq!(check(&listener, &["--insecure"], &[(name, path)]).code, Some(0));
    }
}

#[test]
fn a_bundle_of_the_host_that_is_of_no_use_is_told() {
    let set = certs::set();
    let listener = Listener::https(&set.good);
    listener.always(Script::ok("fine"));
    let url = listener.url("/");
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let check = |put: &str| {
        let program = Sitewatch::new().args(["check", &url, "--count", "2", "--format", "json"]);
        program.bare_but(&format!("mkdir -p /etc/ssl/certs && {put}")).run()
    };
    let ca = set.authority.ca_file();
    let ca = ca.display();
    // Whole, it is the one that counts.
    let done = check(&format!("cp {ca} {bundle}"));
    assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
    for (put, why) in [
        (format!(": > {bundle}"), "no certificate in PEM form in it"),
        (format!("head -c 300 {ca} > {bundle}"), "bad end line"),
        (format!("mkdir {bundle}"), "Is a directory"),
    ] {
        let done = check(&put);
        assert_eq!(done.code, Some(1), "{done:?}");
        let said = format!("cannot read CA certificates from {bundle}: ");
        let lines: Vec<&str> = done.stderr.lines().filter(|line| line.contains(&said)).collect();
        let [line] = lines[..] else { panic!("{why}: {done:?}") };
        assert!(line.contains(why) && line.contains("WARN") && line.contains(MOZILLA), "{line}");
    }
    // What else is there comes before Mozilla's.
    let done = check(&format!(": > {bundle} && cp {ca} /etc/ssl/certs/ours.pem"));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("trusting 1 of /etc/ssl/certs instead"), "{done:?}");
}

#[test]
fn kafka_and_postgresql_ask_the_same_roots() {
    let set = certs::set();
    let (ca, theirs) = (set.authority.ca_file(), set.stranger.ca_file());
    let server = Postgres::with_tls(&Tls::new(&set.good));
    let broker = Kafka::shared().door(Door::Tls);
    let topic = format!("roots-{}", random());
    let setup = |tls: &str, parameters: &str, roots: &Path| {
        let url = server.url_with(parameters);
        let config = format!(
            "[kafka]\nbrokers = ['{broker}']\ntopic = '{topic}'\n[kafka.tls]\n{tls}\n\
             [postgres]\nurl = '{url}'\n"
        );
        let program = Sitewatch::new().file("c.toml", config).env("SSL_CERT_FILE", roots);
        program.args(["write", "--setup", "-c", "c.toml", "-v"]).bare().run()
    };
    let (none, full) = (Path::new(""), "sslmode=verify-full");
    let named = format!("{full}&sslrootcert={}", ca.display());
    let file = format!("ca_file = '{}'", ca.display());

    // Mozilla's at both doors, and PostgreSQL comes first.
    let done = setup("", full, none);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("its certificate is not trusted"), "{done:?}");
    assert!(done.stderr.contains(MOZILLA), "{done:?}");
    // Mozilla's at Kafka's alone.
    let done = setup("", &named, none);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("the broker's certificate is refused"), "{done:?}");
    assert!(done.stderr.contains(MOZILLA), "{done:?}");
    // Theirs, ours, and files that are named.
    let done = setup("", full, &theirs);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("its certificate is not trusted"), "{done:?}");
    for done in [setup("", full, &ca), setup(&file, &named, none)] {
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(!done.stderr.contains("Mozilla"), "{done:?}");
    }
    let done = setup(&file, &named, &theirs);
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[test]
fn a_probe_on_a_bare_host_publishes_over_tls() {
    let broker = Kafka::shared().door(Door::Tls);
    let listener = Listener::http();
    listener.always(Script::ok("fine"));
    let topic = format!("roots-{}", random());
    let more = format!("[kafka.tls]\n{FAST}{}", targets(&listener, 1));
    let probe = command(&broker, &topic, &more).env("SSL_CERT_FILE", certs::ca_file());
    let mut running = probe.bare().spawn();
    running.await_stderr("is made", DEADLINE);
    let log = stop(running).stderr;
    assert!(!log.contains("Kafka is away") && !log.contains("ERROR"), "{log}");
}
