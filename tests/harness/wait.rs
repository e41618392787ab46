//! Waits for a condition with a deadline, instead of sleeping.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two questions: short beside any deadline, long beside the cost of a question.
const PAUSE: Duration = Duration::from_millis(5);

/// An answer that may not be there yet: a `bool`, or an `Option`.
pub trait Answer {
    /// The value of an answer that is there.
    type Found;

    /// Returns the value, or `None` for not yet.
    fn found(self) -> Option<Self::Found>;
}

impl Answer for bool {
    type Found = ();

    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Answer for Option<T> {
    type Found = T;

    fn found(self) -> Option<T> {
        self
    }
}

/// Asks until the answer is there. Panics with `what` if the deadline passes first. Asks at least
/// once, and once more after the deadline.
#[track_caller]
pub fn eventually<A: Answer>(
    deadline: Duration,
    what: &str,
    mut ask: impl FnMut() -> A,
) -> A::Found {
    let start = Instant::now();
    loop {
        let late = start.elapsed() >= deadline;
        if let Some(found) = ask().found() {
            return found;
        }
        assert!(!late, "not within {deadline:?}: {what}");
        thread::sleep(PAUSE);
    }
}
