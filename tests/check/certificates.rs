//! Certificates, each wrong in its own way, and the ends that are told of all of them.

use std::path::Path;

use openssl::ssl::SslVersion;

use super::table::{Case, Want, at, broken, down, https, table, unknown, up};
use crate::harness::certs::{self, Authority, Leaf};
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, Tls, json};

/// The row of a leaf: the record tells its end, whatever else is wrong.
fn row(name: &str, leaf: &Leaf, want: Want) -> Case {
    https(name, leaf, Script::ok("x"), want.int("cert_expires_s", leaf.ends_s()))
}

#[test]
fn each_fault_has_its_cause() {
    let set = certs::set();
    let refused = |cause| broken(cause, "tls_us");
    let (expired, untrusted) =
        (|| refused("certificate_expired"), || refused("certificate_untrusted"));
    let rows = vec![
        row("good", &set.good, up(200).int("chain_expires_s", set.good.ends_s())),
        row("good, RSA", &set.good_rsa, up(200)),
        row("ends soon", &set.ending, up(200)),
        row(
            "by an intermediate",
            &set.chained,
            up(200).int("chain_expires_s", set.chained.ends_s()),
        ),
        row(
            "its intermediate ends first",
            &set.ending_intermediate,
            up(200).int("chain_expires_s", set.ending.ends_s()),
        ),
        row("expired", &set.expired, expired().error("the certificate ended on 20")),
        row(
            "not yet valid",
            &set.not_yet,
            refused("certificate").error("the certificate begins on 20"),
        ),
        row("self-signed", &set.self_signed, untrusted().error("self-signed")),
        row("of another authority", &set.untrusted, untrusted()),
        row(
            "for another name",
            &set.wrong_name,
            refused("certificate_name").error("other.example"),
        ),
        row("expired, for another name", &set.expired_wrong_name, expired()),
        row("its intermediate is not sent", &set.missing_intermediate, untrusted()),
        row(
            "its intermediate has expired",
            &set.expired_intermediate,
            expired()
                .int("chain_expires_s", set.expired.ends_s())
                .error("the chain's certificate \"sitewatch old middle\" ended on 20"),
        ),
    ];
    table(rows);
}

#[test]
fn one_that_ends_soon_is_up_with_a_remark() {
    let set = certs::set();
    let soon = |text| Want { cause: "certificate_soon", ..up(200) }.error(text);
    let wanted = "min_cert_days = 30";
    table(vec![
        row("far", &set.good, up(200)).key(wanted),
        row("soon", &set.ending, soon("the certificate ends in")).key(wanted),
        row("its chain", &set.ending_intermediate, soon("a certificate of the chain ends in"))
            .key(wanted),
        row("not asked for", &set.ending, up(200)).key("min_cert_days = 0"),
        row("ended", &set.expired, broken("certificate_expired", "tls_us")).key(wanted),
    ]);
}

/// A redirect from a site, over TLS if it has a certificate, to another.
fn hops(name: &str, from: Option<&Leaf>, to: Option<&Leaf>, last: Script, want: Want) -> Case {
    let listen = |leaf: Option<&Leaf>| leaf.map_or_else(Listener::http, Listener::https);
    let (first, second) = (listen(from), listen(to));
    second.always(last);
    first.always(Script::redirect(302, second.url("/there")));
    let want = if from.is_none() && to.is_some() { want.then_tls() } else { want };
    at(name, first.url("/"), (first, second), want.int("redirects", 1)).key("min_cert_days = 30")
}

