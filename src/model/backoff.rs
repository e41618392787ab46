//! Pauses between tries of an action that fails: each pause is twice the one before, up to a bound.

use std::time::Duration;

/// Next pause, and the bounds of all pauses.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with a pause of `first`. No pause is longer than `longest`, nor shorter than `first`.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, next: first }
    }

    /// Returns the pause before the next try, and doubles the one after it.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.longest).max(self.first);
        pause
    }

    /// Starts with the first pause again, since a try has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        let pauses: [Duration; 5] = std::array::from_fn(|_| backoff.pause());
        assert_eq!(pauses, [100, 200, 400, 500, 500].map(ms));
        backoff.reset();
        assert_eq!(backoff.pause(), ms(100));
    }

    #[test]
    fn bounds_hold_at_their_extremes() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!([backoff.pause(), backoff.pause()], [Duration::MAX; 2]);
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!([backoff.pause(), backoff.pause()], [Duration::from_secs(2); 2]);
    }
}
