//! How long anything may take: its own limit, and what is left of ours once we are to stop.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::fault::Fault;
use crate::stop::Stop;

/// How often a call under way looks whether we are to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// When a call is given up because we are to stop.
#[derive(Default)]
pub struct Patience {
    stop: Stop,
    /// How long it may go on all the same.
    rest: Duration,
    /// When we saw that we were told.
    told: Cell<Option<Instant>>,
}

impl Patience {
    /// Gives up once `stop` was told that long ago.
    pub fn new(stop: &Stop, rest: Duration) -> Patience {
        Patience { stop: stop.clone(), rest, told: Cell::new(None) }
    }

    /// Waits until it is over, which it is after `limit` in any case; says why.
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

/// Waits for as long as `limit`; says that nothing came.
pub async fn silence(limit: Duration) -> Fault {
    tokio::time::sleep(limit).await;
    silent(limit)
}

fn silent(limit: Duration) -> Fault {
    Fault::away(format!("no answer within {} s", limit.as_secs()))
}

/// Works until `end`.
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