#[test]
fn of_all_hops_the_certificate_that_ends_first_counts() {
    let set = certs::set();
    let (good, ending) = (Some(&set.good), Some(&set.ending));
    let page = || Script::ok("x");
    let ends = |want: Want, leaf: &Leaf| want.int("cert_expires_s", leaf.ends_s());
    let soon = || {
        let soon = Want { cause: "certificate_soon", ..up(200) };
        ends(soon, &set.ending).error("the certificate of 127.0.0.1:")
    };
    let middle = Want { cause: "certificate_soon", ..up(200) }
        .int("chain_expires_s", set.ending.ends_s())
        .error("a certificate of the chain of 127.0.0.1:");
    let refused = broken("certificate_name", "transfer_us");
    table(vec![
        hops("the first", ending, good, page(), soon()),
        hops("the first, then plain", ending, None, page(), soon()),
        hops("the last", good, ending, page(), soon()),
        hops("the last, from plain", None, ending, page(), soon()),
        hops("its chain", Some(&set.ending_intermediate), good, page(), middle),
        hops("none", good, good, page(), ends(up(200), &set.good)),
        hops("none, then plain", good, None, page(), ends(up(200), &set.good)),
        hops(
            "down for something else",
            ending,
            good,
            Script::status(404),
            ends(down("status", 404), &set.ending),
        ),
        hops("down for another", ending, Some(&set.wrong_name), page(), {
            ends(refused, &set.wrong_name)
        }),
    ]);
}

#[test]
fn doubly_wrong() {
    let set = certs::set();
    let (ours, other) = (&["127.0.0.1"][..], &["other.example"][..]);
    let refused = |cause| broken(cause, "tls_us");
    table(vec![
        row(
            "expired and self-signed",
            &Leaf::self_signed(ours, -9, -2),
            refused("certificate_expired"),
        ),
        row(
            "expired and of another authority",
            &set.stranger.leaf(ours, -9, -2),
            refused("certificate_expired"),
        ),
        row(
            "self-signed, for another name",
            &Leaf::self_signed(other, -9, 9),
            refused("certificate_untrusted"),
        ),
        row(
            "of another authority, for another name",
            &set.stranger.leaf(other, -9, 9),
            refused("certificate_untrusted"),
        ),
        row(
            "not yet valid, for another name",
            &set.authority.leaf(other, 2, 9),
            refused("certificate"),
        ),
        row(
            "begins and ends in the past",
            &set.authority.leaf(ours, -9, -8),
            refused("certificate_expired"),
        ),
    ]);
}

#[test]
fn what_is_sent_beside_the_verified_path_does_not_count() {
    let set = certs::set();
    let (ours, other) = (&["127.0.0.1"][..], &["other.example"][..]);
    // The root's name and key, signed by an older root that has ended or never was ours.
    let crossed = set.authority.signed_by(&set.stranger, -900, -500);
    let crossed_soon = set.authority.signed_by(&set.stranger, -900, 3);
    let foreign = Leaf::self_signed(&["nobody.example"], -9, -2);
    let middle = set.authority.intermediate("crossed middle", -365, 60);
    let wanted = "min_cert_days = 14";
    let good = |name: &str, leaf: Leaf, chain_s: i64| {
        row(name, &leaf, up(200).int("chain_expires_s", chain_s)).key(wanted)
    };
    let chained = middle.leaf(ours, -1, 90);
    let soon = set.authority.leaf(ours, -1, 3);
    table(vec![
        good("a root that has ended", set.good.sending(&crossed), set.good.ends_s()),
        good("a root that ends soon", set.good.sending(&crossed_soon), set.good.ends_s()),
        good("no part of the chain", set.good.sending(&foreign.chain()[0]), set.good.ends_s()),
        good(
            "behind an intermediate",
            chained.sending(&crossed),
            middle.leaf(ours, -1, 60).ends_s(),
        ),
        row(
            "for another name",
            &set.authority.leaf(other, -1, 90).sending(&crossed),
            broken("certificate_name", "tls_us"),
        ),
        row(
            "expired itself",
            &set.expired.sending(&crossed),
            broken("certificate_expired", "tls_us").error("the certificate ended on 20"),
        ),
        row(
            "ends soon itself",
            &soon.sending(&crossed),
            Want { cause: "certificate_soon", ..up(200) }.error("the certificate ends in 2 days"),
        )
        .key(wanted),
        row(
            "its root is not ours, and has ended",
            &set.stranger.leaf(ours, -9, 9).sending(&foreign.chain()[0]),
            broken("certificate_untrusted", "tls_us"),
        ),
    ]);
}

