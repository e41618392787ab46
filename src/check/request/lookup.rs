//! Looks up the name of a hop, before libcurl begins with the hop.

use std::time::{Duration, Instant};

use super::{ActiveCheck, FoundAddresses, hop_record};
use crate::check::kernel_route::has_route;
use crate::check::resolve::{Resolution, ResolutionResult, ResolveError};
use crate::clock;
use crate::model::connect::Family;
use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::{Cause, Phases};
use crate::model::uplink::Silence;

impl ActiveCheck {
    /// Starts the resolution of the hop's name. None if no name has to be looked up: a connection of an
    /// earlier check is used, or the address is known.
    pub fn resolution(&mut self) -> Option<Resolution> {
        let now_s = clock::now_ms().div_euclid(1000);
        self.reuses_connection =
            self.pool.as_ref().is_some_and(|pool| pool.is_ready(&self.url, now_s));
        if self.reuses_connection { None } else { self.route().resolution(self.target.timeout) }
    }

    /// Sets the start of the lookup. The time that it has waited for a free thread counts as our lag and
    /// moves the deadline, by at most the check's timeout in all hops together. Returns true if the deadline
    /// has moved.
    pub fn set_lookup_start(&mut self, at: Instant) -> bool {
        let late = at.saturating_duration_since(self.began);
        let more = late.min(self.target.timeout.saturating_sub(self.lookup_lag));
        self.began += late;
        self.lookup_lag += late;
        self.deadline += more;
        !more.is_zero()
    }

    /// Takes the result of the lookup.
    ///
    /// # Errors
    /// No address was found: returns the reply that ends the check.
    pub fn take_resolution(&mut self, resolved: ResolutionResult) -> Result<(), Box<Reply>> {
        self.set_lookup_start(resolved.began);
        // Another check may have started the lookup before this hop began.
        let lookup_time = resolved.ended.saturating_duration_since(self.began);
        let why = match resolved.addresses {
            Ok(addresses) => {
                self.found = Some(FoundAddresses { lookup_time, list: addresses });
                return Ok(());
            }
            Err(why) => why,
        };
        let silence = match &why {
            ResolveError::UnknownName
            | ResolveError::NoAddress(_)
            | ResolveError::OutOfResources(_) => None,
            ResolveError::NoServerAnswers
            | ResolveError::ServerFailed(_)
            | ResolveError::Unknown => Some(Silence::NameServers),
        };
        let is_ours = matches!(why, ResolveError::OutOfResources(_));
        let cause = if is_ours { Cause::Overload } else { Cause::Dns };
        let text = words(&why, self.url.host_str().unwrap_or_default());
        Err(self.no_address(lookup_time, CheckFault { cause, text }, silence))
    }

    /// Makes the reply of a check whose deadline has passed during the lookup. `is_asked` is false if no
    /// thread was free for the lookup. `failure` says why no answer has come, if that is known.
    pub fn lookup_timeout(&mut self, is_asked: bool, failure: Option<&ResolveError>) -> Box<Reply> {
        let lookup_time = self.began.elapsed();
        if !is_asked {
            self.lookup_lag += lookup_time;
            let text = "too many names are being looked up: no thread was free".to_owned();
            return self.no_address(
                Duration::ZERO,
                CheckFault { cause: Cause::Overload, text },
                None,
            );
        }
        let phases = Phases { dns_us: Some(0), ..Phases::default() };
        let mut fault = self.fault_of(curl_sys::CURLE_OPERATION_TIMEDOUT, "", (0, true), &phases);
        if let Some(failure) = failure {
            let why = words(failure, self.url.host_str().unwrap_or_default());
            fault.text = format!("{}: {why}", fault.text);
        }
        self.no_address(lookup_time, fault, Some(Silence::NameServers))
    }

    /// Returns true if this machine has a route to any address of this hop.
    ///
    /// # Errors
    /// No address has a route, and for one of them the kernel could not be asked.
    pub(super) fn has_route(&self) -> std::io::Result<bool> {
        let found = self.found.as_ref().map_or(&[][..], |found| &found.list);
        let from = self.target.connect.interface.as_deref();
        let all = self.route().known_address().into_iter().chain(found.iter().copied());
        let mut none = Ok(false);
        for address in all {
            match has_route(address, from) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => none = Err(error),
            }
        }
        none
    }

    /// Makes the reply of a check for which no address was found. `lookup_time` is the duration of the
    /// lookup.
    fn no_address(
        &mut self,
        lookup_time: Duration,
        fault: CheckFault,
        silence: Option<Silence>,
    ) -> Box<Reply> {
        let hop = Phases { dns_us: Some(lookup_time.as_micros() as u64), ..Phases::default() };
        self.phases.add(&hop);
        if !self.hops.is_empty() {
            self.hops.push(hop_record(&self.url, None, None, hop));
        }
        Box::new(Reply { silence, ..self.reply(self.phases, Some(fault)) })
    }
}

/// Says for people why `host` has no address.
fn words(why: &ResolveError, host: &str) -> String {
    match why {
        ResolveError::UnknownName => format!("{host} does not exist"),
        ResolveError::NoAddress(Family::Any) => format!("{host} has no address"),
        ResolveError::NoAddress(Family::V4) => format!("{host} has no IPv4 address"),
        ResolveError::NoAddress(Family::V6) => format!("{host} has no IPv6 address"),
        ResolveError::NoServerAnswers => format!("no name server answers for {host}"),
        // RFC 1035, 4.1.1.
        ResolveError::ServerFailed(code) => {
            let code = match code {
                2 => "SERVFAIL",
                5 => "REFUSED",
                code => return format!("the name server failed for {host}: code {code}"),
            };
            format!("the name server failed for {host}: {code}")
        }
        ResolveError::Unknown => format!("cannot find an address of {host}"),
        ResolveError::OutOfResources(why) => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::target::Target;

    #[test]
    fn a_wait_for_a_thread_is_lag_and_at_most_doubles_the_time() {
        let mut target = Target::new("t", "http://a.example/".parse().unwrap());
        target.timeout = Duration::from_secs(5);
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut check = ActiveCheck::new(Arc::new(target), None, start);
        assert!(!check.set_lookup_start(start));
        assert!(check.set_lookup_start(start + 3 * second));
        // The answer sets the same start once more.
        assert!(!check.set_lookup_start(start + 3 * second));
        assert_eq!((check.lookup_lag, check.deadline()), (3 * second, start + 8 * second));
        assert!(check.set_lookup_start(start + 7 * second));
        assert_eq!((check.lookup_lag, check.deadline()), (7 * second, start + 10 * second));
        assert!(!check.set_lookup_start(start + 9 * second));
    }
}
