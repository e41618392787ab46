//! Evaluates the transfer of a hop that has ended: returns the reply of the check, or its next hop.

use curl::easy::Easy2;

use super::hop_certificate::HopCertificate;
use super::repetition::RepeatDecision;
use super::{ActiveCheck, HopEnd, hop_record};
use crate::check::callbacks::TransferCallbacks;
use crate::check::certificate_fault;
use crate::check::fault::{alert_fault, silence, socket_fault};
use crate::check::handshake::Handshake;
use crate::check::kernel_route::is_no_route;
use crate::check::phases::{HopShape, fell_back, phases};
use crate::check::proxy::{ProxyProgress, fold_into_connect};
use crate::check::raw;
use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::{Cause, Phases};
use crate::model::uplink::Silence;

/// Facts of a transfer that has ended, to find its fault by.
struct TransferFacts {
    /// Last error number of the system; 0 if none.
    errno: i32,
    progress: ProxyProgress,
    handshake: Handshake,
    phases: Phases,
}

impl TransferFacts {
    fn of(easy: &mut Easy2<TransferCallbacks>, shape: &HopShape) -> TransferFacts {
        TransferFacts {
            phases: phases(easy, shape),
            errno: raw::os_errno(easy),
            progress: ProxyProgress::of(easy),
            handshake: easy.get_mut().take_handshake(),
        }
    }
}

impl ActiveCheck {
    /// Evaluates a transfer that has ended with `result`.
    pub fn evaluate(
        mut self: Box<ActiveCheck>,
        mut easy: Easy2<TransferCallbacks>,
        result: Result<(), curl::Error>,
    ) -> HopEnd {
        let (result, refused) = match self.decide_repeat(easy.get_ref()) {
            None => (result, None),
            Some(RepeatDecision::StartAgain) => {
                return HopEnd::Next(self, easy.get_mut().body.take_permit());
            }
            Some(RepeatDecision::KeepReply) => (Ok(()), None),
            Some(RepeatDecision::Refused(fault)) => (result, Some(fault)),
        };
        self.all_reused &= self.reuses_connection;
        let shape = self.shape();
        let mut facts = TransferFacts::of(&mut easy, &shape);
        let address = site_address(&mut easy);
        let certificate = self.certificate(&facts.handshake);
        self.keep_connection(&easy, certificate.as_ref());
        let callbacks = easy.get_mut();
        let (mut fault, silence) = self.transfer_fault(callbacks, result, refused, &facts);
        if let Some(refusal) = self.route().proxy_login_fault(callbacks.header.final_status()) {
            fault = Some(refusal);
            callbacks.forget_reply();
        }
        if shape.is_proxied && fault.as_ref().is_some_and(|fault| fault.cause == Cause::Uplink) {
            facts.phases = fold_into_connect(&facts.phases);
        }
        self.phases.add(&facts.phases);
        let fault = fault.or_else(|| self.missing_reply(callbacks, &shape));
        let url = self.url.clone();
        let status = callbacks.header.status;
        let mut unusable = None;
        if fault.is_none() {
            unusable = self.route().http_version_fault(callbacks.header.http);
        }
        if fault.is_none() && unusable.is_none() {
            match self.follow_redirect(&callbacks.header) {
                Ok(false) => {}
                Ok(true) => {
                    self.hops.push(hop_record(&url, address, status, facts.phases));
                    self.earliest = HopCertificate::earlier(self.earliest.take(), certificate);
                    return HopEnd::Next(self, callbacks.body.take_permit());
                }
                Err(fault) => unusable = Some(fault),
            }
        }
        let bytes = callbacks.body.count();
        let (body, permit) = callbacks.body.take_bytes();
        let status = callbacks.header.final_status();
        if !self.hops.is_empty() {
            self.hops.push(hop_record(&url, address.clone(), status, facts.phases));
        }
        let mut reply = Reply {
            unusable,
            silence,
            status,
            body,
            headers: std::mem::take(&mut callbacks.header.wanted),
            bytes,
            fell_back: fell_back(callbacks, address.as_deref()),
            address,
            http: callbacks.header.http,
            reused: self.pool.is_some().then_some(self.all_reused),
            ..self.reply(self.phases, fault)
        };
        self.report_certificate(&mut reply, certificate);
        HopEnd::Reply(Box::new(reply), permit)
    }