#[test]
fn a_common_name_alone_is_no_name() {
    let authority = &certs::set().authority;
    let refused = || broken("certificate_name", "tls_us");
    let alone = authority.leaf_without_names("127.0.0.1", None);
    let person = authority.leaf_without_names("127.0.0.1", Some("who@127.0.0.1"));
    let site = authority.leaf_without_names("localhost", None);
    let row = |name: &str, host: &str, leaf: &Leaf, want: Want| {
        let site = Listener::https(leaf);
        site.always(Script::ok("x"));
        at(name, site.url_at(host, "/"), site, want.int("cert_expires_s", leaf.ends_s()))
    };
    let text =
        "the certificate has no name of a site, and its common name \"127.0.0.1\" does not count";
    table(vec![
        row("an address", "127.0.0.1", &alone, refused().error(text)),
        row("beside a person's", "127.0.0.1", &person, refused().error(text)),
        row("a name", "localhost", &site, refused()),
        row("of another site", "127.0.0.1", &site, refused()),
        row("not verified", "127.0.0.1", &alone, up(200)).key("verify = false"),
        row("by server_name", "127.0.0.1", &site, refused()).key("server_name = 'localhost'"),
    ]);
}

#[test]
fn insecure_takes_them_all_and_still_tells_the_end() {
    let set = certs::set();
    let leaves = [
        ("expired", &set.expired),
        ("not yet valid", &set.not_yet),
        ("self-signed", &set.self_signed),
        ("of another authority", &set.untrusted),
        ("for another name", &set.wrong_name),
        ("its intermediate is not sent", &set.missing_intermediate),
    ];
    table(leaves.map(|(name, leaf)| row(name, leaf, up(200)).with(["--insecure"])).into());
}

#[test]
fn a_ca_file_means_that_file_alone() {
    let set = certs::set();
    let stranger = set.stranger.ca_file().to_str().unwrap().to_owned();
    let refused = broken("certificate_untrusted", "tls_us");
    table(vec![
        row("its own", &set.untrusted, up(200)).with(["--ca-file", &stranger]),
        row("not the host's", &set.good, refused).with(["--ca-file", &stranger]),
    ]);
    let temp = Temp::new();
    let (empty, absent) = (temp.write("empty.pem", ""), temp.join("absent.pem"));
    for file in [empty, absent] {
        let file = file.to_str().unwrap();
        let done =
            Sitewatch::new().args(["check", "https://127.0.0.1:1/", "--ca-file", file]).run();
        assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{done:?}");
        assert!(done.stderr.contains(file), "{done:?}");
    }
}

#[test]
fn roots_that_cannot_be_read_do_not_blame_the_site() {
    let site = Listener::https(&certs::set().good);
    site.always(Script::ok("x"));
    let temp = Temp::new();
    let (folder, file) = (temp.path(), temp.write("empty.pem", ""));
    for roots in [file.as_path(), &temp.join("absent")] {
        let run = |url: &str, flags: &[&str]| {
            let program = Sitewatch::new().env("SSL_CERT_FILE", roots).env("SSL_CERT_DIR", folder);
            program.args(["check", url, "--format", "json"]).args(flags).run()
        };
        let done = run(&site.url("/"), &[]);
        let record = json::parse(&done.stdout);
        assert_eq!(
            (record.text("verdict"), record.text("cause")),
            ("unknown", "internal"),
            "{done:?}"
        );
        assert!(
            record.text("error").contains("SSL_CERT_FILE names it") && done.code == Some(2),
            "{done:?}"
        );
        assert!(!record.has("status_ok") && record.int("total_us") == 0, "{done:?}");
        assert_eq!(run(&site.url("/"), &["--insecure"]).code, Some(0));
    }
    assert_eq!(site.log().len(), 2);
    let _ = unknown("internal");
}

