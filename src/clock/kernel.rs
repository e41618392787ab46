//! Asks the kernel if its clock is synchronised: the one call about clocks that no crate offers.

#![expect(unsafe_code, reason = "a call that has no safe form in the crates")]

use std::ffi::{c_int, c_void};

/// Answer for a clock that no program has set, or not for a long time: TIME_ERROR.
const UNSYNCHRONISED: c_int = 5;

unsafe extern "C" {
    /// adjtimex(2): reads the settings of the clock; with bits set in the first word, changes them.
    fn adjtimex(state: *mut c_void) -> c_int;
}

/// Returns true if the kernel calls its clock synchronised; none if the kernel does not answer, as in some
/// containers.
pub fn is_synchronised() -> Option<bool> {
    // The size of `struct timex` differs between C libraries, most on 32 bits: 128 to 208 bytes. None of
    // its fields is used here, so the buffer is large enough for any of them.
    let mut state = [0_u64; 64];
    // SAFETY: the call reads and writes a struct of at most 208 bytes; there are 512, aligned for
    // any field. All bits of its first word, `modes`, are 0: nothing is changed.
    match unsafe { adjtimex(state.as_mut_ptr().cast()) } {
        UNSYNCHRONISED => Some(false),
        0..UNSYNCHRONISED => Some(true),
        _ => None,
    }
}
