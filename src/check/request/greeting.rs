//! Reads the greeting: the first bytes that a site sends on a connection without HTTP (`tcp`).

use std::time::Instant;

use curl::multi::Easy2Handle;

use super::ActiveCheck;
use crate::check::callbacks::TransferCallbacks;
use crate::check::raw;

impl ActiveCheck {
    /// Returns true if the hop has to wait for a greeting: the target is `tcp` and has an expression to
    /// match.
    pub fn awaits_greeting(&self) -> bool {
        self.target.is_tcp() && !self.target.matches.is_empty()
    }

    /// Reads the bytes of the greeting that have arrived. Returns the result of the hop once the greeting is
    /// over; none before.
    pub fn read_greeting(
        &self,
        handle: &mut Easy2Handle<TransferCallbacks>,
        now: Instant,
    ) -> Option<Result<(), curl::Error>> {
        let mut buffer = [0; 4096];
        let end = loop {
            match raw::receive(handle, &mut buffer) {
                Err(error) => break Err(error),
                Ok(Some(0)) => break Ok(()),
                Ok(Some(count)) => {
                    let is_full = !handle.get_mut().take_greeting(&buffer[..count]);
                    if is_full || self.is_greeted(handle.get_ref().body.bytes()) {
                        break Ok(());
                    }
                }
                // A greeting that has begun counts as a reply, and the judge decides about it.
                Ok(None) if now >= self.deadline && !handle.get_ref().body.bytes().is_empty() => {
                    break Ok(());
                }
                Ok(None) if now >= self.deadline => {
                    break Err(curl::Error::new(curl_sys::CURLE_OPERATION_TIMEDOUT));
                }
                Ok(None) => return None,
            }
        };
        handle.get_mut().greeting_ended_at = Some(Instant::now());
        Some(end)
    }

    /// Returns true if every expression of the target has a match in the greeting so far.
    fn is_greeted(&self, said: &[u8]) -> bool {
        let said = String::from_utf8_lossy(said);
        self.target.matches.iter().all(|wanted| wanted.find(&said).is_some())
    }
}
