//! Each artefact beyond 2038, where 32 bits of seconds end.

use std::ffi::OsStr;

use sitewatch::model::outcome::Verdict;
use sitewatch::model::record::Record;
use sitewatch::store::Sqlite;

use super::file::Elf;
use super::{DEADLINE, each};
use crate::harness::{Artefact, Fields, Listener, Script, Sitewatch, Temp, certs, gdb, json};
use crate::records::{outcome, put};

/// 2040-01-01, in seconds since 1970.
const IN_2040_S: i64 = 2_208_988_800;

#[test]
#[ignore = "make test runs it over the artefacts"]
fn rows_of_2040_are_reported() {
    let folder = Temp::new();
    let mut store = Sqlite::create(&folder.join("s.db"), u64::MAX).unwrap();
    let due = |number: i64| (IN_2040_S + number * 60) * 1000;
    let checks = (0..100).map(|number| outcome("site", "here", due(number), Verdict::Up));
    let records: Vec<Record> = checks.map(|check| Record::Check(Box::new(check))).collect();
    put(&mut store, &records).unwrap();
    drop(store);
    let config = folder.write("c.toml", "node = 'here'\n[sqlite]\npath = 's.db'\n");
    each(|artefact| {
        let report = |program: Sitewatch| {
            let window = ["--since", "2039-12-31T23:00:00Z", "--until", "2040-01-02T00:00:00Z"];
            let words = ["status", "-c", config.to_str().unwrap(), "--format", "json"];
            let done =
                program.deadline(DEADLINE).args(words).args(["--by", "hour"]).args(window).run();
            assert!(done.stderr.is_empty(), "{done:?}");
            done.stdout
        };
        let (ours, hosts) = (report(artefact.sitewatch()), report(Sitewatch::new()));
        assert!(ours.contains("2040-01-01T01:00:00Z") && ours.contains("\"checks\":40"), "{ours}");
        assert_eq!(ours, hosts);
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn a_certificate_may_end_in_2120() {
    let ends_in_days = (2120 - 2026) * 365;
    let leaf = certs::set().authority.leaf(&["127.0.0.1"], -1, ends_in_days);
    assert!(leaf.ends_s() > 1 << 32);
    let listener = Listener::https(&leaf);
    listener.always(Script::ok("fine"));
    each(|artefact| {
        let ca = certs::ca_file().to_str().unwrap();
        let program = artefact.sitewatch().deadline(DEADLINE);
        let words = ["check", "--format", "json", &listener.url("/"), "--ca-file", ca];
        let done = program.args(words).run();
        let record = json::parse(&done.stdout);
        assert_eq!(record.text("verdict"), "up", "{done:?}");
        let ends = (record.int("cert_expires_s"), record.int("chain_expires_s"));
        assert_eq!(ends, (leaf.ends_s(), leaf.ends_s()), "{done:?}");
    });
}

/// How a processor of 32 bits calls its kernel; none: it has 64, no call that ends in 2038, and
/// nothing to be shown here.
fn convention(artefact: &Artefact) -> Option<&'static gdb::Convention> {
    match artefact.target().split('-').next() {
        Some("arm" | "armv7") => Some(&gdb::ARM),
        Some("mipsel") => Some(&gdb::MIPS),
        _ => None,
    }
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn in_2040_it_is_2040() {
    let listener = Listener::https(&certs::set().good);
    listener.always(Script::ok("fine"));
    let asked = Artefact::asked();
    assert!(asked.iter().any(|one| convention(one).is_some()), "ARTEFACTS: none of 32 bits");
    each(|artefact| {
        let Some(convention) = convention(artefact) else { return };
        // A socket's path is short.
        let folder = Temp::public();
        let socket = folder.join("gdb");
        let emulator = artefact.emulator();
        let program = Sitewatch::program(emulator[0]).args(&emulator[1..]);
        let program =
            program.args([OsStr::new("-g"), socket.as_os_str(), artefact.file().as_os_str()]);
        let ca = certs::ca_file().to_str().unwrap();
        let words = ["check", "--format", "json", &listener.url("/"), "--ca-file", ca];
        let running = program.args(words).args(["--timeout", "60s"]).spawn();
        let elf = Elf::read(artefact.file());
        let asked = gdb::run_at(&socket, DEADLINE, convention, &elf.code(), IN_2040_S);
        let done = running.wait(DEADLINE);
        assert!(asked.clock64 > 0 && asked.short == 0, "{asked:?}");
        assert_eq!(done.code, Some(1), "{done:?}");
        let record = json::parse(&done.stdout);
        assert_eq!(record.int("due_ms"), IN_2040_S * 1000, "{done:?}");
        // Our roots ended, and so did the certificate.
        assert_eq!(record.text("cause"), "certificate_expired", "{done:?}");
    });
}
