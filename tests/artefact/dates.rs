//! Each artefact beyond 2038, where 32 bits of seconds end.

use super::{DEADLINE, each};
use crate::harness::{Fields, Listener, Script, certs, json};

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
