//! The artefacts that are handed out, each run as the user would run it: those of another
//! processor under emulation. Every test goes over all targets that `ARTEFACTS` names; without
//! it they are not run, and the summary says so. What the host's build has proved already is
//! proved here once and small: that nothing left out of the artefact was needed.
