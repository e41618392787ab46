//! Connections that are kept from check to check, for those who ask for it and for nobody else.

use std::time::SystemTime;

use miniserde::json::Value;

use crate::harness::certs::Authority;
use crate::harness::{Fields, Http2, Listener, Script, Sitewatch, certs, json};

/// Every check of these targets, in their order: as many rounds of them, so far apart.
#[track_caller]
fn rounds(config: &str, rounds: u32, apart: &str) -> Vec<Value> {
    let program = Sitewatch::new().env("SSL_CERT_FILE", certs::ca_file()).file("c.toml", config);
    let words = ["check", "-c", "c.toml", "--all", "--format", "json", "--every", apart, "--count"];
    let done = program.args(words).args([rounds.to_string()]).run();
    assert!(done.stderr.is_empty(), "{done:?}");
    json::lines(&done.stdout)
}

fn target(name: &str, url: &str, keys: &str) -> String {
    format!("[[target]]\nname = '{name}'\nurl = '{url}'\n{keys}\n")
}

fn reused(records: &[Value]) -> Vec<Option<bool>> {
    records.iter().map(|record| record.has("reused").then(|| record.flag("reused"))).collect()
}

fn verdicts(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record.text("verdict")).collect()
}

const REUSE: &str = "reuse = true";
const FIRST: [Option<bool>; 3] = [Some(false), Some(true), Some(true)];

#[test]
fn a_kept_connection_has_the_phases_of_the_site_alone() {
    let plain = Listener::http();
    let tls = Listener::https(&certs::set().good);
    for site in [&plain, &tls] {
        site.always(Script::ok("x").keep_alive());
        let records = rounds(&target("kept", &site.url("/"), REUSE), 3, "50ms");
        assert_eq!((reused(&records), site.connections()), (FIRST.to_vec(), 1));
        for (i, record) in records.iter().enumerate() {
            assert_eq!((record.text("verdict"), record.int("status")), ("up", 200));
            for phase in ["dns_us", "connect_us", "tls_us"] {
                let there = i == 0 && (phase != "tls_us" || site.url("").starts_with("https"));
                assert_eq!(record.has(phase), there, "{phase} of check {i}");
            }
            let sum: i64 = ["dns_us", "connect_us", "tls_us", "first_byte_us", "transfer_us"]
                .iter()
                .filter(|name| record.has(name))
                .map(|name| record.int(name))
                .sum();
            assert_eq!(record.int("total_us"), sum);
            assert!(record.has("first_byte_us") && record.has("transfer_us"));
        }
    }
    // Its certificate is known all the same.
    let records = rounds(&target("kept", &tls.url("/"), REUSE), 2, "50ms");
    let ends = certs::set().good.ends_s();
    assert!(records.iter().all(|record| record.int("cert_expires_s") == ends));
    // Nobody else's is kept.
    let before = tls.connections();
    let records = rounds(&target("fresh", &tls.url("/"), ""), 3, "50ms");
    assert_eq!((reused(&records), tls.connections() - before), (vec![None; 3], 3));
}

#[test]
fn a_connection_that_is_gone_is_made_anew() {
    let closing = Listener::http();
    closing.always(Script::ok("x"));
    // It says nothing of closing, and does.
    let cut = Listener::http();
    cut.always(Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"));
    for site in [closing, cut] {
        let records = rounds(&target("kept", &site.url("/"), REUSE), 3, "50ms");
        assert_eq!(verdicts(&records), ["up"; 3]);
        assert_eq!((reused(&records), site.connections()), (vec![Some(false); 3], 3));
    }
}

#[test]
fn what_fails_on_a_kept_connection_is_the_site_s() {
    let site = Listener::http();
    let good = || Script::ok("x").keep_alive();
    site.on_in_turn("/hangs", [good(), good(), Script::silence()]);
    site.on_in_turn("/cut", [good(), good(), Script::ok("xxxx").cut_body_at(2)]);
    let of = |path: &str| target(path, &site.url(path), "reuse = true\ntimeout = '500ms'");
    let hangs = rounds(&of("/hangs"), 3, "50ms");
    let cut = rounds(&of("/cut"), 3, "50ms");
    assert_eq!(verdicts(&hangs), ["up", "up", "down"], "{hangs:?}");
    let last = &hangs[2];
    assert_eq!(last.text("error"), "no reply within 500 ms: waiting for the first byte");
    assert!(last.flag("reused") && !last.has("dns_us") && last.int("first_byte_us") > 400_000);
    let last = &cut[2];
    assert_eq!((last.text("cause"), last.flag("reused")), ("protocol", true), "{cut:?}");
    assert!(!last.has("dns_us") && last.has("transfer_us"), "{last:?}");
}

#[test]
fn http_2_is_kept_too() {
    let site = Http2::start(&certs::set().good, "x");
    let records = rounds(&target("kept", &site.url("/"), "reuse = true\nhttp = '2'"), 3, "50ms");
    assert_eq!(verdicts(&records), ["up"; 3], "{records:?}");
    assert_eq!(reused(&records), FIRST);
}

#[test]
fn no_target_goes_over_another_s_connection() {
    let site = Listener::https(&certs::set().good);
    site.always(Script::ok("x").keep_alive());
    let (stranger, url) = (Authority::new("stranger"), site.url("/"));
    let other = format!("{REUSE}\nca_file = '{}'", stranger.ca_file().display());
    let config = [("a", REUSE), ("b", &*other), ("c", REUSE), ("fresh", "")]
        .map(|(name, keys)| target(name, &url, keys))
        .concat();
    let records = rounds(&config, 2, "50ms");
    let of = |name: &str| records.iter().filter(|r| r.text("target") == name).cloned().collect();
    let [a, b, c, fresh]: [Vec<Value>; 4] = ["a", "b", "c", "fresh"].map(of);
    assert_eq!((reused(&a), reused(&c)), (FIRST[..2].to_vec(), FIRST[..2].to_vec()));
    assert_eq!(reused(&fresh), [None; 2]);
    assert!(b.iter().all(|record| record.text("cause") == "certificate_untrusted"), "{b:?}");
}

#[test]
fn each_hop_is_kept_and_redirects_are_followed_over_them() {
    let (site, to) = (Listener::http(), Listener::http());
    to.always(Script::ok("there").keep_alive());
    let moved = Script::redirect(302, to.url("/there")).keep_alive();
    site.on("/", moved);
    let records =
        rounds(&target("kept", &site.url("/"), "reuse = true\nmatch = 'there'"), 3, "50ms");
    assert_eq!(verdicts(&records), ["up"; 3], "{records:?}");
    assert_eq!(to.connections(), 1, "{records:?}");
    assert!(records.iter().all(|record| record.list("hops").len() == 2), "{records:?}");
}

#[test]
fn a_certificate_that_ends_meanwhile_is_seen_by_the_next_check() {
    let now_s = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let leaf = certs::set().authority.leaf_until(&["127.0.0.1"], now_s + 5);
    let site = Listener::https(&leaf);
    site.always(Script::ok("x").keep_alive());
    let records = rounds(&target("kept", &site.url("/"), REUSE), 9, "1s");
    let (first, last) = (&records[0], records.last().unwrap());
    assert_eq!((first.text("verdict"), last.text("cause")), ("up", "certificate_expired"));
    for pair in records.windows(2) {
        let kept = pair[1].flag("reused");
        assert_eq!(kept, pair[1].text("verdict") == "up", "{pair:?}");
    }
}
