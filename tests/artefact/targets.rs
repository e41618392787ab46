//! The artefacts that are handed out, each run as its user would run it: those for another
//! processor under emulation. Every test goes over all targets that `ARTEFACTS` names; a plain
//! `cargo test` does not run them, and its summary says so. What the host's build has proved
//! already is proved here once and small: that nothing left out of the artefact was needed.

use std::thread;
use std::time::Duration;

use crate::harness::Artefact;

/// Emulation is some ten times slower, and shares the machine with other tests.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Does something with every artefact that is asked for, side by side. Panics at the end if it
/// failed for any; the thread that told why bears the target's name.
#[track_caller]
pub fn each(test: impl Fn(&Artefact) + Sync) {
    let (asked, test) = (Artefact::asked(), &test);
    let failed: Vec<&str> = thread::scope(|scope| {
        let start = |artefact| {
            let thread = thread::Builder::new().name(Artefact::target(artefact).to_owned());
            (artefact.target(), thread.spawn_scoped(scope, move || test(artefact)).unwrap())
        };
        let threads: Vec<_> = asked.iter().map(start).collect();
        let ended = threads.into_iter().map(|(target, thread)| (target, thread.join()));
        ended.filter(|(_, end)| end.is_err()).map(|(target, _)| target).collect()
    });
    assert!(failed.is_empty(), "failed for {}", failed.join(", "));
}
