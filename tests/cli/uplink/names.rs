//! A name server of our own that is silent or fails is no answer about any site; that a name does
//! not exist is one.

use super::{Cable, DEADLINE, kind, kinds, rows, site, stop, targets};
use crate::harness::dns::{A, AAAA, Says};
use crate::harness::{Dns, Temp, eventually};

/// A new cable at each call.
type Cables<'a> = &'a dyn Fn() -> Cable;

/// Whom a name server that is dead, or that fails, makes guilty, by another build of the program.
pub fn by(cable: Cables<'_>) {
    dead_server(cable);
    canaries(cable);
    lone_name(cable);
}

#[test]
fn a_dead_name_server_is_ours_and_a_dead_name_the_sites() {
    dead_server(&Cable::new);
}

fn dead_server(cable: Cables<'_>) {
    let (cable, site, folder) = (cable(), site(), Temp::new());
    let (first, second) = (cable.site(1), cable.site(2));
    let dns = Dns::at(cable.site(53).parse().unwrap());
    dns.set("first.example", first.parse().unwrap()).set("second.example", second.parse().unwrap());
    let all = [
        ("first", "first.example"),
        ("second", "second.example"),
        ("gone", "gone.example"),
        ("address", &*first),
    ];
    let config = targets(&site, &all);
    let resolv_conf = dns.resolv_conf();
    let running = cable.start(&config, &folder, Some(resolv_conf));
    eventually(DEADLINE, "some checks", || {
        rows(&folder, "gone", "down") > 1 && rows(&folder, "first", "up") > 1
    });
    drop(dns);
    eventually(DEADLINE, "names are unknown", || {
        rows(&folder, "first", "unknown") > 1 && rows(&folder, "second", "unknown") > 1
    });
    let (done, stored) = stop(running, &folder);
    assert_eq!(kinds(&stored.of("address")), [kind("up", "")]);
    for name in ["first", "second"] {
        let kinds = kinds(&stored.of(name));
        assert!(kinds.iter().all(|kind| kind.0 != "down"), "{name}: {kinds:?}");
    }
    assert_eq!(stored.of("gone")[0].cause, "dns");
    assert_eq!(done.stderr.matches("the uplink is away").count(), 1, "{}", done.stderr);
}

/// A name server at the far end that knows these names, and how to lead there.
fn server(cable: &Cable, names: &[(&str, &str)]) -> (Dns, Option<String>) {
    let dns = Dns::at(cable.site(53).parse().unwrap());
    for (name, address) in names {
        dns.set(name, address.parse().unwrap());
    }
    let resolv_conf = Some(dns.resolv_conf());
    (dns, resolv_conf)
}

#[test]
fn canaries_without_names_do_not_make_named_sites_down() {
    canaries(&Cable::new);
}

fn canaries(cable: Cables<'_>) {
    for (says, told) in
        [(Says::Code(2), "the name server failed"), (Says::Silence, "no name server answers")]
    {
        let (cable, site, folder) = (cable(), site(), Temp::new());
        let (first, second) = (cable.site(1), cable.site(2));
        let names = [("first.example", &*first), ("second.example", &*second)];
        let (dns, resolv_conf) = server(&cable, &names);
        let all = [("first", "first.example"), ("second", "second.example"), ("address", &*first)];
        let canary = format!("[uplink]\ncanaries = ['{}:{}']\n", first, site.address().port());
        let config = canary + &targets(&site, &all);
        let mut running = cable.start(&config, &folder, resolv_conf);
        eventually(DEADLINE, "up", || rows(&folder, "first", "up") > 1);
        dns.always(says);
        eventually(2 * DEADLINE, "names are unknown", || {
            ["first", "second"].iter().all(|name| rows(&folder, name, "unknown") > 2)
        });
        dns.set("first.example", first.parse().unwrap());
        dns.set("second.example", second.parse().unwrap());
        running.await_stderr("the uplink is back", DEADLINE);
        let (done, stored) = stop(running, &folder);
        assert_eq!(kinds(&stored.of("address")), [kind("up", "")]);
        for name in ["first", "second"] {
            let rows = stored.of(name);
            assert!(rows.iter().all(|row| row.verdict != "down"), "{name}: {:?}", kinds(&rows));
        }
        let log = &done.stderr;
        assert!(log.contains(told) && !log.contains("is down"), "{log}");
        assert_eq!(log.matches("the uplink is away").count(), 1, "{log}");
    }
}

