//! Ends a call that takes too long: each call has a limit of its own, and all calls end some time after the
//! program was told to stop.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::error::PostgresError;
use crate::stop::Stop;

/// Pause between two looks at `stop`.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Deadline of all calls. The time begins to run when the program is told to stop.
#[derive(Default)]
pub struct Deadline {
    stop: Stop,
    /// Time for which calls may still go on after the stop.
    grace: Duration,
    /// Time at which the stop was seen.
    stopped_at: Cell<Option<Instant>>,
}

impl Deadline {
    /// Makes a deadline that lies `grace` after `stop`.
    pub fn new(stop: &Stop, grace: Duration) -> Deadline {
        Deadline { stop: stop.clone(), grace, stopped_at: Cell::new(None) }
    }

    /// Waits for `limit`, or for the deadline after a stop if that comes first. Returns the error for a call
    /// that is not done by then.
    pub async fn wait(&self, limit: Duration) -> PostgresError {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.stop.is_told() {
                let stopped_at = self.stopped_at.get().unwrap_or_else(Instant::now);
                self.stopped_at.set(Some(stopped_at));
                if stopped_at.elapsed() >= self.grace {
                    return PostgresError::away("it did not answer before we had to stop");
                }
            }
            tokio::time::sleep(POLL_PAUSE.min(limit)).await;
        }
        timed_out(limit)
    }
}

/// Waits for `limit`. Returns the error for a call that is not done by then.
pub async fn timeout(limit: Duration) -> PostgresError {
    tokio::time::sleep(limit).await;
    timed_out(limit)
}

fn timed_out(limit: Duration) -> PostgresError {
    PostgresError::away(format!("no answer within {} s", limit.as_secs()))
}

/// Does the work until it is done or `end` returns an error.
pub async fn run_until<T>(
    end: impl Future<Output = PostgresError>,
    work: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    let mut end = pin!(end);
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Pending => end.as_mut().poll(context).map(Err),
        done => done,
    })
    .await
}
