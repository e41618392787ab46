//! Allocator of C and Rust in static files of 64 bits, in place of musl's `malloc`.
//!
//! musl returns a group of 4 KiB and more to the kernel as soon as it is free. One TLS handshake takes and
//! frees such a group up to seventeen times, and pays for two system calls and a fresh page each time: with
//! dlmalloc, which returns memory only when 2 MiB are free, an HTTPS check took a fifth less CPU on x86_64.
//!
//! Files of 32 bits keep musl's: with dlmalloc the one for armv7 crashed under QEMU 7.2 after 16 MB were freed.
//! dlmalloc shrinks a mapping by `mremap` then, which that QEMU seems to get wrong; not proved.

#![expect(unsafe_code, reason = "functions that C calls")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

/// All threads share one heap.
static HEAP: Mutex<Dlmalloc> = Mutex::new(Dlmalloc::new());

/// Locks the heap. (A child that `fork` makes while another thread has it would wait for ever; processes are
/// started by `posix_spawn` alone.)
fn heap() -> MutexGuard<'static, Dlmalloc> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" {
    /// musl: where `errno` of this thread lies.
    safe fn __errno_location() -> *mut c_int;
}

/// Returns `memory` to C; sets `errno` first if there was none.
fn return_to_c(memory: *mut u8) -> *mut c_void {
    if memory.is_null() {
        // SAFETY: it is this thread's own, and alive as long as the thread.
        unsafe { *__errno_location() = ENOMEM };
    }
    memory.cast()
}

/// `errno` for missing memory: ENOMEM, the same on every Linux.
const ENOMEM: c_int = 12;

/// C's `malloc`.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: any size is taken.
    return_to_c(unsafe { heap().c_malloc(size) })
}

/// C's `calloc`.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else { return return_to_c(ptr::null_mut()) };
    // SAFETY: any size is taken.
    return_to_c(unsafe { heap().calloc(bytes, 1) })
}

/// C's `realloc`.
///
/// # Safety
/// `memory` is null or came from one of these functions, and was not freed.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    if memory.is_null() {
        return malloc(size);
    }
    // SAFETY: the caller's word.
    return_to_c(unsafe { heap().c_realloc(memory.cast(), size) })
}

/// C's `free`.
///
/// # Safety
/// As for `realloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    let errno = __errno_location();
    // SAFETY: the caller's word. `errno` is this thread's own, and stays as it was: who frees something on the
    // way out of a failure tells its reason afterwards.
    unsafe {
        let before = *errno;
        heap().c_free(memory.cast());
        *errno = before;
    }
}

/// C's `aligned_alloc`.
#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: any size is taken; an alignment is a power of two, as C has it.
    return_to_c(unsafe { heap().c_memalign(alignment, size) })
}

/// C's `memalign`.
#[unsafe(no_mangle)]
extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    aligned_alloc(alignment, size)
}

/// C's `posix_memalign`.
///
/// # Safety
/// `to` is writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    let memory = aligned_alloc(alignment, size);
    if memory.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller's word.
    unsafe { *to = memory };
    0
}
