//! Threads that libraries start for themselves, and panic where they cannot: async-io, rdkafka, tokio. A
//! host may have none to spare for a while (a limit on processes, no memory); asked here first, that is an
//! error as any other.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

/// Stack of each, in bytes: none does anything.
const STACK: usize = 16 * 1024;

/// Makes sure that so many threads can be started: starts them all at once, and ends them.
///
/// # Errors
/// Fewer can be started now.
pub fn spare(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    scope(|scope| {
        let _shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..count {
            let wait = || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
            let thread = Builder::new().name("spare".to_owned()).stack_size(STACK);
            thread.spawn_scoped(scope, wait)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_some() {
        spare(0).unwrap();
        spare(9).unwrap();
    }
}
