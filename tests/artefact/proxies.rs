//! Proxies that fail, by the static file: what libcurl makes of a broken connection, and what the
//! system's errors are called, is the C library's.

use super::targets::{DEADLINE, each};
use crate::check::proxies;

#[test]
#[ignore = "make test runs it over the artefacts"]
fn proxies_that_fail_are_named_as_by_the_host_s_build() {
    // The deadlines of the others are too short for an emulator.
    each(|artefact| match artefact.is_emulated() {
        true => proxies::slowly_by(&|| artefact.sitewatch().deadline(DEADLINE)),
        false => proxies::by(&|| artefact.sitewatch()),
    });
}
