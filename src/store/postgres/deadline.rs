//! Deadlines: each call's own limit, and the time that is left once we are to stop.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::error::Fault;
use crate::stop::Stop;

/// Pause between two looks at whether we are to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// Deadline of all calls, which begins to run when we are to stop.
#[derive(Default)]
pub struct Patience {
    stop: Stop,
    /// Time for which calls may still go on after that.
    rest: Duration,
    /// Moment at which we saw that we are to stop.
    told: Cell<Option<Instant>>,
}

impl Patience {
    /// Makes a deadline `rest` after `stop` asked us to end.
    pub fn new(stop: &Stop, rest: Duration) -> Patience {
        Patience { stop: stop.clone(), rest, told: Cell::new(None) }
    }

    /// Waits until `limit` has passed, or the deadline after a stop; returns the reason.
    pub async fn over(&self, limit: Duration) -> Fault {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.stop.is_told() {
                let told = self.told.get().unwrap_or_else(Instant::now);
                self.told.set(Some(told));
                if told.elapsed() >= self.rest {
                    return Fault::away("it did not answer before we had to stop");
                }
            }
            tokio::time::sleep(GLANCE.min(limit)).await;
        }
        silent(limit)
    }
}

/// Waits for `limit`; returns the fault that no answer came.
pub async fn silence(limit: Duration) -> Fault {
    tokio::time::sleep(limit).await;
    silent(limit)
}

fn silent(limit: Duration) -> Fault {
    Fault::away(format!("no answer within {} s", limit.as_secs()))
}

/// Does the work until it is done or `end` comes.
pub async fn until<T>(
    end: impl Future<Output = Fault>,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let (mut end, mut work) = (pin!(end), pin!(work));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Pending => end.as_mut().poll(context).map(Err),
        done => done,
    })
    .await
}
