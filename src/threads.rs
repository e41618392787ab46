//! Starts threads. async-io and rdkafka start threads of their own, and panic if they cannot, for instance at
//! a limit on processes. [`ensure_spare`] is called before such a library, and returns an ordinary error
//! instead.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope, sleep};
use std::time::Duration;

/// Stack of each thread of ours, in bytes: none recurses, and none holds large buffers.
const STACK: usize = 512 * 1024;
/// Stack of a thread that is started for a check alone, in bytes.
const SPARE_STACK: usize = 16 * 1024;

/// Longest wait until the kernel no longer counts the ended threads, in milliseconds.
const GONE_WITHIN_MS: u32 = 100;

/// Returns a builder of a thread of this name, with a small stack.
pub fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// Checks that `count` threads can be started: starts them all at once, and ends them.
///
/// # Errors
/// Fewer threads can be started now.
pub fn ensure_spare(count: usize) -> io::Result<()> {
    let (gate, before) = (Mutex::new(()), count_own());
    scope(|scope| {
        let _shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..count {
            let wait = || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
            let thread = Builder::new().name("spare".to_owned()).stack_size(SPARE_STACK);
            thread.spawn_scoped(scope, wait)?;
        }
        io::Result::Ok(())
    })?;
    // The kernel counts a thread for a moment after it was joined: until then the library would get none.
    for _ in 0..GONE_WITHIN_MS {
        if count_own() <= before {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Returns the number of threads that the kernel counts for this process; none if /proc is not mounted.
fn count_own() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_some() {
        ensure_spare(0).unwrap();
        ensure_spare(9).unwrap();
    }
}
