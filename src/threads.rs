//! Starts threads, and asks for those that libraries start for themselves, and panic where they cannot:
//! async-io, rdkafka, tokio. A host may have none to spare for a while (a limit on processes, no memory);
//! asked here first, that is an error as any other.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope, sleep};
use std::time::Duration;

/// Stack of each thread of ours, in bytes: none recurses, none holds large buffers.
const STACK: usize = 512 * 1024;
/// Stack of a thread that does nothing, in bytes.
const SPARE_STACK: usize = 16 * 1024;

/// Wait at most this long for threads that have ended, in milliseconds: others may have started meanwhile.
const GONE_WITHIN_MS: u32 = 100;

/// Returns a builder of a thread of this name, with a small stack.
pub fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// Makes sure that so many threads can be started: starts them all at once, and ends them.
///
/// # Errors
/// Fewer can be started now.
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
    // The kernel counts a thread for a moment after it was joined, and the library would be refused its own.
    for _ in 0..GONE_WITHIN_MS {
        if count_own() <= before {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Returns how many threads this process has, as the kernel counts them; none where /proc is not mounted.
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
