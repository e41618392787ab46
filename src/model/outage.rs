//! Outage of a thing that may come back: its beginning, and the reasons that were reported, each once.

use std::time::{Duration, Instant};

/// Most reasons that are reported for one outage: after "no broker" may come "no topic", then "no rights".
const REASONS_MAX: usize = 5;

/// Outage under way.
#[derive(Debug, Clone)]
pub struct Outage {
    since: Instant,
    /// Reasons that were reported, oldest first; at most [`REASONS_MAX`].
    reported: Vec<String>,
}

impl Outage {
    /// Begins an outage; no reason is reported yet.
    pub fn new(now: Instant) -> Outage {
        Outage { since: now, reported: Vec::new() }
    }

    /// Returns true if this reason is to be reported, and notes that it is: it is another than those before,
    /// and they are fewer than five.
    pub fn report(&mut self, reason: &str) -> bool {
        let is_new = self.reported.len() < REASONS_MAX
            && self.reported.iter().all(|reported| reported != reason);
        if is_new {
            self.reported.push(reason.to_owned());
        }
        is_new
    }

    /// Returns true if a reason was reported.
    pub fn is_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Returns the time for which the outage has lasted.
    pub fn length(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_reported_once_and_at_most_five_are() {
        let start = Instant::now();
        let mut outage = Outage::new(start);
        assert!(!outage.is_reported());
        assert!(outage.report("refused") && !outage.report("refused") && outage.is_reported());
        let new = (0..9).filter(|number| outage.report(&number.to_string())).count();
        assert_eq!(new, REASONS_MAX - 1);
        assert_eq!(outage.length(start + Duration::from_secs(3)), Duration::from_secs(3));
    }
}