#[test]
fn a_lone_name_that_nobody_answers_for_is_unknown_and_one_that_is_none_is_down() {
    lone_name(&Cable::new);
}

fn lone_name(cable: Cables<'_>) {
    for (says, want, told) in [
        (Says::Code(2), kind("unknown", "uplink"), "no other host can be asked"),
        (Says::Silence, kind("unknown", "uplink"), "no other host can be asked"),
        (Says::Code(3), kind("down", "dns"), "lone.example does not exist"),
        (Says::Nothing, kind("down", "dns"), "lone.example has no address"),
    ] {
        let (cable, site, folder) = (cable(), site(), Temp::new());
        let here = cable.site(1);
        let (dns, resolv_conf) = server(&cable, &[]);
        dns.otherwise(says);
        let all = [("lone", "lone.example"), ("address", &*here)];
        let running = cable.start(&targets(&site, &all), &folder, resolv_conf);
        eventually(DEADLINE, "some checks", || rows(&folder, "lone", &want.0) > 2);
        let (done, stored) = stop(running, &folder);
        assert_eq!(kinds(&stored.of("lone")), [want], "{done:?}");
        assert!(done.stderr.contains(told), "{done:?}");
    }
}

#[test]
fn one_name_that_fails_beside_others_that_are_found_is_the_sites() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let here = cable.site(1);
    let (dns, resolv_conf) = server(&cable, &[("good.example", &here)]);
    dns.otherwise(Says::Code(2));
    let all = [("good", "good.example"), ("broken", "broken.example")];
    // Canaries that are all addresses cannot tell; the other target can.
    let canary = format!("[uplink]\ncanaries = ['{here}:{}']\n", site.address().port());
    let running = cable.start(&(canary + &targets(&site, &all)), &folder, resolv_conf);
    eventually(DEADLINE, "down", || rows(&folder, "broken", "down") > 2);
    let (done, stored) = stop(running, &folder);
    assert_eq!(kinds(&stored.of("good")), [kind("up", "")]);
    let broken = stored.of("broken");
    assert!(broken.iter().all(|row| row.cause == "dns" || row.verdict != "down"), "{broken:?}");
    assert!(done.stderr.contains("the name server failed for broken.example"), "{done:?}");
}

#[test]
fn names_of_our_own_network_say_nothing_of_the_internet_s() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let (near, far) = (cable.site(1).replace("198.19", "10.77"), cable.site(2));
    super::ip(&format!("addr add {near}/32 dev lo"));
    let names = [("nas.lan", &*near), ("far.example", &*far)];
    let (dns, resolv_conf) = server(&cable, &names);
    let all = [("near", "nas.lan"), ("far", "far.example")];
    let running = cable.start(&targets(&site, &all), &folder, resolv_conf);
    eventually(DEADLINE, "up", || {
        rows(&folder, "near", "up") > 1 && rows(&folder, "far", "up") > 1
    });
    // As a router's server does it whose way out is gone.
    dns.says("far.example", A, Says::Code(2)).says("far.example", AAAA, Says::Code(2));
    eventually(DEADLINE, "unknown", || rows(&folder, "far", "unknown") > 3);
    let (done, stored) = stop(running, &folder);
    assert_eq!(kinds(&stored.of("near")), [kind("up", "")]);
    assert!(stored.of("far").iter().all(|row| row.verdict != "down"), "{done:?}");
}

#[test]
fn a_canary_whose_name_is_answered_by_halves_is_found_all_the_same() {
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let (lone, here) = (cable.site(1), cable.site(2));
    super::ip(&format!("addr del {lone}/32 dev lo"));
    super::ip(&format!("route add blackhole {lone}/32"));
    let (dns, resolv_conf) = server(&cable, &[("canary.example", &here)]);
    dns.says("canary.example", AAAA, Says::Silence);
    let canary = format!("[uplink]\ncanaries = ['canary.example:{}']\n", site.address().port());
    let config = canary + &targets(&site, &[("lone", &lone)]);
    let running = cable.start(&config, &folder, resolv_conf);
    eventually(DEADLINE, "down: the canary answers", || rows(&folder, "lone", "down") > 2);
    let (done, stored) = stop(running, &folder);
    assert_eq!(kinds(&stored.of("lone")), [kind("down", "timeout")], "{done:?}");
}
