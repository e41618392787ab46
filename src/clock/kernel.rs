//! The one question about clocks that no crate asks: whether the kernel's is synchronised.

#![expect(unsafe_code, reason = "a call that has no safe form in the crates")]

use std::ffi::{c_int, c_void};

/// What it says of a clock that nobody has set, or not for long: TIME_ERROR.
const UNSYNCHRONISED: c_int = 5;

unsafe extern "C" {
    /// adjtimex(2): reads, and with bits set in the first word changes, how the clock is run.
    fn adjtimex(state: *mut c_void) -> c_int;
}

/// As the kernel says. None: it does not tell us, as in some containers.
pub fn is_synchronised() -> Option<bool> {
    // `struct timex` differs from C library to C library, most on 32 bits: 128 to 208 bytes. None of
    // its fields is of interest here, so it is given room enough for any.
    let mut state = [0_u64; 64];
    // SAFETY: the call reads and writes a struct of at most 208 bytes; there are 512, aligned for
    // any field. All bits of its first word, `modes`, are 0: nothing is changed.
    match unsafe { adjtimex(state.as_mut_ptr().cast()) } {
        UNSYNCHRONISED => Some(false),
        0..UNSYNCHRONISED => Some(true),
        _ => None,
    }
}