#[test]
fn roots_of_a_folder_count_too() {
    let site = Listener::https(&certs::set().good);
    site.always(Script::ok("x"));
    let folder = certs::ca_file().parent().unwrap();
    let done = Sitewatch::new()
        .env("SSL_CERT_DIR", folder)
        .env("SSL_CERT_FILE", "/nowhere")
        .args(["check", &site.url("/")])
        .run();
    assert_eq!(done.code, Some(0), "{done:?}");
    let other = Authority::new("other");
    let folder = other.ca_file().parent().unwrap().to_owned();
    let done = Sitewatch::new()
        .env("SSL_CERT_DIR", folder)
        .env("SSL_CERT_FILE", "/nowhere")
        .args(["check", &site.url("/")])
        .run();
    assert_eq!(done.code, Some(1), "{done:?}");
}

#[test]
fn a_certificate_that_ends_between_two_checks_is_seen_by_the_next() {
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let leaf = certs::set().authority.leaf_until(&["127.0.0.1"], now_s + 4);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let leaf = match version {
            SslVersion::TLS1_2 => &leaf,
            _ => &certs::set().authority.leaf_until(&["127.0.0.1"], now_s + 11),
        };
        // It would resume a session, and keep the connection, if it were asked to.
        let tls = Tls::new(leaf).versions(version, version);
        let site = Listener::bind(([127, 0, 0, 1], 0), Some(&tls));
        site.always(Script::ok("x").keep_alive());
        let done = Sitewatch::new()
            .env("SSL_CERT_FILE", certs::ca_file())
            .args(["check", &site.url("/"), "--format", "json", "--count", "7", "--every", "1s"])
            .run();
        assert_eq!(done.code, Some(1), "{done:?}");
        let records = json::lines(&done.stdout);
        let first_bad = records.iter().position(|record| record.text("verdict") != "up").unwrap();
        assert!((1..records.len()).contains(&first_bad), "{done:?}");
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.int("cert_expires_s"), leaf.ends_s());
            if i >= first_bad {
                assert_eq!(record.text("cause"), "certificate_expired", "{record:?}");
            }
            // Never up at a time when it had ended.
            let ended_s = record.int("due_ms") / 1000 - leaf.ends_s();
            assert!(record.text("verdict") != "up" || ended_s <= 0, "{record:?}");
        }
    }
}

#[test]
fn a_chain_that_was_verified_before_is_good_for_its_own_roots_and_names_alone() {
    let set = certs::set();
    let leaf = set.authority.intermediate("middle", -9, 60).leaf(&["127.0.0.1"], -1, 90);
    let site = Listener::https(&leaf);
    site.always(Script::ok("x"));
    let target = |name: &str, host: &str, ca_file: &Path| {
        let url = site.url_at(host, "/");
        format!("[[target]]\nname = '{name}'\nurl = '{url}'\nca_file = '{}'\n", ca_file.display())
    };
    let stranger = set.stranger.ca_file();
    let config = [
        target("good", "127.0.0.1", certs::ca_file()),
        target("other roots", "127.0.0.1", &stranger),
        target("other name", "localhost", certs::ca_file()),
    ];
    let done = Sitewatch::new()
        .file("c.toml", config.concat())
        .args([
            "check", "-c", "c.toml", "--all", "--format", "json", "--count", "3", "--every", "1s",
        ])
        .run();
    let records = json::lines(&done.stdout);
    assert_eq!(records.len(), 9, "{done:?}");
    let ends_s = records[0].int("chain_expires_s");
    for record in records {
        let want = match record.text("target") {
            "good" => "",
            "other roots" => "certificate_untrusted",
            _ => "certificate_name",
        };
        let cause =
            if record.has("cause") { record.text("cause").to_owned() } else { String::new() };
        assert_eq!(cause, want, "{record:?}");
        let path = (record.int("cert_expires_s"), record.int("chain_expires_s"));
        assert!(want == "certificate_untrusted" || path == (leaf.ends_s(), ends_s), "{record:?}");
    }
}
