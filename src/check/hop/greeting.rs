//! What a plain connection says first.

use std::time::Instant;

use curl::multi::Easy2Handle;

use super::Flight;
use crate::check::raw;
use crate::check::wire::Wire;

impl Flight {
    /// Whether it waits for what is said first, once it is connected.
    pub fn awaits_greeting(&self) -> bool {
        self.target.is_tcp() && !self.target.matches.is_empty()
    }

    /// Reads what has come of a greeting; none: it goes on.
    pub fn listen(
        &self,
        handle: &mut Easy2Handle<Wire>,
        now: Instant,
    ) -> Option<Result<(), curl::Error>> {
        let mut buffer = [0; 4096];
        let end = loop {
            match raw::receive(handle, &mut buffer) {
                Err(error) => break Err(error),
                Ok(Some(0)) => break Ok(()),
                Ok(Some(count)) => {
                    let is_full = !handle.get_mut().greeted(&buffer[..count]);
                    if is_full || self.is_greeted(handle.get_ref().body.bytes()) {
                        break Ok(());
                    }
                }
                // Who has said something has answered: what it was is judged.
                Ok(None) if now >= self.deadline && !handle.get_ref().body.bytes().is_empty() => {
                    break Ok(());
                }
                Ok(None) if now >= self.deadline => {
                    break Err(curl::Error::new(curl_sys::CURLE_OPERATION_TIMEDOUT));
                }
                Ok(None) => return None,
            }
        };
        handle.get_mut().over_at = Some(Instant::now());
        Some(end)
    }

    /// Whether all has been said that is waited for.
    fn is_greeted(&self, said: &[u8]) -> bool {
        let said = String::from_utf8_lossy(said);
        self.target.matches.iter().all(|wanted| wanted.find(&said).is_some())
    }
}
