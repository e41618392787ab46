//! Bounds the memory for bodies: all checks together hold at most `bodies_max` bytes, from the first byte of
//! a body until the judge drops the body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory for bodies. Clones share one count.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

impl BodyBudget {
    /// Makes a budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> BodyBudget {
        BodyBudget { used: Arc::new(AtomicUsize::new(0)), limit_bytes }
    }

    /// Reserves `bytes`; returns none if fewer are free. A request for more than the limit reserves the whole
    /// budget, once no byte of it is in use.
    pub fn take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), bytes: 0 };
        permit.grow(bytes.min(self.limit_bytes)).then_some(permit)
    }
}

/// Permit to hold a number of bytes. When dropped, it gives them back to the budget.
#[derive(Debug)]
pub struct Permit {
    budget: BodyBudget,
    bytes: usize,
}

impl Permit {
    /// Grows the permit to at least `bytes`. Returns false, and changes nothing, if the budget has too few
    /// free bytes.
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

    /// Makes a permit of 0 bytes of the same budget.
    pub fn none(&self) -> Permit {
        Permit { budget: self.budget.clone(), bytes: 0 }
    }

    /// Shrinks the permit to `bytes`, and gives the rest back to the budget.
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
    fn permits_never_pass_the_limit() {
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
