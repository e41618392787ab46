//! No route of our own is ours at once; what a router says of the site is the site's while others
//! answer.

use std::fs;

use super::{Cable, DEADLINE, ip, kind, kinds, rows, site, stop, targets};
use crate::harness::{Sitewatch, Temp, eventually};

#[test]
fn no_route_is_ours_at_once() {
    let words = ["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    let program = Sitewatch::program("unshare").args(words);
    let check = ["check", "http://192.0.2.1/", "--format", "json"];
    let done = program.args([env!("CARGO_BIN_EXE_sitewatch")]).args(check).run();
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stdout.contains("\"cause\":\"uplink\""), "{done:?}");
    assert!(done.stdout.contains("network is unreachable"), "{done:?}");
}

/// Has the far end of all cables pass packets on, and say each time that there is no route.
fn forward() {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap();
}

#[test]
fn a_router_that_knows_no_way_to_one_site_is_no_trouble_of_ours() {
    forward();
    // No route at all, and one that says that the host is not there.
    for (route, told) in
        [(None, "network is unreachable"), (Some("unreachable"), "no route to host")]
    {
        let (cable, site, folder) = (Cable::new(), site(), Temp::new());
        let (here, gone) = (cable.site(1), cable.site(2));
        ip(&format!("addr del {gone}/32 dev lo"));
        if let Some(route) = route {
            ip(&format!("route add {route} {gone}/32"));
        }
        let all = [("here", &*here), ("gone", &*gone)];
        // A router says so once a second.
        let config = format!("interval = '2s'\n{}", targets(&site, &all));
        let running = cable.start(&config, &folder, None);
        eventually(DEADLINE, "some checks", || rows(&folder, "gone", "down") > 2);
        let (done, stored) = stop(running, &folder);
        assert_eq!(kinds(&stored.of("here")), [kind("up", "")]);
        assert_eq!(kinds(&stored.of("gone")), [kind("down", "connect")], "{done:?}");
        assert!(done.stderr.contains(told), "{done:?}");
        assert!(!done.stderr.contains("uplink"), "{done:?}");
    }
}

#[test]
fn a_router_that_knows_no_way_to_anybody_is_ours() {
    forward();
    let (cable, site, folder) = (Cable::new(), site(), Temp::new());
    let both = [cable.site(1), cable.site(2)];
    let all = [("first", &*both[0]), ("second", &*both[1])];
    let mut running = cable.start(&targets(&site, &all), &folder, None);
    eventually(DEADLINE, "up", || {
        rows(&folder, "first", "up") > 1 && rows(&folder, "second", "up") > 1
    });
    for address in &both {
        ip(&format!("addr del {address}/32 dev lo"));
    }
    running.await_stderr("the uplink is away", DEADLINE);
    eventually(DEADLINE, "unknown", || {
        rows(&folder, "first", "unknown") > 2 && rows(&folder, "second", "unknown") > 2
    });
    stop(running, &folder);
}
