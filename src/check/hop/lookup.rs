//! The name of a hop, looked up before libcurl begins with it.

use std::time::Duration;

use super::{Flight, named};
use crate::check::resolve::{Answer, Question};
use crate::model::judge::{Fault, Reply};
use crate::model::outcome::{Cause, Phases};
use crate::model::uplink::Silence;

impl Flight {
    /// The name that is to be looked up first. Who has kept a connection needs none.
    pub fn question(&self) -> Option<Question> {
        let has_kept = self.kept.as_ref().is_some_and(|kept| kept.is_open.get());
        if has_kept { None } else { self.reach().question() }
    }

    /// Takes what was found of it.
    ///
    /// # Errors
    /// Nothing: the reply that the check ends with.
    pub fn found(&mut self, answer: Answer) -> Result<(), Box<Reply>> {
        // It may have begun for an earlier check. If it began late, for want of a thread, that is
        // our lag, and none of the site's time.
        let late = answer.began.saturating_duration_since(self.began);
        let looked = answer.ended.saturating_duration_since(self.began + late);
        (self.late, self.deadline) = (self.late + late, self.deadline + late);
        let addresses = match answer.addresses {
            Ok(addresses) => addresses,
            Err(why) => {
                let fault = Fault { cause: Cause::Overload, text: why.to_string() };
                return Err(self.unnamed(looked, fault, None));
            }
        };
        if addresses.is_empty() {
            let host = self.url.host_str().unwrap_or_default();
            let text = format!("cannot find an address of {host}");
            let fault = Fault { cause: Cause::Dns, text };
            return Err(self.unnamed(looked, fault, Some(Silence::Names)));
        }
        self.found = Some((looked, addresses));
        Ok(())
    }

    /// Nothing was found in time: the reply that the check ends with. `is_asked`: it was being
    /// looked up; else no thread was free for that.
    pub fn lost(&mut self, is_asked: bool) -> Box<Reply> {
        let looked = self.began.elapsed();
        if !is_asked {
            let text = "too many names are being looked up: no thread was free".to_owned();
            return self.unnamed(looked, Fault { cause: Cause::Overload, text }, None);
        }
        let phases = Phases { dns_us: Some(0), ..Phases::default() };
        let fault = self.fault_of(curl_sys::CURLE_OPERATION_TIMEDOUT, "", (0, true), &phases);
        self.unnamed(looked, fault, Some(Silence::Names))
    }

    /// The end of a check whose name was not found, though it was looked up for so long.
    fn unnamed(&mut self, looked: Duration, fault: Fault, silence: Option<Silence>) -> Box<Reply> {
        let hop = Phases { dns_us: Some(looked.as_micros() as u64), ..Phases::default() };
        self.phases.add(&hop);
        if !self.hops.is_empty() {
            self.hops.push(named(&self.url, None, None, hop));
        }
        Box::new(Reply { silence, ..self.reply(self.phases, Some(fault)) })
    }
}
