//! Connections that are kept from check to check, for those who ask for it and for nobody else.

use std::time::{Duration, SystemTime};

use miniserde::json::Value;

use super::table::DELAY;
use crate::harness::certs::Authority;
use crate::harness::http2::{Answer, Http2, REFUSED_STREAM};
use crate::harness::{Fields, Listener, Script, Sitewatch, Tls, certs, json};

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

/// The checks that took longer than a site that answers at once.
fn slow(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record.int("total_us") >= DELAY.as_micros() as i64).collect()
}

#[test]
fn the_time_that_a_dead_connection_took_is_no_phase_of_the_next() {
    // The second request, over the kept connection, is never answered.
    let good = || Script::ok("x").keep_alive();
    let dies = || Script::ok("x").delay_first_byte(DELAY).cut_head_at(0);
    for (site, keys) in [
        (Listener::http(), ""),
        (Listener::https(&certs::set().good), ""),
        (Listener::http(), "method = 'POST'\nbody = 'words'"),
    ] {
        for end in [dies(), dies().reset()] {
            site.on_in_turn("/", [good(), end, good()]);
            let before = (site.connections(), site.log().len());
            let records =
                rounds(&target("kept", &site.url("/"), &format!("{REUSE}\n{keys}")), 3, "50ms");
            assert_eq!(verdicts(&records), ["up"; 3], "{records:?}");
            assert_eq!(reused(&records), [Some(false), Some(false), Some(true)], "{records:?}");
            assert!(slow(&records).is_empty(), "{records:?}");
            let made = (site.connections() - before.0, site.log().len() - before.1);
            assert_eq!(made, (2, 4), "{records:?}");
            let phases = ["dns_us", "connect_us", "first_byte_us", "transfer_us"];
            assert!(phases.iter().all(|phase| records[1].has(phase)), "{records:?}");
        }
    }
    // The new one is judged as any other.
    let site = Listener::http();
    site.on_in_turn("/", [good(), dies(), dies(), good()]);
    let records = rounds(&target("kept", &site.url("/"), REUSE), 3, "50ms");
    assert_eq!(verdicts(&records), ["up", "down", "up"], "{records:?}");
    assert_eq!(records[1].text("cause"), "protocol");
    assert_eq!((site.connections(), site.log().len()), (3, 4));
    // One of a redirect's hops.
    let (first, second) = (Listener::http(), Listener::http());
    first.always(Script::redirect(302, second.url("/there")).keep_alive());
    second.on_in_turn("/there", [good(), dies(), good()]);
    let records = rounds(&target("kept", &first.url("/"), REUSE), 3, "50ms");
    assert_eq!((verdicts(&records), second.connections()), (vec!["up"; 3], 2), "{records:?}");
    assert!(slow(&records).is_empty(), "{records:?}");
    assert!(records.iter().all(|record| record.list("hops").len() == 2), "{records:?}");
}

#[test]
fn a_kept_connection_of_http_2_that_takes_no_more_is_made_anew() {
    let tls = Tls::new(&certs::set().good).speaking(b"\x02h2");
    for answer in
        [Answer::Reset(REFUSED_STREAM, DELAY), Answer::GoAway(DELAY), Answer::Close(DELAY)]
    {
        let site = Http2::answering(&tls, "x", [Answer::Reply, answer, Answer::Reply]);
        let records = rounds(&target("kept", &site.url("/"), REUSE), 3, "50ms");
        assert_eq!(verdicts(&records), ["up"; 3], "{answer:?} {records:?}");
        assert_eq!(reused(&records), [Some(false), Some(false), Some(true)], "{records:?}");
        assert!(slow(&records).is_empty(), "{answer:?} {records:?}");
        assert_eq!((site.connections(), site.requests()), (2, 4), "{answer:?}");
    }
    // Told between two checks, soon after the first and later.
    for apart in ["50ms", "1200ms"] {
        let site = Http2::answering(&tls, "x", [Answer::LastReply]);
        let records = rounds(&target("kept", &site.url("/"), REUSE), 3, apart);
        assert_eq!(verdicts(&records), ["up"; 3], "{apart} {records:?}");
        assert_eq!((reused(&records), site.connections()), (vec![Some(false); 3], 3), "{apart}");
        // A question is no such word.
        let site = Http2::answering(&tls, "x", [Answer::ReplyAndPing]);
        let records = rounds(&target("kept", &site.url("/"), REUSE), 3, apart);
        assert_eq!((reused(&records), site.connections()), (FIRST.to_vec(), 1), "{apart}");
    }
}

#[test]
fn bytes_that_came_before_the_request_are_not_its_answer() {
    let late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let soon = Duration::from_millis(100);
    let good = || Script::ok("x").keep_alive();
    for (script, apart) in [
        (good().then_unasked(soon, late).then_closes(), "400ms"),
        (good().then_unasked(soon, late).then_closes(), "1400ms"),
        (good().then_unasked(soon, late), "400ms"),
        (good().then_unasked(soon, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"), "400ms"),
        (good().then_unasked(soon, "\r\n"), "400ms"),
        (good().then_unasked(soon, "").then_closes(), "400ms"),
        (good().then_unasked(soon, "").then_closes().reset(), "400ms"),
    ] {
        for site in [Listener::http(), Listener::https(&certs::set().good)] {
            site.always(script.clone());
            let config = target("kept", &site.url("/"), "reuse = true\nmatch = '^x$'");
            let records = rounds(&config, 3, apart);
            assert_eq!(verdicts(&records), ["up"; 3], "{script:?} {records:?}");
            let all = (reused(&records), site.connections(), site.log().len());
            assert_eq!(all, (vec![Some(false); 3], 3, 3), "{script:?} {records:?}");
            assert!(records.iter().all(|record| record.has("connect_us")), "{records:?}");
        }
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
fn a_certificate_that_ends_soon_is_told_on_a_kept_connection_too() {
    let site = Listener::https(&certs::set().ending);
    site.always(Script::ok("x").keep_alive());
    let keys = "reuse = true\nmin_cert_days = 30";
    let records = rounds(&target("kept", &site.url("/"), keys), 3, "50ms");
    assert_eq!((reused(&records), verdicts(&records)), (FIRST.to_vec(), vec!["up"; 3]));
    assert!(records.iter().all(|record| record.text("cause") == "certificate_soon"), "{records:?}");
    // What was sent beside its path does not make it over.
    let set = certs::set();
    let crossed = set.authority.signed_by(&set.stranger, -900, -500);
    let site = Listener::https(&set.good.sending(&crossed));
    site.always(Script::ok("x").keep_alive());
    let records = rounds(&target("kept", &site.url("/"), REUSE), 3, "50ms");
    assert_eq!((reused(&records), site.connections()), (FIRST.to_vec(), 1), "{records:?}");
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