    /// Returns the fault of a transfer; none if its reply is whole. `refused` is the fault of a request that
    /// we did not let libcurl repeat. If nobody answered, also returns who was silent.
    fn transfer_fault(
        &self,
        callbacks: &TransferCallbacks,
        result: Result<(), curl::Error>,
        refused: Option<CheckFault>,
        facts: &TransferFacts,
    ) -> (Option<CheckFault>, Option<Silence>) {
        if let Some(reason) = &callbacks.stop_reason {
            return (reason.fault(), None);
        }
        let Err(error) = result else { return (callbacks.cut_fault(), None) };
        if refused.is_some() {
            return (refused, None);
        }
        if let Some(no_socket) = &callbacks.no_socket {
            return (Some(socket_fault(no_socket)), None);
        }
        let (fault, silence) = self.error_fault(callbacks, &error, facts);
        (Some(fault), silence)
    }

    /// Returns the fault of a transfer that libcurl has ended with an error. If nobody answered, also returns
    /// who was silent.
    fn error_fault(
        &self,
        callbacks: &TransferCallbacks,
        error: &curl::Error,
        facts: &TransferFacts,
    ) -> (CheckFault, Option<Silence>) {
        let TransferFacts { errno, progress, handshake, phases } = facts;
        let why = callbacks.single.error_text();
        let why = why.as_deref().unwrap_or_else(|| error.description());
        let timeout_ms = self.target.timeout.as_millis();
        let family = callbacks.family.filter(|_| callbacks.has_one_family);
        let mismatch = self.route().family_mismatch(error.code(), family);
        let on_route =
            mismatch.or_else(|| self.route().fault(error.code(), *progress, phases, timeout_ms));
        let is_explained = on_route.as_ref().is_some_and(|fault| fault.cause != Cause::Timeout);
        let silence = silence(error.code(), *errno, phases).filter(|_| !is_explained);
        let known = on_route.or_else(|| alert_fault(handshake, phases));
        let mut fault = known.unwrap_or_else(|| {
            match if is_no_route(*errno) { self.has_route() } else { Ok(true) } {
                Ok(has_route) => self.fault_of(error.code(), why, (*errno, has_route), phases),
                Err(error) => socket_fault(&error),
            }
        });
        if fault.cause == Cause::Certificate
            && let Some(verification) = &handshake.verification
            && let Some((cause, text)) = certificate_fault::diagnose(verification, why)
        {
            fault = CheckFault { cause, text };
        }
        (fault, silence)
    }

    /// Returns the fault of a connection that was closed without a reply that can be read.
    fn missing_reply(&self, callbacks: &TransferCallbacks, shape: &HopShape) -> Option<CheckFault> {
        let is_tcp = self.target.is_tcp();
        let text = if is_tcp && shape.awaits_bytes && !callbacks.has_bytes {
            "the connection was closed before the site sent a byte"
        } else if is_tcp || callbacks.header.final_status().is_some() {
            return None;
        } else if callbacks.header.complete {
            "the reply is not HTTP: its status is not a number of three digits"
        } else {
            "the connection was closed without a reply"
        };
        Some(CheckFault { cause: Cause::Protocol, text: text.to_owned() })
    }
}

/// Returns the address of the last connection; none if no connection was made.
fn site_address(easy: &mut Easy2<TransferCallbacks>) -> Option<String> {
    easy.primary_ip().ok().flatten().filter(|ip| !ip.is_empty()).map(str::to_owned)
}
