//! Room for bodies: bounds the bytes of bodies that all checks hold at once, from the first byte read until
//! the judge drops the body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room, shared by all its holders.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

impl BodyBudget {
    /// Makes a room of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> BodyBudget {
        BodyBudget { used: Arc::new(AtomicUsize::new(0)), limit_bytes }
    }

    /// Takes `bytes` of the room, if they are free. A request for more than the limit gets the whole room,
    /// once it is empty.
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), bytes: 0 };
        permit.grow(bytes.min(self.limit_bytes)).then_some(permit)
    }
}

/// Part of the room; free again when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: BodyBudget,
    bytes: usize,
}

impl Permit {
    /// Makes the part at least `bytes` large. Returns false, and changes nothing, if there is no room.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let all = &self.budget.used;
        let mut used = all.load(Ordering::Acquire);
        loop {
            let sum = used.checked_add(more).filter(|sum| *sum <= self.budget.limit_bytes);
            let Some(sum) = sum else { return false };
            match all.compare_exchange_weak(used, sum, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(other) => used = other,
            }
        }
        self.bytes += more;
        true
    }

    /// Makes a part of the same room, of 0 bytes.
    pub fn none(&self) -> Permit {
        Permit { budget: self.budget.clone(), bytes: 0 }
    }

    /// Gives the bytes beyond `bytes` back to the room.
    pub fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(less, Ordering::AcqRel);
        self.bytes -= less;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_passes_the_limit() {
        let budget = BodyBudget::new(100);
        let mut first = budget.take(60).unwrap();
        assert!(budget.take(50).is_none());
        let second = budget.take(40).unwrap();
        assert!(!first.grow(61));
        drop(second);
        assert!(first.grow(100));
        first.shrink(10);
        assert!(budget.take(500).is_none());
        drop(first);
        assert!(budget.take(500).is_some());
    }
}
