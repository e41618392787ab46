//! Looks up the name of a hop before libcurl begins with the hop.

use std::time::{Duration, Instant};

use super::{Flight, named};
use crate::check::kernel_route::has_route;
use crate::check::resolve::{Resolution, Resolved, Unresolved};
use crate::clock;
use crate::model::connect::Family;
use crate::model::judge::{Fault, Reply};
use crate::model::outcome::{Cause, Phases};
use crate::model::uplink::Silence;

impl Flight {
    /// Begins the resolution of the hop's name; none if nothing is to be looked up. A kept connection needs
    /// no address.
    pub fn resolution(&mut self) -> Option<Resolution> {
        let now_s = clock::now_ms().div_euclid(1000);
        self.is_kept = self.kept.as_ref().is_some_and(|kept| kept.is_ready(&self.url, now_s));
        if self.is_kept { None } else { self.reach().resolution(self.target.timeout) }
    }

    /// Sets the start of the lookup. If the start is late, because no thread was free, the delay is our lag
    /// and moves the deadline; all delays of a check move it by its timeout at most. Returns true if the
    /// deadline has moved.
    pub fn begun(&mut self, at: Instant) -> bool {
        let late = at.saturating_duration_since(self.began);
        let more = late.min(self.target.timeout.saturating_sub(self.late));
        (self.began, self.late) = (self.began + late, self.late + late);
        self.deadline += more;
        !more.is_zero()
    }

    /// Takes the result of the lookup.
    ///
    /// # Errors
    /// No address was found; gives the reply that the check ends with.
    pub fn found(&mut self, resolved: Resolved) -> Result<(), Box<Reply>> {
        self.begun(resolved.began);
        // The lookup may have begun for an earlier check.
        let looked = resolved.ended.saturating_duration_since(self.began);
        let why = match resolved.addresses {
            Ok(addresses) => {
                self.found = Some((looked, addresses));
                return Ok(());
            }
            Err(why) => why,
        };
        let silence = match &why {
            Unresolved::NoName | Unresolved::NoAddress(_) | Unresolved::NoMeans(_) => None,
            Unresolved::Silent | Unresolved::Failed(_) | Unresolved::Unknown => {
                Some(Silence::Names)
            }
        };
        let is_ours = matches!(why, Unresolved::NoMeans(_));
        let cause = if is_ours { Cause::Overload } else { Cause::Dns };
        let text = words(&why, self.url.host_str().unwrap_or_default());
        Err(self.unnamed(looked, Fault { cause, text }, silence))
    }

    /// Makes the reply of a check whose deadline has passed without an address. `is_asked` is false if no
    /// thread was free for the lookup. `doubt` is the reason for which there was no answer, if it is known.
    pub fn lost(&mut self, is_asked: bool, doubt: Option<&Unresolved>) -> Box<Reply> {
        let looked = self.began.elapsed();
        if !is_asked {
            self.late += looked;
            let text = "too many names are being looked up: no thread was free".to_owned();
            return self.unnamed(Duration::ZERO, Fault { cause: Cause::Overload, text }, None);
        }
        let phases = Phases { dns_us: Some(0), ..Phases::default() };
        let mut fault = self.fault_of(curl_sys::CURLE_OPERATION_TIMEDOUT, "", (0, true), &phases);
        if let Some(doubt) = doubt {
            let why = words(doubt, self.url.host_str().unwrap_or_default());
            fault.text = format!("{}: {why}", fault.text);
        }
        self.unnamed(looked, fault, Some(Silence::Names))
    }

    /// Returns true if this machine has a route to any address of this hop.
    ///
    /// # Errors
    /// No route was found, and [`has_route`] failed for one of the addresses.
    pub(super) fn has_route(&self) -> std::io::Result<bool> {
        let found = self.found.as_ref().map_or(&[][..], |(_, found)| found);
        let from = self.target.connect.interface.as_deref();
        let all = self.reach().known().into_iter().chain(found.iter().copied());
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

    /// Makes the reply of a check whose name was not found; the lookup took the time `looked`.
    fn unnamed(&mut self, looked: Duration, fault: Fault, silence: Option<Silence>) -> Box<Reply> {
        let hop = Phases { dns_us: Some(looked.as_micros() as u64), ..Phases::default() };
        self.phases.add(&hop);
        if !self.hops.is_empty() {
            self.hops.push(named(&self.url, None, None, hop));
        }
        Box::new(Reply { silence, ..self.reply(self.phases, Some(fault)) })
    }
}

/// Describes the reason for which `host` has no address, for people.
fn words(why: &Unresolved, host: &str) -> String {
    match why {
        Unresolved::NoName => format!("{host} does not exist"),
        Unresolved::NoAddress(Family::Any) => format!("{host} has no address"),
        Unresolved::NoAddress(Family::V4) => format!("{host} has no IPv4 address"),
        Unresolved::NoAddress(Family::V6) => format!("{host} has no IPv6 address"),
        Unresolved::Silent => format!("no name server answers for {host}"),
        // RFC 1035, 4.1.1.
        Unresolved::Failed(code) => {
            let code = match code {
                2 => "SERVFAIL",
                5 => "REFUSED",
                code => return format!("the name server failed for {host}: code {code}"),
            };
            format!("the name server failed for {host}: {code}")
        }
        Unresolved::Unknown => format!("cannot find an address of {host}"),
        Unresolved::NoMeans(why) => why.to_string(),
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
        let mut flight = Flight::new(Arc::new(target), None, start);
        assert!(!flight.begun(start));
        assert!(flight.begun(start + 3 * second));
        // The start is set once more, with the answer.
        assert!(!flight.begun(start + 3 * second));
        assert_eq!((flight.late, flight.deadline()), (3 * second, start + 8 * second));
        assert!(flight.begun(start + 7 * second));
        assert_eq!((flight.late, flight.deadline()), (7 * second, start + 10 * second));
        assert!(!flight.begun(start + 9 * second));
    }
}
