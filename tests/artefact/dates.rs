//! Each artefact beyond 2038, where 32 bits of seconds end.

use std::ffi::OsStr;

use super::file::Elf;
use super::{DEADLINE, each};
use crate::harness::{Fields, Listener, Script, Sitewatch, Temp, certs, gdb, json};

/// 2040-01-01, in seconds since 1970.
const IN_2040_S: i64 = 2_208_988_800;

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

#[test]
#[ignore = "make test runs it over the artefacts"]
fn in_2040_it_is_2040() {
    let listener = Listener::https(&certs::set().good);
    listener.always(Script::ok("fine"));
    each(|artefact| {
        let convention = match artefact.target().split('-').next() {
            Some("arm" | "armv7") => &gdb::ARM,
            Some("mipsel") => &gdb::MIPS,
            // 64 bits have no other call.
            _ => return,
        };
        let folder = Temp::new();
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
