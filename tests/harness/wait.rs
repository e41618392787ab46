//! Waiting for what must become true, with a deadline, in place of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

/// How often it is asked. Short beside any deadline, long beside what a question costs.
const PAUSE: Duration = Duration::from_millis(5);

/// An answer that may not be there yet: a `bool`, or an `Option` of what is awaited.
pub trait Answer {
    /// What is had once it is there.
    type Found;

    /// The answer, or `None` for not yet.
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

/// Asks until the answer is there. Panics, saying `what`, if it is not by the deadline; it is
/// asked at least once, and once more when the deadline has passed.
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
